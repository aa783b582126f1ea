"""Pre-stop hooks over HTTP, at the real API server, with slices and Leases as a test says."""

import asyncio
import ipaddress
import json
import socket
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from netloom.agent import drained_server
from netloom.agent.acks_follow import AckFollower
from netloom.agent.acks_lease import Wanted
from netloom.agent.acks_wait import while_running
from netloom.agent.drained_server import DrainedServer
from netloom.agent.drained_wait import DrainWaiter, ServiceSlices
from netloom.api.core import Node
from netloom.api.discovery import EndpointSlice
from netloom.clock import SystemClock
from netloom.kube.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from netloom.kube.watch import Reflector
from netloom.units import ObjectKey

ALL = ("node-1", "node-2", "node-3")
NODE_DOOR, POD_DOOR = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("127.0.0.2")
CART = ObjectKey("shop", "cart")


class Hooks:
    """The hook server of node-1 at work, with the watches that the agent has."""

    def __init__(self, api):
        self.api = api
        self.nodes = Reflector(api.client, NODES, Node, on_change=lambda _, __: self.follower.nodes_changed())
        self.follower = AckFollower(api.client, nodes=self.nodes.items, own="node-1", linger_s=0)
        self.waiter = DrainWaiter(
            client=api.client, node="node-1", slices_seen=lambda: self.slices.seen, follower=self.follower
        )
        self.slices = Reflector(
            api.client, ENDPOINT_SLICES, EndpointSlice, on_change=self.waiter.slice_changed
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.server = DrainedServer(
            waiter=self.waiter,
            node_addresses=(NODE_DOOR,),
            pod_addresses=(POD_DOOR,),
            port=self.port,
            clock=SystemClock(),
        )

    async def ask(self, path, door=NODE_DOOR, method="GET"):
        """Status and body."""
        reader, writer = await asyncio.open_connection(str(door), self.port)
        try:
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


@asynccontextmanager
async def hooks_of(api):
    hooks = Hooks(api)
    started, ended = asyncio.Event(), asyncio.Event()

    async def work():
        await hooks.nodes.synced.wait()
        await hooks.slices.synced.wait()
        await hooks.server.open.wait()
        started.set()
        await ended.wait()

    async with asyncio.TaskGroup() as group:
        others = (hooks.nodes.run, hooks.slices.run, hooks.follower.run, hooks.server.run)
        group.create_task(while_running(others, work()))
        await started.wait()
        try:
            yield hooks
        finally:
            ended.set()


async def pod(api, name, address, node="node-1", **spec):
    """A pod with an address; its uid."""
    made = await api.create(
        PODS,
        name,
        metadata={"labels": {"app": "cart"}},
        spec={"nodeName": node, "containers": [{"name": "c", "image": "example/cart"}], **spec},
    )
    await api.status(PODS, name, podIP=address, podIPs=[{"ip": address}])
    return made["metadata"]["uid"]


def endpoint(uid, address, *, ready=True, terminating=False, node="node-1"):
    return {
        "addresses": [address],
        "nodeName": node,
        "conditions": {"ready": ready and not terminating, "serving": ready, "terminating": terminating},
        "targetRef": {"kind": "Pod", "namespace": "shop", "name": uid[:8], "uid": uid},
    }


async def cart(api, *endpoints):
    await api.create(SERVICES, "cart", spec={"selector": {"app": "cart"}, "ports": [{"port": 80}]})
    return await slice_of(api, *endpoints)


async def slice_of(api, *endpoints):
    """The Service's slice as it is to be; its resourceVersion."""
    body = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "cart-1",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "cart"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": list(endpoints),
    }
    made = await api.client.apply(ENDPOINT_SLICES, body, field_manager="test", force=True)
    return int(made["metadata"]["resourceVersion"])


async def two_pods(api, address="10.1.0.5"):
    """Two ready pods behind the Service, of which the one on node-1 is being deleted; their endpoints, and a ready one for it."""
    old, new = await pod(api, "old", address), await pod(api, "new", "10.1.1.6", node="node-2")
    fresh = endpoint(new, "10.1.1.6", node="node-2")
    await cart(api, endpoint(old, "10.1.0.5"), fresh)
    await api.client.delete(PODS, ObjectKey("shop", "old"), grace_s=30)
    return endpoint(old, "10.1.0.5", terminating=True), fresh


async def test_the_answer_comes_when_the_last_node_has_the_ending_pod_out(api):
    ending, fresh = await two_pods(api)
    async with hooks_of(api) as hooks, asyncio.TaskGroup() as group:
        asking = group.create_task(hooks.ask("/drained/shop/cart"))
        for node in ALL:
            await api.tell(node, slices=1)
        version = await slice_of(api, ending, fresh)
        for node in ALL:
            await api.tell(node, slices=version - 1)
        for node in ALL[:2]:
            await api.tell(node, slices=version)
        assert not asking.done()
        await api.tell("node-3", slices=version)
        status, answer = await asking
    assert status == 200
    assert (answer["drained"], answer["services"], answer["pods"]) == (True, ["shop/cart"], ["old"])


