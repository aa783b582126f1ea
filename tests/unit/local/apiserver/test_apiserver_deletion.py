"""Deletion: grace, finalizers, preconditions; and what goes with an owner, or stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.local.apiserver.conftest import Api, config_map, deployment, pod, service

from netloom.errors import StorageError
from netloom.local.apiserver.kinds import SERVICES
from netloom.local.apiserver.queries import DeleteOptions

DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"


def owned(document: dict[str, Any], *owners: dict[str, Any], blocks: bool = False) -> dict[str, Any]:
    document["metadata"]["ownerReferences"] = [
        {
            "apiVersion": o["apiVersion"],
            "kind": o["kind"],
            "name": o["metadata"]["name"],
            "uid": o["metadata"]["uid"],
            "blockOwnerDeletion": blocks,
        }
        for o in owners
    ]
    return document


async def is_there(api: Api, path: str) -> bool:
    return (await api("GET", path)).code == 200


async def test_what_is_deleted_at_once_answers_with_a_status(api: Api) -> None:
    made = await api.create("configmaps", config_map("a"))
    answer = (await api("DELETE", "configmaps/a")).ok()
    assert answer["status"] == "Success"
    assert answer["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    (await api("DELETE", "configmaps/a")).refused(404, "NotFound")


async def test_a_pod_on_a_node_is_given_time(api: Api) -> None:
    await api.create("pods", pod("a", nodeName="node-1"))
    going = (await api("DELETE", "pods/a")).ok()
    assert going["metadata"]["deletionGracePeriodSeconds"] == 30
    assert going["metadata"]["deletionTimestamp"] == "2026-01-01T12:00:30Z"
    api.clock.now += 3
    again = (await api("DELETE", "pods/a")).ok()
    assert again["metadata"]["deletionTimestamp"] == "2026-01-01T12:00:30Z"
    sooner = (await api("DELETE", "pods/a?gracePeriodSeconds=5")).ok()
    assert sooner["metadata"]["deletionTimestamp"] == "2026-01-01T12:00:08Z"
    assert (await api("DELETE", "pods/a", {"gracePeriodSeconds": 60})).ok() == sooner
    await api("DELETE", "pods/a", {"gracePeriodSeconds": 0})
    assert not await is_there(api, "pods/a")


async def test_a_pod_that_runs_nowhere_goes_at_once(api: Api) -> None:
    await api.create("pods", pod("new"))
    await api.create("pods", pod("done", nodeName="node-1", terminationGracePeriodSeconds=9))
    await api.patch("pods/done/status", {"status": {"phase": "Succeeded"}})
    for name in ("new", "done"):
        assert (await api("DELETE", f"pods/{name}")).ok()["metadata"]["name"] == name
        assert not await is_there(api, f"pods/{name}")


async def test_eviction_is_a_deletion(api: Api) -> None:
    await api.create("pods", pod("a", nodeName="node-1"))
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "deleteOptions": {"gracePeriodSeconds": 7}}
    assert (await api("POST", "pods/a/eviction", body)).code == 201
    assert (await api("GET", "pods/a")).ok()["metadata"]["deletionGracePeriodSeconds"] == 7


async def test_finalizers_hold_an_object_until_the_last_goes(api: Api) -> None:
    body = config_map("a")
    body["metadata"]["finalizers"] = ["example.org/one", "example.org/two"]
    await api.create("configmaps", body)
    going = (await api("DELETE", "configmaps/a")).ok()
    assert going["metadata"]["deletionTimestamp"] == "2026-01-01T12:00:00Z"
    more = {"metadata": {"finalizers": ["example.org/one", "example.org/three"]}}
    status = (await api.patch("configmaps/a", more)).refused(422, "Invalid")
    assert status["details"]["causes"][0]["field"] == "metadata.finalizers"
    (await api.patch("configmaps/a", {"metadata": {"finalizers": ["example.org/two"]}})).ok()
    assert await is_there(api, "configmaps/a")
    (await api.patch("configmaps/a", {"metadata": {"finalizers": None}})).ok()
    assert not await is_there(api, "configmaps/a")


async def test_preconditions(api: Api) -> None:
    made = await api.create("configmaps", config_map("a"))
    for wrong in ({"uid": "another"}, {"resourceVersion": "1"}):
        status = (await api("DELETE", "configmaps/a", {"preconditions": wrong})).refused(409, "Conflict")
        assert "Precondition failed" in status["message"]
    right = {
        "uid": made["metadata"]["uid"],
        "resourceVersion": made["metadata"]["resourceVersion"],
    }
    (await api("DELETE", "configmaps/a", {"preconditions": right})).ok()


async def test_collections_are_deleted_by_selector(api: Api) -> None:
    for name in ("a", "b"):
        await api.create("pods", pod(name, labels={"app": "web"}))
    await api.create("pods", pod("c"))
    gone = (await api("DELETE", "pods?labelSelector=app=web")).ok()
    assert [i["metadata"]["name"] for i in gone["items"]] == ["a", "b"]
    assert [i["metadata"]["name"] for i in (await api("GET", "pods")).ok()["items"]] == ["c"]


async def test_dependents_go_with_their_last_owner(api: Api) -> None:
    one = await api.create(DEPLOYMENTS, deployment("one"))
    two = await api.create("services", service("two"))
    await api.create("configmaps", owned(config_map("of-both"), one, two))
    of_one = await api.create("configmaps", owned(config_map("of-one"), one))
    await api.create("configmaps", owned(config_map("below"), of_one))
    await api("DELETE", f"{DEPLOYMENTS}/one")
    await gone(api, "configmaps/of-one", "configmaps/below")
    left = (await api("GET", "configmaps/of-both")).ok()
    assert [o["name"] for o in left["metadata"]["ownerReferences"]] == ["two"]
    await api("DELETE", "services/two")
    await gone(api, "configmaps/of-both")


async def test_an_object_whose_owner_is_gone_already_is_collected(api: Api) -> None:
    owner = await api.create("services", service("cart"))
    await api("DELETE", "services/cart")
    await api.create("services", service("cart"))  # of the same name, yet not the same
    await api.create("configmaps", owned(config_map("late"), owner))
    await gone(api, "configmaps/late")


async def test_an_owner_in_another_namespace_is_none(api: Api) -> None:
    elsewhere = await api.create("/api/v1/namespaces/default/configmaps", config_map("owner"))
    await api.create("configmaps", owned(config_map("a"), elsewhere))
    await gone(api, "configmaps/a")
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}
    owner = await api.create("/api/v1/nodes", node)
    await api.create("configmaps", owned(config_map("b"), owner))
    await api("DELETE", "/api/v1/nodes/node-1")
    await gone(api, "configmaps/b")


async def test_foreground_waits_for_those_who_block(api: Api) -> None:
    owner = await api.create(DEPLOYMENTS, deployment("web"))
    held = owned(config_map("held"), owner, blocks=True)
    held["metadata"]["finalizers"] = ["example.org/wait"]
    await api.create("configmaps", held)
    await api.create("configmaps", owned(config_map("free"), owner))
    await api("DELETE", f"{DEPLOYMENTS}/web?propagationPolicy=Foreground")
    await gone(api, "configmaps/free")
    going = (await api("GET", f"{DEPLOYMENTS}/web")).ok()
    assert going["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert "deletionTimestamp" in (await api("GET", "configmaps/held")).ok()["metadata"]
    (await api.patch("configmaps/held", {"metadata": {"finalizers": None}})).ok()
    await gone(api, "configmaps/held", f"{DEPLOYMENTS}/web")


async def test_orphans_stay(api: Api) -> None:
    owner = await api.create(DEPLOYMENTS, deployment("web"))
    await api.create("configmaps", owned(config_map("a"), owner))
    await api("DELETE", f"{DEPLOYMENTS}/web", {"propagationPolicy": "Orphan"})
    await gone(api, f"{DEPLOYMENTS}/web")
    assert "ownerReferences" not in (await api("GET", "configmaps/a")).ok()["metadata"]
    (await api("DELETE", "configmaps/a", {"propagationPolicy": "Sometimes"})).refused(422, "Invalid")


async def test_a_full_disk_leaves_the_work_to_be_done_later(api: Api) -> None:
    owner = await api.create("services", service("cart"))
    await api.create("configmaps", owned(config_map("a"), owner))
    collector = api.server._collector
    live = api.store.get(SERVICES, "shop", "cart")
    assert live is not None
    api.server._rest._deletions.delete(live, DeleteOptions())
    api.store._db.execute("PRAGMA query_only = 1")
    with pytest.raises(StorageError, match="writable"):
        collector.turn()
    api.store._db.execute("PRAGMA query_only = 0")
    collector.turn()
    assert not await is_there(api, "configmaps/a")


async def test_events_go_after_an_hour(api: Api) -> None:
    def event(name: str, last: str) -> dict[str, Any]:
        about = {"kind": "Pod", "namespace": "shop", "name": "a"}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name},
            "involvedObject": about,
            "lastTimestamp": last,
        }

    await api.create("events", event("old", "2026-01-01T11:30:00Z"))
    await api.create("events", event("new", "2026-01-01T12:00:00Z"))
    assert len((await api("GET", "events?fieldSelector=involvedObject.name=a")).ok()["items"]) == 2
    api.clock.now += 1900
    api.server._collector.expire_events()
    assert not await is_there(api, "events/old")
    assert await is_there(api, "events/new")


async def gone(api: Api, *paths: str) -> None:
    """Until the collector has removed all of these."""
    async with asyncio.timeout(5):
        for path in paths:
            while await is_there(api, path):
                continue  # asking lets the collector run: it lives in this loop
