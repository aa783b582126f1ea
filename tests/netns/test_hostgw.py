"""hostgw in a kernel: pods of two nodes reach each other, restarts touch nothing that is right, strangers' routes stay."""

from __future__ import annotations

import ipaddress
import logging

import msgspec
import pytest

from netloom.fabric.face import Fabric
from netloom.fabric.hostgw.apply import HostGateway
from netloom.linux.netlink import NETLINK_ROUTE, NetlinkSocket
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source
from netloom.model.routes.ways import Segment, Underlay
from netloom.model.state import PeerRoute
from netloom.program.routes import Route
from netloom.testing.fabric_rig import Layout, fabric_net, send_datagram, send_stream
from netloom.testing.hosts import Host
from netloom.testing.topologies import pod_cidrs, two_nodes
from netloom.units import Family

pytestmark = pytest.mark.netns

ROUTE_GROUPS = (7, 11)
"""RTNLGRP_IPV4_ROUTE and RTNLGRP_IPV6_ROUTE."""


def peers_of(node: Host, number: int) -> dict:
    """The node as a peer: its pod ranges behind its addresses."""
    return {
        cidr: PeerRoute(cidr, via, node.name, Source("Node", "", node.name))
        for cidr, via in zip(pod_cidrs(number), node.addresses, strict=True)
    }


def facts_of(node: Host) -> NodeFacts:
    """The node with its networks."""
    with Rtnl(node.netns_fd) as rtnl:
        at = [a for a in rtnl.addresses() if a.device == "eth0"]
    return NodeFacts(name=node.name, underlay=Underlay(tuple(Segment(a.device, a.interface) for a in at)))


@pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
async def test_pods_reach_each_other_while_it_is_in_force_and_only_then(family: Family):
    with two_nodes(routed=False) as net:
        fabrics: list[Fabric] = [HostGateway(netns_fd=n.netns_fd) for n in (net.node_1, net.node_2)]
        async with net.pod_2.serve(80, family=family):
            target = net.pod_2.address_of(family)
            assert not await net.pod_1.reaches(target, 80)
            await fabrics[0].start(peers_of(net.node_2, 2), facts_of(net.node_1))
            await fabrics[1].start(peers_of(net.node_1, 1), facts_of(net.node_2))
            reply = await net.pod_1.ask(target, 80)
            assert reply is not None
            assert reply.peer == net.pod_1.address_of(family)
            await fabrics[0].remove()
            assert not await net.pod_1.reaches(target, 80)


async def test_a_restart_touches_nothing_that_is_right():
    with two_nodes(routed=False) as net:
        wanted = peers_of(net.node_2, 2)
        await HostGateway(netns_fd=net.node_1.netns_fd).start(wanted, facts_of(net.node_1))
        with NetlinkSocket(NETLINK_ROUTE, netns_fd=net.node_1.netns_fd, groups=ROUTE_GROUPS) as events:
            await HostGateway(netns_fd=net.node_1.netns_fd).start(wanted, facts_of(net.node_1))
            assert events.receive(wait=False) == []
            await HostGateway(netns_fd=net.node_1.netns_fd).start({}, facts_of(net.node_1))
            assert events.receive(wait=False) != []


async def test_a_restart_removes_what_is_stale_and_replaces_what_changed_and_leaves_strangers():
    with two_nodes(routed=False) as net, Rtnl(net.node_1.netns_fd) as rtnl:
        (v4, v6) = pod_cidrs(2)
        via = net.node_2.address
        elsewhere = ipaddress.ip_address("172.30.0.99")
        stale = Route(destination=ipaddress.ip_network("10.244.7.0/24"), via=via, device="eth0", protocol=201)
        changed = Route(destination=v4, via=elsewhere, device="eth0", protocol=201)
        foreign = Route(destination=ipaddress.ip_network("10.99.0.0/16"), via=via, device="eth0", protocol=4)
        rtnl.change_routes(replace=[stale, changed, foreign])
        await HostGateway(netns_fd=net.node_1.netns_fd).start(peers_of(net.node_2, 2), facts_of(net.node_1))
        live = {r.destination: r for r in rtnl.routes(201)}
        assert set(live) == {v4, v6}
        assert live[v4].via == via
        assert rtnl.routes(4) == [foreign]


