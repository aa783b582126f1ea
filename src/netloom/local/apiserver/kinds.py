"""The kinds that are served: names, scope, verbs, subresources, and which fields a field selector may name.

Pure data. What a kind's fields mean is elsewhere (defaults, validation, columns). Source: Kubernetes API reference 1.34;
kubernetes-sigs/network-policy-api v0.2.0; Gateway API 1.5.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_WRITE = ("get", "patch", "update")


class Subresource(msgspec.Struct, frozen=True):
    """A part of an object under a path of its own; group and version only where its kind is of another group."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


class Kind(msgspec.Struct, frozen=True):
    """A kind as it is served. ``counts_generations``: ``metadata.generation`` follows the spec."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    selectable: tuple[str, ...] = ()
    counts_generations: bool = False

    @property
    def api_version(self) -> str:
        """Group and version, as documents of this kind say in ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def gvk(self) -> str:
        """ApiVersion and kind in one word, such as ``apps/v1/Deployment``; the key of schemas."""
        return f"{self.api_version}/{self.kind}"

    @property
    def qualified(self) -> str:
        """Plural and group in one word, such as ``deployments.apps``; the key of the store."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def has_status(self) -> bool:
        """There is a status subresource: the main resource ignores status."""
        return self.subresource("status") is not None

    def subresource(self, name: str) -> Subresource | None:
        """The subresource of this name, or None."""
        return next((s for s in self.subresources if s.name == name), None)


def _status(kind: str) -> Subresource:
    return Subresource("status", kind, _WRITE)


_SCALE = Subresource("scale", "Scale", _WRITE, "autoscaling", "v1")

NAMESPACES = Kind(
    "", "v1", "Namespace", "namespaces", "namespace", namespaced=False, short_names=("ns",),
    subresources=(Subresource("finalize", "Namespace", ("update",)), _status("Namespace")),
    selectable=("status.phase",),
)  # fmt: skip
NODES = Kind(
    "", "v1", "Node", "nodes", "node", namespaced=False, short_names=("no",),
    subresources=(_status("Node"),),
    selectable=("spec.unschedulable",),
)  # fmt: skip
PODS = Kind(
    "", "v1", "Pod", "pods", "pod", short_names=("po",), categories=("all",),
    subresources=(
        Subresource("attach", "PodAttachOptions", ("create", "get")),
        Subresource("binding", "Binding", ("create",)),
        Subresource("eviction", "Eviction", ("create",), "policy", "v1"),
        Subresource("exec", "PodExecOptions", ("create", "get")),
        Subresource("log", "Pod", ("get",)),
        Subresource("portforward", "PodPortForwardOptions", ("create", "get")),
        _status("Pod"),
    ),
    selectable=(
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
    ),
    counts_generations=True,
)  # fmt: skip
SERVICES = Kind(
    "", "v1", "Service", "services", "service", short_names=("svc",), categories=("all",),
    subresources=(_status("Service"),),
    selectable=("spec.clusterIP", "spec.type"),
)  # fmt: skip
ENDPOINTS = Kind("", "v1", "Endpoints", "endpoints", "endpoints", short_names=("ep",))
CONFIG_MAPS = Kind("", "v1", "ConfigMap", "configmaps", "configmap", short_names=("cm",))
SECRETS = Kind("", "v1", "Secret", "secrets", "secret", selectable=("type",))
SERVICE_ACCOUNTS = Kind("", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", short_names=("sa",))
EVENTS = Kind(
    "", "v1", "Event", "events", "event", short_names=("ev",),
    selectable=(
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
        "reason", "reportingComponent", "source", "type",
    ),
)  # fmt: skip
LEASES = Kind("coordination.k8s.io", "v1", "Lease", "leases", "lease")
DEPLOYMENTS = Kind(
    "apps", "v1", "Deployment", "deployments", "deployment", short_names=("deploy",), categories=("all",),
    subresources=(_SCALE, _status("Deployment")),
    counts_generations=True,
)  # fmt: skip
REPLICA_SETS = Kind(
    "apps", "v1", "ReplicaSet", "replicasets", "replicaset", short_names=("rs",), categories=("all",),
    subresources=(_SCALE, _status("ReplicaSet")),
    selectable=("status.replicas",),
    counts_generations=True,
)  # fmt: skip
ENDPOINT_SLICES = Kind(
    "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "endpointslice", counts_generations=True
)
NETWORK_POLICIES = Kind(
    "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "networkpolicy", short_names=("netpol",),
    counts_generations=True,
)  # fmt: skip
INGRESSES = Kind(
    "networking.k8s.io", "v1", "Ingress", "ingresses", "ingress", short_names=("ing",),
    subresources=(_status("Ingress"),),
    counts_generations=True,
)  # fmt: skip
INGRESS_CLASSES = Kind(
    "networking.k8s.io", "v1", "IngressClass", "ingressclasses", "ingressclass", namespaced=False,
    counts_generations=True,
)  # fmt: skip

CLUSTER_NETWORK_POLICIES = Kind(
    "policy.networking.k8s.io", "v1alpha2", "ClusterNetworkPolicy", "clusternetworkpolicies", "clusternetworkpolicy",
    namespaced=False, short_names=("cnp",),
    subresources=(_status("ClusterNetworkPolicy"),),
    counts_generations=True,
)  # fmt: skip
"""Elsewhere a CustomResourceDefinition (kubernetes-sigs/network-policy-api); here it is served like the others."""

IP_POOLS = Kind(
    "netloom.io", "v1alpha1", "IPPool", "ippools", "ippool", namespaced=False, counts_generations=True
)
IP_BLOCKS = Kind(
    "netloom.io", "v1alpha1", "IPBlock", "ipblocks", "ipblock", namespaced=False,
    subresources=(_status("IPBlock"),), counts_generations=True,
)  # fmt: skip
"""Our own; elsewhere CustomResourceDefinitions (deploy/crds)."""

NETWORK_ATTACHMENT_DEFINITIONS = Kind(
    "k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition", "network-attachment-definitions", "network-attachment-definition",
    short_names=("net-attach-def",), counts_generations=True,
)  # fmt: skip
"""Elsewhere a CustomResourceDefinition (Network Plumbing Working Group); here it is served like the others."""
NETWORK_POOLS = Kind(
    "netloom.io",
    "v1alpha1",
    "NetworkPool",
    "networkpools",
    "networkpool",
    namespaced=False,
    counts_generations=True,
)
NETWORK_LEASES = Kind(
    "netloom.io",
    "v1alpha1",
    "NetworkLease",
    "networkleases",
    "networklease",
    namespaced=False,
    counts_generations=True,
)
"""Our own; elsewhere CustomResourceDefinitions (deploy/crds)."""
BGP_PEERS = Kind(
    "netloom.io", "v1alpha1", "BGPPeer", "bgppeers", "bgppeer", namespaced=False,
    subresources=(_status("BGPPeer"),), counts_generations=True,
)  # fmt: skip
LOAD_BALANCER_POOLS = Kind(
    "netloom.io", "v1alpha1", "LoadBalancerPool", "loadbalancerpools", "loadbalancerpool", namespaced=False,
    short_names=("lbpool",), subresources=(_status("LoadBalancerPool"),), counts_generations=True,
)  # fmt: skip
"""Our own; elsewhere a CustomResourceDefinition (deploy/crds)."""
EGRESS_GATEWAYS = Kind(
    "netloom.io", "v1alpha1", "EgressGateway", "egressgateways", "egressgateway", namespaced=False,
    short_names=("egw",), subresources=(_status("EgressGateway"),), counts_generations=True,
)  # fmt: skip
"""Our own; elsewhere a CustomResourceDefinition (deploy/crds)."""


def _gateway(
    version: str, kind: str, plural: str, *short: str, namespaced: bool = True, status: bool = True
) -> Kind:
    return Kind(
        "gateway.networking.k8s.io", version, kind, plural, kind.lower(), namespaced=namespaced,
        short_names=short, categories=("gateway-api",),
        subresources=(_status(kind),) if status else (), counts_generations=True,
    )  # fmt: skip


GATEWAY_CLASSES = _gateway("v1", "GatewayClass", "gatewayclasses", "gc", namespaced=False)
GATEWAYS = _gateway("v1", "Gateway", "gateways", "gtw")
LISTENER_SETS = _gateway("v1", "ListenerSet", "listenersets", "lset")
HTTP_ROUTES = _gateway("v1", "HTTPRoute", "httproutes")
GRPC_ROUTES = _gateway("v1", "GRPCRoute", "grpcroutes")
TLS_ROUTES = _gateway("v1", "TLSRoute", "tlsroutes")
BACKEND_TLS_POLICIES = _gateway("v1", "BackendTLSPolicy", "backendtlspolicies", "btlspolicy")
REFERENCE_GRANTS = _gateway("v1beta1", "ReferenceGrant", "referencegrants", "refgrant", status=False)
TCP_ROUTES = _gateway("v1alpha2", "TCPRoute", "tcproutes")
UDP_ROUTES = _gateway("v1alpha2", "UDPRoute", "udproutes")
"""Elsewhere CustomResourceDefinitions (kubernetes-sigs/gateway-api, or ours: deploy/crds)."""
TRAFFIC_POLICIES = Kind(
    "netloom.io", "v1alpha1", "TrafficPolicy", "trafficpolicies", "trafficpolicy", short_names=("tp",),
    subresources=(_status("TrafficPolicy"),), counts_generations=True,
)  # fmt: skip
"""Our own."""

ALL: tuple[Kind, ...] = (
    CONFIG_MAPS, ENDPOINTS, EVENTS, NAMESPACES, NODES, PODS, SECRETS, SERVICE_ACCOUNTS, SERVICES,
    DEPLOYMENTS, REPLICA_SETS, LEASES, ENDPOINT_SLICES, INGRESSES, INGRESS_CLASSES, NETWORK_POLICIES, CLUSTER_NETWORK_POLICIES,
    GATEWAY_CLASSES, GATEWAYS, LISTENER_SETS, HTTP_ROUTES, GRPC_ROUTES, TLS_ROUTES, BACKEND_TLS_POLICIES,
    REFERENCE_GRANTS, TCP_ROUTES, UDP_ROUTES,
    BGP_PEERS, EGRESS_GATEWAYS, IP_BLOCKS, IP_POOLS, LOAD_BALANCER_POOLS, NETWORK_LEASES, NETWORK_POOLS,
    TRAFFIC_POLICIES,
    NETWORK_ATTACHMENT_DEFINITIONS,
)  # fmt: skip
"""Every kind; core first, then group by group as discovery lists them."""

BY_QUALIFIED = {kind.qualified: kind for kind in ALL}
_BY_PATH = {(kind.api_version, kind.plural): kind for kind in ALL}
_BY_TYPE = {(kind.api_version, kind.kind): kind for kind in ALL}


def at(api_version: str, plural: str) -> Kind | None:
    """The kind served at this group, version and plural, or None."""
    return _BY_PATH.get((api_version, plural))


def of(api_version: str, kind: str) -> Kind | None:
    """The kind that a document or an owner reference names, or None."""
    return _BY_TYPE.get((api_version, kind))


def group_versions() -> Iterable[tuple[str, str, tuple[Kind, ...]]]:
    """Group, version, and the kinds in it; the core group (empty name) first."""
    seen: dict[tuple[str, str], list[Kind]] = {}
    for kind in ALL:
        seen.setdefault((kind.group, kind.version), []).append(kind)
    for (group, version), kinds in seen.items():
        yield group, version, tuple(kinds)
