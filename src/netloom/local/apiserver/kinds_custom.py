"""Kinds that are CustomResourceDefinitions elsewhere, and are served here like the built-in ones. Pure data.

Sources: kubernetes-sigs/network-policy-api v0.2.0; Gateway API 1.5; Network Plumbing Working Group; deploy/crds for our own.
"""

from __future__ import annotations

from netloom.local.apiserver.kind import Kind, status_of

CLUSTER_NETWORK_POLICIES = Kind(
    "policy.networking.k8s.io", "v1alpha2", "ClusterNetworkPolicy", "clusternetworkpolicies", "clusternetworkpolicy",
    namespaced=False, short_names=("cnp",),
    subresources=(status_of("ClusterNetworkPolicy"),),
    counts_generations=True,
)  # fmt: skip
"""Elsewhere a CustomResourceDefinition (kubernetes-sigs/network-policy-api); here it is served like the others."""

IP_POOLS = Kind(
    "netloom.io", "v1alpha1", "IPPool", "ippools", "ippool", namespaced=False, counts_generations=True
)
IP_BLOCKS = Kind(
    "netloom.io", "v1alpha1", "IPBlock", "ipblocks", "ipblock", namespaced=False,
    subresources=(status_of("IPBlock"),), counts_generations=True,
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
    subresources=(status_of("BGPPeer"),), counts_generations=True,
)  # fmt: skip
LOAD_BALANCER_POOLS = Kind(
    "netloom.io", "v1alpha1", "LoadBalancerPool", "loadbalancerpools", "loadbalancerpool", namespaced=False,
    short_names=("lbpool",), subresources=(status_of("LoadBalancerPool"),), counts_generations=True,
)  # fmt: skip
"""Our own; elsewhere a CustomResourceDefinition (deploy/crds)."""
EGRESS_GATEWAYS = Kind(
    "netloom.io", "v1alpha1", "EgressGateway", "egressgateways", "egressgateway", namespaced=False,
    short_names=("egw",), subresources=(status_of("EgressGateway"),), counts_generations=True,
)  # fmt: skip
"""Our own; elsewhere a CustomResourceDefinition (deploy/crds)."""


def _gateway(
    version: str, kind: str, plural: str, *short: str, namespaced: bool = True, status: bool = True
) -> Kind:
    return Kind(
        "gateway.networking.k8s.io", version, kind, plural, kind.lower(), namespaced=namespaced,
        short_names=short, categories=("gateway-api",),
        subresources=(status_of(kind),) if status else (), counts_generations=True,
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
    subresources=(status_of("TrafficPolicy"),), counts_generations=True,
)  # fmt: skip
"""Our own."""

ALL: tuple[Kind, ...] = (
    CLUSTER_NETWORK_POLICIES,
    GATEWAY_CLASSES, GATEWAYS, LISTENER_SETS, HTTP_ROUTES, GRPC_ROUTES, TLS_ROUTES, BACKEND_TLS_POLICIES,
    REFERENCE_GRANTS, TCP_ROUTES, UDP_ROUTES,
    BGP_PEERS, EGRESS_GATEWAYS, IP_BLOCKS, IP_POOLS, LOAD_BALANCER_POOLS, NETWORK_LEASES, NETWORK_POOLS,
    TRAFFIC_POLICIES,
    NETWORK_ATTACHMENT_DEFINITIONS,
)  # fmt: skip
"""Group by group, as discovery lists them."""
