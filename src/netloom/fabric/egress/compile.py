"""From the model to the tunnels, routes and rules of what leaves by gateways. Pure. In: the node, routes to pods, egress state. Out: values.

Packets for an address that another node has go to that node in VXLAN, between the addresses that nodes have among their pods: whatever the
fabric does to pods' packets (encryption, a tunnel through a network that drops all else) it does to these. Each address to leave by has a
table of routes, asked for by mark, with one route; so a failover is one route. Answers have a table of their own, with the ranges of all
peers' pods. Not here: marks, source addresses (``table``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

import msgspec

from netloom.model.egress.state import EgressState, Exit, TunnelEnd
from netloom.model.inputs import NodeFacts
from netloom.model.routes.ways import Way, node_address_in, outer_family, overhead, pod_mtu
from netloom.model.state import PeerRoute
from netloom.program import names
from netloom.program.links import Interface, Vxlan
from netloom.program.neighbours import ForwardingEntry, Neighbour
from netloom.program.routes import MarkRule, Route, RouteKind
from netloom.program.sysctl import LinkSetting
from netloom.units import Addr, Cidr, Family, family_of

LINK_SETTINGS = (
    LinkSetting("forwarding", 1),
    # What comes out of the tunnel has sources that are reached by other ways: pods through the fabric, the outside by the default route.
    # Strict filtering, where somebody has set it for all interfaces, would drop it; what may come is said by our own table.
    LinkSetting("rp_filter", 2),
)
_ALL: Mapping[Family, Cidr] = {
    Family.V4: ipaddress.ip_network("0.0.0.0/0"),
    Family.V6: ipaddress.ip_network("::/0"),
}


class TunnelProgram(msgspec.Struct, frozen=True):
    """All of it; nothing of a node that no gateway concerns."""

    device: Vxlan | None = None
    addresses: tuple[Interface, ...] = ()
    entries: frozenset[ForwardingEntry] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    routes: frozenset[Route] = frozenset()
    rules: frozenset[tuple[Family, MarkRule]] = frozenset()


def compile_tunnels(facts: NodeFacts, routes: Mapping[Cidr, PeerRoute], egress: EgressState) -> TunnelProgram:
    """What the kernel has to have."""
    if egress.is_empty:
        return TunnelProgram()
    device = _device(facts)
    ends = {name: end for name, end in egress.ends.items() if device is not None}
    mtus = _mtus(device, routes, ends)
    found = frozenset((*_to_exits(facts, egress, ends, mtus), *_answers(routes, ends, mtus)))
    macs = {end: names.vtep_mac(end.address) for end in ends.values()}
    return TunnelProgram(
        device=device,
        addresses=() if device is None else (ipaddress.ip_interface(device.local),),
        entries=frozenset(
            ForwardingEntry(device=names.EGRESS_LINK, mac=mac, remote=end.address)
            for end, mac in macs.items()
        ),
        neighbours=frozenset(
            Neighbour(device=names.EGRESS_LINK, address=_next_hop(end, family), mac=mac)
            for end, mac in macs.items()
            for family in Family
        ),
        routes=found,
        rules=frozenset((route.family, _rule(route.table)) for route in found),
    )


def own_end(facts: NodeFacts) -> Addr | None:
    """This node's end: its address among its pods; None where it has no range."""
    return node_address_in(facts.pod_cidrs[0]) if facts.pod_cidrs else None


def _device(facts: NodeFacts) -> Vxlan | None:
    own = own_end(facts)
    if own is None:
        return None
    mtu = pod_mtu(facts.fabric, outer_family(facts.addresses), facts.underlay.mtu)
    return Vxlan(
        name=names.EGRESS_LINK,
        vni=names.EGRESS_VNI,
        local=own,
        port=names.EGRESS_PORT,
        mac=names.vtep_mac(own),
        mtu=mtu - overhead(Way.VXLAN, family_of(own)),
    )


def _to_exits(
    facts: NodeFacts, egress: EgressState, ends: Mapping[str, TunnelEnd], mtus: Mapping[str, int]
) -> Iterator[Route]:
    """Where packets for each address go, that this node has not itself; nowhere while nobody has it."""
    for one in egress.exits.values():
        if one.node == facts.name:
            continue
        end, table = ends.get(one.node), names.exit_mark(one.number)
        everywhere = _ALL[family_of(one.address)]
        yield _nowhere(one) if end is None else _through(end, everywhere, table, mtus.get(end.node, 0))


def _answers(
    routes: Mapping[Cidr, PeerRoute], ends: Mapping[str, TunnelEnd], mtus: Mapping[str, int]
) -> Iterator[Route]:
    for cidr, route in routes.items():
        end = ends.get(route.node)
        if end is not None:
            yield _through(end, cidr, names.EGRESS_ANSWERS, mtus.get(end.node, 0))


def _through(end: TunnelEnd, destination: Cidr, table: int, mtu: int) -> Route:
    return Route(
        destination=destination,
        via=_next_hop(end, family_of(destination)),
        device=names.EGRESS_LINK,
        onlink=True,
        protocol=names.EGRESS_ROUTE_PROTOCOL,
        table=table,
        mtu=mtu,
    )


def _nowhere(one: Exit) -> Route:
    return Route(
        destination=_ALL[family_of(one.address)],
        kind=RouteKind.BLACKHOLE,
        protocol=names.EGRESS_ROUTE_PROTOCOL,
        table=names.exit_mark(one.number),
    )


def _next_hop(end: TunnelEnd, family: Family) -> Addr:
    """As on the fabric's own VXLAN: link-local wherever the end's own address is none of IPv4."""
    is_plain = family is Family.V4 and family_of(end.address) is Family.V4
    return end.address if is_plain else names.vtep_link_local(end.address)


def _mtus(
    device: Vxlan | None, routes: Mapping[Cidr, PeerRoute], ends: Mapping[str, TunnelEnd]
) -> dict[str, int]:
    """What fits through the fabric's own way to an end, by node, where that is less than the interface says."""
    found = {}
    for cidr, route in routes.items():
        end = ends.get(route.node)
        if device is not None and end is not None and end.address in cidr:
            mtu = route.mtu - overhead(Way.VXLAN, family_of(end.address))
            if mtu < device.mtu:
                found[end.node] = mtu
    return found


def _rule(table: int) -> MarkRule:
    return MarkRule(table, table, names.EGRESS_RULE_PRIORITY, names.EGRESS_ROUTE_PROTOCOL)
