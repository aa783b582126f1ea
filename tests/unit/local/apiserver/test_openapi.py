"""OpenAPI documents: whole, consistent, and with what kubectl looks for."""

from __future__ import annotations

import json

import pytest

from netloom.local.apiserver import kinds, openapi

GROUPS = sorted({kind.api_version for kind in kinds.ALL})


def references(value):
    if isinstance(value, dict):
        for name, member in value.items():
            # a definition's own schema has a field of this name
            if name == "$ref" and isinstance(member, str):
                yield member
            else:
                yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


def v3(api_version):
    return json.loads(openapi.v3_group(api_version))


def test_the_index_leads_to_a_document_for_every_served_version():
    paths = json.loads(openapi.v3_index())["paths"]
    assert sorted(path.removeprefix("apis/").removeprefix("api/") for path in paths) == GROUPS
    for path, entry in paths.items():
        assert entry["serverRelativeURL"].startswith(f"/openapi/v3/{path}?hash=")
        assert openapi.v3_group(path) == openapi.v3_group(path.removeprefix("apis/").removeprefix("api/"))


def test_what_is_not_served_has_no_document():
    with pytest.raises(KeyError):
        openapi.v3_group("batch/v1beta1")


@pytest.mark.parametrize("api_version", GROUPS)
def test_references_of_v3_lead_somewhere(api_version):
    document = v3(api_version)
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known


def test_references_of_v2_lead_somewhere():
    document = json.loads(openapi.v2_document())
    assert set(references(document)) <= {f"#/definitions/{name}" for name in document["definitions"]}


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.gvk)
def test_kubectl_finds_the_kind_and_that_it_may_ask_for_field_validation(kind):
    document = v3(kind.api_version)
    group_kind = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    patches = [
        path["patch"]
        for path in document["paths"].values()
        if path.get("patch", {}).get("x-kubernetes-group-version-kind") == group_kind
    ]
    assert patches
    for patch in patches:
        assert {"fieldValidation", "fieldManager", "dryRun", "force"} <= {
            p["name"] for p in patch["parameters"] if p["in"] == "query"
        }
    named = [
        s
        for s in document["components"]["schemas"].values()
        if group_kind in s.get("x-kubernetes-group-version-kind", [])
    ]
    assert len(named) == 1


def test_paths_are_those_of_the_api():
    paths = v3("v1")["paths"]
    assert paths["/api/v1/namespaces/{namespace}/pods"]["get"]["x-kubernetes-action"] == "list"
    assert paths["/api/v1/pods"].keys() == {"get", "parameters"}
    assert paths["/api/v1/nodes/{name}"]["delete"]["x-kubernetes-action"] == "delete"
    assert [p["name"] for p in paths["/api/v1/namespaces/{namespace}/pods/{name}"]["parameters"]] == [
        "namespace",
        "name",
    ]
    scale = v3("apps/v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]
    assert scale["put"]["x-kubernetes-group-version-kind"] == {
        "group": "autoscaling",
        "version": "v1",
        "kind": "Scale",
    }


def test_merge_keys_and_list_types_are_told():
    spec = v3("v1")["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]
    assert {n: v for n, v in spec["containers"].items() if n.startswith("x-")} == {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "x-kubernetes-patch-strategy": "merge",
        "x-kubernetes-patch-merge-key": "name",
    }
    assert spec["volumes"]["x-kubernetes-patch-strategy"] == "merge,retainKeys"
    assert spec["tolerations"]["x-kubernetes-list-type"] == "atomic"
    assert spec["nodeSelector"]["x-kubernetes-map-type"] == "atomic"
    assert v3("v1")["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["required"] == ["containers"]


def test_scalars_have_the_names_that_explain_shows():
    port = v3("v1")["components"]["schemas"]["io.k8s.api.core.v1.ServicePort"]["properties"]
    assert port["port"]["format"] == "int32"
    assert [r.rsplit(".", 1)[1] for r in references(port["targetPort"])] == ["IntOrString"]
    limits = v3("v1")["components"]["schemas"]["io.k8s.api.core.v1.ResourceRequirements"]["properties"][
        "limits"
    ]
    assert [r.rsplit(".", 1)[1] for r in references(limits)] == ["Quantity"]