async def test_slices_that_do_not_say_it_yet_are_waited_for(api):
    await two_pods(api)
    for node in ALL:
        await api.tell(node, slices=10_000)
    async with hooks_of(api) as hooks:
        status, answer = await hooks.ask("/drained/shop/cart?timeout=200ms")
    assert status == 504
    assert not answer["drained"]
    assert "terminates" in answer["reason"]


async def test_an_ack_that_is_held_back_is_waited_for_and_named(api):
    ending, fresh = await two_pods(api)
    version = await slice_of(api, ending, fresh)
    for node in ALL[:2]:
        await api.tell(node, slices=version)
    await api.tell("node-3", slices=version - 1)
    async with hooks_of(api) as hooks:
        status, answer = await hooks.ask("/drained/shop/cart?timeout=0.2s")
        assert status == 504
        (lack,) = answer["lacking"]
        assert "node-3" in lack
        assert "EndpointSlice shop/cart-1" in lack
        await api.tell("node-3", slices=version)
        assert (await hooks.ask("/drained/shop/cart"))[0] == 200


async def test_a_replacement_that_starts_is_waited_for(api):
    ending, fresh = await two_pods(api)
    starting = {**fresh, "conditions": {"ready": False, "serving": False, "terminating": False}}
    await slice_of(api, ending, starting)
    for node in ALL:
        await api.tell(node, slices=10_000)
    async with hooks_of(api) as hooks, asyncio.TaskGroup() as group:
        asking = group.create_task(hooks.ask("/drained/shop/cart"))
        status, answer = await hooks.ask("/drained/shop/cart?timeout=200ms")
        assert status == 504
        assert "may become" in answer["reason"]
        assert not asking.done()
        await slice_of(api, ending, fresh)
        assert (await asking)[0] == 200


async def test_the_last_pod_of_a_service_is_drained_when_all_know_that_it_ends(api):
    uid = await pod(api, "old", "10.1.0.5")
    await cart(api, endpoint(uid, "10.1.0.5"))
    await api.client.delete(PODS, ObjectKey("shop", "old"), grace_s=30)
    version = await slice_of(api, endpoint(uid, "10.1.0.5", terminating=True))
    for node in ALL:
        await api.tell(node, slices=version)
    async with hooks_of(api) as hooks:
        assert (await hooks.ask("/drained/shop/cart"))[0] == 200


async def test_an_ending_pod_of_another_node_is_not_this_ones_concern(api):
    uid = await pod(api, "old", "10.1.1.5", node="node-2")
    await cart(api, endpoint(uid, "10.1.1.5", node="node-2"))
    await api.client.delete(PODS, ObjectKey("shop", "old"), grace_s=30)
    async with hooks_of(api) as hooks:
        status, answer = await hooks.ask("/drained/shop/cart")
    assert status == 200
    assert "no pod" in answer["reason"]


async def test_slices_that_go_are_waited_for_as_well(api):
    await two_pods(api)
    for node in ALL:
        await api.tell(node, slices=10)
    async with hooks_of(api) as hooks, asyncio.TaskGroup() as group:
        asking = group.create_task(hooks.ask("/drained/shop/cart"))
        status, _ = await hooks.ask("/drained/shop/cart?timeout=100ms")  # both have read the slices by now
        assert status == 504
        await api.client.delete(ENDPOINT_SLICES, ObjectKey("shop", "cart-1"))
        status, answer = await hooks.ask("/drained/shop/cart?timeout=100ms")
        # who asks now finds no slice at all, and nothing that anybody could lack
        assert status == 200, answer
        assert not asking.done()
        for node in ALL:
            await api.tell(node, slices=10_000)
        assert (await asking)[0] == 200


async def test_a_pod_is_known_by_its_address(api):
    ending, fresh = await two_pods(api, address="127.0.0.1")
    version = await slice_of(api, ending, fresh)
    for node in ALL[:2]:
        await api.tell(node, slices=version)
    async with hooks_of(api) as hooks:
        status, answer = await hooks.ask("/drained?timeout=200ms", POD_DOOR)
        assert status == 504
        assert answer["services"] == ["shop/cart"]
        await api.tell("node-3", slices=version)
        assert (await hooks.ask("/drained", POD_DOOR))[0] == 200


async def test_who_is_no_pod_of_this_node_gets_no_answer(api):
    async with hooks_of(api) as hooks:
        status, answer = await hooks.ask("/drained", POD_DOOR)
        assert status == 404
        assert "127.0.0.1" in answer["reason"]
        await pod(api, "live", "127.0.0.1")
        status, answer = await hooks.ask("/drained", POD_DOOR)
        assert (status, answer["reason"]) == (200, "this pod is not ending")


