"""vxlan in a kernel: pods of nodes on other networks reach each other, of any family over any; restarts and changes touch the rest not."""

from __future__ import annotations

import ipaddress
import logging

import msgspec
import pytest

from netloom.errors import KernelError
from netloom.fabric.vxlan.apply import VxlanFabric
from netloom.fabric.vxlan.compile import compile_peers, compile_tunnel
from netloom.fabric.vxlan.explain import source_of_entry, source_of_neighbour, source_of_route
from netloom.linux import rtmsg, rtmsg_overlay
from netloom.linux.netlink import NETLINK_ROUTE, NetlinkSocket
from netloom.linux.rtnl import Rtnl
from netloom.model.routes.ways import FabricKind, Way
from netloom.program.links import Vxlan
from netloom.program.neighbours import ForwardingEntry
from netloom.program.routes import Route
from netloom.testing.fabric_rig import (
    BOTH,
    FabricNode,
    Layout,
    fabric_net,
    peers_of,
    send_datagram,
    send_stream,
)
from netloom.units import Family

pytestmark = pytest.mark.netns

VXLAN = Layout(is_routed=True, fabric=FabricKind.VXLAN)
GROUPS = (1, 3, 5, 7, 9, 11)
"""RTNLGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE."""
V4, V6 = Family.V4, Family.V6


def fabric_on(node: FabricNode) -> VxlanFabric:
    return VxlanFabric(netns_fd=node.host.netns_fd)


def dump(node: FabricNode) -> dict[str, object]:
    """Everything of the fabric in a node's kernel."""
    with Rtnl(node.host.netns_fd) as rtnl:
        return {
            "link": rtnl.find_vxlan("nl-vxlan"),
            "index": getattr(rtnl.find_link("nl-vxlan"), "index", None),
            "addresses": {a.interface for a in rtnl.addresses("nl-vxlan")},
            "routes": set(rtnl.routes(203)),
            "neighbours": {n for n in rtnl.neighbours() if n.device == "nl-vxlan"},
            "entries": set(rtnl.entries("nl-vxlan")),
        }


@pytest.mark.parametrize("inner", [(V4,), (V6,), BOTH], ids=["pods4", "pods6", "pods46"])
@pytest.mark.parametrize("outer", [(V4,), (V6,), (V6, V4)], ids=["nodes4", "nodes6", "nodes64"])
async def test_pods_behind_a_router_reach_each_other_while_it_is_in_force_and_only_then(outer, inner):
    layout = msgspec.structs.replace(VXLAN, outer=outer, inner=inner)
    with fabric_net(layout) as net:
        one, two = net.nodes
        fabrics = [fabric_on(one), fabric_on(two)]
        for family in inner:
            async with two.pod.serve(80, family=family):
                target = two.pod.address_of(family)
                assert not await one.pod.reaches(target, 80)
                async with net.joined(*fabrics):
                    reply = await one.pod.ask(target, 80)
                    assert reply is not None
                    assert reply.peer == one.pod.address_of(family)
                    from_node = await one.host.ask(target, 80)
                    assert from_node is not None
                    assert from_node.peer == target.__class__(int(one.pod.address_of(family)) - 1)
                assert not await one.pod.reaches(target, 80)
        assert dump(one) == {
            "link": None,
            "index": None,
            "addresses": set(),
            "routes": set(),
            "neighbours": set(),
            "entries": set(),
        }


@pytest.mark.parametrize("outer", [(V4,), (V6,)], ids=["nodes4", "nodes6"])
@pytest.mark.parametrize("mtu", [1500, 9000, 1420])
async def test_full_size_segments_and_fragments_pass(outer, mtu):
    layout = msgspec.structs.replace(VXLAN, outer=outer, mtu=mtu)
    overhead = 50 if outer == (V4,) else 70
    with fabric_net(layout) as net:
        one, two = net.nodes
        async with net.joined(fabric_on(one), fabric_on(two)):
            for family, headers in ((V4, 40), (V6, 60)):
                segment = await send_stream(one.pod, two.pod, family, 300_000)
                # less 12 bytes of timestamps (RFC 7323)
                assert segment == mtu - overhead - headers - 12
                assert await send_datagram(one.pod, two.pod, family, mtu - overhead - headers + 12)
                assert await send_datagram(one.pod, two.pod, family, 3 * mtu)


async def test_packets_between_two_nodes_are_vxlan_and_nothing_is_flooded():
    with fabric_net(VXLAN) as net:
        one, two = net.nodes
        async with net.joined(fabric_on(one), fabric_on(two)), two.pod.serve(80):
            with Rtnl(net.middle) as rtnl:  # the router knows no pod
                assert not [r for r in rtnl.routes() if str(r.destination).startswith("10.244")]
            assert await one.pod.reaches(two.pod, 80)
            stranger = ipaddress.ip_address("10.244.77.5")
            assert not await one.pod.reaches(stranger, 80)
            with Rtnl(one.host.netns_fd) as rtnl:
                assert rtnl.entries("nl-vxlan") == [
                    ForwardingEntry(device="nl-vxlan", mac="0e:4e:ac:1e:02:0c", remote=two.host.address)
                ]


