"""LoadBalancerPools: what is refused, and that schema, structs and the CustomResourceDefinition say the same."""

from pathlib import Path

import msgspec
import pytest
import yaml

from netloom.api.load_balancers import (
    AddressCount,
    AggregationLength,
    BgpAnnouncement,
    LoadBalancerPool,
    LoadBalancerPoolSpec,
    LoadBalancerPoolStatus,
)
from netloom.local.apiserver import defaults, kinds_custom, schema
from netloom.local.apiserver.validate import validate

CRD = Path(__file__).parents[4] / "deploy" / "crds" / "loadbalancerpools.yaml"
POOL = kinds_custom.LOAD_BALANCER_POOLS.gvk


def errors(spec):
    made = {
        "apiVersion": "netloom.io/v1alpha1",
        "kind": "LoadBalancerPool",
        "metadata": {"name": "p"},
        "spec": spec,
    }
    return [error.text for error in validate(POOL, {k: v for k, v in made.items() if v is not None}, None)]


@pytest.mark.parametrize(
    "spec",
    [
        {"cidrs": ["203.0.113.0/28"]},
        {"ranges": ["203.0.113.16-203.0.113.31", "2001:db8::10 - 2001:db8::1f"]},
        {"cidrs": ["203.0.113.0/28", "2001:db8::/64"], "reserved": ["203.0.113.1", "2001:db8::/120"]},
        {"cidrs": ["203.0.113.7/32"], "announce": []},
        {"cidrs": ["203.0.113.0/28"], "announce": ["BGP"], "serviceSelector": {}, "autoAssign": False},
        {
            "cidrs": ["203.0.113.0/28"],
            "bgp": {
                "communities": ["65000:100", "no-export"],
                "largeCommunities": ["4200000000:1:2"],
                "localPref": 0,
                "aggregationLength": {"ipv4": 24, "ipv6": 64},
            },
        },
    ],
)
def test_sound_pools_are_taken(spec):
    assert errors(spec) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (None, "spec: Required value"),
        ({}, "spec.cidrs: Required value"),
        ({"cidrs": ["203.0.113.1/28"]}, 'spec.cidrs[0]: Invalid value: "203.0.113.1/28": must be a range'),
        ({"cidrs": ["203.0.113.1"]}, "spec.cidrs[0]: Invalid value"),
        ({"cidrs": ["224.0.0.0/24"]}, "has multicast addresses"),
        ({"cidrs": ["203.0.113.0/28", "203.0.113.0/28"]}, "spec.cidrs[1]: Duplicate value"),
        (
            {"cidrs": ["203.0.113.0/28"], "ranges": ["203.0.113.15-203.0.113.20"]},
            "spec.ranges[0]: Invalid value",
        ),
        ({"ranges": ["203.0.113.9-203.0.113.2"]}, "spec.ranges[0]: Invalid value"),
        ({"ranges": ["203.0.113.9-2001:db8::2"]}, "spec.ranges[0]: Invalid value"),
        ({"ranges": ["203.0.113.0/28"]}, "spec.ranges[0]: Invalid value"),
        ({"cidrs": ["203.0.113.0/28"], "reserved": ["ten"]}, "spec.reserved[0]: Invalid value"),
        ({"cidrs": ["203.0.113.0/28"], "announce": ["ARP"]}, "spec.announce[0]: Unsupported value"),
        ({"cidrs": ["203.0.113.0/28"], "announce": ["BGP", "BGP"]}, "spec.announce[1]: Duplicate value"),
        ({"cidrs": ["203.0.113.0/28"], "bgp": {"communities": ["65536:1"]}}, "spec.bgp.communities[0]"),
        (
            {"cidrs": ["203.0.113.0/28"], "bgp": {"largeCommunities": ["1:2"]}},
            "spec.bgp.largeCommunities[0]",
        ),
        ({"cidrs": ["203.0.113.0/28"], "bgp": {"localPref": -1}}, "spec.bgp.localPref: Invalid value: -1"),
        (
            {"cidrs": ["203.0.113.0/28"], "bgp": {"aggregationLength": {"ipv4": 33}}},
            "spec.bgp.aggregationLength.ipv4",
        ),
        ({"cidrs": [f"10.{i}.0.0/16" for i in range(65)]}, "spec.cidrs: Too many"),
        (
            {
                "cidrs": ["203.0.113.0/28"],
                "serviceSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]},
            },
            "spec.serviceSelector.matchExpressions[0].operator",
        ),
    ],
)
def test_faulty_pools_are_refused(spec, said):
    assert any(said in text for text in errors(spec)), errors(spec)


def test_what_is_left_out_is_filled_in_and_what_is_empty_stays():
    pool = {"spec": {"cidrs": ["203.0.113.0/28"], "bgp": {"localPref": 7}}}
    defaults._KINDS[POOL](pool)
    assert pool["spec"]["autoAssign"] is True
    assert pool["spec"]["announce"] == ["Layer2", "BGP"]
    assert pool["spec"]["bgp"]["aggregationLength"] == {"ipv4": 32, "ipv6": 128}
    quiet = {"spec": {"cidrs": ["203.0.113.0/28"], "announce": []}}
    defaults._KINDS[POOL](quiet)
    assert quiet["spec"]["announce"] == []
    assert msgspec.convert(pool, LoadBalancerPool).spec.bgp == BgpAnnouncement(local_pref=7)


def names(struct):
    return {field.encode_name for field in msgspec.structs.fields(struct)}


def test_the_definition_the_schema_and_what_we_read_have_the_same_fields():
    crd = yaml.safe_load(CRD.read_text())["spec"]
    (version,) = crd["versions"]
    kind = kinds_custom.LOAD_BALANCER_POOLS
    assert (crd["group"], version["name"], crd["scope"]) == (kind.group, kind.version, "Cluster")
    assert (crd["names"]["kind"], tuple(crd["names"]["shortNames"])) == (kind.kind, kind.short_names)
    assert ("status" in version["subresources"]) == kind.has_status
    whole = version["schema"]["openAPIV3Schema"]["properties"]
    spec, status = whole["spec"]["properties"], whole["status"]["properties"]
    for told, struct in (
        (spec, LoadBalancerPoolSpec),
        (spec["bgp"]["properties"], BgpAnnouncement),
        (spec["bgp"]["properties"]["aggregationLength"]["properties"], AggregationLength),
        (status, LoadBalancerPoolStatus),
        (status["assigned"]["properties"], AddressCount),
    ):
        fields = schema.data().types[f"loadbalancers.{struct.__name__}"].fields
        assert set(told) == set(fields) == names(struct)
    lengths = spec["bgp"]["properties"]["aggregationLength"]["properties"]
    assert {name: one["default"] for name, one in lengths.items()} == msgspec.structs.asdict(
        AggregationLength()
    )
    assert tuple(spec["announce"]["default"]) == LoadBalancerPoolSpec().announce
