"""The only arguments of the model: what the cluster says, and what this node is."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.core import Namespace, Node, Pod, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.egress import EgressGateway
from netloom.api.networking import NetworkPolicy
from netloom.api.pools import IPBlock, IPPool
from netloom.model.announcing.gone import GoneNode
from netloom.model.attachments import PlainAttachment
from netloom.model.egress.settings import Egress
from netloom.model.policy.domains import KnownName
from netloom.model.routes.ways import FabricKind, FabricSettings, Underlay, node_address_in
from netloom.units import Addr, Cidr, ObjectKey


class ClusterView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of the cluster that the network depends on, as the API server has it."""

    services: Mapping[ObjectKey, Service] = {}
    slices: Mapping[ObjectKey, EndpointSlice] = {}
    pods: Mapping[ObjectKey, Pod] = {}
    nodes: Mapping[ObjectKey, Node] = {}
    namespaces: Mapping[ObjectKey, Namespace] = {}
    policies: Mapping[ObjectKey, NetworkPolicy] = {}
    cluster_policies: Mapping[ObjectKey, ClusterNetworkPolicy] = {}
    pools: Mapping[ObjectKey, IPPool] = {}
    blocks: Mapping[ObjectKey, IPBlock] = {}
    egress_gateways: Mapping[ObjectKey, EgressGateway] = {}
    attachments: Mapping[ObjectKey, PlainAttachment] = {}
    """Of this node alone, by ``PlainAttachment.name``; not of the API server."""
    domains: Mapping[ObjectKey, KnownName] = {}
    """Of this node alone, by name: what its DNS server has told its pods, as far as a policy cares."""
    gone: Mapping[ObjectKey, GoneNode] = {}
    """Of this node alone, by name: nodes that it holds to be dead, so that no duty is theirs."""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What changed since the last update: per kind, key to the new object, or None where it is gone."""

    services: Mapping[ObjectKey, Service | None] = {}
    slices: Mapping[ObjectKey, EndpointSlice | None] = {}
    pods: Mapping[ObjectKey, Pod | None] = {}
    nodes: Mapping[ObjectKey, Node | None] = {}
    namespaces: Mapping[ObjectKey, Namespace | None] = {}
    policies: Mapping[ObjectKey, NetworkPolicy | None] = {}
    cluster_policies: Mapping[ObjectKey, ClusterNetworkPolicy | None] = {}
    pools: Mapping[ObjectKey, IPPool | None] = {}
    blocks: Mapping[ObjectKey, IPBlock | None] = {}
    egress_gateways: Mapping[ObjectKey, EgressGateway | None] = {}
    attachments: Mapping[ObjectKey, PlainAttachment | None] = {}
    domains: Mapping[ObjectKey, KnownName | None] = {}
    gone: Mapping[ObjectKey, GoneNode | None] = {}


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What this node is, and the cluster-wide settings that its network depends on."""

    name: str
    addresses: tuple[Addr, ...] = ()
    """The node's own addresses (Node ``status.addresses`` InternalIP), one for each family that it has."""
    pod_cidrs: tuple[Cidr, ...] = ()
    """Node ``spec.podCIDRs``: the addresses of pods on this node."""
    cluster_cidrs: tuple[Cidr, ...] = ()
    """All pods of the cluster; what leaves this range for elsewhere is masqueraded."""
    service_cidrs: tuple[Cidr, ...] = ()
    """All ClusterIPs."""
    dns_addresses: tuple[Addr, ...] = ()
    """The cluster DNS address; this node's own DNS server answers it, so its port 53 is never translated."""
    cluster_domain: str = "cluster.local"
    node_port_range: tuple[int, int] = (30000, 32767)
    """First and last NodePort, both included (kube-apiserver ``--service-node-port-range``)."""
    zone: str = ""
    """Node label ``topology.kubernetes.io/zone``; empty where it has none."""
    node_port_cidrs: tuple[Cidr, ...] | None = None
    """NodePorts are served at those of the node's addresses that lie in one of these; None: at all but loopback."""
    fabric: FabricKind = FabricKind.HOSTGW
    """What joins the nodes."""
    direct: bool = True
    """Whether peers on one of this node's own networks get plain routes although the fabric encapsulates (never: wireguard)."""
    tunnel_port: int = 0
    """UDP port of the tunnels; 0: the fabric's own."""
    vni: int = 4096
    """VXLAN network identifier, 24 bits (RFC 7348 section 5)."""
    stretched: bool = False
    """Whether pods of all nodes see each other as stations of one segment, of the cluster's range; the nodes route all the same."""
    underlay: Underlay = Underlay()
    """How this node is connected."""
    pool_cidrs: tuple[Cidr, ...] = ()
    """Ranges of IPPools, where the fabric is a tunnel and has to know all addresses of pods."""
    egress: Egress = Egress()
    """What becomes of packets of pods that leave the cluster."""

    @property
    def fabric_settings(self) -> FabricSettings:
        """What the other nodes have to have, too."""
        return FabricSettings(self.fabric, self.direct, self.tunnel_port, self.vni)

    @property
    def own_addresses(self) -> tuple[Addr, ...]:
        """What the node's own packets may come from: its addresses, and its address in each of its pods' ranges."""
        return (*self.addresses, *map(node_address_in, self.pod_cidrs))


class ClusterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that all nodes of a cluster share; with a Node they make its ``NodeFacts`` (``facts.py``)."""

    cluster_cidrs: tuple[Cidr, ...] = ()
    service_cidrs: tuple[Cidr, ...] = ()
    dns_addresses: tuple[Addr, ...] = ()
    cluster_domain: str = "cluster.local"
    node_port_range: tuple[int, int] = (30000, 32767)
    node_port_addresses: tuple[str, ...] = ()
    """CIDRs, or the one word ``primary``: the node's own InternalIPs (kube-proxy ``--nodeport-addresses``). Empty: all."""
    fabric: FabricKind = FabricKind.HOSTGW
    """What joins the nodes."""
    direct: bool = True
    """Whether peers on one of this node's own networks get plain routes although the fabric encapsulates (never: wireguard)."""
    tunnel_port: int = 0
    """UDP port of the tunnels; 0: the fabric's own."""
    vni: int = 4096
    """VXLAN network identifier, 24 bits (RFC 7348 section 5)."""
    stretched: bool = False
    """Whether pods of all nodes see each other as stations of one segment, of the cluster's range; the nodes route all the same."""
    egress: Egress = Egress()
    """What becomes of packets of pods that leave the cluster."""