async def test_a_restart_touches_nothing_that_is_right_and_packets_go_on():
    with fabric_net(VXLAN) as net:
        one, two = net.nodes
        async with net.joined(fabric_on(one), fabric_on(two)), two.pod.serve(80):
            before = dump(one)
            with NetlinkSocket(NETLINK_ROUTE, netns_fd=one.host.netns_fd, groups=GROUPS) as events:
                await fabric_on(one).start(one.peers, one.facts)
                ours = [m for m in events.receive(wait=False) if m.type != rtmsg.RTM_NEWNEIGH]
                assert ours == []
            assert dump(one) == before
            assert await one.pod.reaches(two.pod, 80)


@pytest.mark.parametrize("case", ["vni", "port", "local", "learning", "kind", "down", "mac", "mtu"])
async def test_an_interface_with_other_parameters_becomes_the_right_one(case):
    with fabric_net(VXLAN) as net:
        one, two = net.nodes
        tunnel = compile_tunnel(one.facts)
        assert tunnel is not None
        right = tunnel.device
        wrong = {
            "vni": {"vni": 7},
            "port": {"port": 8472},
            "local": {"local": ipaddress.ip_address("172.30.9.9")},
            "mac": {"mac": "02:00:00:00:00:07"},
            "mtu": {"mtu": 1280},
        }.get(case, {})
        with Rtnl(one.host.netns_fd) as rtnl:
            if case == "kind":
                rtnl.add_bridge("nl-vxlan")
            else:
                rtnl.batch([rtmsg_overlay.new_vxlan(msgspec.structs.replace(right, **wrong))])
            if case != "down":
                rtnl.set_up("nl-vxlan")
            stale = ForwardingEntry(
                device="nl-vxlan", mac="0e:4e:00:00:00:09", remote=ipaddress.ip_address("172.30.9.9")
            )
            if case != "kind":
                rtnl.batch([rtmsg_overlay.new_entry(rtnl.index("nl-vxlan"), stale)])
            index = rtnl.index("nl-vxlan")
        async with net.joined(fabric_on(one), fabric_on(two)), two.pod.serve(80):
            assert dump(one)["link"] == right
            is_kept = case in ("down", "mac", "mtu", "learning")
            assert (dump(one)["index"] == index) == is_kept
            assert len(dump(one)["entries"]) == 1
            assert await one.pod.reaches(two.pod, 80)


async def test_a_change_touches_only_its_peer():
    layout = msgspec.structs.replace(VXLAN, count=3)
    with fabric_net(layout) as net:
        one, two, three = net.nodes
        fabrics = [fabric_on(n) for n in net.nodes]
        async with net.joined(*fabrics), two.pod.serve(80), three.pod.serve(80):
            full = dump(one)
            of_three = {cidr: peer for cidr, peer in one.peers.items() if peer.node == "node-3"}
            assert len(of_three) == 2
            with NetlinkSocket(NETLINK_ROUTE, netns_fd=one.host.netns_fd, groups=GROUPS) as events:
                await fabrics[0].apply(dict.fromkeys(of_three))
                told = list(events.receive(wait=False))
                while more := events.receive(wait=False):
                    told += more
                assert told
                # a neighbour that is deleted fails first
                assert {m.type for m in told} <= {rtmsg.RTM_DELROUTE, rtmsg.RTM_DELNEIGH, rtmsg.RTM_NEWNEIGH}
            assert not await one.pod.reaches(three.pod, 80)
            assert await one.pod.reaches(two.pod, 80)
            rest = dump(one)
            assert rest["entries"] == {e for e in full["entries"] if e.remote == two.host.address}
            assert rest["neighbours"] == {n for n in full["neighbours"] if n.mac == "0e:4e:ac:1e:02:0c"}
            assert {r.destination for r in rest["routes"]} == set(one.peers) - set(of_three)
            # one of its two ranges comes back, then the other; what both need is there once
            (first, second) = of_three
            await fabrics[0].apply({first: of_three[first]})
            await fabrics[0].apply({second: of_three[second], first: of_three[first]})
            assert dump(one) == full
            await fabrics[0].apply({first: None})
            assert len(dump(one)["entries"]) == 2
            assert await one.pod.reaches(two.pod, 80)


async def test_a_peer_that_changes_its_address_is_followed():
    with fabric_net(VXLAN) as net:
        one, two = net.nodes
        fabric = fabric_on(one)
        async with net.joined(fabric, fabric_on(two)):
            full = dump(one)
            elsewhere = ipaddress.ip_address("172.30.2.99")
            moved = {cidr: msgspec.structs.replace(p, via=elsewhere) for cidr, p in one.peers.items()}
            await fabric.apply(moved)
            (entry,) = dump(one)["entries"]
            assert entry.remote == elsewhere
            assert len(dump(one)["neighbours"]) == 2
            await fabric.apply(one.peers)
            assert dump(one) == full


