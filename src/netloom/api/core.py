"""core/v1: ConfigMap, Namespace, Node, Pod, Secret, Service; the fields that the network reads."""

from __future__ import annotations

import msgspec

from netloom.api.meta import Condition, KubeObject


class Namespace(KubeObject, frozen=True):
    """core/v1 Namespace."""


class ConfigMap(KubeObject, frozen=True):
    """core/v1 ConfigMap, as far as it is text."""

    data: dict[str, str] = msgspec.field(default_factory=dict)


class Secret(KubeObject, frozen=True):
    """core/v1 Secret; values are base64, as they were written."""

    type: str = "Opaque"
    data: dict[str, str] = msgspec.field(default_factory=dict)


class ServicePort(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ServicePort. ``target_port`` is a number, a container port's name, or absent (then it equals ``port``)."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: int | str | None = None
    node_port: int = 0
    app_protocol: str | None = None


class ClientIPConfig(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ClientIPConfig. ``timeout_seconds`` is 1 to 86400; absent means 10800."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(msgspec.Struct, frozen=True):
    """core/v1 SessionAffinityConfig."""

    client_ip: ClientIPConfig | None = msgspec.field(name="clientIP", default=None)


class ServiceSpec(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ServiceSpec."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    cluster_ips: tuple[str, ...] = msgspec.field(name="clusterIPs", default=())
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str = ""
    selector: dict[str, str] | None = None
    ports: tuple[ServicePort, ...] = ()
    external_name: str = ""
    external_ips: tuple[str, ...] = msgspec.field(name="externalIPs", default=())
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    external_traffic_policy: str = "Cluster"
    internal_traffic_policy: str = "Cluster"
    traffic_distribution: str | None = None
    publish_not_ready_addresses: bool = False
    load_balancer_source_ranges: tuple[str, ...] = ()
    load_balancer_class: str = ""
    load_balancer_ip: str = msgspec.field(name="loadBalancerIP", default="")
    health_check_node_port: int = 0


class LoadBalancerIngress(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 LoadBalancerIngress; a missing ``ip_mode`` with an ``ip`` means VIP (KEP-1860)."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(msgspec.Struct, frozen=True):
    """core/v1 LoadBalancerStatus."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ServiceStatus."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()
    conditions: tuple[Condition, ...] = ()


class Service(KubeObject, frozen=True):
    """core/v1 Service."""

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def is_headless(self) -> bool:
        """True where ``spec.clusterIP`` is ``None``: no virtual address, only names."""
        return self.spec.cluster_ip == "None"


class ContainerPort(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ContainerPort."""

    container_port: int
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = msgspec.field(name="hostIP", default="")


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 Container, as far as addresses and ports go."""

    name: str = ""
    image: str = ""
    ports: tuple[ContainerPort, ...] = ()
    restart_policy: str | None = None
    """Of an init container only: ``Always`` makes it a sidecar, which runs as long as the pod does (KEP-753)."""


class PodIP(msgspec.Struct, frozen=True):
    """core/v1 PodIP."""

    ip: str = ""


class PodCondition(msgspec.Struct, frozen=True):
    """core/v1 PodCondition."""

    type: str
    status: str


class ReadinessGate(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PodReadinessGate."""

    condition_type: str = ""


class PodDNSConfigOption(msgspec.Struct, frozen=True):
    """core/v1 PodDNSConfigOption."""

    name: str = ""
    value: str | None = None


class PodDNSConfig(msgspec.Struct, frozen=True):
    """core/v1 PodDNSConfig, as far as names are completed by it."""

    searches: tuple[str, ...] = ()
    options: tuple[PodDNSConfigOption, ...] = ()


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PodSpec, as far as the network reads it."""

    node_name: str = ""
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    readiness_gates: tuple[ReadinessGate, ...] = ()
    dns_policy: str = msgspec.field(name="dnsPolicy", default="ClusterFirst")
    dns_config: PodDNSConfig | None = msgspec.field(name="dnsConfig", default=None)


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PodStatus, as far as the network reads it."""

    phase: str = "Pending"
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: tuple[PodIP, ...] = msgspec.field(name="podIPs", default=())
    host_ip: str = msgspec.field(name="hostIP", default="")
    conditions: tuple[PodCondition, ...] = ()


class Pod(KubeObject, frozen=True):
    """core/v1 Pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def is_ready(self) -> bool:
        """Condition ``Ready`` is True."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)


class Taint(msgspec.Struct, frozen=True):
    """core/v1 Taint."""

    key: str
    value: str = ""
    effect: str = ""


class NodeSpec(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 NodeSpec."""

    pod_cidr: str = msgspec.field(name="podCIDR", default="")
    pod_cidrs: tuple[str, ...] = msgspec.field(name="podCIDRs", default=())
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeAddress(msgspec.Struct, frozen=True):
    """core/v1 NodeAddress."""

    type: str
    address: str


class NodeStatus(msgspec.Struct, frozen=True):
    """core/v1 NodeStatus."""

    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[PodCondition, ...] = ()


class Node(KubeObject, frozen=True):
    """core/v1 Node."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def is_ready(self) -> bool:
        """Condition ``Ready`` is True."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)
