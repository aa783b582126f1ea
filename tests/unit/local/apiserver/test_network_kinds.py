"""Kinds of further networks: what is refused, and that deploy/crds says what the API server says."""

import json
from pathlib import Path

import pytest
import yaml

from netloom.local.apiserver import kinds_custom, schema
from netloom.local.apiserver.validate import validate

CRDS = Path(__file__).parents[4] / "deploy" / "crds"
KINDS = (kinds_custom.NETWORK_ATTACHMENT_DEFINITIONS, kinds_custom.NETWORK_POOLS, kinds_custom.NETWORK_LEASES)
SHAPES = {"object": "object", "list": "array", "int32": "integer", "string": "string", "bool": "boolean"}


def faults(kind, spec, name="x", old=None):
    metadata = {"name": name, **({"namespace": "shop"} if kind.namespaced else {})}
    document = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
    return [str(error.text) for error in validate(kind.gvk, document, old and {**document, "spec": old})]


def same(node, said, path):
    if node.type_key == "meta.ObjectMeta":
        return
    assert SHAPES[node.shape] == said["type"], path
    if node.shape == "object":
        assert node.fields.keys() == said["properties"].keys(), path
        assert set(node.required) - {"metadata"} == set(said.get("required", ())), path
        for name, member in node.fields.items():
            same(member, said["properties"][name], f"{path}.{name}")
    elif node.shape == "list":
        assert (node.list_type == "set") == (said.get("x-kubernetes-list-type") == "set"), path
        same(node.element, said["items"], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_the_definition_for_real_clusters_says_the_same(kind):
    told = yaml.safe_load((CRDS / f"{kind.plural}.yaml").read_text())
    spec = told["spec"]
    assert told["metadata"]["name"] == kind.qualified
    assert (spec["group"], spec["scope"] == "Namespaced") == (kind.group, kind.namespaced)
    names = spec["names"]
    assert (names["plural"], names["singular"], names["kind"]) == (kind.plural, kind.singular, kind.kind)
    assert tuple(names.get("shortNames", ())) == kind.short_names
    (version,) = spec["versions"]
    assert version["name"] == kind.version
    same(schema.root(kind.gvk), version["schema"]["openAPIV3Schema"], kind.kind)


def test_a_definition_may_have_no_configuration_and_else_a_right_one():
    definition = kinds_custom.NETWORK_ATTACHMENT_DEFINITIONS
    assert faults(definition, {}) == []
    assert faults(definition, {"config": ""}) == []
    assert faults(definition, {"config": json.dumps({"cniVersion": "1.0.0", "type": "bridge"})}) == []
    (told,) = faults(definition, {"config": "{"})
    assert told.startswith('spec.config: Invalid value: "{": is no JSON')
    (told,) = faults(definition, {"config": json.dumps({"type": "../bridge"})})
    assert "type: '../bridge' cannot name a plugin; it is a file name, not a path" in told


def test_a_pool():
    pool = kinds_custom.NETWORK_POOLS
    right = {
        "cidrs": ["10.80.0.0/24", "2001:db8:80::/64"],
        "ranges": [{"start": "10.80.0.10", "end": "10.80.0.20"}],
        "gateways": ["10.80.0.1", "2001:db8:80::1"],
        "reserved": ["10.80.0.15", "10.80.0.16/30", "10.80.0.12 - 10.80.0.13"],
        "routes": [{"dst": "192.0.2.0/24"}, {"dst": "198.51.100.0/24", "gw": "10.80.0.9"}],
        "keepSeconds": 60,
    }
    assert faults(pool, right) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cidrs": []}, "spec.cidrs"),
        ({"cidrs": ["10.80.0.1/24"]}, "spec.cidrs[0]"),
        ({"cidrs": ["10.80.0.0/24", "10.80.0.128/25"]}, "spec.cidrs[1]"),
        ({"gateways": ["10.81.0.1"]}, "spec.gateways[0]"),
        ({"gateways": ["10.80.0.1", "10.80.0.2"]}, "spec.gateways[1]"),
        ({"ranges": [{"start": "10.80.0.9", "end": "10.80.0.2"}]}, "spec.ranges[0]"),
        ({"ranges": [{"start": "10.80.0.9", "end": "10.80.1.2"}]}, "spec.ranges[0]"),
        ({"reserved": ["10.80.0.0/16"]}, "spec.reserved[0]"),
        ({"reserved": ["10.80.0.0/24"]}, "spec"),
        ({"routes": [{"dst": "192.0.2.1/24"}]}, "spec.routes[0].dst"),
        ({"routes": [{"dst": "192.0.2.0/24", "gw": "2001:db8::1"}]}, "spec.routes[0].gw"),
        ({"keepSeconds": -1}, "spec.keepSeconds"),
    ],
)
def test_a_pool_that_is_wrong_is_told_so_with_its_field(change, field):
    (told,) = faults(kinds_custom.NETWORK_POOLS, {"cidrs": ["10.80.0.0/24"], **change})
    assert told.startswith(f"{field}: "), told


def test_the_name_of_a_pool_is_a_label():
    (told,) = faults(kinds_custom.NETWORK_POOLS, {"cidrs": ["10.80.0.0/24"]}, name="x" * 64)
    assert told.startswith("metadata.name: ")


def test_a_lease_is_named_by_what_it_is_of_and_stays_so():
    lease = kinds_custom.NETWORK_LEASES
    spec = {"pool": "blue", "address": "10.80.0.5", "holder": {}}
    assert faults(lease, spec, name="blue-10-80-0-5") == []
    assert faults(lease, {**spec, "holder": {"pod": "a/b"}}, name="blue-10-80-0-5", old=spec) == []
    (told,) = faults(lease, spec, name="blue-10-80-0-6")
    assert told.startswith("metadata.name: ")
    assert any(
        "spec.pool: Forbidden" in t for t in faults(lease, spec, "blue-10-80-0-5", {**spec, "pool": "red"})
    )
