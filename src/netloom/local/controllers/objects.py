"""The kinds as the control loops and the scheduler read them: the network's structs and what scheduling and scaling need.

Pod templates stay plain dicts: they are copied from Deployment to ReplicaSet to Pod without losing a field.
Not here: any behaviour beyond reading one object.
"""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.api.core import ContainerPort, NodeAddress, PodIP, ServiceSpec
from netloom.api.discovery import Endpoint, EndpointPort
from netloom.api.meta import LabelSelector, ObjectMeta, OwnerReference
from netloom.api.selectors import Selector, from_selector
from netloom.local.controllers.placement import Affinity, Resources, SpreadConstraint, Taint, Toleration
from netloom.units import ObjectKey

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
HEADLESS = "service.kubernetes.io/headless"
ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"


class Owner(OwnerReference, frozen=True, rename="camel"):
    """meta/v1 OwnerReference, whole: references of others are written back as they were."""

    api_version: str = ""
    block_owner_deletion: bool | None = None


class Meta(ObjectMeta, frozen=True, rename="camel"):
    """meta/v1 ObjectMeta with what loops need besides."""

    owner_references: tuple[Owner, ...] = ()
    finalizers: tuple[str, ...] = ()
    deletion_grace_period_seconds: int | None = None


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the kinds here."""

    metadata: Meta = Meta()

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return ObjectKey(self.metadata.namespace, self.metadata.name)

    @property
    def uid(self) -> str:
        """``metadata.uid``."""
        return self.metadata.uid

    @property
    def is_terminating(self) -> bool:
        """Deletion has been asked for (``metadata.deletionTimestamp``)."""
        return self.metadata.deletion_timestamp is not None

    @property
    def controller_uid(self) -> str:
        """UID of the owner reference with ``controller: true``; empty for an orphan."""
        return next((o.uid for o in self.metadata.owner_references if o.controller), "")


class Owning(Loaded, frozen=True):
    """Base of the kinds that have pods."""

    @property
    def selector(self) -> Selector:
        """Which pods it wants to be its own; an empty one selects all."""
        raise NotImplementedError


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """A status condition, as Pods, Nodes, Deployments and ReplicaSets write it."""

    type: str
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    last_update_time: str | None = None


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 Container."""

    name: str = ""
    ports: tuple[ContainerPort, ...] = ()
    restart_policy: str = ""
    resources: Resources = Resources()


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PodSpec."""

    node_name: str = ""
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    node_selector: dict[str, str] = {}
    affinity: Affinity | None = None
    tolerations: tuple[Toleration, ...] = ()
    scheduler_name: str = ""
    scheduling_gates: tuple[dict[str, str], ...] = ()
    restart_policy: str = "Always"
    volumes: tuple[Volume, ...] = ()
    overhead: dict[str, str | int | float] = {}
    priority: int = 0
    preemption_policy: str = ""
    topology_spread_constraints: tuple[SpreadConstraint, ...] = ()

    @property
    def ports(self) -> tuple[ContainerPort, ...]:
        """Ports of the containers, and of sidecars (init containers that keep running)."""
        sidecars = (c for c in self.init_containers if c.restart_policy == "Always")
        return tuple(p for c in (*self.containers, *sidecars) for p in c.ports)


class Ended(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ContainerStateTerminated."""

    exit_code: int = 0
    finished_at: str | None = None


class ContainerState(msgspec.Struct, frozen=True):
    """core/v1 ContainerState, the part that Jobs look at."""

    terminated: Ended | None = None


