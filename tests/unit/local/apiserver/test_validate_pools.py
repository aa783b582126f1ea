"""IPPools and IPBlocks: what is refused, and that schema, structs and the CustomResourceDefinitions say the same."""

from pathlib import Path

import msgspec
import pytest
import yaml

from netloom.api.meta import LabelSelector
from netloom.api.pools import BlockSize, IPBlock, IPBlockSpec, IPBlockStatus, IPPool, IPPoolSpec
from netloom.local.apiserver import defaults, kinds_custom, schema
from netloom.local.apiserver.validate import validate

CRDS = Path(__file__).parents[4] / "deploy" / "crds"
POOL, BLOCK = "netloom.io/v1alpha1/IPPool", "netloom.io/v1alpha1/IPBlock"


def errors(gvk, name, spec, old=None):
    kind = gvk.rpartition("/")[2]
    made = {"apiVersion": "netloom.io/v1alpha1", "kind": kind, "metadata": {"name": name}}
    if spec is not None:
        made["spec"] = spec
    before = None if old is None else {**made, "spec": old}
    return [error.text for error in validate(gvk, made, before)]


@pytest.mark.parametrize(
    "spec",
    [
        {"cidrs": ["10.1.0.0/16"]},
        {"cidrs": ["10.1.0.0/16", "10.3.0.0/24", "fd00:1::/64"], "blockSize": {"ipv4": 24, "ipv6": 120}},
        {
            "cidrs": ["192.0.2.7/32"],
            "blockSize": {"ipv4": 32},
            "reserved": ["192.0.2.0/30", "192.0.2.9", "fd00::1"],
        },
        {"cidrs": ["10.1.0.0/16"], "podSelector": {}, "namespaceSelector": {"matchLabels": {"a": "b"}}},
    ],
)
def test_sound_pools_are_taken(spec):
    assert errors(POOL, "p", spec) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (None, "spec: Required value"),
        ({}, "spec.cidrs: Required value"),
        ({"cidrs": ["10.1.0.1/16"]}, 'spec.cidrs[0]: Invalid value: "10.1.0.1/16": must be a range'),
        ({"cidrs": ["10.1.0.0"]}, "spec.cidrs[0]: Invalid value"),
        ({"cidrs": ["10.1.0.0/16", "10.1.0.0/16"]}, "spec.cidrs[1]: Duplicate value"),
        ({"cidrs": ["10.1.0.0/16", "10.1.9.0/24"]}, "spec.cidrs[1]: Invalid value"),
        ({"cidrs": ["10.1.0.0/28"], "blockSize": {"ipv4": 26}}, "is smaller than a block of the pool"),
        ({"cidrs": ["10.1.0.0/16"], "blockSize": {"ipv4": 8}}, "spec.blockSize.ipv4: Invalid value: 8"),
        ({"cidrs": ["10.1.0.0/16"], "blockSize": {"ipv6": 64}}, "spec.blockSize.ipv6: Invalid value: 64"),
        ({"cidrs": ["10.1.0.0/16"], "reserved": ["ten"]}, "spec.reserved[0]: Invalid value"),
        (
            {
                "cidrs": ["10.1.0.0/16"],
                "podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]},
            },
            "spec.podSelector.matchExpressions[0].operator",
        ),
        ({"cidrs": [f"10.{i}.0.0/16" for i in range(65)]}, "spec.cidrs: Too many"),
    ],
)
def test_faulty_pools_are_refused(spec, said):
    assert any(said in text for text in errors(POOL, "p", spec)), errors(POOL, "p", spec)


def test_blocks_are_named_by_their_range_and_never_change():
    spec = {"cidr": "10.1.0.64/26", "node": "n", "pool": "p"}
    assert errors(BLOCK, "10.1.0.64-26", spec) == []
    assert "metadata.name: Invalid value" in errors(BLOCK, "mine", spec)[0]
    assert "spec.cidr: Invalid value" in errors(BLOCK, "x", {**spec, "cidr": "10.1.0.65/26"})[0]
    assert "spec.node: Required value" in errors(BLOCK, "10.1.0.64-26", {**spec, "node": ""})[0]
    assert "spec: Required value" in errors(BLOCK, "x", None)[0]
    assert "spec: Forbidden" in errors(BLOCK, "10.1.0.64-26", spec, old={**spec, "node": "other"})[0]


def test_sizes_of_blocks_are_filled_in():
    pool = {"spec": {"cidrs": ["10.1.0.0/16"], "blockSize": {"ipv4": 28}}}
    defaults._KINDS[POOL](pool)
    assert pool["spec"]["blockSize"] == {"ipv4": 28, "ipv6": 122}


def definition(plural):
    crd = yaml.safe_load((CRDS / f"{plural}.yaml").read_text())
    (version,) = crd["spec"]["versions"]
    return crd["spec"], version


def names(struct):
    return {field.encode_name for field in msgspec.structs.fields(struct)}


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        (kinds_custom.IP_POOLS, {"spec": (IPPoolSpec, "IPPoolSpec")}),
        (
            kinds_custom.IP_BLOCKS,
            {"spec": (IPBlockSpec, "IPBlockSpec"), "status": (IPBlockStatus, "IPBlockStatus")},
        ),
    ],
)
def test_the_definition_the_schema_and_what_we_read_have_the_same_fields(kind, parts):
    crd, version = definition(kind.plural)
    assert (crd["group"], version["name"], crd["scope"]) == (kind.group, kind.version, "Cluster")
    assert crd["names"]["kind"] == kind.kind
    assert ("status" in version.get("subresources", {})) == kind.has_status
    whole = version["schema"]["openAPIV3Schema"]["properties"]
    for part, (struct, type_name) in parts.items():
        ours = schema.data().types[f"pools.{type_name}"].fields
        theirs = whole[part]
        assert set(theirs["properties"]) == set(ours) == names(struct)
        required = {name for name, field in ours.items() if field.required}
        assert set(theirs.get("required", ())) == required
    assert {c["name"] for c in version["additionalPrinterColumns"]} > {"Age"}


def test_the_definition_has_the_same_sizes_and_selectors():
    _, version = definition("ippools")
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert {
        name: size["default"] for name, size in spec["blockSize"]["properties"].items()
    } == msgspec.structs.asdict(BlockSize())
    for name in ("nodeSelector", "namespaceSelector", "podSelector"):
        assert set(spec[name]["properties"]) == names(LabelSelector)


def test_documents_are_read_as_they_are_written():
    pool = msgspec.convert(
        {
            "metadata": {"name": "p"},
            "spec": {
                "cidrs": ["10.1.0.0/16"],
                "blockSize": {"ipv4": 28},
                "podSelector": {"matchLabels": {"a": "b"}},
            },
        },
        IPPool,
    )
    assert pool.spec.block_size == BlockSize(28, 122)
    assert pool.spec.pod_selector == LabelSelector({"a": "b"})
    block = msgspec.convert(
        {"spec": {"cidr": "10.1.0.0/26", "node": "n"}, "status": {"grants": {"m": "granted"}}}, IPBlock
    )
    assert block.status.grants == {"m": "granted"}
