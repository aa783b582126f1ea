"""What a node is becomes the bridge of its pods. Pure. In: facts. Out: the bridge, its addresses, and the segments of pods.

Not here: the pods' own interfaces (``cni/attach``), and the way to pods of other nodes (another fabric's business).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

from netloom.model.inputs import NodeFacts
from netloom.model.routes.ways import FabricKind, Segment, node_address_in, outer_family, pod_mtu
from netloom.program.links import Bridge, Interface
from netloom.program.names import (
    BRIDGE_LINK,
    HOST_SIDE_MAC,
    NFT_BRIDGE_TABLE,
    NFT_SPOOFED,
    NFT_STATIONS,
)
from netloom.program.neighbours import Neighbour
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddElements,
    AddRule,
    AddTable,
    Chain,
    Container,
    DeleteTable,
    Field,
    Hook,
    Key,
    Transaction,
)
from netloom.program.sysctl import Setting
from netloom.units import Cidr, Family

_FIRST = -310
"""Before connection tracking, and before the plane's own look at sources (netfilter_ipv4.h: RAW is -300)."""


class PodBridge(msgspec.Struct, frozen=True):
    """The bridge, the gateways that are its addresses, and how it answers for stations that it only routes to."""

    bridge: Bridge
    gateways: tuple[Interface, ...]
    settings: tuple[Setting, ...]


def segments_of(facts: NodeFacts) -> tuple[Segment, ...]:
    """The segment that this node's pods are on, for each of its ranges: the bridge, and the gateway with the segment's prefix.

    Empty where pods have interfaces of their own: with every fabric but ``l2``, unless the segment is stretched over it.
    """
    if facts.fabric is not FabricKind.L2 and not facts.stretched:
        return ()
    return tuple(
        Segment(BRIDGE_LINK, ipaddress.ip_interface(f"{node_address_in(cidr)}/{_prefix(cidr, facts)}"))
        for cidr in facts.pod_cidrs
    )


def compile_bridge(facts: NodeFacts) -> PodBridge | None:
    """The bridge of a node; None where its pods are on none."""
    segments = segments_of(facts)
    if not segments:
        return None
    mtu = pod_mtu(facts.fabric, outer_family(facts.addresses), facts.underlay.mtu)
    return PodBridge(
        Bridge(name=BRIDGE_LINK, mac=HOST_SIDE_MAC, mtu=mtu),
        tuple(segment.interface for segment in segments),
        _SETTINGS,
    )


STATIONS = Container(NFT_STATIONS, (Field.MAC, Field.ADDRESS))
"""Who may send from where."""
_FREE = {
    Family.V4: "",
    # who asks for a neighbour may have no address yet, and a link-local one is the plane's business (``NFT_SPOOFED``)
    Family.V6: "ip6 saddr != { ::, fe80::/10 } ",
}


def station(neighbour: Neighbour) -> Key:
    """The element that lets a pod of the bridge send from an address."""
    return bytes.fromhex(neighbour.mac.replace(":", "")), neighbour.address.packed


def compile_table(family: Family, stations: Iterable[Key]) -> Transaction:
    """The table of a family, whole, in place of one that is there."""
    ip = family.value
    rule = f'iifname "{BRIDGE_LINK}" {_FREE[family]}ether saddr . {ip} saddr != @{NFT_STATIONS} counter drop'
    elements = AddElements(STATIONS, tuple((key, None) for key in sorted(set(stations))))
    return Transaction(
        family,
        NFT_BRIDGE_TABLE,
        (
            AddTable(),
            DeleteTable(),
            AddTable(),
            AddContainer(STATIONS),
            *((elements,) if elements.elements else ()),
            AddChain(Chain(NFT_SPOOFED, Hook("filter", "prerouting", _FIRST))),
            AddRule(NFT_SPOOFED, rule, "a pod of the bridge sends with its own address only"),
        ),
    )


def _prefix(cidr: Cidr, facts: NodeFacts) -> int:
    """Of the node's own range; where the segment is stretched, of the range of the whole cluster that it lies in."""
    if not facts.stretched:
        return cidr.prefixlen
    around = [
        whole.prefixlen
        for whole in facts.cluster_cidrs
        if whole.version == cidr.version
        and whole.prefixlen <= cidr.prefixlen
        and cidr.network_address in whole
    ]
    return max(around, default=cidr.prefixlen)


_SETTINGS = (
    # Who asks on the segment for a pod elsewhere is answered by the node, which routes; for a pod on the same bridge, too.
    Setting(f"net/ipv4/conf/{BRIDGE_LINK}/proxy_arp", "1"),
    Setting(f"net/ipv4/conf/{BRIDGE_LINK}/proxy_arp_pvlan", "1"),
    # Two pods of one bridge are told of no way to each other but the node's; the kernel asks both of these.
    Setting(f"net/ipv4/conf/{BRIDGE_LINK}/send_redirects", "0"),
    Setting("net/ipv4/conf/all/send_redirects", "0"),
    # With br_netfilter a frame to the gateway that is translated to a pod of the same bridge is not routed but passed on as a frame,
    # which isolated ports refuse: Services with a backend beside the client would not answer. All is routed here anyway.
    Setting("net/bridge/bridge-nf-call-iptables", "0", optional=True),
    Setting("net/bridge/bridge-nf-call-ip6tables", "0", optional=True),
    Setting("net/bridge/bridge-nf-call-arptables", "0", optional=True),
)