class ContainerStatus(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ContainerStatus."""

    name: str = ""
    restart_count: int = 0
    state: ContainerState = ContainerState()


class ClaimVolume(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PersistentVolumeClaimVolumeSource."""

    claim_name: str = ""


class Volume(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 Volume, as far as claims are concerned."""

    name: str = ""
    persistent_volume_claim: ClaimVolume | None = None
    ephemeral: dict[str, Any] | None = None


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PodStatus."""

    phase: str = "Pending"
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: tuple[PodIP, ...] = msgspec.field(name="podIPs", default=())
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    nominated_node_name: str = ""
    start_time: str | None = None


class Pod(Loaded, frozen=True):
    """core/v1 Pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    def condition(self, type_: str) -> Condition | None:
        """The condition of this type."""
        return next((c for c in self.status.conditions if c.type == type_), None)

    @property
    def is_ready(self) -> bool:
        """Condition Ready is True."""
        ready = self.condition("Ready")
        return ready is not None and ready.status == "True"

    @property
    def is_finished(self) -> bool:
        """All containers have ended for good (phase Succeeded or Failed)."""
        return self.status.phase in {"Succeeded", "Failed"}

    @property
    def is_active(self) -> bool:
        """Counts as a replica: neither finished nor on its way out."""
        return not self.is_finished and not self.is_terminating

    @property
    def addresses(self) -> tuple[str, ...]:
        """``status.podIPs``, or the single ``status.podIP``."""
        return tuple(p.ip for p in self.status.pod_ips if p.ip) or (
            (self.status.pod_ip,) if self.status.pod_ip else ()
        )


class NodeSpec(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 NodeSpec."""

    pod_cidr: str = msgspec.field(name="podCIDR", default="")
    pod_cidrs: tuple[str, ...] = msgspec.field(name="podCIDRs", default=())
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeStatus(msgspec.Struct, frozen=True):
    """core/v1 NodeStatus."""

    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[Condition, ...] = ()
    allocatable: dict[str, str | int | float] = {}


class Node(Loaded, frozen=True):
    """core/v1 Node."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def is_ready(self) -> bool:
        """Condition Ready is True."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)


class Service(Loaded, frozen=True):
    """core/v1 Service."""

    spec: ServiceSpec = ServiceSpec()

    @property
    def is_headless(self) -> bool:
        """``spec.clusterIP: None``."""
        return self.spec.cluster_ip == "None"


class EndpointSlice(Loaded, frozen=True, rename="camel"):
    """discovery.k8s.io/v1 EndpointSlice."""

    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] | None = None


class Endpoints(Loaded, frozen=True):
    """core/v1 Endpoints; the subsets as they are, to compare."""

    subsets: list[dict[str, Any]] = []


class NamespaceSpec(msgspec.Struct, frozen=True):
    """core/v1 NamespaceSpec."""

    finalizers: tuple[str, ...] = ()


class NamespaceStatus(msgspec.Struct, frozen=True):
    """core/v1 NamespaceStatus."""

    conditions: tuple[Condition, ...] = ()


class Namespace(Loaded, frozen=True):
    """core/v1 Namespace."""

    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class TemplateSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What the specs of all kinds of apps/v1 that run pods say."""

    selector: LabelSelector = LabelSelector()
    template: dict[str, Any] = {}
    min_ready_seconds: int = 0


class Templated(Owning, frozen=True):
    """Base of the kinds of apps/v1 that have pods."""

    spec: TemplateSpec = TemplateSpec()

    @property
    def selector(self) -> Selector:
        """``spec.selector``."""
        return from_selector(self.spec.selector)


class ReplicaSetSpec(TemplateSpec, frozen=True, rename="camel"):
    """apps/v1 ReplicaSetSpec."""

    replicas: int = 1


class ReplicaSetStatus(msgspec.Struct, frozen=True, rename="camel"):
    """apps/v1 ReplicaSetStatus."""

    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()


class ReplicaSet(Templated, frozen=True):
    """apps/v1 ReplicaSet."""

    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()


class RollingUpdate(msgspec.Struct, frozen=True, rename="camel"):
    """apps/v1 RollingUpdateDeployment; numbers or percentages."""

    max_unavailable: int | str = "25%"
    max_surge: int | str = "25%"


class Strategy(msgspec.Struct, frozen=True, rename="camel"):
    """apps/v1 DeploymentStrategy."""

    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(TemplateSpec, frozen=True, rename="camel"):
    """apps/v1 DeploymentSpec."""

    replicas: int = 1
    strategy: Strategy = Strategy()
    revision_history_limit: int = 10
    paused: bool = False
    progress_deadline_seconds: int = 600


class DeploymentStatus(msgspec.Struct, frozen=True, rename="camel"):
    """apps/v1 DeploymentStatus."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    conditions: tuple[Condition, ...] = ()
    collision_count: int | None = None


class Deployment(Loaded, frozen=True):
    """apps/v1 Deployment."""

    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


def status_body(status: ReplicaSetStatus | DeploymentStatus) -> dict[str, Any]:
    """A status as the body of a merge patch; what a condition does not say is left out, not null."""
    body: dict[str, Any] = msgspec.to_builtins(status)
    body["conditions"] = [{k: v for k, v in c.items() if v not in ("", None)} for c in body["conditions"]]
    return {"status": body}


def owner_reference(api_version: str, kind: str, owner: Loaded) -> dict[str, Any]:
    """The controlling owner reference to put into an object (meta/v1 OwnerReference)."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner.metadata.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def version_of(written: dict[str, Any]) -> int:
    """``metadata.resourceVersion`` of an answer as a number, to wait until a cache reflects it (0: do not wait)."""
    text = str(written["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0
