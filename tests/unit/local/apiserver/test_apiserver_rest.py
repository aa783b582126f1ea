"""The REST API over HTTP: create, read, update, patch, apply, delete; and what it answers when it refuses."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.local.apiserver.conftest import Api, config_map, deployment, namespace, pod, service

APPS = "/apis/apps/v1/namespaces/shop/deployments"


async def test_an_object_comes_back_whole(api: Api) -> None:
    sent = pod(
        "a", labels={"app": "a"}, priorityClassName="system-node-critical", terminationGracePeriodSeconds=5
    )
    sent["metadata"]["annotations"] = {"example.org/any": '{"thing": [1, 2]}'}
    sent["spec"]["containers"][0]["lifecycle"] = {"preStop": {"exec": {"command": ["sh", "-c", "true"]}}}
    created = await api.create("pods", sent)
    assert created["metadata"]["uid"]
    assert created["metadata"]["creationTimestamp"] == "2026-01-01T12:00:00Z"
    assert created["metadata"]["generation"] == 1
    assert created["metadata"]["namespace"] == "shop"
    assert created["status"]["phase"] == "Pending"
    found = (await api("GET", "pods/a")).ok()
    assert found == created
    assert found["metadata"]["annotations"] == sent["metadata"]["annotations"]
    for field, value in sent["spec"]["containers"][0].items():
        assert found["spec"]["containers"][0][field] == value
    assert found["spec"]["priority"] == 2_000_001_000
    assert found["spec"]["serviceAccountName"] == "default"


async def test_the_code_of_a_creation_is_201_and_the_second_is_refused(api: Api) -> None:
    assert (await api("POST", "configmaps", config_map("a"))).code == 201
    status = (await api("POST", "configmaps", config_map("a"))).refused(409, "AlreadyExists")
    assert status["message"] == 'configmaps "a" already exists'
    assert status["details"] == {"name": "a", "kind": "configmaps"}
    other = (await api("GET", f"{APPS}/none")).refused(404, "NotFound")
    assert other["message"] == 'deployments.apps "none" not found'
    assert other["details"] == {"name": "none", "group": "apps", "kind": "deployments"}


async def test_names_are_generated(api: Api) -> None:
    body = config_map("")
    body["metadata"] = {"generateName": "cart-"}
    names = {(await api.create("configmaps", body))["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("cart-") and len(name) == 10 for name in names)
    body["metadata"] = {}
    status = (await api("POST", "configmaps", body)).refused(422, "Invalid")
    assert status["details"]["causes"][0]["field"] == "metadata.name"


async def test_a_namespace_must_be_there_and_stay(api: Api) -> None:
    path = "/api/v1/namespaces/{}/configmaps"
    status = (await api("POST", path.format("nowhere"), config_map("a"))).refused(404, "NotFound")
    assert status["message"] == 'namespaces "nowhere" not found'
    assert (await api("DELETE", "/api/v1/namespaces/shop")).ok()["status"]["phase"] == "Terminating"
    status = (await api("POST", path.format("shop"), config_map("a"))).refused(403, "Forbidden")
    assert "because it is being terminated" in status["message"]
    assert status["details"]["causes"][0]["reason"] == "NamespaceTerminating"


async def test_a_namespace_goes_when_its_finalizer_goes(api: Api) -> None:
    live = (await api("DELETE", "/api/v1/namespaces/shop")).ok()
    assert live["spec"]["finalizers"] == ["kubernetes"]
    assert live["metadata"]["labels"]["kubernetes.io/metadata.name"] == "shop"
    live["spec"]["finalizers"] = []
    assert (await api("PUT", "/api/v1/namespaces/shop", live)).ok()["spec"]["finalizers"] == ["kubernetes"]
    live["metadata"].pop("resourceVersion")
    (await api("PUT", "/api/v1/namespaces/shop/finalize", live)).ok()
    (await api("GET", "/api/v1/namespaces/shop")).refused(404, "NotFound")
    (await api("DELETE", "/api/v1/namespaces/default")).refused(403, "Forbidden")


async def test_optimistic_concurrency(api: Api) -> None:
    first = await api.create("configmaps", config_map("a", x="1"))
    second = (await api("PUT", "configmaps/a", first | {"data": {"x": "2"}})).ok()
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    status = (await api("PUT", "configmaps/a", first | {"data": {"x": "3"}})).refused(409, "Conflict")
    assert status["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert (await api("GET", "configmaps/a")).ok()["data"] == {"x": "2"}
    unconditional = config_map("a", x="4")
    assert (await api("PUT", "configmaps/a", unconditional)).ok()["data"] == {"x": "4"}
    other = first | {"metadata": {"name": "a", "uid": "another"}}
    assert (
        "UID in precondition" in (await api("PUT", "configmaps/a", other)).refused(409, "Conflict")["message"]
    )
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"x": "5"}}
    (await api.patch("configmaps/a", stale)).refused(409, "Conflict")


async def test_identity_does_not_change(api: Api) -> None:
    made = await api.create("configmaps", config_map("a"))
    born_earlier = made | {"metadata": made["metadata"] | {"creationTimestamp": "2025-01-01T00:00:00Z"}}
    status = (await api("PUT", "configmaps/a", born_earlier)).refused(422, "Invalid")
    assert status["details"]["causes"][0]["field"] == "metadata.creationTimestamp"
    going = made | {
        "metadata": made["metadata"] | {"deletionTimestamp": "2025-01-01T00:00:00Z", "generation": 7}
    }
    assert (await api("PUT", "configmaps/a", going)).ok() == made
    status = (await api("POST", "configmaps", config_map("Bad_Name"))).refused(422, "Invalid")
    assert status["details"]["causes"][0]["field"] == "metadata.name"


async def test_documents_nested_too_deeply(api: Api) -> None:
    deep: dict[str, Any] = {}
    for _ in range(600):
        deep = {"a": deep}
    for body in (config_map("a") | {"unheard": deep}, config_map("a") | {"metadata": deep}):
        (await api("POST", "configmaps", body)).refused(400, "BadRequest")
    await api.create("configmaps", config_map("a"))
    (await api.patch("configmaps/a", {"unheard": deep})).refused(400, "BadRequest")


async def test_writing_the_same_again_is_no_change(api: Api) -> None:
    created = await api.create(APPS, deployment("web"))
    for _ in range(2):
        again = (await api("PUT", f"{APPS}/web", created)).ok()
        assert again == created
    api.clock.now += 100
    assert (await api.patch(f"{APPS}/web", {"spec": {"replicas": 1}})).ok() == created


async def test_status_and_spec_are_written_apart(api: Api) -> None:
    created = await api.create(APPS, deployment("web") | {"status": {"replicas": 9}})
    assert created["status"] == {}
    changed = json.loads(json.dumps(created))
    changed["spec"]["replicas"] = 4
    changed["status"] = {"replicas": 9}
    after = (await api("PUT", f"{APPS}/web", changed)).ok()
    assert (after["spec"]["replicas"], after["status"], after["metadata"]["generation"]) == (4, {}, 2)
    after["spec"]["replicas"] = 7
    after["status"] = {"replicas": 4, "observedGeneration": 2}
    reported = (await api("PUT", f"{APPS}/web/status", after)).ok()
    assert (reported["spec"]["replicas"], reported["status"]["replicas"]) == (4, 4)
    assert reported["metadata"]["generation"] == 2
    patched = (
        await api.patch(f"{APPS}/web/status", {"spec": {"replicas": 8}, "status": {"replicas": 3}})
    ).ok()
    assert (patched["spec"]["replicas"], patched["status"]["replicas"]) == (4, 3)


async def test_kinds_of_patches(api: Api) -> None:
    await api.create(APPS, deployment("web"))
    merged = (
        await api.patch(f"{APPS}/web", {"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 3}})
    ).ok()
    assert (merged["metadata"]["labels"], merged["spec"]["replicas"]) == ({"a": "b"}, 3)
    ops = [
        {"op": "test", "path": "/spec/replicas", "value": 3},
        {"op": "replace", "path": "/spec/replicas", "value": 2},
    ]
    assert (await api.patch(f"{APPS}/web", ops, "json-patch+json")).ok()["spec"]["replicas"] == 2
    (await api.patch(f"{APPS}/web", ops, "json-patch+json")).refused(422, "Invalid")
    more = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "example.org/side"}]}}}}
    both = (await api.patch(f"{APPS}/web", more, "strategic-merge-patch+json")).ok()
    assert {c["name"] for c in both["spec"]["template"]["spec"]["containers"]} == {"main", "side"}
    (await api.patch(f"{APPS}/web", {}, "vnd.example+json")).refused(415, "UnsupportedMediaType")
    (await api.patch(f"{APPS}/none", {})).refused(404, "NotFound")
    (await api.patch(f"{APPS}/web", {"metadata": {"name": "other"}})).refused(400, "BadRequest")
    (await api.patch(f"{APPS}/web", {"kind": "Pod"})).refused(400, "BadRequest")


async def test_server_side_apply_creates_owns_and_conflicts(api: Api) -> None:
    path = f"{APPS}/web?fieldManager={{}}"
    applied = deployment("web", 2)
    first = await api.patch(path.format("one"), applied, "apply-patch+yaml")
    assert first.code == 201
    assert (await api.patch(path.format("one"), applied, "apply-patch+yaml")).ok() == first.json
    status = (await api.patch(path.format("two"), deployment("web", 5), "apply-patch+yaml")).refused(
        409, "Conflict"
    )
    assert status["details"]["causes"][0] == {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "one"',
        "field": ".spec.replicas",
    }
    forced = await api.patch(path.format("two") + "&force=true", deployment("web", 5), "apply-patch+yaml")
    assert forced.ok()["spec"]["replicas"] == 5
    managers = {entry["manager"] for entry in forced.json["metadata"]["managedFields"]}
    assert managers == {"one", "two"}
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: dates}\ndata: {day: '2026-01-01'}\n"
    yaml = await api(
        "PATCH", "configmaps/dates?fieldManager=one", text, Content_Type="application/apply-patch+yaml"
    )
    assert yaml.ok()["data"] == {"day": "2026-01-01"}
    (await api.patch(f"{APPS}/web", applied, "apply-patch+yaml")).refused(422, "Invalid")


async def test_the_path_says_what_a_body_is_that_does_not_say_it(api: Api) -> None:
    made = (await api("POST", "configmaps", {"metadata": {"name": "a"}, "data": {"x": "1"}})).ok()
    assert (made["apiVersion"], made["kind"], made["data"]) == ("v1", "ConfigMap", {"x": "1"})
    assert (await api("GET", "configmaps/a")).ok() == made
    (await api("POST", "configmaps", {})).refused(422, "Invalid")


async def test_dry_runs_change_nothing(api: Api) -> None:
    before = api.store.revision
    assert (await api("POST", "services?dryRun=All", service("cart"))).ok()["spec"]["clusterIP"]
    (await api("GET", "services/cart")).refused(404, "NotFound")
    assert api.store.revision == before
    kept = await api.create("services", service("cart"))
    assert (await api.patch("services/cart?dryRun=All", {"metadata": {"labels": {"a": "b"}}})).ok()[
        "metadata"
    ]["labels"]
    (await api("DELETE", "services/cart?dryRun=All")).ok()
    assert (await api("GET", "services/cart")).ok() == kept
    (await api("POST", "services?dryRun=Some", service("b"))).refused(422, "Invalid")


async def test_unknown_fields_by_field_validation(api: Api) -> None:
    odd = config_map("a", x="1") | {"dota": {"x": "2"}}
    status = (await api("POST", "configmaps?fieldValidation=Strict", odd)).refused(400, "BadRequest")
    assert 'strict decoding error: unknown field "dota"' in status["message"]
    quiet = await api("POST", "configmaps?fieldValidation=Ignore&dryRun=All", odd)
    assert "Warning" not in quiet.headers
    warned = await api("POST", "configmaps", odd)
    assert warned.headers["Warning"] == '299 - "unknown field \\"dota\\""'
    assert warned.code == 201


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("configmaps", b"{", "cannot be read"),
        ("configmaps", b"[]", "must be an object"),
        (
            "configmaps",
            b'{"kind": "ConfigMap", "apiVersion": "v2"}',
            "does not match the expected API version",
        ),
        ("configmaps", b'{"kind": "Pod", "apiVersion": "v1"}', "cannot be handled as a ConfigMap"),
        ("configmaps", b'{"kind": "ConfigMap", "apiVersion": "v1", "metadata": 1}', "metadata"),
        (
            "configmaps",
            b'{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"labels": {"a": 1}}}',
            "labels",
        ),
        ("configmaps", b'{"a": ' * 3000, "cannot be read"),
        ("configmaps", json.dumps(config_map("a") | {"data": {"x": 1}}).encode(), "data"),
        (
            "configmaps",
            json.dumps(config_map("a") | {"metadata": {"name": "a", "namespace": "other"}}).encode(),
            "namespace",
        ),
    ],
)
async def test_bodies_that_cannot_be_understood(api: Api, path: str, body: bytes, told: str) -> None:
    assert told in (await api("POST", path, body)).refused(400, "BadRequest")["message"]


async def test_bodies_in_other_formats(api: Api) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: 'y'\n"
    assert (await api("POST", "configmaps", text, Content_Type="application/yaml")).ok()["data"] == {"x": "y"}
    other = await api("POST", "configmaps", b"<configmap/>", Content_Type="application/xml")
    other.refused(415, "UnsupportedMediaType")
    names = b"\x0a\x02v1\x12\x09ConfigMap"
    message = b"\x0a\x06\x0a\x04wire" + b"\x12\x06\x0a\x01x\x12\x01y"
    packed = b"k8s\0" + b"\x0a" + bytes([len(names)]) + names + b"\x12" + bytes([len(message)]) + message
    media = "application/vnd.kubernetes.protobuf"
    made = await api("POST", "configmaps", packed, Content_Type=media, Accept=f"{media},application/json")
    assert (made.ok()["metadata"]["name"], made.json["data"]) == ("wire", {"x": "y"})
    (await api("POST", "configmaps", b"k8s\0", Content_Type=media)).refused(400, "BadRequest")
    (await api("GET", "configmaps", Accept="application/vnd.kubernetes.protobuf")).refused(
        406, "NotAcceptable"
    )


async def test_a_body_that_is_too_large(api: Api) -> None:
    large = config_map("a", text="x" * (3 << 20))
    assert (
        (await api("POST", "configmaps", large))
        .refused(413, "RequestEntityTooLarge")["message"]
        .startswith("Request entity too large: limit is 3145728")
    )
    chunked = api.session.post(
        api.url("configmaps"), data=_pieces(), headers={"Content-Type": "application/json"}
    )
    async with chunked as response:
        assert response.status == 413
    assert (await api("POST", "configmaps", config_map("a", text="x" * (1 << 20)))).code == 201


async def _pieces() -> AsyncIterator[bytes]:
    for _ in range(64):
        yield b"x" * (64 << 10)


async def test_invalid_objects_name_their_fields(api: Api) -> None:
    wrong = service("cart", ports=[{"port": 70000, "targetPort": 80}])
    status = (await api("POST", "services", wrong)).refused(422, "Invalid")
    assert status["message"].startswith('Service "cart" is invalid: spec.ports[0].port: Invalid value: 70000')
    assert status["details"]["causes"][0]["field"] == "spec.ports[0].port"
    taken = (await api("POST", "services", service("cart", clusterIP="10.1.1.1"))).refused(422, "Invalid")
    assert taken["details"]["causes"][0]["field"] == "spec.clusterIPs"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/things", 404), ("GET", "/apis/none/v1/things", 404), ("GET", "/api/v2", 404),
        ("GET", "pods/a/unheard", 404), ("GET", "/api/v1/pods/a", 404), ("POST", "pods/a", 405),
        ("PUT", "pods", 405), ("POST", "/api/v1/pods", 405), ("GET", "pods/a/binding", 405), ("GET", "/nothing", 404),
        ("GET", "/api/v1/namespaces/shop/nodes", 404), ("DELETE", "pods/a/status", 405),
    ],
)  # fmt: skip
async def test_paths_and_verbs_that_there_are_not(api: Api, method: str, path: str, code: int) -> None:
    reply = await api(method, path)
    assert (reply.code, reply.json["kind"]) == (code, "Status")


async def test_a_full_disk_is_told_and_leaves_nothing(api: Api) -> None:
    database: sqlite3.Connection = api.store._db
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages}")
    large = config_map("a", text="x" * 200_000)
    status = (await api("POST", "configmaps", large)).refused(507, "InsufficientStorage")
    assert "free some space" in status["message"]
    (await api("GET", "configmaps/a")).refused(404, "NotFound")
    database.execute("PRAGMA max_page_count = 100000")
    assert (await api("POST", "configmaps", large)).code == 201


async def test_secrets_take_clear_text_once(api: Api) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringData": {"x": "clear"}}
    created = await api.create("secrets", secret)
    assert created["data"] == {"x": "Y2xlYXI="}
    assert "stringData" not in created
    assert (await api.patch("secrets/a", {"stringData": {"y": "z"}})).ok()["data"] == {
        "x": "Y2xlYXI=",
        "y": "eg==",
    }


async def test_services_are_completed(api: Api) -> None:
    created = await api.create("services", service("cart", type="NodePort"))
    spec = created["spec"]
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert 30000 <= spec["ports"][0]["nodePort"] <= 32767
    assert created["status"] == {"loadBalancer": {}}
    plain = (await api.patch("services/cart", {"spec": {"type": "ClusterIP"}})).ok()["spec"]
    assert "nodePort" not in plain["ports"][0]
    headless = await api.create("services", service("peers", clusterIP="None"))
    assert headless["spec"]["clusterIPs"] == ["None"]


async def test_scale(api: Api) -> None:
    await api.create(APPS, deployment("web", 2))
    scale = (await api("GET", f"{APPS}/web/scale")).ok()
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale", {"replicas": 2}, {"replicas": 0, "selector": "app=web"},
    )  # fmt: skip
    assert (await api.patch(f"{APPS}/web/scale", {"spec": {"replicas": 5}})).ok()["spec"] == {"replicas": 5}
    assert (await api("GET", f"{APPS}/web")).ok()["metadata"]["generation"] == 2
    (await api("PUT", f"{APPS}/web/scale", scale | {"spec": {"replicas": 1}})).refused(409, "Conflict")
    (await api.patch(f"{APPS}/web/scale", {"spec": {"replicas": -1}})).refused(422, "Invalid")


async def test_binding_gives_a_pod_its_node_once(api: Api) -> None:
    await api.create("pods", pod("a"))
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "a"},
        "target": {"kind": "Node", "name": "node-1"},
    }
    assert (await api("POST", "pods/a/binding", binding)).code == 201
    bound = (await api("GET", "pods/a")).ok()
    assert bound["spec"]["nodeName"] == "node-1"
    assert bound["status"]["conditions"][0]["type"] == "PodScheduled"
    again = (await api("POST", "bindings", binding)).refused(409, "Conflict")
    assert 'already assigned to node "node-1"' in again["message"]
    await api.create("pods", pod("b"))
    (await api("POST", "pods/b/binding", binding | {"target": {}})).refused(400, "BadRequest")


async def test_reviews_of_oneself(api: Api) -> None:
    who = await api("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert "system:masters" in who.json["status"]["userInfo"]["groups"]
    asked = {"spec": {"resourceAttributes": {"verb": "delete", "resource": "nodes"}}}
    may = await api("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", asked)
    assert may.json["status"]["allowed"] is True
    asked = {"spec": {"namespace": "shop"}}
    rules = await api("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", asked)
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    assert everything in rules.json["status"]["resourceRules"]
    assert rules.json["status"]["incomplete"] is False


async def test_what_is_not_there_is_told_with_details(api: Api) -> None:
    # kubectl follows the pointer to the details of a 404 without looking
    told = (await api("GET", "pods/a/resize")).refused(404, "NotFound")
    assert told["details"] == {}


async def test_namespaced_kinds_are_listed_across_namespaces(api: Api) -> None:
    await api.create("/api/v1/namespaces", namespace("other"))
    await api.create("configmaps", config_map("a"))
    await api.create("/api/v1/namespaces/other/configmaps", config_map("b"))
    everything = (await api("GET", "/api/v1/configmaps")).ok()
    assert [(i["metadata"]["namespace"], i["metadata"]["name"]) for i in everything["items"]] == [
        ("other", "b"),
        ("shop", "a"),
    ]
    assert everything["kind"] == "ConfigMapList"


async def test_what_only_a_node_port_has_goes_with_the_type(api: Api) -> None:
    created = await api.create("services", service("web", type="NodePort"))
    assert created["spec"]["externalTrafficPolicy"] == "Cluster"
    patched = (await api.patch("services/web", {"spec": {"type": "ClusterIP"}})).ok()
    assert "externalTrafficPolicy" not in patched["spec"]
    assert "nodePort" not in patched["spec"]["ports"][0]
