"""Watches: past and present events, selectors, bookmarks, Tables, and how a stream ends."""

from __future__ import annotations

import asyncio
import gc

import aiohttp
from tests.unit.local.apiserver.conftest import Api, Listener, config_map, deployment, listening, pod, serving

from netloom.local.apiserver.kinds import CONFIG_MAPS
from netloom.local.apiserver.server import ApiServer
from netloom.local.apiserver.watches import Hub, Interest

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"


def told(event):
    return event["type"], event["object"]["metadata"]["name"]


async def revision(api: Api) -> str:
    return (await api("GET", "configmaps")).ok()["metadata"]["resourceVersion"]


async def test_events_come_as_they_happen(api: Api) -> None:
    async with api.watch(f"configmaps?watch=1&resourceVersion={await revision(api)}") as following:
        created = await api.create("configmaps", config_map("a", x="1"))
        assert await following() == {"type": "ADDED", "object": created}
        changed = (await api.patch("configmaps/a", {"data": {"x": "2"}})).ok()
        assert await following() == {"type": "MODIFIED", "object": changed}
        await api("DELETE", "configmaps/a")
        gone = await following()
        assert told(gone) == ("DELETED", "a")
        assert int(gone["object"]["metadata"]["resourceVersion"]) > int(
            changed["metadata"]["resourceVersion"]
        )


async def test_without_a_revision_the_present_comes_first(api: Api) -> None:
    await api.create("configmaps", config_map("a"))
    for query in ("watch=true", "watch=true&resourceVersion=0"):
        async with api.watch(f"configmaps?{query}") as following:
            assert told(await following()) == ("ADDED", "a")
            name = f"b{len(query)}"
            await api.create("configmaps", config_map(name))
            assert told(await following()) == ("ADDED", name)
            await api("DELETE", f"configmaps/{name}")


async def test_a_watch_resumes_where_it_ended(api: Api) -> None:
    first = await api.create("configmaps", config_map("a"))
    await api.create("configmaps", config_map("b"))
    await api("DELETE", "configmaps/a")
    since = first["metadata"]["resourceVersion"]
    async with api.watch(f"configmaps?watch=1&resourceVersion={since}") as following:
        assert told(await following()) == ("ADDED", "b")
        assert told(await following()) == ("DELETED", "a")


async def test_a_revision_that_is_gone_is_told_as_an_event(api: Api) -> None:
    await api.create("configmaps", config_map("a"))
    for number in range(250):  # the window holds 200
        await api.patch("configmaps/a", {"data": {"n": str(number)}})
    async with api.watch("configmaps?watch=1&resourceVersion=1") as following:
        event = await following()
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == (
            "ERROR",
            410,
            "Expired",
        )
        assert await following() is None
    future = await api("GET", "configmaps?watch=1&resourceVersion=999999")
    future.refused(504, "Timeout")