async def test_an_address_of_our_own_that_changes_is_followed_and_strangers_routes_stay():
    with fabric_net(VXLAN) as net:
        one, two = net.nodes
        fabric = fabric_on(one)
        foreign = Route(
            destination=ipaddress.ip_network("10.99.0.0/16"), via=one.facts.addresses[0] - 10, device="eth0"
        )
        with Rtnl(one.host.netns_fd) as rtnl:
            rtnl.replace_route(foreign)
        async with net.joined(fabric, fabric_on(two)):
            moved = msgspec.structs.replace(one.facts, addresses=(ipaddress.ip_address("172.30.1.77"),))
            await fabric.start(one.peers, moved)
            link = dump(one)["link"]
            assert isinstance(link, Vxlan)
            assert (str(link.local), link.mac) == ("172.30.1.77", "0e:4e:ac:1e:01:4d")
            narrower = msgspec.structs.replace(
                one.facts, underlay=msgspec.structs.replace(one.facts.underlay, mtu=1400)
            )
            await fabric.start(one.peers, narrower)
            assert dump(one)["link"].mtu == 1350
        with Rtnl(one.host.netns_fd) as rtnl:
            assert foreign in rtnl.routes()


async def test_a_peer_in_a_narrower_network_gets_a_route_of_its_mtu():
    with fabric_net(VXLAN) as net:
        one, two = net.nodes
        narrow = {cidr: msgspec.structs.replace(p, mtu=1350) for cidr, p in one.peers.items()}
        fabric = fabric_on(one)
        async with net.joined(fabric, fabric_on(two)):
            assert {r.mtu for r in dump(one)["routes"]} == {0}
            await fabric.apply(narrow)
            assert {r.mtu for r in dump(one)["routes"]} == {1350}
            # the pod is told by the node, and sends smaller segments
            assert await send_stream(one.pod, two.pod, V4, 300_000) == 1350 - 40 - 12
            assert await send_stream(one.pod, two.pod, V6, 300_000) == 1350 - 60 - 12


async def test_what_is_in_the_kernel_leads_back_to_its_node():
    with fabric_net(VXLAN) as net:
        one, two = net.nodes
        async with net.joined(fabric_on(one), fabric_on(two)):
            found = dump(one)
            for route in found["routes"]:
                source = source_of_route(route, one.peers)
                assert source is not None
                assert (source.name, source.field.startswith("spec.podCIDRs[")) == ("node-2", True)
            sources = [source_of_neighbour(n, one.peers.values()) for n in found["neighbours"]]
            sources += [source_of_entry(e, one.peers.values()) for e in found["entries"]]
            assert {str(s) for s in sources} == {"Node node-2: status.addresses"}
            assert len(sources) == 3


async def test_a_vni_that_another_has_at_this_port_is_said():
    with fabric_net(VXLAN) as net:
        one = net.nodes[0]
        tunnel = compile_tunnel(one.facts)
        assert tunnel is not None
        with Rtnl(one.host.netns_fd) as rtnl:
            rtnl.batch([rtmsg_overlay.new_vxlan(msgspec.structs.replace(tunnel.device, name="flannel.1"))])
            rtnl.set_up("flannel.1")
        with pytest.raises(KernelError, match="choose another vni"):
            await fabric_on(one).start(one.peers, one.facts)


async def test_a_thousand_peers_are_few_messages_and_one_change_is_four(caplog):
    layout = msgspec.structs.replace(VXLAN, inner=(V4,))
    with fabric_net(layout) as net, caplog.at_level(logging.WARNING):
        one = net.nodes[0]
        (sample,) = one.peers.values()
        peers = {}
        for i in range(1000):
            cidr = ipaddress.ip_network(f"10.{i >> 8}.{i & 255}.0/24")
            via = ipaddress.ip_address(f"172.31.{i >> 8}.{i & 255}")
            peers[cidr] = msgspec.structs.replace(sample, destination=cidr, via=via, node=f"n-{i}")
        fabric = fabric_on(one)
        await fabric.start(peers, one.facts)
        full = dump(one)
        assert [len(full[k]) for k in ("routes", "neighbours", "entries")] == [1000, 1000, 1000]
        changed = next(iter(peers))
        await fabric.apply({changed: None})
        with NetlinkSocket(NETLINK_ROUTE, netns_fd=one.host.netns_fd, groups=GROUPS) as events:
            await fabric.apply({changed: peers[changed]})
            assert len(events.receive(wait=False)) <= 3
        assert dump(one) == full
        await fabric.remove()
        assert caplog.text == ""


async def test_the_model_sends_near_peers_plain_and_far_ones_in_vxlan():
    near = msgspec.structs.replace(VXLAN, is_routed=False)
    with fabric_net(near) as net:
        assert {p.way for p in net.nodes[0].peers.values()} == {Way.DIRECT}
        always = msgspec.structs.replace(net.nodes[0].facts, direct=False)
        assert {p.way for p in peers_of(near, always, (1, 2)).values()} == {Way.VXLAN}
        tunnel = compile_tunnel(always)
        assert tunnel is not None
        assert len(compile_peers(peers_of(near, always, (1, 2)).values(), tunnel).programs) == 2
