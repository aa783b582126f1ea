"""Events: named by what they say, so that the same is told once, whoever tells it and however often."""

from __future__ import annotations

import json

from aiohttp import web

from netloom.clock import SystemClock
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.resources import CLUSTER_NETWORK_POLICIES, SERVICES
from netloom.testing.scripted_api import ScriptedServer
from netloom.units import ObjectKey

CART = ObjectKey("shop", "cart")


class Store:
    """Events as a server keeps them."""

    def __init__(self, server: ScriptedServer) -> None:
        self.events: dict[str, dict[str, object]] = {}
        server.handler = self.handle

    async def handle(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text() or "{}")
        name = request.path.rpartition("/")[2] if request.method != "POST" else body["metadata"]["name"]
        if request.method == "POST" and name in self.events:
            return web.json_response(
                {"code": 409, "reason": "AlreadyExists", "message": "is there"}, status=409
            )
        if request.method != "POST" and name not in self.events:
            return web.json_response(
                {"code": 404, "reason": "NotFound", "message": "is not there"}, status=404
            )
        self.events[name] = self.events.get(name, {}) | body
        return web.json_response(self.events[name])

    def counts(self) -> list[object]:
        return [event["count"] for event in self.events.values()]


def recorder(client: KubeClient) -> EventRecorder:
    return EventRecorder(client, "test", clock=SystemClock())


async def test_the_same_is_counted_by_its_teller_after_a_restart_and_after_it_expired(
    server: ScriptedServer, client: KubeClient
):
    store, first = Store(server), recorder(client)
    for count in (1, 2, 3):
        first.emit(SERVICES, CART, "u", reason="Odd", message="it is odd")
        await first.flush()
        assert store.counts() == [count]
    second = recorder(client)
    second.emit(SERVICES, CART, "u", reason="Odd", message="it is odd")
    await second.flush()
    assert store.counts() == [4]
    store.events.clear()
    second.emit(SERVICES, CART, "u", reason="Odd", message="it is odd")
    await second.flush()
    assert store.counts() == [1]


async def test_another_object_reason_or_message_is_another_event(server: ScriptedServer, client: KubeClient):
    store, events = Store(server), recorder(client)
    for uid, reason, message in (("u", "Odd", "a"), ("v", "Odd", "a"), ("u", "Even", "a"), ("u", "Odd", "b")):
        events.emit(SERVICES, CART, uid, reason=reason, message=message)
    await events.flush()
    assert store.counts() == [1, 1, 1, 1]


async def test_names_and_messages_have_bounds(server: ScriptedServer, client: KubeClient):
    store, events = Store(server), recorder(client)
    events.emit(
        CLUSTER_NETWORK_POLICIES,
        ObjectKey("", f"{'n' * 219}.{'m' * 33}"),
        "u",
        reason="Odd",
        message="é" * 2000,
        warning=True,
    )
    await events.flush()
    ((name, event),) = store.events.items()
    assert len(name) <= 253
    assert ".." not in name
    assert event["metadata"]["namespace"] == "default"
    assert event["involvedObject"]["namespace"] == ""
    assert event["type"] == "Warning"
    assert event["message"] == "é" * 512
