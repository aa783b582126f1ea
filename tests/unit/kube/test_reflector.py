from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from netloom.api.discovery import EndpointSlice
from netloom.errors import InvalidObject
from netloom.kube.client import KubeClient
from netloom.kube.resources import CONFIG_MAPS, ENDPOINT_SLICES
from netloom.kube.watch import Reflector
from netloom.testing.scripted_api import ScriptedServer, obj
from netloom.units import ObjectKey

OPTIONAL = msgspec.structs.replace(CONFIG_MAPS, is_optional=True)


class Data(msgspec.Struct, frozen=True):
    colour: str = ""


class Thing(msgspec.Struct, frozen=True):
    data: Data = Data()


class Seen:
    """Collects what a reflector says, and lets a test wait for the next of it."""

    def __init__(self) -> None:
        self.changes: asyncio.Queue[tuple[str, Thing | None]] = asyncio.Queue()
        self.bad: list[tuple[ObjectKey, InvalidObject]] = []

    def on_change(self, key: ObjectKey, item: Thing | None) -> None:
        self.changes.put_nowait((key.name, item))

    def on_bad(self, key: ObjectKey, error: InvalidObject) -> None:
        self.bad.append((key, error))

    async def next(self) -> tuple[str, Thing | None]:
        return await asyncio.wait_for(self.changes.get(), 5)


@asynccontextmanager
async def following(client: KubeClient, seen: Seen, **options: object) -> AsyncIterator[Reflector[Thing]]:
    resource = options.pop("resource", CONFIG_MAPS)
    reflector = Reflector(client, resource, Thing, on_change=seen.on_change, on_bad=seen.on_bad, **options)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(reflector.run())
        try:
            yield reflector
        finally:
            task.cancel()


def key(name: str) -> ObjectKey:
    return ObjectKey("shop", name)


async def test_list_then_watch(server: ScriptedServer, client: KubeClient):
    server.objects = [obj("a", colour="red"), obj("b", colour="blue")]
    seen = Seen()
    async with following(client, seen) as reflector:
        assert await seen.next() == ("a", Thing(Data("red")))
        assert await seen.next() == ("b", Thing(Data("blue")))
        assert reflector.synced.is_set()
        server.send("ADDED", obj("c", 2, colour="green"))
        assert await seen.next() == ("c", Thing(Data("green")))
        server.send("MODIFIED", obj("a", 3, colour="black"))
        assert await seen.next() == ("a", Thing(Data("black")))
        server.send("DELETED", obj("b", 4))
        assert await seen.next() == ("b", None)
        assert set(reflector.items) == {key("a"), key("c")}
    watch = server.requests[-1]
    assert watch.query["resourceVersion"] == "1"
    assert watch.query["allowWatchBookmarks"] == "true"


async def test_a_list_comes_in_pages(server: ScriptedServer, client: KubeClient):
    server.objects = [obj(f"n{i}") for i in range(25)]
    seen = Seen()
    async with following(client, seen, page=10) as reflector:
        await asyncio.wait_for(reflector.synced.wait(), 5)
        assert len(reflector.items) == 25
    assert [r.query.get("continue") for r in server.requests[:3]] == [None, "10", "20"]


async def test_an_end_of_the_watch_goes_on_from_the_bookmark(server: ScriptedServer, client: KubeClient):
    seen = Seen()
    async with following(client, seen):
        server.send("BOOKMARK", {"metadata": {"resourceVersion": "70"}})
        server.lines.put_nowait(None)
        server.send("ADDED", obj("late", 71))
        assert (await seen.next())[0] == "late"
    watches = [r.query["resourceVersion"] for r in server.requests if "watch" in r.query]
    assert watches == ["1", "70"]
    assert sum("watch" not in r.query for r in server.requests) == 1


