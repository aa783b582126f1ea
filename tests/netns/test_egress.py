"""With whose address pods reach the world outside, and by which route: a client behind a router sees it. With real packets.

The router knows the way back to pods, as a routed fabric would: so an exception from masquerading is seen to work, not to time out.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress

import msgspec
import pytest

from netloom.agent.static_routes import StaticRoutes
from netloom.linux.rtnl import Rtnl
from netloom.model.egress.leaving import FIELD, leaving
from netloom.model.egress.settings import Egress, StaticRoute
from netloom.model.provenance import Source
from netloom.model.state import NetworkState, PodRange, difference
from netloom.program import names
from netloom.program.routes import Route
from netloom.testing.hosts import Host
from netloom.testing.service_networks import facts, peers, plane_of, state_of
from netloom.testing.topologies import CLIENT_CIDRS, ClientRouterNode, client_router_node
from netloom.units import Family, Protocol

pytestmark = pytest.mark.netns

PORT = 9300
FAMILIES = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
ANNOTATED = Source("Pod", "default", "pod", field=FIELD)


async def seen(asker: Host, client: Host, family: Family, protocol: Protocol = Protocol.TCP) -> object:
    """The address that the client outside sees."""
    async with client.serve(PORT, protocol, family=family):
        reply = await asker.ask(client.address_of(family), PORT, protocol, timeout_s=3)
    return None if reply is None else reply.peer


def keeping(state: NetworkState) -> NetworkState:
    """The same with pods that are not to be masqueraded."""
    pods = {a: msgspec.structs.replace(one, keeps_source=ANNOTATED) for a, one in state.local_pods.items()}
    return msgspec.structs.replace(state, local_pods=pods)


EXCEPTIONS = {
    "none": (Egress(), False),
    "no_masquerade": (Egress(no_masquerade=CLIENT_CIDRS), False),
    "another network": (
        Egress(
            no_masquerade=(
                ipaddress.ip_network("203.0.113.0/24"),
                ipaddress.ip_network("2001:db8:ffff::/48"),
            )
        ),
        False,
    ),
    "not at all": (Egress(masquerade=False), False),
    "annotation": (Egress(), True),
}
KEEPS = {"no_masquerade", "not at all", "annotation"}


@FAMILIES
@pytest.mark.parametrize("case", list(EXCEPTIONS))
async def test_the_client_outside_sees_whom_the_model_says(case, family):
    settings, is_annotated = EXCEPTIONS[case]
    node = msgspec.structs.replace(facts(), egress=settings)
    with client_router_node() as net, plane_of(net.node) as plane:
        state = state_of(pods=[net.pod])
        state = keeping(state) if is_annotated else state
        await plane.start(state, node)
        own, client = net.pod.address_of(family), net.client.address_of(family)
        told = leaving(node, state, own, client)
        assert told is not None
        assert told.masquerade is (case not in KEEPS)
        wanted = net.node.address_of(family) if told.masquerade else own
        for protocol in (Protocol.TCP, Protocol.UDP):
            assert await seen(net.pod, net.client, family, protocol) == wanted
        # what the node itself sends is never touched
        assert await seen(net.node, net.client, family) == net.node.address_of(family)


@FAMILIES
async def test_an_annotation_that_comes_and_goes_is_followed(family):
    with client_router_node() as net, plane_of(net.node) as plane:
        plain = state_of(pods=[net.pod])
        await plane.start(plain, facts())
        assert await seen(net.pod, net.client, family) == net.node.address_of(family)
        await plane.apply(difference(plain, keeping(plain)))
        assert await seen(net.pod, net.client, family) == net.pod.address_of(family)
        await plane.apply(difference(keeping(plain), plain))
        assert await seen(net.pod, net.client, family) == net.node.address_of(family)


@FAMILIES
async def test_a_node_that_has_a_way_back_sees_the_pod_itself(family):
    """Here the client outside is another node."""
    with client_router_node() as net, plane_of(net.node) as plane:
        at = list(Family).index(family)
        route = msgspec.structs.replace(peers(2)[at], via=net.client.address_of(family))
        await plane.start(state_of(pods=[net.pod], peers=[route]), facts())
        assert await seen(net.pod, net.client, family) == net.pod.address_of(family)


@FAMILIES
async def test_a_pod_with_an_address_of_a_pool_is_masqueraded_and_a_pool_is_inside(family):
    """This node's pods are known by the range of a pool alone; then the client's network is a pool."""
    with client_router_node() as net, plane_of(net.node) as plane:
        node = msgspec.structs.replace(facts(), pod_cidrs=(), cluster_cidrs=())
        plain = state_of(pods=[net.pod])
        await plane.start(plain, node)
        assert await seen(net.pod, net.client, family) == net.pod.address_of(family)
        own = {c: PodRange(c, True) for c in facts().pod_cidrs}
        pool = msgspec.structs.replace(plain, ranges=own)
        await plane.apply(difference(plain, pool))
        assert await seen(net.pod, net.client, family) == net.node.address_of(family)
        wider = msgspec.structs.replace(
            plain, ranges=own | {cidr: PodRange(cidr, False) for cidr in CLIENT_CIDRS}
        )
        await plane.apply(difference(pool, wider))
        assert await seen(net.pod, net.client, family) == net.pod.address_of(family)
        # as an agent that starts again finds it
        await plane.start(pool, node)
        assert await seen(net.pod, net.client, family) == net.node.address_of(family)


def without_default_route(net: ClientRouterNode) -> None:
    with Rtnl(net.node.netns_fd) as rtnl:
        for route in rtnl.routes():
            if route.destination.prefixlen == 0:
                rtnl.delete_route(route)


def gateway(family: Family):
    return ipaddress.ip_address("172.30.0.1" if family is Family.V4 else "2001:db8:30::1")


@FAMILIES
async def test_a_static_route_leads_pods_out_and_its_end_ends_that(family):
    at = list(Family).index(family)
    told: list[object] = []
    with client_router_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(pods=[net.pod]), facts())
        without_default_route(net)
        assert await seen(net.pod, net.client, family) is None
        wanted = StaticRoute(CLIENT_CIDRS[at], gateway(family))
        routes = StaticRoutes(node="node-1", wanted=[wanted], report=told.extend, netns_fd=net.node.netns_fd)
        await routes.settle()
        assert routes.findings == ()
        assert await seen(net.pod, net.client, family) == net.node.address_of(family)
        with Rtnl(net.node.netns_fd) as rtnl:
            (live,) = rtnl.routes(names.STATIC_ROUTE_PROTOCOL)
            assert (live.destination, live.via, live.device) == (wanted.destination, wanted.via, "eth0")
            rtnl.delete_route(live)
            await routes.settle()
            assert rtnl.routes(names.STATIC_ROUTE_PROTOCOL) == [live]
        await StaticRoutes(node="node-1", wanted=[], report=told.extend, netns_fd=net.node.netns_fd).settle()
        assert await seen(net.pod, net.client, family) is None
        assert told == []


@FAMILIES
async def test_a_route_of_somebody_else_stays_and_ours_is_found_missing(family):
    at = list(Family).index(family)
    told: list[object] = []
    with client_router_node() as net:
        theirs = Route(destination=CLIENT_CIDRS[at], via=gateway(family), device="eth0", protocol=4)
        elsewhere = gateway(family) + 8
        with Rtnl(net.node.netns_fd) as rtnl:
            rtnl.replace_route(theirs)
            routes = StaticRoutes(
                node="node-1",
                wanted=[
                    StaticRoute(CLIENT_CIDRS[at], elsewhere),
                    StaticRoute(ipaddress.ip_network("198.51.100.0/24"), None, "nowhere"),
                    StaticRoute(ipaddress.ip_network("203.0.113.0/24"), ipaddress.ip_address("203.0.113.1")),
                ],
                report=told.extend,
                netns_fd=net.node.netns_fd,
            )
            await routes.settle()
            await routes.settle()
            assert rtnl.routes(names.STATIC_ROUTE_PROTOCOL) == []
            assert len(told) == 3
            assert "there is a route already" in str(told[0])
            assert "no interface nowhere" in str(told[1])
            assert "no interface that is up has the network of 203.0.113.1" in str(told[2])
            rtnl.delete_route(theirs)
            await routes.settle()
            assert [r.via for r in rtnl.routes(names.STATIC_ROUTE_PROTOCOL)] == [elsewhere]
            assert len(routes.findings) == 2


async def test_a_static_route_that_is_taken_away_comes_back_by_itself():
    wanted = StaticRoute(CLIENT_CIDRS[0], gateway(Family.V4))
    with client_router_node() as net, Rtnl(net.node.netns_fd) as rtnl:
        routes = StaticRoutes(node="node-1", wanted=[wanted], report=list, netns_fd=net.node.netns_fd)

        async def is_there() -> None:
            while not rtnl.routes(names.STATIC_ROUTE_PROTOCOL):  # noqa: ASYNC110 - the kernel sets no Event
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
            running = tasks.create_task(routes.run())
            for _ in range(3):
                await is_there()
                for route in rtnl.routes(names.STATIC_ROUTE_PROTOCOL):
                    rtnl.delete_route(route)
            await is_there()
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
