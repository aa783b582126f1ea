"""Lists: selectors, pages, revisions, Tables, metadata only; and discovery."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.local.apiserver.conftest import Api, config_map, pod, service

from netloom.local.apiserver import openapi_protobuf
from netloom.local.apiserver.kinds import ENDPOINT_SLICES, SERVICES

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


async def names(api: Api, path: str) -> list[str]:
    return [item["metadata"]["name"] for item in (await api("GET", path)).ok()["items"]]


async def test_selectors(api: Api) -> None:
    await api.create("pods", pod("a", labels={"app": "web", "tier": "front"}, nodeName="node-1"))
    await api.create("pods", pod("b", labels={"app": "web"}))
    await api.create("pods", pod("c", labels={"app": "db"}))
    for query, expected in (
        ("labelSelector=app=web", ["a", "b"]),
        ("labelSelector=app%20in%20(db,none)", ["c"]),
        ("labelSelector=!tier", ["b", "c"]),
        ("fieldSelector=spec.nodeName=node-1", ["a"]),
        ("fieldSelector=spec.nodeName=", ["b", "c"]),
        ("fieldSelector=metadata.name=b", ["b"]),
        ("fieldSelector=metadata.name=b&labelSelector=app=db", []),
        ("fieldSelector=status.phase!=Pending", []),
    ):
        assert await names(api, f"pods?{query}") == expected, query
    (await api("GET", "pods?labelSelector=(")).refused(400, "BadRequest")
    status = (await api("GET", "pods?fieldSelector=spec.color=red")).refused(400, "BadRequest")
    assert status["message"] == "field label not supported: spec.color"


async def test_pages_show_one_moment(api: Api) -> None:
    for name in "abcde":
        await api.create("configmaps", config_map(name))
    first = (await api("GET", "configmaps?limit=2")).ok()
    assert [i["metadata"]["name"] for i in first["items"]] == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 3
    await api("DELETE", "configmaps/c")
    await api.create("configmaps", config_map("cc"))
    second = (await api("GET", f"configmaps?limit=2&continue={first['metadata']['continue']}")).ok()
    assert [i["metadata"]["name"] for i in second["items"]] == ["c", "d"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    third = (await api("GET", f"configmaps?limit=2&continue={second['metadata']['continue']}")).ok()
    assert [i["metadata"]["name"] for i in third["items"]] == ["e"]
    assert "continue" not in third["metadata"]
    for number in range(250):  # more than the window holds
        await api.patch("configmaps/a", {"data": {"n": str(number)}})
    late = (await api("GET", f"configmaps?limit=2&continue={first['metadata']['continue']}")).refused(
        410, "Expired"
    )
    rest = (await api("GET", f"configmaps?continue={late['metadata']['continue']}")).ok()
    assert [i["metadata"]["name"] for i in rest["items"]] == ["cc", "d", "e"], "the rest, as it is now"
    (await api("GET", "configmaps?continue=nonsense")).refused(400, "BadRequest")


async def test_revisions_of_lists(api: Api) -> None:
    await api.create("configmaps", config_map("a"))
    then = (await api("GET", "configmaps")).ok()["metadata"]["resourceVersion"]
    await api.create("configmaps", config_map("b"))
    assert await names(api, "configmaps?resourceVersion=0") == ["a", "b"]
    assert await names(api, f"configmaps?resourceVersion={then}") == ["a", "b"]
    assert await names(api, f"configmaps?resourceVersion={then}&resourceVersionMatch=Exact") == ["a"]
    future = await api("GET", "configmaps?resourceVersion=999999")
    assert future.refused(504, "Timeout")["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert future.headers["Retry-After"] == "1"
    (await api("GET", "configmaps?resourceVersion=new")).refused(400, "BadRequest")
    assert await names(api, f"configmaps?resourceVersion={then}&limit=5") == ["a"], "a page is of one moment"
    for wrong in (
        "resourceVersionMatch=Exact",
        "resourceVersionMatch=Exact&resourceVersion=0",
        "resourceVersionMatch=Newest&resourceVersion=1",
        "sendInitialEvents=true",
        "watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1",
        "watch=1&sendInitialEvents=true&resourceVersionMatch=Exact",
    ):
        (await api("GET", f"configmaps?{wrong}")).refused(422, "Invalid")
    (await api("GET", "configmaps?limit=-1")).refused(400, "BadRequest")


async def test_tables(api: Api) -> None:
    await api.create("pods", pod("a"))
    api.clock.now += 90
    table = (await api("GET", "pods", Accept=TABLE)).ok()
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    columns = table["columnDefinitions"]
    assert [c["name"] for c in columns][:5] == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert columns[0]["format"] == "name"
    (row,) = table["rows"]
    assert row["cells"][:5] == ["a", "0/1", "Pending", "0", "90s"]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert "spec" not in row["object"]
    whole = (await api("GET", "pods?includeObject=Object", Accept=TABLE)).ok()
    assert whole["rows"][0]["object"]["spec"]["containers"]
    bare = (await api("GET", "pods?includeObject=None", Accept=TABLE)).ok()
    assert set(bare["rows"][0]) == {"cells"}
    single = (await api("GET", "pods/a", Accept=TABLE)).ok()
    assert len(single["rows"]) == 1
    (await api("GET", "pods?includeObject=Some", Accept=TABLE)).refused(400, "BadRequest")


async def test_metadata_only(api: Api) -> None:
    await api.create("configmaps", config_map("a", x="y"))
    partial = (await api("GET", "configmaps", Accept=PARTIAL)).ok()
    assert partial["kind"] == "PartialObjectMetadataList"
    (item,) = partial["items"]
    assert item["kind"] == "PartialObjectMetadata"
    assert set(item) == {"kind", "apiVersion", "metadata"}


async def test_a_large_list_comes_whole(api: Api) -> None:
    for number in range(10_000):
        meta = {"name": f"s-{number:05}", "namespace": "shop", "uid": f"u{number}"}
        api.store.put(SERVICES, service("x") | {"metadata": dict(meta)})
        api.store.put(ENDPOINT_SLICES, {"metadata": dict(meta), "addressType": "IPv4", "endpoints": []})
    reply = await api("GET", "services")
    slices = await api("GET", "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices")
    assert len(reply.ok()["items"]) == len(slices.ok()["items"]) == 10_000


async def test_discovery_as_one_document_and_as_many(api: Api) -> None:
    aggregated = await api("GET", "/apis", Accept=DISCOVERY)
    assert aggregated.headers["Content-Type"].startswith("application/json;g=apidiscovery.k8s.io;v=v2")
    groups = {g["metadata"]["name"]: g for g in aggregated.ok()["items"]}
    (apps,) = groups["apps"]["versions"]
    deployments = next(r for r in apps["resources"] if r["resource"] == "deployments")
    assert deployments["shortNames"] == ["deploy"]
    assert deployments["scope"] == "Namespaced"
    assert [s["subresource"] for s in deployments["subresources"]] == ["scale", "status"]
    again = await api("GET", "/apis", Accept=DISCOVERY, If_None_Match=aggregated.headers["ETag"])
    assert again.code == 304

    old = (await api("GET", "/apis")).ok()
    assert {g["name"] for g in old["groups"]} == set(groups)
    assert (await api("GET", "/api")).ok()["versions"] == ["v1"]
    core = {r["name"]: r for r in (await api("GET", "/api/v1")).ok()["resources"]}
    assert core["pods"]["categories"] == ["all"]
    assert core["pods/eviction"]["group"] == "policy"
    assert core["namespaces"]["namespaced"] is False
    assert (await api("GET", "/apis/apps")).ok()["preferredVersion"]["version"] == "v1"
    (await api("GET", "/apis/none")).refused(404, "NotFound")
    assert "/apis/apps/v1" in (await api("GET", "/")).ok()["paths"]


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/livez/ping"])
async def test_health(api: Api, path: str) -> None:
    reply = await api("GET", path)
    assert (reply.code, reply.text) == (200, "ok")


async def test_version_and_schemas(api: Api) -> None:
    assert (await api("GET", "/version")).ok()["gitVersion"].startswith("v1.34")
    index: dict[str, Any] = (await api("GET", "/openapi/v3")).ok()
    for entry in index["paths"].values():
        assert (await api("GET", entry["serverRelativeURL"])).ok()["openapi"].startswith("3.")
    assert "apis/apps/v1" in index["paths"]
    assert (await api("GET", "/openapi/v2")).ok()["swagger"] == "2.0"
    protobuf = openapi_protobuf.ASKED
    swagger = await api("GET", "/openapi/v2", Accept=protobuf)
    assert (swagger.code, swagger.headers["Content-Type"]) == (200, openapi_protobuf.MEDIA_TYPE)
    (await api("GET", "/openapi/v3/apis/none/v1")).refused(404, "NotFound")
