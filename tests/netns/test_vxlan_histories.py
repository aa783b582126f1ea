"""VXLAN in a kernel, whatever was there before and however it came: any former state becomes the wanted one, any history leaves no trace."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netloom.fabric.vxlan.apply import VxlanFabric
from netloom.fabric.vxlan.compile import compile_peers, compile_tunnel
from netloom.linux import rtmsg, rtmsg_overlay
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source
from netloom.model.routes.ways import FabricKind, Segment, Underlay, Way
from netloom.model.state import PeerRoute
from netloom.program.neighbours import ForwardingEntry, Neighbour
from netloom.program.routes import Route
from netloom.testing.netns import fresh_netns
from netloom.units import Cidr, Family

pytestmark = pytest.mark.netns

NODES = range(2, 6)
RANGES: tuple[Cidr, ...] = tuple(
    ipaddress.ip_network(text) for n in NODES for text in (f"10.244.{n}.0/24", f"2001:db8:44:{n}::/64")
)
FEW = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


def facts(outer: Family = Family.V4, vni: int = 4096, mtu: int = 1500) -> NodeFacts:
    own = {Family.V4: "192.0.2.1", Family.V6: "2001:db8::1"}[outer]
    interface = ipaddress.ip_interface(f"{own}/{24 if outer is Family.V4 else 64}")
    return NodeFacts(
        name="node-1",
        addresses=(ipaddress.ip_address(own),),
        pod_cidrs=(ipaddress.ip_network("10.244.1.0/24"), ipaddress.ip_network("2001:db8:44:1::/64")),
        fabric=FabricKind.VXLAN,
        vni=vni,
        underlay=Underlay((Segment("eth0", interface),), mtu),
    )


def peer(cidr: Cidr, number: int, outer: Family, mtu: int) -> PeerRoute:
    base = {Family.V4: "198.51.100.0", Family.V6: "2001:db8:9::"}[outer]
    node = f"node-{number}"
    return PeerRoute(
        cidr, ipaddress.ip_address(base) + number, node, Source("Node", "", node), Way.VXLAN, "", mtu
    )


@st.composite
def peers(draw: st.DrawFn, outer: Family) -> dict[Cidr, PeerRoute]:
    chosen = draw(st.lists(st.sampled_from(RANGES), unique=True, max_size=6))
    return {
        cidr: peer(cidr, draw(st.sampled_from(NODES)), outer, draw(st.sampled_from([1450, 1430, 1300])))
        for cidr in chosen
    }


def live(rtnl: Rtnl) -> dict[str, object]:
    return {
        "link": rtnl.find_vxlan("nl-vxlan"),
        "addresses": {a.interface for a in rtnl.addresses("nl-vxlan")},
        "routes": set(rtnl.routes(203)),
        "neighbours": {n for n in rtnl.neighbours() if n.device == "nl-vxlan"},
        "entries": set(rtnl.entries("nl-vxlan")),
    }


def expected(wanted: Mapping[Cidr, PeerRoute], node: NodeFacts) -> dict[str, object]:
    tunnel = compile_tunnel(node)
    assert tunnel is not None
    programs = compile_peers(wanted.values(), tunnel).programs.values()
    return {
        "link": tunnel.device,
        "addresses": set(tunnel.addresses),
        "routes": {p.route for p in programs},
        "neighbours": {p.neighbour for p in programs},
        "entries": {p.entry for p in programs},
    }


def prepared(rtnl: Rtnl, node: NodeFacts) -> None:
    rtnl.add_veth("eth0", peer="far0")
    for name in ("eth0", "far0"):
        rtnl.set_up(name)
    for segment in node.underlay.segments:
        rtnl.add_address("eth0", segment.interface)


def litter(rtnl: Rtnl, data: st.DataObject) -> None:
    """Anything of ours, on an interface that is there or not, right or wrong."""
    if rtnl.find_link("nl-vxlan") is None:
        return
    index = rtnl.index("nl-vxlan")
    for cidr in data.draw(st.lists(st.sampled_from(RANGES), max_size=3)):
        via = ipaddress.ip_address("fe80::77")
        metric = data.draw(st.sampled_from([0, 0, 50]))
        rtnl.replace_route(
            Route(destination=cidr, device="nl-vxlan", via=via, onlink=True, protocol=203, metric=metric)
        )
    for number in data.draw(st.lists(st.integers(1, 250), max_size=3)):
        mac = f"0e:4e:c6:33:64:{number:02x}"
        remote = ipaddress.ip_address("198.51.100.0") + data.draw(st.integers(1, 250))
        local = rtnl.find_vxlan("nl-vxlan")
        if local is not None and local.local.version == 4:
            entry = ForwardingEntry(device="nl-vxlan", mac=mac, remote=remote)
            rtnl.batch([rtmsg_overlay.new_entry(index, entry)])
        rtnl.batch([rtmsg.new_neighbour(index, Neighbour(device="nl-vxlan", address=remote, mac=mac))])
    if data.draw(st.booleans()):
        rtnl.add_address("nl-vxlan", ipaddress.ip_interface("203.0.113.1/32"))
    if data.draw(st.booleans()):
        rtnl.set_down("nl-vxlan")


@FEW
@given(st.data())
def test_any_former_state_becomes_the_wanted_one(data: st.DataObject):
    families = st.sampled_from(list(Family))
    before, after = data.draw(families), data.draw(families)
    vnis, mtus = st.sampled_from([4096, 7]), st.sampled_from([1500, 1400])
    old = facts(before, data.draw(vnis), data.draw(mtus))
    new = facts(after, data.draw(vnis), data.draw(mtus))
    with fresh_netns() as fd, Rtnl(fd) as rtnl:
        prepared(rtnl, new)
        if data.draw(st.booleans()):
            run(VxlanFabric(netns_fd=fd).start(data.draw(peers(before)), old))
        litter(rtnl, data)
        wanted = data.draw(peers(after))
        run(VxlanFabric(netns_fd=fd).start(wanted, new))
        assert live(rtnl) == expected(wanted, new)
        run(VxlanFabric(netns_fd=fd).remove())
        assert rtnl.find_link("nl-vxlan") is None
        assert rtnl.routes(203) == []


@FEW
@given(st.data())
def test_a_history_of_changes_leaves_no_trace(data: st.DataObject):
    outer = data.draw(st.sampled_from(list(Family)))
    node = facts(outer)
    with fresh_netns() as fd, Rtnl(fd) as rtnl:
        prepared(rtnl, node)
        fabric = VxlanFabric(netns_fd=fd)
        now = data.draw(peers(outer))
        run(fabric.start(now, node))
        for _ in range(data.draw(st.integers(0, 5))):
            changed = data.draw(peers(outer))
            gone = data.draw(st.lists(st.sampled_from(RANGES), max_size=3))
            changes = {**changed, **dict.fromkeys(gone)}
            run(fabric.apply(changes))
            if data.draw(st.booleans()):
                run(fabric.apply(changes))  # a watch repeats itself
            now = {cidr: p for cidr, p in {**now, **changes}.items() if p is not None}
        assert live(rtnl) == expected(now, node)


def run(coroutine):
    """In a loop of its own: hypothesis is not asynchronous."""
    return asyncio.run(coroutine)
