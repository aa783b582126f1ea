"""CustomResourceDefinitions over HTTP: a kind is defined, served, changed, and goes with all its objects."""

from __future__ import annotations

import json

import aiohttp
import pytest
from tests.unit.local.apiserver.conftest import SERVICE_CIDR, Api, listening, serving

from netloom.local.apiserver import kinds
from netloom.local.apiserver.server import ApiServer, Listener
from netloom.local.apiserver.store import Store

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TABS = "/apis/stable.example.com/v1/namespaces/shop/crontabs"
SCHEMA = {
    "type": "object",
    "description": "A job with a time.",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["cron"],
            "properties": {
                "cron": {"type": "string", "pattern": r"^(\S+ ){4}\S+$", "description": "When."},
                "image": {"type": "string", "default": "example.org/cron"},
                "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string"},
                            "port": {"x-kubernetes-int-or-string": True},
                            "protocol": {"type": "string", "default": "TCP", "enum": ["TCP", "UDP"]},
                        },
                    },
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "note": {"type": "string", "nullable": True},
            },
        },
        "status": {
            "type": "object",
            "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}},
        },
    },
}


def definition(
    plural="crontabs", kind="CronTab", *, group="stable.example.com", scope="Namespaced", **version
):
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": SCHEMA},
        **version,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "kind": kind, "shortNames": ["ct"] if kind == "CronTab" else []},
            "versions": [version],
        },
    }


def tab(name="daily", **spec):
    return {
        "apiVersion": "stable.example.com/v1",
        "kind": "CronTab",
        "metadata": {"name": name},
        "spec": {"cron": "0 0 * * *", **spec},
    }


async def define(api, body):
    made = await api.create(DEFINITIONS, body)
    return await established(api, made["metadata"]["name"])


async def established(api, name, type_="Established", wanted="True"):
    def said(reply):
        conditions = reply.ok()["status"]["conditions"]
        return any((one["type"], one["status"]) == (type_, wanted) for one in conditions)

    return (await until(api, f"{DEFINITIONS}/{name}", said)).json


async def until(api, path, holds):
    """The answer to a GET, as soon as it is as wanted; the server acts between two requests."""
    for _ in range(1000):
        if holds(reply := await api("GET", path)):
            return reply
    raise AssertionError(reply.text)


def is_gone(reply):
    return reply.code == 404


@pytest.fixture
async def tabs(api):
    """A server with CronTabs."""
    await define(api, definition(subresources={"status": {}}))
    return api


async def test_a_definition_says_that_it_is_served(api):
    made = await define(api, definition())
    assert made["spec"]["names"]["listKind"] == "CronTabList"
    assert made["spec"]["names"]["singular"] == "crontab"
    assert made["spec"]["conversion"] == {"strategy": "None"}
    assert made["status"]["storedVersions"] == ["v1"]
    assert made["status"]["acceptedNames"] == made["spec"]["names"]
    said = {c["type"]: (c["status"], c["reason"]) for c in made["status"]["conditions"]}
    assert said == {
        "NamesAccepted": ("True", "NoConflicts"),
        "Established": ("True", "InitialNamesAccepted"),
    }


async def test_objects_are_made_with_defaults_and_without_what_is_unknown(tabs):
    made = await tabs.create(TABS, tab(colour="red", ports=[{"name": "a", "port": "http", "x": 1}]))
    assert made["spec"] == {
        "cron": "0 0 * * *",
        "image": "example.org/cron",
        "replicas": 1,
        "ports": [{"name": "a", "port": "http", "protocol": "TCP"}],
    }
    assert made["metadata"]["generation"] == 1
    listed = (await tabs("GET", TABS)).ok()
    assert listed["kind"] == "CronTabList"
    assert [item["metadata"]["name"] for item in listed["items"]] == ["daily"]
    assert (await tabs("GET", f"{TABS}/daily")).ok() == made