async def test_changes_touch_only_their_peers():
    with two_nodes(routed=False) as net, Rtnl(net.node_1.netns_fd) as rtnl:
        fabric = HostGateway(netns_fd=net.node_1.netns_fd)
        wanted = peers_of(net.node_2, 2)
        await fabric.start(wanted, facts_of(net.node_1))
        (v4, v6) = pod_cidrs(2)
        await fabric.apply({v4: None})
        assert [r.destination for r in rtnl.routes(201)] == [v6]
        await fabric.apply({v4: None})
        await fabric.apply({v4: wanted[v4]})
        await fabric.apply({v4: wanted[v4]})
        assert {r.destination for r in rtnl.routes(201)} == {v4, v6}


async def test_a_node_on_another_segment_is_logged_and_the_others_are_routed(caplog):
    with two_nodes(routed=False) as net, Rtnl(net.node_1.netns_fd) as rtnl:
        wanted = peers_of(net.node_2, 2)
        far = ipaddress.ip_network("10.244.9.0/24")
        source = Source("Node", "", "node-9")
        wanted[far] = PeerRoute(far, ipaddress.ip_address("198.51.100.9"), "node-9", source)
        with caplog.at_level(logging.WARNING):
            await HostGateway(netns_fd=net.node_1.netns_fd).start(wanted, facts_of(net.node_1))
        assert far not in {r.destination for r in rtnl.routes(201)}
        assert len(rtnl.routes(201)) == 2
        assert "node-9" in caplog.text


@pytest.mark.parametrize("mtu", [1500, 9000, 1300])
async def test_full_size_segments_and_fragments_pass(mtu: int):
    with fabric_net(Layout(mtu=mtu)) as net:
        one, two = net.nodes
        async with net.joined(*(HostGateway(netns_fd=n.host.netns_fd) for n in net.nodes)):
            for family, headers in ((Family.V4, 40), (Family.V6, 60)):
                # less 12 bytes of timestamps (RFC 7323)
                assert await send_stream(one.pod, two.pod, family, 300_000) == mtu - headers - 12
                assert await send_datagram(one.pod, two.pod, family, 3 * mtu)


async def test_pods_that_are_there_go_on_when_the_network_becomes_narrower():
    with fabric_net(Layout()) as net:
        one, two = net.nodes
        fabrics = [HostGateway(netns_fd=n.host.netns_fd) for n in net.nodes]
        async with net.joined(*fabrics):
            for node in net.nodes:
                with Rtnl(node.host.netns_fd) as rtnl:
                    rtnl.set_mtu("eth0", 1400)
            for family, headers in ((Family.V4, 40), (Family.V6, 60)):
                assert await send_stream(one.pod, two.pod, family, 300_000) == 1400 - headers - 12
                assert await send_datagram(one.pod, two.pod, family, 1390)


async def test_a_peer_in_a_narrower_network_gets_a_route_of_its_mtu():
    with fabric_net(Layout()) as net:
        one = net.nodes[0]
        fabric = HostGateway(netns_fd=one.host.netns_fd)
        narrow = {cidr: msgspec.structs.replace(p, mtu=1400) for cidr, p in one.peers.items()}
        await fabric.start(one.peers, one.facts)
        await fabric.apply(narrow)
        with Rtnl(one.host.netns_fd) as rtnl:
            assert {r.mtu for r in rtnl.routes(201)} == {1400}
            await HostGateway(netns_fd=one.host.netns_fd).start(one.peers, one.facts)
            assert {r.mtu for r in rtnl.routes(201)} == {0}
