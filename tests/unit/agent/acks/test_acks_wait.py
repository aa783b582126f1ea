"""Waiting until all nodes have something in force, at the real API server."""

import asyncio

import pytest

from netloom.agent.acks_follow import AckFollower
from netloom.agent.acks_lease import Wanted
from netloom.agent.acks_wait import Waiter, while_running
from netloom.api.core import Node
from netloom.clock import SystemClock
from netloom.errors import NotFound, Unavailable
from netloom.gateway import in_force
from netloom.kube.resources import ENDPOINT_SLICES, HTTP_ROUTES, LEASES, NODES, PODS, SERVICES
from netloom.kube.watch import Reflector
from netloom.units import ObjectKey

CART = ObjectKey("shop", "cart")
ALL = ("node-1", "node-2", "node-3")


def waiter(api, timeout_s=10.0, only=()):
    return Waiter(api.client, clock=SystemClock(), timeout_s=timeout_s, only=only)


async def cart(api):
    """A Service with two slices; their newest resourceVersions."""
    service = await api.create(SERVICES, "cart", spec={"ports": [{"port": 80}]})
    slices = [
        await api.create(
            ENDPOINT_SLICES,
            name,
            metadata={"labels": {"kubernetes.io/service-name": "cart"}},
            addressType="IPv4",
            ports=[],
            endpoints=[],
        )
        for name in ("cart-1", "cart-2")
    ]
    return int(service["metadata"]["resourceVersion"]), int(slices[-1]["metadata"]["resourceVersion"])


async def test_a_service_is_in_force_when_the_last_node_says_so(api):
    service, slices = await cart(api)
    for node in ALL[:2]:
        await api.tell(node, services=service, slices=slices)
    await api.tell("node-3", services=service, slices=slices - 1)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(waiter(api).service(CART))
        group.create_task(api.tell("node-3", services=service + 1, slices=slices))
    report = waiting.result()
    assert report.in_force
    assert report.nodes == ALL
    assert {want.subject for want in report.wanted} == {
        "Service shop/cart",
        "EndpointSlice shop/cart-1",
        "EndpointSlice shop/cart-2",
    }


async def test_where_the_time_is_over_the_nodes_and_what_they_lack_are_named(api):
    service, slices = await cart(api)
    await api.tell("node-1", services=service, slices=slices)
    await api.tell("node-2", services=service - 1, slices=slices - 1)
    report = await waiter(api, timeout_s=0.3).service(CART)
    assert not report.in_force
    lacks = {(lack.node, lack.wanted.subject) for lack in report.lacking}
    assert lacks == {
        ("node-2", "Service shop/cart"),
        ("node-2", "EndpointSlice shop/cart-2"),
        ("node-3", "Service shop/cart"),
        ("node-3", "EndpointSlice shop/cart-1"),
        ("node-3", "EndpointSlice shop/cart-2"),
    }


async def test_a_node_that_is_not_ready_is_named_and_not_waited_for(api):
    service, slices = await cart(api)
    await api.ready("node-3", ready=False)
    for node in ALL[:2]:
        await api.tell(node, services=service, slices=slices)
    report = await waiter(api).service(CART)
    assert report.in_force
    assert report.nodes == ALL[:2]
    assert report.not_ready == ("node-3",)
    # unless somebody asks for it
    report = await waiter(api, timeout_s=0.3, only=("node-3",)).service(CART)
    assert [lack.node for lack in report.lacking] == ["node-3"] * 3


async def test_a_node_that_stops_being_ready_is_waited_for_no_longer(api):
    service, slices = await cart(api)
    for node in ALL[:2]:
        await api.tell(node, services=service, slices=slices)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(waiter(api).service(CART))
        group.create_task(api.ready("node-3", ready=False))
    assert waiting.result().in_force


async def test_a_pod_is_waited_for_until_it_has_an_address_that_all_nodes_know(api):
    await api.create(PODS, "web", spec={"containers": [{"name": "c", "image": "example/web"}]})
    for node in ALL:
        await api.tell(node, pods=1)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(waiter(api).pod(ObjectKey("shop", "web")))
        given = await api.status(PODS, "web", podIP="10.1.0.7", podIPs=[{"ip": "10.1.0.7"}])
        for node in ALL:
            await api.tell(node, pods=given["metadata"]["resourceVersion"])
    report = waiting.result()
    assert report.in_force
    assert [want.version for want in report.wanted] == [given["metadata"]["resourceVersion"]]


