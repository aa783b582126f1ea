"""Which pods are behind which other node, and what of a Node cannot be used."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from netloom.model.facts import facts_of
from netloom.model.inputs import ClusterFacts, NodeFacts
from netloom.model.routes.peers import peer_routes, read_node
from netloom.testing import builders as b

FACTS = NodeFacts(
    name="node-1", addresses=(ip_address("192.0.2.11"),), pod_cidrs=(ip_network("10.244.0.0/24"),)
)
OLD, NEW = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"


def routes(*nodes, facts=FACTS):
    found, findings = peer_routes([read_node(n) for n in nodes], facts)
    return (
        {str(cidr): f"{route.via} {route.node}" for cidr, route in found.items()},
        [(f.source.name, f.source.field, f.problem) for f in findings],
    )


def test_other_nodes_and_not_this_one():
    one = b.node("node-1", "192.0.2.11", pod_cidrs=["10.244.0.0/24"])
    two = b.node("node-2", "192.0.2.12", pod_cidrs=["10.244.1.0/24"])
    assert routes(one, two) == ({"10.244.1.0/24": "192.0.2.12 node-2"}, [])


def test_the_route_names_its_source():
    found, _ = peer_routes([read_node(b.node("node-2", "192.0.2.12", pod_cidrs=["10.244.1.0/24"]))], FACTS)
    assert str(found[ip_network("10.244.1.0/24")].source) == "Node node-2: spec.podCIDRs[0]"


def test_only_pod_cidr_is_set():
    node = b.node("node-2", "192.0.2.12")
    node = msgspec.structs.replace(node, spec=msgspec.structs.replace(node.spec, pod_cidr="10.244.1.0/24"))
    assert routes(node)[0] == {"10.244.1.0/24": "192.0.2.12 node-2"}


def test_each_family_by_the_address_of_that_family():
    node = b.node(
        "node-2", "2001:db8::12", "192.0.2.12", "192.0.2.99", pod_cidrs=["10.244.1.0/24", "fd01::/64"]
    )
    assert routes(node)[0] == {"10.244.1.0/24": "192.0.2.12 node-2", "fd01::/64": "2001:db8::12 node-2"}


@pytest.mark.parametrize(
    ("node", "field", "problem"),
    [
        (b.node("node-2", "192.0.2.12"), "spec.podCIDRs", "is empty"),
        (b.node("node-2", "192.0.2.12", pod_cidrs=["x"]), "spec.podCIDRs[0]", '"x" is no CIDR'),
        (
            b.node("node-2", "192.0.2.12", pod_cidrs=["10.244.1.1/24"]),
            "spec.podCIDRs[0]",
            '"10.244.1.1/24" is no CIDR',
        ),
        (
            b.node("node-2", pod_cidrs=["10.244.1.0/24"]),
            "status.addresses",
            "no InternalIP of the family of 10.244.1.0/24",
        ),
        (
            b.node("node-2", "192.0.2.11", pod_cidrs=["10.244.1.0/24"]),
            "status.addresses",
            "InternalIP 192.0.2.11 is also the address of node-1",
        ),
        (
            b.node("node-2", "192.0.2.12", pod_cidrs=["10.244.0.128/25"]),
            "spec.podCIDRs[0]",
            "10.244.0.128/25 overlaps with this node (node-1)",
        ),
        (
            b.node("node-2", "192.0.2.12", pod_cidrs=["10.0.0.0/8"]),
            "spec.podCIDRs[0]",
            "10.0.0.0/8 overlaps with this node (node-1)",
        ),
    ],
)
def test_a_node_that_cannot_be_routed_to_and_one_that_can(node, field, problem):
    three = b.node("node-3", "192.0.2.13", pod_cidrs=["10.244.3.0/24"])
    assert routes(node, three) == ({"10.244.3.0/24": "192.0.2.13 node-3"}, [("node-2", field, problem)])


def test_an_address_that_is_none():
    node = b.node("node-2", "x", "192.0.2.12", pod_cidrs=["10.244.1.0/24"])
    assert routes(node) == (
        {"10.244.1.0/24": "192.0.2.12 node-2"},
        [("node-2", "status.addresses[0].address", '"x" is no IP address')],
    )


@pytest.mark.parametrize(
    ("older", "younger"),
    [
        ("10.244.1.0/24", "10.244.1.0/24"),
        ("10.244.1.0/24", "10.244.1.128/25"),
        ("10.244.1.128/25", "10.244.1.0/24"),
    ],
)
def test_of_overlapping_ranges_the_older_node_has_it(older, younger):
    a = b.node("node-2", "192.0.2.12", pod_cidrs=[younger], created=NEW)
    z = b.node("node-9", "192.0.2.19", pod_cidrs=[older], created=OLD)
    found, findings = routes(a, z)
    assert found == {older: "192.0.2.19 node-9"}
    assert findings == [("node-2", "spec.podCIDRs[0]", f"{younger} overlaps with {older} of Node node-9")]


def test_facts_of_a_node():
    node = b.node(
        "node-2", "192.0.2.12", "192.0.2.99", "2001:db8::12", pod_cidrs=["10.244.1.0/24", "x", "fd01::/64"]
    )
    facts = facts_of(
        node, ClusterFacts(cluster_cidrs=(ip_network("10.244.0.0/16"),), cluster_domain="example.org")
    )
    assert facts == NodeFacts(
        name="node-2",
        addresses=(ip_address("192.0.2.12"), ip_address("2001:db8::12")),
        pod_cidrs=(ip_network("10.244.1.0/24"), ip_network("fd01::/64")),
        cluster_cidrs=(ip_network("10.244.0.0/16"),),
        cluster_domain="example.org",
    )