async def test_objects_enter_and_leave_a_selector(api: Api) -> None:
    since = await revision(api)
    async with api.watch(f"pods?watch=1&labelSelector=app=web&resourceVersion={since}") as following:
        await api.create("pods", pod("a", labels={"app": "db"}))
        await api.patch("pods/a", {"metadata": {"labels": {"app": "web"}}})
        assert told(await following()) == ("ADDED", "a")
        left = (await api.patch("pods/a", {"metadata": {"labels": {"app": "none"}}})).ok()
        event = await following()
        assert told(event) == ("DELETED", "a")
        assert event["object"]["metadata"]["labels"] == {"app": "web"}
        assert event["object"]["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
        await api("DELETE", "pods/a")
        await api.create("pods", pod("b", labels={"app": "web"}))
        assert told(await following()) == ("ADDED", "b")


async def test_watching_a_node_sees_pods_come_to_it(api: Api) -> None:
    await api.create("pods", pod("a"))
    since = await revision(api)
    async with api.watch(
        f"/api/v1/pods?watch=1&fieldSelector=spec.nodeName=node-1&resourceVersion={since}"
    ) as following:
        await api("POST", "pods/a/binding", {"target": {"name": "node-1"}})
        assert told(await following()) == ("ADDED", "a")


async def test_bookmarks_only_for_those_who_allow_them(api: Api) -> None:
    since = await revision(api)
    query = f"watch=1&resourceVersion={since}"
    async with api.watch(f"configmaps?{query}&allowWatchBookmarks=true") as following:
        await api.create(
            "/apis/apps/v1/namespaces/shop/deployments", deployment("web")
        )  # of no concern, yet time passes
        latest = await revision(api)
        while (event := await following())["object"]["metadata"]["resourceVersion"] != latest:
            assert event["type"] == "BOOKMARK"
        assert event["object"]["kind"] == "ConfigMap"
    async with api.watch(f"configmaps?{query}&timeoutSeconds=1") as following:
        assert await following() is None


async def test_streaming_lists_say_when_they_are_complete(api: Api) -> None:
    for name in ("a", "b"):
        await api.create("configmaps", config_map(name))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with api.watch(f"configmaps?{query}") as following:
        assert told(await following()) == ("ADDED", "a")
        assert told(await following()) == ("ADDED", "b")
        bookmark = await following()
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    (await api("GET", "configmaps?watch=1&sendInitialEvents=true")).refused(422, "Invalid")


async def test_tables_name_their_columns_once(api: Api) -> None:
    await api.create("pods", pod("a"))
    async with api.watch("pods?watch=1", Accept=TABLE) as following:
        first = (await following())["object"]
        assert first["kind"] == "Table"
        assert first["columnDefinitions"][0]["name"] == "Name"
        await api.create("pods", pod("b"))
        second = (await following())["object"]
        assert second["columnDefinitions"] == []
        assert second["rows"][0]["cells"][0] == "b"
        assert second["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    async with api.watch("pods?watch=1", Accept=PARTIAL) as following:
        assert set((await following())["object"]) == {"kind", "apiVersion", "metadata"}


async def test_a_client_that_leaves_is_forgotten(api: Api) -> None:
    hub = api.server._hub
    left = asyncio.Event()
    forget = hub.unsubscribe

    def unsubscribe(subscription):
        forget(subscription)
        left.set()

    hub.unsubscribe = unsubscribe
    async with api.watch("configmaps?watch=1"):
        assert hub.counts() == {"configmaps": 1}
    async with asyncio.timeout(5):
        await left.wait()
    assert hub.counts() == {}


async def test_one_who_lags_is_ended_after_what_it_has(api: Api) -> None:
    hub = Hub(api.store, queue_limit=3)
    slow = hub.subscribe(Interest(CONFIG_MAPS), api.store.revision)
    for name in "abcd":
        await api.create("configmaps", config_map(name))
    assert slow.ended
    assert slow.lagged
    assert [event.record.name for _, event in slow.take()] == ["a", "b", "c"]
    await slow.wait()


async def test_lines_are_encoded_once_for_all(api: Api) -> None:
    hub = Hub(api.store)
    one, two = (hub.subscribe(Interest(CONFIG_MAPS), api.store.revision) for _ in range(2))
    await api.create("configmaps", config_map("a"))
    ((type_, event),), ((_, same),) = one.take(), two.take()
    assert event.line(type_) is same.line(type_)


async def test_stopping_ends_every_watch(short_dir, store, clock) -> None:
    server = ApiServer(store=store, clock=clock, service_cidrs=[], runner_socket=lambda _: None)
    connector = aiohttp.UnixConnector(str(short_dir / "s"))
    async with aiohttp.ClientSession(connector=connector) as session:
        async with serving(server, [Listener(listening(short_dir / "s"))]):
            response = await session.get(
                f"http://api/api/v1/namespaces?watch=1&resourceVersion={store.revision}"
            )
            assert response.status == 200
        assert await response.content.read() == b""
        response.close()
    gc.collect()