async def test_what_does_not_fit_is_told_field_by_field(tabs):
    bad = tab(cron="never", replicas=11, ports=[{"port": 1.5}, {"name": "a", "protocol": "SCTP"}], note=5)
    status = (await tabs("POST", TABS, bad)).refused(422, "Invalid")
    told = {cause["field"]: cause["message"] for cause in status["details"]["causes"]}
    assert told == {
        "spec.cron": r"""Invalid value: "never": spec.cron in body should match '^(\S+ ){4}\S+$'""",
        "spec.replicas": "Invalid value: 11: spec.replicas in body should be less than or equal to 10",
        "spec.ports[0].name": "Required value",
        "spec.ports[0].port": 'Invalid value: "number": spec.ports[0].port in body must be of type integer,string: "number"',
        "spec.ports[1].protocol": 'Unsupported value: "SCTP": supported values: "TCP", "UDP"',
        "spec.note": 'Invalid value: "integer": spec.note in body must be of type string: "integer"',
    }
    assert status["message"].startswith('CronTab.stable.example.com "daily" is invalid: [')


async def test_unknown_fields_are_refused_when_that_is_asked(tabs):
    strict = await tabs("POST", f"{TABS}?fieldValidation=Strict", tab(colour="red"))
    assert 'unknown field "spec.colour"' in strict.refused(400, "BadRequest")["message"]
    warned = await tabs("POST", f"{TABS}?fieldValidation=Warn", tab(colour="red"))
    assert warned.headers["Warning"] == '299 - "unknown field \\"spec.colour\\""'


async def test_status_is_written_through_its_own_path(tabs):
    made = await tabs.create(TABS, tab() | {"status": {"replicas": 5}})
    assert "status" not in made
    made["status"] = {"replicas": 3}
    made["spec"]["replicas"] = 7
    after = (await tabs("PUT", f"{TABS}/daily/status", made)).ok()
    assert (after["status"], after["spec"]["replicas"]) == ({"replicas": 3}, 1)
    assert after["metadata"]["generation"] == 1
    after["status"]["replicas"] = 9
    after["spec"]["replicas"] = 7
    again = (await tabs("PUT", f"{TABS}/daily", after)).ok()
    assert (again["status"], again["spec"]["replicas"]) == ({"replicas": 3}, 7)
    assert again["metadata"]["generation"] == 2


async def test_patches_merge_and_strategic_ones_are_not_known(tabs):
    await tabs.create(TABS, tab(note="x"))
    merged = (await tabs.patch(f"{TABS}/daily", {"spec": {"note": None, "replicas": 2}})).ok()
    assert merged["spec"]["replicas"] == 2
    refused = await tabs.patch(f"{TABS}/daily", {"spec": {}}, "strategic-merge-patch+json")
    assert "merge-patch+json" in refused.refused(415, "UnsupportedMediaType")["message"]


async def test_applied_fields_have_owners_and_lists_are_merged_by_key(tabs):
    def applied(manager, **spec):
        body = tab("daily") | {"spec": spec}
        return tabs.patch(f"{TABS}/daily?fieldManager={manager}", body, "apply-patch+yaml")

    await applied("one", cron="0 0 * * *", ports=[{"name": "a", "port": 1}])
    both = (await applied("two", ports=[{"name": "b", "port": 2}])).ok()
    assert [port["name"] for port in both["spec"]["ports"]] == ["a", "b"]
    clash = await applied("two", cron="1 1 * * *")
    assert ".spec.cron" in clash.refused(409, "Conflict")["message"]
    unknown = await applied("two", colour="red")
    assert ".spec.colour: field not declared in schema" in unknown.json["message"]


async def test_scale_goes_where_the_definition_says(api):
    parts = {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }
    await define(api, definition(subresources=parts))
    made = await api.create(TABS, tab())
    made["status"] = {"replicas": 4, "selector": "app=x"}
    await api("PUT", f"{TABS}/daily/status", made)
    scale = (await api("GET", f"{TABS}/daily/scale")).ok()
    assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 4, "selector": "app=x"})
    scale["spec"]["replicas"] = 6
    assert (await api("PUT", f"{TABS}/daily/scale", scale)).ok()["spec"] == {"replicas": 6}
    (await api.patch(f"{TABS}/daily/scale", {"spec": {"replicas": 11}})).refused(422, "Invalid")
    assert (await api("GET", f"{TABS}/daily")).ok()["spec"]["replicas"] == 6


async def test_watches_tell_of_objects_and_end_with_the_definition(tabs):
    async with tabs.watch(f"{TABS}?watch=1") as following:
        await tabs.create(TABS, tab())
        event = await following()
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "daily")
        await tabs("DELETE", f"{DEFINITIONS}/crontabs.stable.example.com")
        assert (await following())["type"] == "DELETED"
        assert await following() is None