@pytest.mark.parametrize(
    ("path", "door", "method", "status"),
    [
        ("/drained/shop/nope", NODE_DOOR, "GET", 404),
        ("/drained/shop/bare", NODE_DOOR, "GET", 422),
        ("/drained/shop", NODE_DOOR, "GET", 404),
        ("/drained", NODE_DOOR, "GET", 404),
        ("/drained/shop/cart", POD_DOOR, "GET", 404),
        ("/", NODE_DOOR, "GET", 404),
        ("/drained/shop/cart?timeout=soon", NODE_DOOR, "GET", 400),
        ("/drained/shop/cart", NODE_DOOR, "POST", 405),
        ("nonsense", NODE_DOOR, "GET", 404),
    ],
)
async def test_questions_without_an_answer(api, path, door, method, status):
    await cart(api)
    await api.create(SERVICES, "bare", spec={"ports": [{"port": 80}]})
    async with hooks_of(api) as hooks:
        found, answer = await hooks.ask(path, door, method)
    assert found == status
    assert answer["reason"]


async def test_who_hangs_up_is_waited_for_no_longer(api):
    await two_pods(api)
    async with hooks_of(api) as hooks:
        _, writer = await asyncio.open_connection("127.0.0.1", hooks.port)
        writer.write(b"GET /drained/shop/cart HTTP/1.1\r\n\r\n")
        status, _ = await hooks.ask("/drained/shop/cart?timeout=100ms")
        assert (status, hooks.follower.waiting) == (504, 1)
        writer.close()
        await writer.wait_closed()
        await hooks.ask("/drained/shop/cart?timeout=100ms")
        assert hooks.follower.waiting == 0


async def test_more_than_may_wait_are_turned_away(api, monkeypatch):
    monkeypatch.setattr(drained_server, "POD_LIMIT", 1)
    await pod(api, "old", "127.0.0.1")
    await cart(api)
    async with hooks_of(api) as hooks:
        first = await asyncio.open_connection(str(POD_DOOR), hooks.port)
        second = await asyncio.open_connection(str(POD_DOOR), hooks.port)
        with suppress(ConnectionResetError):
            assert await second[0].read() == b""
        assert (await hooks.ask("/drained/shop/cart"))[0] == 200, "the node's own hooks have their own door"
        for _, writer in (first, second):
            writer.close()
            with suppress(ConnectionResetError):
                await writer.wait_closed()


async def test_a_port_that_is_taken_harms_nobody(api, monkeypatch):
    monkeypatch.setattr(drained_server, "_REOPEN_S", 0.01)
    hooks = Hooks(api)
    with socket.socket() as other:
        other.bind(("127.0.0.1", hooks.port))
        other.listen()
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(hooks.server.run())
            await asyncio.wait([serving], timeout=0.05)
            assert not serving.done()
            other.close()
            async with asyncio.timeout(5):
                await hooks.server.open.wait()
            serving.cancel()


def slice_at(version, name="cart-1", service="cart"):
    metadata = {
        "name": name,
        "namespace": "shop",
        "resourceVersion": str(version),
        "labels": {"kubernetes.io/service-name": service},
    }
    return msgspec.convert({"metadata": metadata}, EndpointSlice)


def versions(view):
    return sorted(want.version for want in view.wanted)


def test_a_watch_that_lags_behind_the_fresh_reading_changes_nothing():
    view = ServiceSlices(CART)
    view.fill([slice_at(20)], "25")
    view.changed(ObjectKey("shop", "cart-1"), slice_at(12), "12")
    view.changed(ObjectKey("shop", "cart-2"), slice_at(13, "cart-2"), "13")
    view.changed(ObjectKey("shop", "cart-1"), None, "14")
    assert versions(view) == ["20"]
    view.changed(ObjectKey("shop", "cart-1"), slice_at(30), "30")
    view.changed(ObjectKey("shop", "cart-2"), slice_at(31, "cart-2"), "31")
    view.changed(ObjectKey("shop", "other-1"), slice_at(32, "other-1", "other"), "32")
    assert versions(view) == ["30", "31"]


def test_what_the_watch_told_before_the_reading_came_is_not_lost():
    view = ServiceSlices(CART)
    view.changed(ObjectKey("shop", "cart-1"), slice_at(30), "30")
    view.changed(ObjectKey("shop", "cart-2"), slice_at(12, "cart-2"), "12")
    view.fill([slice_at(20)], "25")
    assert versions(view) == ["30"]


def test_a_slice_that_goes_is_part_of_what_is_wanted():
    for gone in (None, slice_at(40, service="other")):
        view = ServiceSlices(CART)
        view.fill([slice_at(20)], "25")
        view.changed(ObjectKey("shop", "cart-1"), gone, "40")
        assert view.slices == ()
        assert view.wanted == (Wanted("end of EndpointSlice shop/cart-1", "slices", "40"),)