async def test_a_410_relists_and_delivers_the_differences_only(server: ScriptedServer, client: KubeClient):
    server.objects = [obj("stays", colour="red"), obj("goes"), obj("changes", colour="red")]
    seen = Seen()
    async with following(client, seen) as reflector:
        for _ in range(3):
            await seen.next()
        server.objects = [obj("stays", colour="red"), obj("changes", 8, colour="blue"), obj("comes")]
        server.version = 9
        server.send("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
        server.lines.put_nowait(None)
        assert await seen.next() == ("goes", None)
        assert await seen.next() == ("changes", Thing(Data("blue")))
        assert await seen.next() == ("comes", Thing(Data("")))
        await asyncio.wait_for(server.watching.wait(), 5)
        assert seen.changes.empty()
        assert set(reflector.items) == {key("stays"), key("changes"), key("comes")}
    assert server.requests[-1].query["resourceVersion"] == "9"


async def test_a_410_as_http_status_relists(server: ScriptedServer, client: KubeClient):
    server.objects = [obj("a")]
    server.watch_status = 410
    seen = Seen()
    async with following(client, seen):
        await seen.next()
        await asyncio.wait_for(server.refused.wait(), 5)
        server.objects = []
        server.watch_status = 200
        assert await seen.next() == ("a", None)


async def test_what_was_known_stays_while_the_server_is_away(server: ScriptedServer, client: KubeClient):
    server.objects = [obj("a")]
    asked_in_vain = asyncio.Event()

    async def away(request: web.Request) -> web.StreamResponse:
        if sum("watch" in r.query for r in server.requests) > 3:
            asked_in_vain.set()
        return web.Response(status=503, text="starting")

    seen = Seen()
    async with following(client, seen) as reflector:
        await seen.next()
        await asyncio.wait_for(server.watching.wait(), 5)
        server.handler = away
        server.lines.put_nowait(None)
        await asyncio.wait_for(asked_in_vain.wait(), 10)
        assert set(reflector.items) == {key("a")}
        assert seen.changes.empty()
        server.handler = None
        server.send("DELETED", obj("a", 5))
        assert await seen.next() == ("a", None)


async def test_one_bad_object_is_reported_and_the_others_go_on(server: ScriptedServer, client: KubeClient):
    server.objects = [obj("good"), obj("bad", colour=7)]
    seen = Seen()
    async with following(client, seen) as reflector:
        assert (await seen.next())[0] == "good"
        server.send("MODIFIED", obj("good", 2, colour=[]))
        assert await seen.next() == ("good", None)
        server.send("MODIFIED", obj("bad", 3, colour="red"))
        assert await seen.next() == ("bad", Thing(Data("red")))
        assert set(reflector.items) == {key("bad")}
    assert [k for k, _ in seen.bad] == [key("bad"), key("good")]
    assert seen.bad[0][1].field == "data.colour"
    assert "ConfigMap shop/bad" in str(seen.bad[0][1])


async def test_null_is_what_is_not_set(server: ScriptedServer, client: KubeClient):
    def empty(version: int) -> dict[str, object]:
        meta = {"name": "a", "namespace": "shop", "resourceVersion": str(version), "labels": None}
        return {"metadata": meta, "addressType": "IPv4", "endpoints": None, "ports": None}

    server.objects = [empty(1)]
    seen: asyncio.Queue[EndpointSlice | None] = asyncio.Queue()
    reflector = Reflector(
        client, ENDPOINT_SLICES, EndpointSlice, on_change=lambda _, item: seen.put_nowait(item)
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(reflector.run())
        for version in ("1", "2"):
            item = await asyncio.wait_for(seen.get(), 5)
            assert item is not None
            assert (item.metadata.resource_version, item.metadata.labels, item.endpoints) == (version, {}, ())
            server.send("MODIFIED", empty(2))
        task.cancel()


async def test_lines_cut_anywhere_and_of_any_length_arrive_whole(server: ScriptedServer, client: KubeClient):
    seen = Seen()
    async with following(client, seen):
        long = (
            json.dumps({"type": "ADDED", "object": obj("long", 2, colour="x" * 1_000_000)}).encode() + b"\n"
        )
        short = json.dumps({"type": "ADDED", "object": obj("short", 3)}).encode() + b"\n"
        whole = long + short + short
        cuts = [0, 17, 70_000, 900_000, len(long) + 3, len(whole)]
        for start, end in itertools.pairwise(cuts):
            server.lines.put_nowait(whole[start:end])
        name, item = await seen.next()
        assert (name, item is not None and len(item.data.colour)) == ("long", 1_000_000)
        assert (await seen.next())[0] == "short"
        assert (await seen.next())[0] == "short"


async def test_selectors_go_with_list_and_watch(server: ScriptedServer, client: KubeClient):
    seen = Seen()
    async with following(client, seen, label_selector="app=x,tier!=y", namespace="shop"):
        await asyncio.wait_for(server.watching.wait(), 5)
    for request in server.requests:
        assert request.query["labelSelector"] == "app=x,tier!=y"
        assert request.path == "/api/v1/namespaces/shop/configmaps"


async def test_how_far_it_has_read_is_told_after_everything_up_to_there_was_delivered(
    server: ScriptedServer, client: KubeClient
):
    server.objects, server.version = [obj("a", 3)], 5
    told: asyncio.Queue[str] = asyncio.Queue()

    def on_seen(version: str) -> None:
        told.put_nowait(f"seen {version}")

    reflector = Reflector(
        client,
        CONFIG_MAPS,
        Thing,
        on_change=lambda key, _: told.put_nowait(key.name),
        on_bad=lambda key, _: told.put_nowait(f"bad {key.name}"),
        on_seen=on_seen,
    )

    async def next_() -> str:
        return await asyncio.wait_for(told.get(), 5)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(reflector.run())
        assert [await next_(), await next_()] == ["a", "seen 5"]
        server.send("DELETED", obj("a", 6))
        assert [await next_(), await next_()] == ["a", "seen 6"]
        server.send("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
        assert await next_() == "seen 9"
        server.send("ADDED", obj("b", 10) | {"data": 7})
        assert [await next_(), await next_()] == ["bad b", "seen 10"]
        assert reflector.seen == "10"
        task.cancel()


def absent(request: web.Request) -> web.Response:
    return web.json_response(
        {"kind": "Status", "code": 404, "message": "could not find the requested resource"}, status=404
    )


async def test_a_kind_that_the_server_does_not_have_holds_up_nobody_and_is_said_once(
    server: ScriptedServer, client: KubeClient, caplog
):
    caplog.set_level("INFO", logger="netloom.kube.watch")
    seen, asked = Seen(), asyncio.Semaphore(0)

    async def refuse(request: web.Request) -> web.Response:
        asked.release()
        return absent(request)

    server.handler = refuse
    async with following(client, seen, resource=OPTIONAL, absent_s=0.01) as reflector:
        await asyncio.wait_for(reflector.synced.wait(), 5)
        assert reflector.items == {}
        for _ in range(5):
            await asyncio.wait_for(asked.acquire(), 5)
        assert reflector.seen == ""
        # somebody installs it
        server.objects = [obj("a", colour="red")]
        server.handler = None
        assert await seen.next() == ("a", Thing(Data("red")))
        server.send("DELETED", obj("a", 4))
        assert await seen.next() == ("a", None)
    assert [r.getMessage().partition(",")[0] for r in caplog.records] == ["no configmaps here"]


async def test_a_kind_that_must_be_there_is_waited_for(server: ScriptedServer, client: KubeClient):
    asked = asyncio.Semaphore(0)

    async def refuse(request: web.Request) -> web.Response:
        asked.release()
        return absent(request)

    server.handler = refuse
    async with following(client, Seen()) as reflector:
        for _ in range(3):
            await asyncio.wait_for(asked.acquire(), 5)
        assert not reflector.synced.is_set()


async def test_objects_of_a_kind_that_is_not_there_any_more_go_when_that_is_sure(
    server: ScriptedServer, client: KubeClient
):
    """Policies must not go because a server that starts does not know them yet."""
    clock = HandClock()
    server.objects = [obj("a", colour="red")]
    seen, asked = Seen(), asyncio.Semaphore(0)

    async def refuse(request: web.Request) -> web.Response:
        asked.release()
        return absent(request)

    async with following(
        client, seen, resource=OPTIONAL, absent_s=0.01, surely_absent_s=20, clock=clock
    ) as reflector:
        assert await seen.next() == ("a", Thing(Data("red")))
        server.handler = refuse
        server.lines.put_nowait(None)
        for _ in range(3):
            await asyncio.wait_for(asked.acquire(), 5)
        assert key("a") in reflector.items
        clock.now += 21
        assert await seen.next() == ("a", None)
        server.handler = None
        assert await seen.next() == ("a", Thing(Data("red")))


class HandClock:
    """Time that moves by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now
