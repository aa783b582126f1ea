from __future__ import annotations

import ipaddress

import msgspec
import pytest

from netloom.dataplane.nftables.classes import class_chains
from netloom.dataplane.nftables.skeleton import base_chains, families, layout, regular_chains
from netloom.model.inputs import NodeFacts
from netloom.program import names
from netloom.units import Family

DUAL = NodeFacts(
    name="node-1",
    addresses=(ipaddress.ip_address("192.0.2.11"), ipaddress.ip_address("2001:db8::11")),
    pod_cidrs=(ipaddress.ip_network("10.244.1.0/24"), ipaddress.ip_network("2001:db8:1::/64")),
    cluster_cidrs=(ipaddress.ip_network("10.244.0.0/16"), ipaddress.ip_network("2001:db8::/40")),
    service_cidrs=(ipaddress.ip_network("10.96.0.0/16"), ipaddress.ip_network("2001:db8:96::/112")),
)


def rules(node):
    """Text of every rule, by chain."""
    chains = [*class_chains(node.family), *regular_chains(node), *base_chains(node)]
    return {chain.name: [rule.text for rule in found] for chain, found in chains}


def test_both_families_have_the_same_rules_after_renaming():
    v4, v6 = (rules(layout(DUAL, family)) for family in Family)
    # IPv6 asks for neighbours with packets of its own, from link-local addresses
    assert v4.pop(names.NFT_SPOOFED)[-1] == 'iifname "nl*" fib saddr . iif oif missing counter drop'
    assert len(v6.pop(names.NFT_SPOOFED)) == 3
    renaming = (
        ("10.96.0.0/16", "2001:db8:96::/112"),
        ("10.244.0.0/16", "2001:db8::/40"),
        ("10.244.1.0/24", "2001:db8:1::/64"),
        ("192.0.2.11/32", "2001:db8::11/128"),
        ("192.0.2.11", "2001:db8::11"),
        ("ct original ip daddr", "ct original ip6 daddr"),
        ("127.0.0.0/8", "::1"),
        ("{ 2001:db8:96::/112, 2001:db8::/40 }", "{ 2001:db8::/40 }"),
        ("ip daddr", "ip6 daddr"),
        ("ip saddr", "ip6 saddr"),
        ("dnat ip to", "dnat ip6 to"),
    )
    for texts in v4.values():
        for index in range(len(texts)):
            for old, new in renaming:
                texts[index] = texts[index].replace(old, new)
    assert v4 == v6


def test_only_the_families_of_the_node_are_served():
    assert families(DUAL) == (Family.V4, Family.V6)
    only = msgspec.structs.replace(DUAL, addresses=DUAL.addresses[:1], pod_cidrs=DUAL.pod_cidrs[:1])
    assert families(only) == (Family.V4,)
    assert families(NodeFacts(name="node-1")) == ()


def test_overlapping_ranges_are_merged():
    inside = msgspec.structs.replace(
        DUAL, service_cidrs=(ipaddress.ip_network("10.96.0.0/16"), ipaddress.ip_network("10.96.4.0/24"))
    )
    assert layout(inside, Family.V4).services == (ipaddress.ip_network("10.96.0.0/16"),)


@pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
def test_a_node_that_knows_no_ranges_translates_nothing_but_services(family):
    bare = rules(layout(NodeFacts(name="node-1"), family))
    assert bare[names.NFT_FILTER_OUTPUT] == []
    only_pools = [f"{family.value} saddr @pod-ranges meta l4proto tcp ct state invalid drop"]
    known = "ct state established,related accept"
    assert bare[names.NFT_FORWARD] == [known, *only_pools, "jump policies"]
    assert not any("masquerade" in text for text in bare[names.NFT_POSTROUTING])
    assert bare[names.NFT_NODE_SOURCE] == ["masquerade fully-random"]
    assert len(bare[names.NFT_DISPATCH]) == 2
