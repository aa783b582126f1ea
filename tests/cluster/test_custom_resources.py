"""Kinds that users define, in a running cluster: by kubectl, by the official Python client, and those that we ship elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from kubernetes import client, config, watch

pytestmark = pytest.mark.cluster
CRDS = Path(__file__).parents[2] / "deploy/crds"
SCHEMA = {
    "type": "object",
    "description": "A job with a time.",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "description": "What is wanted.",
            "required": ["cron"],
            "x-kubernetes-validations": [
                {"rule": "self.replicas <= 10 || self.image == 'big'", "messageExpression": "'not ' + string(self.replicas)"},
                {"rule": "!has(oldSelf.zone) || has(self.zone)", "message": "a zone stays"},
            ],
            "properties": {
                "cron": {"type": "string", "pattern": r"^(\S+ ){4}\S+$", "description": "When it is time."},
                "image": {"type": "string", "default": "small"},
                "replicas": {"type": "integer", "minimum": 0, "default": 1},
                "zone": {"type": "string"},
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
    },
}  # fmt: skip


@pytest.fixture
def group(place):
    """A group of this test's own; its definitions go with the test."""
    name = f"{place.namespace}.example.com"
    yield name
    found = place.get("crd")["items"]
    mine = [d["metadata"]["name"] for d in found if d["spec"]["group"] == name]
    if mine:
        place("delete", "crd", *mine, "--wait=false")


def definition(group, names, *versions, scope="Namespaced"):
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{group}"},
        "spec": {"group": group, "scope": scope, "names": names, "versions": list(versions)},
    }


def crontabs(group):
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "selectableFields": [{"jsonPath": ".spec.image"}],
        "additionalPrinterColumns": [
            {"name": "Cron", "type": "string", "jsonPath": ".spec.cron"},
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
        ],
    }
    return definition(group, {"plural": "crontabs", "kind": "CronTab"}, version)


def tab(group, name="daily", **spec):
    spec = {"cron": "0 0 * * *", **spec}
    return {"apiVersion": f"{group}/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": spec}


def established(place, *names):
    place("wait", "--for=condition=Established", *(f"crd/{name}" for name in names), "--timeout=30s")


def test_kubectl_defines_a_kind_and_works_with_its_objects(place, group):
    crd, kind = f"crontabs.{group}", f"crontabs.{group}"
    place.apply(crontabs(group))
    established(place, crd)
    place.apply(tab(group))
    rows = [line.split("   ") for line in place("get", kind).splitlines()]
    assert [word.strip() for word in rows[0] if word] == ["NAME", "CRON", "REPLICAS"]
    assert [word.strip() for word in rows[1] if word] == ["daily", "0 0 * * *", "1"]
    told = place("explain", f"{kind}.spec")
    assert "When it is time." in told
    assert "cron\t<string> -required-" in told
    place("scale", f"{kind}/daily", "--replicas=3")
    assert "not 30" in place.refused("scale", f"{kind}/daily", "--replicas=30")
    merged = json.dumps({"spec": {"zone": "UTC"}})
    place("patch", kind, "daily", "--type=merge", "-p", merged)
    gone = json.dumps({"spec": {"zone": None}})
    assert "a zone stays" in place.refused("patch", kind, "daily", "--type=merge", "-p", gone)
    clash = json.dumps(tab(group, cron="1 1 * * *"))
    told = place.refused("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=clash)
    assert ".spec.cron" in told
    unknown = json.dumps(tab(group, "odd", colour="red"))
    assert 'unknown field "spec.colour"' in place.refused("apply", "-f", "-", stdin=unknown)
    assert "should match" in place.refused("apply", "-f", "-", stdin=json.dumps(tab(group, "odd", cron="x")))
    assert place("get", kind, "--field-selector=spec.image=small", "-o", "name").split() == [
        f"crontab.{group}/daily"
    ]
    place("delete", "crd", crd, "--timeout=30s")
    assert "the server doesn't have a resource type" in place.refused("get", kind)


def test_the_official_client_makes_watches_and_deletes_objects(command, plain, place, group):
    place.apply(crontabs(group))
    established(place, f"crontabs.{group}")
    path = command.home / "clusters" / plain / "kubeconfig"
    with config.new_client_from_config(str(path)) as connection:
        api = client.CustomObjectsApi(connection)
        where = (group, "v1", place.namespace, "crontabs")
        made = api.create_namespaced_custom_object(*where, tab(group))
        assert made["spec"] == {"cron": "0 0 * * *", "image": "small", "replicas": 1}
        body = {"status": {"replicas": 2}}
        after = api.patch_namespaced_custom_object_status(*where, "daily", body)
        assert (after["status"], after["metadata"]["generation"]) == ({"replicas": 2}, 1)
        scale = api.get_namespaced_custom_object_scale(*where, "daily")
        assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 2})
        stream = watch.Watch().stream(
            api.list_namespaced_custom_object, *where, resource_version="0", timeout_seconds=30
        )
        assert next(stream)["object"]["metadata"]["name"] == "daily"
        api.delete_collection_namespaced_custom_object(*where)
        assert next(stream)["type"] == "DELETED"
        assert api.list_namespaced_custom_object(*where)["items"] == []
        (found,) = [
            one
            for one in client.ApiextensionsV1Api(connection).list_custom_resource_definition().items
            if one.spec.group == group
        ]
        assert found.status.stored_versions == ["v1"]


def test_definitions_that_we_ship_load_under_a_group_of_their_own(place, group):
    documents = []
    for path in sorted(CRDS.glob("*.yaml")):
        document = json.loads(json.dumps(yaml.safe_load(path.read_text())))
        names = document["spec"]["names"]
        document["metadata"] = {"name": f"{names['plural']}.{group}"}
        document["spec"]["group"] = group
        documents.append(document)
    place.apply(*documents)
    established(place, *(document["metadata"]["name"] for document in documents))
    route = {
        "apiVersion": f"{group}/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web"},
        "spec": {
            "parentRefs": [{"name": "edge"}],
            "rules": [{"backendRefs": [{"name": "web", "port": 8080}]}],
        },
    }
    place.apply(route)
    made = place.get(f"httproutes.{group}", "web")["spec"]["rules"][0]
    assert made["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    route["spec"]["rules"][0]["backendRefs"] = [{"name": "web"}]
    assert "Must have port for Service reference" in place.refused(
        "apply", "-f", "-", stdin=json.dumps(route)
    )


def test_a_namespace_that_goes_takes_objects_of_defined_kinds_along(place, group):
    place.apply(crontabs(group))
    established(place, f"crontabs.{group}")
    name = f"{place.namespace}-more"
    place("create", "namespace", name)
    place("-n", name, "apply", "-f", "-", stdin=json.dumps(tab(group)))
    place("delete", "namespace", name, "--timeout=60s")
    assert place.get(f"crontabs.{group}", "-A")["items"] == []
