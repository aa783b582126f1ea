"""Blocks: names, readings, which are free; pools that overlap."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.model.addresses.blocks import Block, block_name, free_blocks, read_block
from netloom.model.addresses.cluster import PoolCluster
from netloom.model.addresses.pools import read_pools
from netloom.model.addresses.ranges import overlap
from netloom.model.provenance import Finding
from netloom.testing.builders import load_view
from netloom.units import ObjectKey, parse_addr, parse_cidr


def pools(*texts, **spec):
    documents = "".join(
        f"""
---
apiVersion: netloom.io/v1alpha1
kind: IPPool
metadata: {{name: p{i}, uid: u{i}, creationTimestamp: "2026-01-0{i + 1}T00:00:00Z"}}
spec: {text}
"""
        for i, text in enumerate(texts)
    )
    return read_pools(load_view(documents).pools.values(), spec)


def block(name, cidr, node="node-1", pool="p0"):
    text = f"""
apiVersion: netloom.io/v1alpha1
kind: IPBlock
metadata: {{name: {name}, uid: u}}
spec: {{cidr: "{cidr}", node: "{node}", pool: {pool}}}
"""
    return next(iter(load_view(text).blocks.values()))


@pytest.mark.parametrize(
    ("cidr", "name"),
    [
        ("10.1.0.64/26", "10.1.0.64-26"),
        ("fd00:1::40/122", "fd00-1--40-122"),
        ("2001:db8::/120", "2001-db8---120"),
        ("::1/128", "0--1-128"),
    ],
)
def test_the_name_of_a_block_follows_from_its_range(cidr, name):
    assert block_name(parse_cidr(cidr)) == name
    assert isinstance(read_block(block(name, cidr)), Block)


@given(st.sets(st.tuples(st.integers(0, (1 << 128) - 1), st.integers(100, 128)), max_size=20))
def test_different_ranges_have_different_names_that_the_api_takes(found):
    cidrs = {parse_cidr(f"{parse_addr_v6(n >> (128 - p) << (128 - p))}/{p}") for n, p in found}
    names = {block_name(cidr) for cidr in cidrs}
    assert len(names) == len(cidrs)
    assert all(
        name[0].isalnum() and name[-1].isalnum() and set(name) <= set("0123456789abcdef-.") for name in names
    )


def parse_addr_v6(number):
    return parse_addr(":".join(f"{number >> shift & 0xFFFF:x}" for shift in range(112, -1, -16)))


@pytest.mark.parametrize(
    ("name", "cidr", "node", "said"),
    [
        ("10.1.0.64-26", "10.1.0.64", "n", "is no CIDR"),
        ("10.1.0.64-26", "10.1.0.65/26", "n", "is no CIDR"),
        ("mine", "10.1.0.64/26", "n", "is named 10.1.0.64-26"),
        ("10.1.0.64-26", "10.1.0.64/26", "", "is empty"),
    ],
)
def test_a_block_that_cannot_be_used_is_found(name, cidr, node, said):
    found = read_block(block(name, cidr, node))
    assert isinstance(found, Finding)
    assert said in found.problem


def test_free_blocks_are_all_of_the_pool_each_once_and_every_node_begins_elsewhere():
    read, _ = pools("{cidrs: [10.2.0.0/24], blockSize: {ipv4: 28, ipv6: 122}}")
    orders = {node: list(free_blocks(read["p0"], 4, [], node)) for node in ("a", "b", "c", "d")}
    for order in orders.values():
        assert sorted(order) == list(parse_cidr("10.2.0.0/24").subnets(new_prefix=28))
    assert len({order[0] for order in orders.values()}) > 1


def test_what_is_taken_in_any_size_is_passed_over():
    read, _ = pools("{cidrs: [10.2.0.0/26], blockSize: {ipv4: 28, ipv6: 122}}")
    taken = [parse_cidr("10.2.0.0/27"), parse_cidr("10.2.0.33/32"), parse_cidr("192.0.2.0/24")]
    assert list(free_blocks(read["p0"], 4, taken, "a")) == [parse_cidr("10.2.0.48/28")]
    assert list(free_blocks(read["p0"], 6, taken, "a")) == []


def test_a_pool_of_a_million_blocks_is_not_looked_through():
    read, _ = pools("{cidrs: ['fd00::/64'], blockSize: {ipv4: 26, ipv6: 122}}")
    first = list(itertools.islice(free_blocks(read["p0"], 6, [], "a"), 3))
    assert len(set(first)) == 3
    assert all(cidr.prefixlen == 122 for cidr in first)


def test_of_pools_that_overlap_the_oldest_counts():
    read, findings = pools("{cidrs: [10.2.0.0/24]}", "{cidrs: [10.2.0.128/25, 10.3.0.0/24]}")
    assert [str(c) for c in read["p1"].cidrs] == ["10.3.0.0/24"]
    (finding,) = findings
    assert str(finding.source) == "IPPool p1: spec.cidrs[0]"
    assert "overlaps with IPPool p0" in finding.problem


def test_a_pool_in_the_range_of_services_gives_nothing():
    view = load_view(
        "apiVersion: netloom.io/v1alpha1\nkind: IPPool\nmetadata: {name: p}\nspec: {cidrs: [10.96.0.0/24]}\n"
    )
    read, (finding,) = read_pools(view.pools.values(), {parse_cidr("10.96.0.0/16"): "the range of Services"})
    assert read["p"].cidrs == ()
    assert "the range of Services" in finding.problem


@pytest.mark.parametrize(
    ("spec", "field", "said"),
    [
        ("{cidrs: [ten]}", "spec.cidrs[0]", "is no CIDR"),
        ("{cidrs: [10.2.0.1/24]}", "spec.cidrs[0]", "is no CIDR"),
        ("{cidrs: [10.2.0.0/24, 10.2.0.0/25]}", "spec.cidrs[1]", "overlaps with another of this pool"),
        ("{cidrs: [10.2.0.0/24], reserved: [x]}", "spec.reserved[0]", "is neither"),
        ("{cidrs: [10.2.0.0/24], blockSize: {ipv4: 9}}", "spec.blockSize.ipv4", "9 is not between 20 and 32"),
        (
            "{cidrs: [10.2.0.0/24], podSelector: {matchExpressions: [{key: a, operator: Near}]}}",
            "spec.podSelector.matchExpressions[0].operator",
            "is none of In, NotIn",
        ),
    ],
)
def test_what_of_a_pool_cannot_be_used_is_found(spec, field, said):
    _, findings = pools(spec)
    (finding,) = findings
    assert finding.source.field == field
    assert said in finding.problem


def test_a_selector_that_cannot_be_read_selects_nobody():
    read, _ = pools("{cidrs: [10.2.0.0/24], podSelector: {matchExpressions: [{key: a, operator: Near}]}}")
    assert not read["p0"].pods.matches({"a": "b"})
    assert not read["p0"].pods.matches({})


def test_the_edges_of_each_range_are_reserved():
    read, _ = pools("{cidrs: [10.2.0.0/24, 'fd00::/64', 192.0.2.7/32], reserved: [10.2.0.9]}")
    assert {str(c) for c in read["p0"].reserved} == {
        "10.2.0.0/32", "10.2.0.255/32", "fd00::/128", "10.2.0.9/32",
    }  # fmt: skip


def test_grantors_are_those_with_a_wider_range_around_a_single_address():
    cluster = PoolCluster("node-1", {})
    for name, cidr in (("node-1", "10.1.0.0/24"), ("node-2", "10.1.1.0/24")):
        text = f"apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nspec: {{podCIDRs: [{cidr}]}}\n"
        cluster.node_changed(ObjectKey("", name), next(iter(load_view(text).nodes.values())))
    for cidr, node in (("10.2.0.0/26", "node-3"), ("10.1.1.7/32", "node-1"), ("10.2.0.9/32", "node-1")):
        made = block(block_name(parse_cidr(cidr)), cidr, node)
        cluster.block_changed(made.key, made)
    assert cluster.grantors(parse_cidr("10.1.1.7/32")) == {"node-2"}
    assert cluster.grantors(parse_cidr("10.2.0.9/32")) == {"node-3"}
    assert cluster.grantors(parse_cidr("10.1.0.9/32")) == set()
    assert not cluster.is_granted(cluster.blocks["10.1.1.7-32"])
    assert all(not overlap(cidr, parse_cidr("10.1.0.0/24")) for cidr in cluster.elsewhere())


OWN = st.sampled_from(
    ["10.2.0.0/26", "10.2.0.64/26", "10.1.0.9/32", "10.2.0.3/32", "10.1.1.0/25", "10.3.0.0/26"]
)


@given(
    st.lists(
        st.tuples(OWN, st.sampled_from(["node-1", "node-2", "node-3"]), st.sampled_from([True, True, False])),
        max_size=12,
    ),
    st.lists(st.sampled_from(["10.1.0.0/24", "10.1.1.0/24", "10.9.0.0/24", ""]), max_size=3),
)
def test_what_is_near_is_found_in_any_order(events, ranges):
    cluster = PoolCluster("node-1", {})
    there: dict[str, Block] = {}

    def settle(text):
        node = f"apiVersion: v1\nkind: Node\nmetadata: {{name: node-1}}\nspec: {{podCIDRs: [{text}]}}\n"
        cluster.node_changed(ObjectKey("", "node-1"), next(iter(load_view(node).nodes.values())))

    for number, (cidr, node, is_there) in enumerate(events):
        if number < len(ranges):
            settle(ranges[number])
        made = block(block_name(parse_cidr(cidr)), cidr, node)
        cluster.block_changed(made.key, made if is_there else None)
        if is_there:
            there[cidr] = read_block(made)
        else:
            there.pop(cidr, None)
    mine = [b.cidr for b in there.values() if b.node == "node-1"]
    wide = [*cluster.own_ranges, *(c for c in mine if c.num_addresses > 1)]
    others = [b for b in there.values() if b.node != "node-1"]
    assert {b.cidr for b in cluster.own_blocks()} == set(mine)
    assert {b.cidr for b in cluster.singles_of_others()} == {
        b.cidr for b in others if b.is_single and any(overlap(b.cidr, one) for one in wide)
    }
    assert set(cluster.elsewhere()) == {
        b.cidr for b in others if not b.is_single and any(overlap(b.cidr, one) for one in cluster.own_ranges)
    }