async def test_a_definition_that_goes_takes_its_objects_along(tabs):
    held = tab("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await tabs.create(TABS, held)
    await tabs.create(TABS, tab("free"))
    name = f"{DEFINITIONS}/crontabs.stable.example.com"
    going = (await tabs("DELETE", name)).ok()
    assert going["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    await established(tabs, "crontabs.stable.example.com", "Terminating")
    left = (await tabs("GET", TABS)).ok()["items"]
    assert [item["metadata"]["name"] for item in left] == ["held"]
    refused = await tabs("POST", TABS, tab("new"))
    assert "custom resource definition is terminating" in refused.refused(405, "MethodNotAllowed")["message"]
    await tabs.patch(f"{TABS}/held", {"metadata": {"finalizers": None}})
    await until(tabs, name, is_gone)
    await until(tabs, TABS, is_gone)
    await define(tabs, definition(subresources={"status": {}}))
    assert (await tabs("GET", TABS)).ok()["items"] == []


async def test_names_that_others_have_are_not_accepted(tabs):
    await tabs.create(DEFINITIONS, definition("others", "CronTab"))
    found = await established(tabs, "others.stable.example.com", "NamesAccepted", "False")
    said = {c["type"]: (c["status"], c["reason"], c["message"]) for c in found["status"]["conditions"]}
    assert said["NamesAccepted"] == ("False", "ListKindConflict", '"CronTabList" is already in use')
    assert said["Established"] == ("False", "NotAccepted", "not all names are accepted")
    (await tabs("GET", "/apis/stable.example.com/v1/others")).refused(404, "NotFound")
    await tabs("DELETE", f"{DEFINITIONS}/crontabs.stable.example.com")
    await established(tabs, "others.stable.example.com")
    (await tabs("GET", "/apis/stable.example.com/v1/others")).ok()


async def test_several_versions_show_the_same_objects(api):
    body = definition(served=True, storage=True)
    older = {**SCHEMA, "properties": {**SCHEMA["properties"], "spec": {
        "type": "object", "properties": {"cron": {"type": "string"}, "zone": {"type": "string", "default": "UTC"}},
    }}}  # fmt: skip
    body["spec"]["versions"].append(
        {"name": "v1beta1", "served": True, "storage": False, "deprecated": True,
         "schema": {"openAPIV3Schema": older}}
    )  # fmt: skip
    await define(api, body)
    beta = TABS.replace("/v1/", "/v1beta1/")
    made = await api("POST", beta, {**tab(), "apiVersion": "stable.example.com/v1beta1"})
    assert made.ok()["apiVersion"] == "stable.example.com/v1beta1"
    assert made.json["spec"] == {"cron": "0 0 * * *", "zone": "UTC"}
    assert "stable.example.com/v1beta1 CronTab is deprecated" in made.headers["Warning"]
    seen = (await api("GET", f"{TABS}/daily")).ok()
    assert seen["apiVersion"] == "stable.example.com/v1"
    assert seen["spec"] == {"cron": "0 0 * * *", "image": "example.org/cron", "replicas": 1}
    assert [i["apiVersion"] for i in (await api("GET", beta)).ok()["items"]] == ["stable.example.com/v1beta1"]
    async with api.watch(f"{beta}?watch=1") as following:
        assert (await following())["object"]["apiVersion"] == "stable.example.com/v1beta1"
        await api.patch(f"{TABS}/daily", {"spec": {"replicas": 3}})
        event = await following()
        assert (event["type"], event["object"]["apiVersion"]) == ("MODIFIED", "stable.example.com/v1beta1")
    group = (await api("GET", "/apis/stable.example.com")).ok()
    assert [v["version"] for v in group["versions"]] == ["v1", "v1beta1"]
    assert group["preferredVersion"]["version"] == "v1"


async def test_a_changed_schema_holds_for_what_comes_and_shows_in_what_is_there(tabs):
    await tabs.create(TABS, tab())
    path = f"{DEFINITIONS}/crontabs.stable.example.com"
    changed = json.loads(json.dumps(SCHEMA))
    changed["properties"]["spec"]["properties"]["zone"] = {"type": "string", "default": "UTC"}
    del changed["properties"]["spec"]["properties"]["image"]
    patch = [{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": changed}]
    (await tabs.patch(path, patch, "json-patch+json")).ok()
    found = await until(tabs, f"{TABS}/daily", lambda reply: "zone" in reply.ok()["spec"])
    assert found.json["spec"] == {"cron": "0 0 * * *", "replicas": 1, "zone": "UTC"}


async def test_discovery_and_openapi_tell_of_the_kind(tabs):
    resources = (await tabs("GET", "/apis/stable.example.com/v1")).ok()["resources"]
    assert [(r["name"], r["kind"]) for r in resources] == [
        ("crontabs", "CronTab"),
        ("crontabs/status", "CronTab"),
    ]
    assert resources[0]["shortNames"] == ["ct"]
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = (await tabs("GET", "/apis", Accept=accept)).ok()["items"]
    (mine,) = [g for g in groups if g["metadata"]["name"] == "stable.example.com"]
    assert mine["versions"][0]["resources"][0]["resource"] == "crontabs"
    index = (await tabs("GET", "/openapi/v3")).ok()["paths"]
    document = (await tabs("GET", index["apis/stable.example.com/v1"]["serverRelativeURL"])).ok()
    schema = document["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert schema["description"] == "A job with a time."
    assert schema["properties"]["spec"]["properties"]["cron"]["description"] == "When."
    swagger = (await tabs("GET", "/openapi/v2")).ok()["definitions"]
    assert "com.example.stable.v1.CronTabList" in swagger
    accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    assert b"com.example.stable.v1.CronTab" in (await tabs("GET", "/openapi/v2", Accept=accept)).text.encode()


async def test_columns_are_those_of_the_definition(api):
    columns = [
        {"name": "Spec", "type": "string", "jsonPath": ".spec.cron", "description": "When."},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
        {"name": "Ports", "type": "string", "jsonPath": ".spec.ports[*].name"},
        {"name": "None", "type": "date", "jsonPath": ".status.at"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    await define(api, definition(additionalPrinterColumns=columns))
    await api.create(TABS, tab(ports=[{"name": "a"}, {"name": "b"}]))
    table = (await api("GET", TABS, Accept="application/json;as=Table;g=meta.k8s.io;v=v1")).ok()
    assert [c["name"] for c in table["columnDefinitions"]] == [
        "Name",
        "Spec",
        "Replicas",
        "Ports",
        "None",
        "Age",
    ]
    assert table["rows"][0]["cells"] == ["daily", "0 0 * * *", 1, "a,b", None, "0s"]


async def test_selectable_fields_select(api):
    await define(
        api, definition(selectableFields=[{"jsonPath": ".spec.image"}, {"jsonPath": ".spec.replicas"}])
    )
    await api.create(TABS, tab("a", image="x", replicas=2))
    await api.create(TABS, tab("b", image="y"))
    found = (await api("GET", f"{TABS}?fieldSelector=spec.image%3Dx,spec.replicas%3D2")).ok()["items"]
    assert [item["metadata"]["name"] for item in found] == ["a"]
    refused = await api("GET", f"{TABS}?fieldSelector=spec.cron%3Dx")
    assert "field label not supported: spec.cron" in refused.refused(400, "BadRequest")["message"]


async def test_each_version_selects_by_its_own_fields(api):
    body = definition(selectableFields=[{"jsonPath": ".spec.image"}])
    other = {**body["spec"]["versions"][0], "name": "v2", "storage": False}
    body["spec"]["versions"].append({**other, "selectableFields": [{"jsonPath": ".spec.cron"}]})
    await define(api, body)
    await api.create(TABS, tab("a"))
    await api.create(TABS, tab("b", cron="1 1 * * *"))
    v2 = TABS.replace("/v1/", "/v2/")
    found = (await api("GET", f"{v2}?fieldSelector=spec.cron%3D1 1 * * *")).ok()["items"]
    assert [item["metadata"]["name"] for item in found] == ["b"]
    (await api("GET", f"{v2}?fieldSelector=spec.image%3Dx")).refused(400, "BadRequest")


async def test_objects_with_owners_of_a_defined_kind_go_with_them(tabs):
    owner = await tabs.create(TABS, tab())
    reference = {"apiVersion": "stable.example.com/v1", "kind": "CronTab", "name": "daily"}
    reference["uid"] = owner["metadata"]["uid"]
    await tabs.create(
        "configmaps",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "ownerReferences": [reference]}},
    )
    await tabs("DELETE", f"{TABS}/daily")
    await until(tabs, "configmaps/c", is_gone)


async def test_definitions_and_objects_outlive_the_server(short_dir, clock, tmp_path):
    path = tmp_path / "store.db"

    async def with_server(number, work):
        store = Store(path)
        server = ApiServer(
            store=store, clock=clock, service_cidrs=[SERVICE_CIDR], runner_socket=lambda node: None
        )
        socket = short_dir / f"{number}.sock"
        connector = aiohttp.UnixConnector(str(socket))
        async with (
            serving(server, [Listener(listening(socket))]),
            aiohttp.ClientSession(connector=connector) as session,
        ):
            await work(Api(session, server, store, clock))
        store.close()

    async def make(api):
        await define(api, definition(scope="Cluster"))
        broken = {
            **definition("odd", "Odd"),
            "spec": {"versions": "none"},
            "status": {"conditions": [{"type": "Established", "status": "True"}]},
        }
        api.store.put(kinds.CUSTOM_RESOURCE_DEFINITIONS, broken)
        await api.create("/apis/stable.example.com/v1/crontabs", tab())

    async def look(api):
        found = (await api("GET", "/apis/stable.example.com/v1/crontabs/daily")).ok()
        assert found["spec"]["cron"] == "0 0 * * *"

    await with_server(1, make)
    await with_server(2, look)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        (lambda d: d["metadata"].update(name="x.stable.example.com"), "metadata.name", "must be spec.names.plural"),
        (lambda d: d["spec"].update(scope="Everywhere"), "spec.scope", "Unsupported value"),
        (lambda d: d["spec"].update(group="plain"), "spec.group", "at least one dot"),
        (lambda d: d["spec"]["names"].update(kind="Cron_Tab"), "spec.names.kind", "may have mixed case"),
        (lambda d: d["spec"]["versions"][0].update(storage=False), "spec.versions", "exactly one version marked"),
        (
            lambda d: d["spec"]["versions"][0].pop("schema"),
            "spec.versions[0].schema.openAPIV3Schema",
            "schemas are required",
        ),
        (
            lambda d: d["spec"].update(group="x.k8s.io"),
            "metadata.annotations[api-approved.kubernetes.io]",
            "protected groups must have approval annotation",
        ),
        (
            lambda d: d["spec"]["versions"][0].update(subresources={"scale": {"specReplicasPath": ".metadata.x"}}),
            "spec.versions[0].subresources.scale.specReplicasPath",
            "should be a json path under .spec",
        ),
        (
            lambda d: d["spec"]["versions"][0].update(
                additionalPrinterColumns=[{"name": "x", "type": "word", "jsonPath": ".a[b"}]
            ),
            "spec.versions[0].additionalPrinterColumns[0].type",
            "must be one of",
        ),
        (lambda d: d["spec"].update(preserveUnknownFields=True), "spec.preserveUnknownFields", "must be false"),
        (
            lambda d: d["spec"].update(conversion={"strategy": "Webhook"}),
            "spec.conversion.webhook.clientConfig",
            "required when strategy is set to Webhook",
        ),
        (
            lambda d: d["spec"]["versions"][0].update(selectableFields=[{"jsonPath": ".spec.ports"}]),
            "spec.versions[0].selectableFields[0].jsonPath",
            "must point to a field of type",
        ),
    ],
)  # fmt: skip
async def test_definitions_that_are_wrong_say_where(api, change, field, words):
    body = json.loads(json.dumps(definition()))
    change(body)
    status = (await api("POST", DEFINITIONS, body)).refused(422, "Invalid")
    told = {cause["field"]: cause["message"] for cause in status["details"]["causes"]}
    assert words in told[field], told


async def test_what_may_not_change_is_refused(tabs):
    path = f"{DEFINITIONS}/crontabs.stable.example.com"
    refused = await tabs.patch(path, {"spec": {"scope": "Cluster"}})
    assert "spec.scope: Invalid value" in refused.refused(422, "Invalid")["message"]
    names = {"plural": "crontabs", "kind": "Other"}
    refused = await tabs.patch(path, {"spec": {"names": names}})
    assert "field is immutable" in refused.refused(422, "Invalid")["message"]


async def test_a_definition_of_a_kind_that_is_there_already_adds_versions_and_takes_nothing(api):
    body = definition("gatewayclasses", "GatewayClass", group="gateway.networking.k8s.io", scope="Cluster")
    body["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, a test"}
    spec = {"type": "object", "properties": {"controllerName": {"type": "string"}}}
    schema = {"type": "object", "properties": {"spec": spec}}
    versions = [
        {"name": name, "served": True, "schema": {"openAPIV3Schema": schema}} for name in ("v1", "v1beta1")
    ]
    body["spec"]["versions"] = [{**version, "storage": version["name"] == "v1"} for version in versions]
    made = await define(api, body)
    (told,) = [c for c in made["status"]["conditions"] if c["type"].startswith("KubernetesAPIApproval")]
    assert (told["status"], told["reason"]) == ("False", "UnapprovedAnnotation")
    seen = (await api("GET", "/apis/gateway.networking.k8s.io/v1beta1/gatewayclasses/netloom")).ok()
    assert seen["apiVersion"] == "gateway.networking.k8s.io/v1beta1"
    made = {
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "GatewayClass",
        "metadata": {"name": "other"},
        "spec": {"controllerName": "example.com/x"},
    }
    await api.create("/apis/gateway.networking.k8s.io/v1beta1/gatewayclasses", made)
    kept = (await api("GET", "/apis/gateway.networking.k8s.io/v1/gatewayclasses/other")).ok()
    assert kept["apiVersion"] == "gateway.networking.k8s.io/v1"
    path = f"{DEFINITIONS}/gatewayclasses.gateway.networking.k8s.io"
    await api("DELETE", path)
    await until(api, path, is_gone)
    await until(api, "/apis/gateway.networking.k8s.io/v1beta1/gatewayclasses", is_gone)
    (await api("GET", "/apis/gateway.networking.k8s.io/v1/gatewayclasses/other")).ok()


async def test_a_version_that_objects_may_be_kept_in_stays(tabs):
    path = f"{DEFINITIONS}/crontabs.stable.example.com"
    version = {"name": "v2", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}}
    await tabs.create(TABS, tab())
    refused = await tabs.patch(path, {"spec": {"versions": [version]}})
    assert "status.storedVersions[0]" in refused.refused(422, "Invalid")["message"]
    both = [version, {**version, "name": "v1", "storage": False}]
    (await tabs.patch(path, {"spec": {"versions": both}})).ok()
    found = await until(tabs, path, lambda reply: len(reply.ok()["status"]["storedVersions"]) == 2)
    assert found.json["status"]["storedVersions"] == ["v1", "v2"]
    seen = (await tabs("GET", f"{TABS.replace('/v1/', '/v2/')}/daily")).ok()
    assert seen["apiVersion"] == "stable.example.com/v2"
    assert (await tabs("GET", f"{TABS}/daily")).ok()["apiVersion"] == "stable.example.com/v1"


async def test_objects_without_a_schema_of_their_own_are_applied_whole(api):
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    await define(api, definition(schema={"openAPIV3Schema": free}))
    body = {**tab(), "spec": {"any": {"thing": [1, {"a": None}]}}, "status": {"also": 1}}
    made = await api.patch(f"{TABS}/daily?fieldManager=me", body, "apply-patch+yaml")
    assert made.ok()["spec"]["any"]["thing"][0] == 1
    assert made.json["status"] == {"also": 1}
    less = {**tab(), "spec": {"other": 1}}
    after = (await api.patch(f"{TABS}/daily?fieldManager=me", less, "apply-patch+yaml")).ok()
    assert (after["spec"], "status" in after) == ({"other": 1}, False)


async def test_a_conversion_that_only_a_webhook_could_do_is_refused_and_says_so(api):
    body = definition()
    body["spec"]["versions"].append({**body["spec"]["versions"][0], "name": "v2", "storage": False})
    body["spec"]["conversion"] = {
        "strategy": "Webhook",
        "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://example.org/convert"},
        },
    }
    await define(api, body)
    await api.create(TABS, tab())
    refused = await api("GET", f"{TABS.replace('/v1/', '/v2/')}/daily")
    assert (
        "use stable.example.com/v1, the version that is stored"
        in refused.refused(500, "InternalError")["message"]
    )
    (await api("GET", f"{TABS}/daily")).ok()
