"""Services with real packets: who answers, whom that one sees, and what is refused."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest

from netloom.linux.rtnl import Rtnl
from netloom.model.state import difference
from netloom.program.routes import Route
from netloom.testing.frontends import frontend
from netloom.testing.service_networks import (
    AT_ONCE_S,
    CLUSTER_IPS,
    NODE_PORT,
    SERVICE_CIDRS,
    UNASSIGNED,
    answers,
    client_of,
    client_prefixes,
    facts,
    node_port,
    one_node,
    peers,
    plane_of,
    refusal_time,
    service,
    serving,
    state_of,
)
from netloom.testing.topologies import add_pod, two_nodes
from netloom.units import Family, Protocol

pytestmark = pytest.mark.netns

both_families = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
both_protocols = pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP], ids=lambda p: p.word)


@both_families
@both_protocols
async def test_cluster_ip_is_balanced_from_pods_and_from_the_node_with_the_askers_own_address(
    family, protocol
):
    with one_node() as net, contextlib.ExitStack() as stack, plane_of(net.node) as plane:
        asker = add_pod(stack, net.node, 1, 4)
        pods = (net.a, net.b, asker)
        await plane.start(state_of(service(family, protocol, net.a, net.b), pods=pods), facts())
        async with serving(net.a, net.b, protocol=protocol, family=family):
            for host in (asker, net.node):
                seen = await answers(host, CLUSTER_IPS[family], protocol, 40)
                assert set(seen) == {net.a.name, net.b.name}
                assert min(seen.values()) > 4
            reply = await asker.ask(CLUSTER_IPS[family], 80, protocol)
    assert reply.peer == asker.address_of(family)


@both_families
@both_protocols
async def test_a_pod_reaches_itself_through_its_service_and_nothing_else_is_translated(family, protocol):
    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(service(family, protocol, net.a), pods=(net.a, net.b)), facts())
        async with serving(net.a, protocol=protocol, family=family):
            hairpin = await net.a.ask(CLUSTER_IPS[family], 80, protocol)
            other = await net.b.ask(CLUSTER_IPS[family], 80, protocol)
            direct = await net.b.ask(net.a.address_of(family), 8080, protocol)
    assert (hairpin.server, hairpin.peer) == (net.a.name, net.node.address_of(family))
    assert other.peer == net.b.address_of(family)
    assert direct.peer == net.b.address_of(family)


async def test_without_the_hairpin_element_a_pod_does_not_reach_itself():
    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(service(Family.V4, Protocol.TCP, net.a), pods=(net.b,)), facts())
        async with serving(net.a, protocol=Protocol.TCP):
            assert await net.a.ask(CLUSTER_IPS[Family.V4], 80) is None
            assert await net.b.ask(CLUSTER_IPS[Family.V4], 80) is not None


@both_families
@both_protocols
async def test_without_endpoints_everybody_is_refused_at_once_and_served_again_when_one_comes(
    family, protocol
):
    """Before, during and after; from a pod and from the node, to the ClusterIP and to the NodePort."""
    with one_node() as net, plane_of(net.node) as plane:
        pods = (net.a, net.b)
        full = state_of(service(family, protocol, net.a), node_port(family, protocol, net.a), pods=pods)
        empty = state_of(service(family, protocol), node_port(family, protocol), pods=pods)
        places = ((CLUSTER_IPS[family], 80), (net.node.address_of(family), NODE_PORT))
        await plane.start(full, facts())
        async with serving(net.a, protocol=protocol, family=family):
            for before, after in ((full, empty), (empty, full)):
                for host in (net.b, net.node):
                    for address, port in places:
                        if before is full:
                            assert await host.reaches(address, port, protocol)
                        else:
                            assert await refusal_time(host, address, protocol, port) < AT_ONCE_S
                await plane.apply(difference(before, after))
            for host in (net.b, net.node):
                for address, port in places:
                    assert await host.reaches(address, port, protocol)


@both_families
async def test_refusing_tcp_is_not_rationed(family):
    """ICMP errors are limited to one a second for each peer after a burst of six; resets are not."""
    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(service(family, Protocol.TCP), pods=(net.a,)), facts())
        times = [await refusal_time(net.a, CLUSTER_IPS[family], Protocol.TCP) for _ in range(30)]
    assert max(times) < AT_ONCE_S


@both_families
@both_protocols
async def test_ports_and_addresses_that_no_service_has_are_refused(family, protocol):
    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(service(family, protocol, net.a), pods=(net.a, net.b)), facts())
        for host in (net.b, net.node):
            assert await refusal_time(host, CLUSTER_IPS[family], protocol, 81) < AT_ONCE_S
            assert await refusal_time(host, UNASSIGNED[family], protocol) < AT_ONCE_S


async def test_packets_to_service_addresses_never_leave_the_node():
    """Seen with a peer node that would answer for the whole Service range, once without and once with the plane."""
    with two_nodes() as net, plane_of(net.node_1) as plane:
        services = SERVICE_CIDRS[0]
        with Rtnl(net.node_1.netns_fd) as rtnl:
            route = Route(destination=services, via=net.node_2.address, device="eth0")
            rtnl.replace_route(route)
        with Rtnl(net.node_2.netns_fd) as rtnl:
            rtnl.add_address("lo", ipaddress.ip_interface(UNASSIGNED[Family.V4]))
        async with net.node_2.serve(80), net.node_2.serve(80, Protocol.UDP, address=UNASSIGNED[Family.V4]):
            for host in (net.pod_1, net.node_1):
                assert await host.reaches(UNASSIGNED[Family.V4], 80)
                assert await host.reaches(UNASSIGNED[Family.V4], 80, Protocol.UDP)
            # A UDP flow from before the plane, kept alive from the same port: tracked, and not translated.
            source = (net.pod_1.address, 40000)
            assert await net.pod_1.ask(UNASSIGNED[Family.V4], 80, Protocol.UDP, source=source)
            await plane.start(state_of(pods=(net.pod_1,)), facts())
            assert await net.pod_1.ask(UNASSIGNED[Family.V4], 80, Protocol.UDP, source=source) is None
            for host in (net.pod_1, net.node_1):
                assert not await host.reaches(UNASSIGNED[Family.V4], 80)
                assert not await host.reaches(UNASSIGNED[Family.V4], 80, Protocol.UDP)


@both_families
@both_protocols
async def test_node_port_from_outside_through_each_node_wherever_the_backend_is(family, protocol):
    with (
        two_nodes() as net,
        client_of(net.node_1, net.node_2) as client,
        plane_of(net.node_1) as first,
        plane_of(net.node_2) as second,
    ):
        for plane, number, pod in ((first, 1, net.pod_1), (second, 2, net.pod_2)):
            state = state_of(node_port(family, protocol, net.pod_2), pods=(pod,), peers=peers(3 - number))
            await plane.start(state, facts(number))
        async with serving(net.pod_2, protocol=protocol, family=family):
            for node in (net.node_1, net.node_2):
                address = node.address_of(family)
                reply = await client.ask(address, NODE_PORT, protocol)
                assert reply is not None, f"through {node.name}"
                assert (reply.server, reply.peer) == (net.pod_2.name, address)
                # From a pod of the other node, and from the node itself.
                for host in (net.pod_1, net.node_1, net.node_2):
                    assert await host.reaches(address, NODE_PORT, protocol), (
                        f"{host.name} through {node.name}"
                    )


async def test_node_port_is_not_served_at_loopback():
    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(node_port(Family.V4, Protocol.TCP, net.a), pods=(net.a,)), facts())
        async with serving(net.a, protocol=Protocol.TCP):
            with pytest.raises(ConnectionRefusedError):
                await net.node.ask_or_raise(ipaddress.ip_address("127.0.0.1"), NODE_PORT)
            assert await net.node.reaches(net.node, NODE_PORT)


@both_families
async def test_pods_keep_their_address_towards_pods_and_nodes_and_lose_it_towards_the_world(family):
    with two_nodes() as net, client_of(net.node_1) as world, plane_of(net.node_1) as plane:
        state = state_of(pods=(net.pod_1,), peers=peers(2))
        await plane.start(state, facts())
        async with (
            net.pod_2.serve(80, family=family),
            net.node_2.serve(81, family=family),
            world.serve(82, family=family),
        ):
            to_pod = await net.pod_1.ask(net.pod_2.address_of(family), 80)
            to_node = await net.pod_1.ask(net.node_2.address_of(family), 81)
            to_world = await net.pod_1.ask(world.address_of(family), 82)
    mine = net.pod_1.address_of(family)
    assert (to_pod.peer, to_node.peer) == (mine, mine)
    assert to_world.peer != mine
    of_the_node_towards_it = ipaddress.ip_network(client_prefixes(1)[list(Family).index(family)])
    assert to_world.peer in of_the_node_towards_it


async def test_a_node_local_address_is_left_to_the_node():
    """Cluster DNS: an address in the Service range that the node itself has, answered by a server of the node."""
    dns = ipaddress.ip_address("10.96.0.10")
    with one_node() as net, plane_of(net.node) as plane:
        with Rtnl(net.node.netns_fd) as rtnl:
            rtnl.add_address("lo", ipaddress.ip_interface(dns))
        local = [
            frontend(f"{dns}:53", protocol=protocol, node_local=True)
            for protocol in (Protocol.TCP, Protocol.UDP)
        ]
        await plane.start(state_of(*local, pods=(net.a,)), facts())
        for protocol in (Protocol.TCP, Protocol.UDP):
            async with net.node.serve(53, protocol, address=dns), net.node.serve(54, protocol):
                for host in (net.a, net.node):
                    reply = await host.ask(dns, 53, protocol)
                    assert reply is not None
                    assert reply.server == net.node.name
                    assert await refusal_time(host, dns, protocol, 54) < AT_ONCE_S


@pytest.mark.parametrize("count", [3, 9, 16])
async def test_every_endpoint_of_a_class_is_drawn(count):
    """3 has a class of its own; 9 are in the class of 16, whose empty slots are drawn again."""
    with one_node() as net, contextlib.ExitStack() as stack, plane_of(net.node) as plane:
        pods = [add_pod(stack, net.node, 1, 10 + number) for number in range(count)]
        await plane.start(state_of(service(Family.V4, Protocol.UDP, *pods), pods=pods), facts())
        async with serving(*pods, protocol=Protocol.UDP):
            seen = await answers(net.a, CLUSTER_IPS[Family.V4], Protocol.UDP, count * 30)
    assert None not in seen
    assert set(seen) == {pod.name for pod in pods}
    # With equal shares of 30 each, fewer than 6 or more than 70 happens less than once in a million runs.
    assert min(seen.values()) >= 6
    assert max(seen.values()) <= 70
