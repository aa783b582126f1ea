"""Established flows through Services: which follow a change, which outlive it, and which end; with real packets."""

from __future__ import annotations

import contextlib

import pytest

from netloom.linux import sysctl
from netloom.linux.conntrack import Conntrack
from netloom.model.state import difference
from netloom.program.conntrack import FlowFilter
from netloom.program.sysctl import Setting
from netloom.testing.service_networks import (
    AT_ONCE_S,
    CLUSTER_IPS,
    NODE_PORT,
    Connection,
    facts,
    node_port,
    one_node,
    plane_of,
    refusal_time,
    repeating,
    service,
    serving,
    state_of,
)
from netloom.testing.topologies import add_pod
from netloom.units import Family, Protocol

pytestmark = pytest.mark.netns

both_families = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)


@both_families
async def test_a_udp_flow_follows_when_its_endpoint_is_replaced(family):
    """The same client port goes on sending, as DNS clients do; conntrack would keep it with the old endpoint for ever."""
    with one_node() as net, contextlib.ExitStack() as stack, plane_of(net.node) as plane:
        asker = add_pod(stack, net.node, 1, 4)
        pods = (net.a, net.b, asker)
        states = [state_of(service(family, Protocol.UDP, *who), pods=pods) for who in ([net.a], [net.b], [])]
        await plane.start(states[0], facts())
        source = (asker.address_of(family), 40000)
        other = (asker.address_of(family), 40001)

        async def ask(source=source):
            reply = await asker.ask(CLUSTER_IPS[family], 80, Protocol.UDP, source=source)
            return reply.server if reply else None

        async with (
            serving(net.a, net.b, protocol=Protocol.UDP, family=family),
            net.a.serve(9000, Protocol.UDP, family=family),
        ):
            assert await ask() == net.a.name
            assert await asker.ask(net.a.address_of(family), 9000, Protocol.UDP, source=other)
            with Conntrack(netns_fd=net.node.netns_fd) as conntrack:
                look = FlowFilter(family, 17, net.a.address_of(family), 9000)
                before = conntrack.dump(look)
                assert len(before) == 1
                await plane.apply(difference(states[0], states[1]))
                assert await ask() == net.b.name
                assert conntrack.dump(look) == before, (
                    "a flow that has nothing to do with the Service was touched"
                )
            await plane.apply(difference(states[1], states[2]))
            assert await ask() is None
            await plane.apply(difference(states[2], states[0]))
            assert await ask() == net.a.name


async def test_udp_to_a_node_port_from_before_its_service_is_led_to_the_service():
    with one_node() as net, plane_of(net.node) as plane:
        nothing = state_of(pods=(net.a, net.b))
        await plane.start(nothing, facts())
        source = (net.b.address, 40000)
        async with serving(net.a, protocol=Protocol.UDP), net.node.serve(NODE_PORT, Protocol.UDP):
            first = await net.b.ask(net.node, NODE_PORT, Protocol.UDP, source=source)
            assert first.server == net.node.name
            served = state_of(node_port(Family.V4, Protocol.UDP, net.a), pods=(net.a, net.b))
            await plane.apply(difference(nothing, served))
            then = await net.b.ask(net.node, NODE_PORT, Protocol.UDP, source=source)
    assert then.server == net.a.name


@pytest.mark.parametrize("restarted", [False, True])
async def test_tcp_drains_while_its_endpoint_is_there_and_is_reset_when_it_has_left(restarted):
    with one_node() as net, plane_of(net.node) as plane:
        pods = (net.a, net.b)
        address = CLUSTER_IPS[Family.V4]
        served, draining, left, gone = (
            state_of(service(Family.V4, Protocol.TCP, net.a), pods=pods),
            state_of(service(Family.V4, Protocol.TCP, draining=[net.a]), pods=pods),
            state_of(service(Family.V4, Protocol.TCP), pods=pods),
            state_of(pods=pods),
        )

        async def change(before, after):
            if restarted:
                with plane_of(net.node) as another:
                    await another.start(after, facts())
            else:
                await plane.start(before, facts())
                await plane.apply(difference(before, after))

        async with repeating(net.a):
            for ending in (left, gone):
                await plane.start(served, facts())
                connection = Connection(net.b, address)
                assert await connection.open()
                await change(served, served)
                assert await connection.talk()
                await change(served, draining)
                assert await connection.talk()
                assert await refusal_time(net.b, address, Protocol.TCP) < AT_ONCE_S
                await change(draining, ending)
                with pytest.raises(ConnectionResetError):
                    await connection.talk()
                connection.close()


async def test_a_segment_that_conntrack_cannot_place_ends_no_connection():
    """Its entry lost, and nothing picked up in the middle: dropped, not reset, so that the connection goes on afterwards."""
    loose = "net/netfilter/nf_conntrack_tcp_loose"
    with one_node() as net, plane_of(net.node) as plane:
        node = net.node.netns_fd
        await plane.start(state_of(service(Family.V4, Protocol.TCP, net.a), pods=(net.a, net.b)), facts())
        async with repeating(net.a):
            connection = Connection(net.b, CLUSTER_IPS[Family.V4])
            assert await connection.open()
            sysctl.write([Setting(loose, "0")], node)
            with Conntrack(netns_fd=node) as conntrack:
                flows = conntrack.dump(FlowFilter(Family.V4, 6, CLUSTER_IPS[Family.V4]))
                assert conntrack.delete(flows) == 1
            with pytest.raises(TimeoutError):
                await connection.talk(timeout_s=0.5)
            sysctl.write([Setting(loose, "1")], node)
            assert await connection.hear(), "the segment is sent again, and answered"
            connection.close()


async def test_a_restart_finds_what_changed_meanwhile():
    """Endpoints replaced, a Service gone and one come, while no plane was there: flows too."""
    with one_node() as net, contextlib.ExitStack() as stack:
        asker = add_pod(stack, net.node, 1, 4)
        pods = (net.a, net.b, asker)
        before = state_of(
            service(Family.V4, Protocol.UDP, net.a), node_port(Family.V4, Protocol.TCP, net.a), pods=pods
        )
        after = state_of(
            service(Family.V4, Protocol.UDP, net.b), service(Family.V4, Protocol.TCP, net.b), pods=pods
        )
        source = (asker.address, 40000)
        async with serving(net.a, net.b, protocol=Protocol.UDP), serving(net.b, protocol=Protocol.TCP):
            with plane_of(net.node) as plane:
                await plane.start(before, facts())
                first = await asker.ask(CLUSTER_IPS[Family.V4], 80, Protocol.UDP, source=source)
            with plane_of(net.node) as plane:
                await plane.start(after, facts())
                then = await asker.ask(CLUSTER_IPS[Family.V4], 80, Protocol.UDP, source=source)
                assert await asker.reaches(CLUSTER_IPS[Family.V4], 80)
                assert not await asker.reaches(net.node, NODE_PORT)
                await plane.remove()
                assert not await asker.reaches(CLUSTER_IPS[Family.V4], 80)
    assert (first.server, then.server) == (net.a.name, net.b.name)
