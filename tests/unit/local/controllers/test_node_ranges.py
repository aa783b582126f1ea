from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.controllers.node_ipam import next_free


def nets(*texts: str):
    return [ip_network(t) for t in texts]


@pytest.mark.parametrize(
    ("cluster", "mask", "used", "free"),
    [
        ("10.244.0.0/16", 24, [], "10.244.0.0/24"),
        ("10.244.0.0/16", 24, ["10.244.0.0/24"], "10.244.1.0/24"),
        ("10.244.0.0/16", 24, ["10.244.1.0/24"], "10.244.0.0/24"),
        ("10.244.0.0/16", 24, ["10.244.0.0/24", "10.244.2.0/24", "10.244.1.0/24"], "10.244.3.0/24"),
        ("10.244.0.0/16", 24, ["10.244.0.0/23"], "10.244.2.0/24"),
        ("10.244.0.0/16", 24, ["10.244.0.128/25"], "10.244.1.0/24"),
        ("10.244.0.0/16", 24, ["10.0.0.0/8"], None),
        ("10.244.0.0/16", 24, ["192.0.2.0/24", "2001:db8::/64"], "10.244.0.0/24"),
        ("10.244.0.0/23", 24, ["10.244.0.0/24", "10.244.1.0/24"], None),
        ("10.244.0.0/24", 24, [], "10.244.0.0/24"),
        ("2001:db8::/48", 64, ["2001:db8::/64"], "2001:db8:0:1::/64"),
    ],
)
def test_lowest_free_range(cluster, mask, used, free):
    assert next_free(ip_network(cluster), mask, nets(*used)) == (ip_network(free) if free else None)


@given(st.sets(st.integers(0, 31)), st.data())
def test_free_is_the_lowest_that_overlaps_nothing(taken, data):
    cluster = ip_network("10.0.0.0/19")
    all_ranges = list(cluster.subnets(new_prefix=24))
    used = data.draw(st.permutations([all_ranges[i] for i in taken]))
    expected = next((r for r in all_ranges if r not in used), None)
    assert next_free(cluster, 24, used) == expected