async def test_a_pod_without_an_address_is_said_so(api):
    await api.create(PODS, "web", spec={"containers": [{"name": "c", "image": "example/web"}]})
    report = await waiter(api, timeout_s=0.3).pod(ObjectKey("shop", "web"))
    assert (report.in_force, report.wanted, report.nodes) == (False, (), ALL)


async def test_what_is_not_there_is_not_waited_for(api):
    for wait in (
        waiter(api).service(CART),
        waiter(api).pod(CART),
        waiter(api, only=("node-9",)).service(ObjectKey("default", "kubernetes")),
    ):
        with pytest.raises(NotFound):
            await wait


async def test_where_no_node_is_ready_nothing_is_in_force(api):
    await cart(api)
    for node in ALL:
        await api.ready(node, ready=False)
    with pytest.raises(Unavailable):
        await waiter(api).service(CART)


async def test_leases_are_watched_only_while_somebody_waits(api):
    nodes = Reflector(api.client, NODES, Node, on_change=lambda _, __: follower.nodes_changed())
    follower = AckFollower(api.client, nodes=nodes.items, linger_s=0)
    wanted = (Wanted("Pod shop/web", "pods", "5"),)

    async def work():
        await nodes.synced.wait()
        assert not follower.is_watching
        for version in (4, 5):
            for node in ALL:
                await api.tell(node, pods=version)
        await follower.everywhere(wanted)
        assert follower.waiting == 0
        await follower.until(lambda: follower.is_watching or None)
        # two at once, one of which gives up
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await follower.everywhere((Wanted("Pod shop/web", "pods", "6"),))
        for node in ALL:
            await api.tell(node, pods=6)
        await follower.everywhere((Wanted("Pod shop/web", "pods", "6"),))

    await while_running((nodes.run, follower.run), work())
    assert follower.waiting == 0


async def test_the_own_node_is_waited_for_even_where_it_is_not_ready(api):
    await api.ready("node-3", ready=False)
    nodes = Reflector(api.client, NODES, Node, on_change=lambda _, __: follower.nodes_changed())
    follower = AckFollower(api.client, nodes=nodes.items, own="node-3", linger_s=0)
    wanted = (Wanted("Pod shop/web", "pods", "5"),)
    for node in ALL[:2]:
        await api.tell(node, pods=5)

    async def work():
        await nodes.synced.wait()
        assert [lack.node for lack in await follower.until(lambda: follower.lacking(wanted) or None)] == [
            "node-3"
        ]
        await api.tell("node-3", pods=5)
        await follower.everywhere(wanted)

    await while_running((nodes.run, follower.run), work())


async def test_a_route_is_in_force_when_the_gateways_of_all_nodes_say_so(api):
    route = await api.create(HTTP_ROUTES, "cart", spec={"parentRefs": [{"name": "web"}]})
    version = int(route["metadata"]["resourceVersion"])
    # what agents say of it does not count
    for node in ALL:
        await api.tell(node, services=version + 100)
        uid = (await api.client.get(NODES, ObjectKey("", node)))["metadata"]["uid"]
        told = in_force.Told({"http_routes": str(version - (node == "node-3"))})
        body = in_force.body(node, uid, told, kinds=in_force.TOLD, renewed="2026-01-01T00:00:00.000000Z")
        await api.client.create(LEASES, in_force.without_nulls(body))
    report = await waiter(api, timeout_s=0.3).gateway("HTTPRoute", CART)
    assert not report.in_force
    assert [(lack.node, lack.wanted.subject) for lack in report.lacking] == [
        ("node-3", "HTTPRoute shop/cart")
    ]
    mark = {"metadata": {"annotations": {"netloom.io/http_routes": str(version)}}}
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(waiter(api).gateway("HTTPRoute", CART))
        group.create_task(api.client.patch(LEASES, in_force.key_of("node-3"), mark))
    assert waiting.result().in_force
