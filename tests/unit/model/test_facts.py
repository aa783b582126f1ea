"""What a node is: its zone, and where it serves NodePorts."""

from __future__ import annotations

import pytest

from netloom.errors import UsageError
from netloom.model.facts import facts_of
from netloom.model.inputs import ClusterFacts
from netloom.testing import builders as b

NODE = b.node("node-1", "192.0.2.11", "192.0.2.99", "2001:db8::11")


def cidrs(*texts, node=NODE):
    found = facts_of(node, ClusterFacts(node_port_addresses=texts)).node_port_cidrs
    return None if found is None else [str(cidr) for cidr in found]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), None),
        (("primary",), ["192.0.2.11/32", "2001:db8::11/128"]),
        (("192.0.2.0/24", "2001:db8::/64"), ["192.0.2.0/24", "2001:db8::/64"]),
        (("192.0.2.7/24", "192.0.2.0/24"), ["192.0.2.0/24"]),
        (("0.0.0.0/0",), ["0.0.0.0/0"]),
    ],
)
def test_where_node_ports_are_served(texts, expected):
    assert cidrs(*texts) == expected


def test_a_node_that_has_no_address_yet_serves_node_ports_nowhere():
    assert cidrs("primary", node=b.node("node-1")) == []


@pytest.mark.parametrize(
    "texts", [("192.0.2.11",), ("eth0",), ("primary", "192.0.2.0/24"), ("192.0.2.0/33",), ("",)]
)
def test_what_is_no_address_of_node_ports(texts):
    with pytest.raises(UsageError, match="node_port_addresses"):
        cidrs(*texts)


@pytest.mark.parametrize(
    ("labels", "zone"), [({}, ""), ({"topology.kubernetes.io/zone": "zone-a"}, "zone-a")]
)
def test_the_zone(labels, zone):
    assert facts_of(b.node("node-1", labels=labels), ClusterFacts()).zone == zone
