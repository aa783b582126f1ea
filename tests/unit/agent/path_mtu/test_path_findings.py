"""What answers to probes mean, case by case, and what is said of it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.agent.path_mtu.findings import Fault, Seen, Target, finding, judge, sizes, targets_of
from netloom.model.provenance import Source
from netloom.model.routes.ways import Way
from netloom.model.state import PeerRoute

VIA, VIA6 = ipaddress.ip_address("192.0.2.2"), ipaddress.ip_address("2001:db8::2")
INNER = ipaddress.ip_address("10.244.2.1")
PLAIN = Target("node-2", VIA, Way.DIRECT, 1500)
TUNNEL = Target("node-2", VIA, Way.VXLAN, 1450, INNER)
TUNNEL6 = Target("node-2", VIA6, Way.VXLAN, 1430, INNER)
OWN = Source("Node", "", "node-1", "uid")
WHOLE = Seen(carried=1500, plain=True, unchecked=True, full=True, cut=True)


def route(destination: str, way: Way = Way.VXLAN, mtu: int = 1450, via: str = "192.0.2.2") -> PeerRoute:
    cidr = ipaddress.ip_network(destination)
    return PeerRoute(cidr, ipaddress.ip_address(via), "node-2", OWN, way, "", mtu)


@pytest.mark.parametrize(
    ("target", "seen", "fault", "carried"),
    [
        (PLAIN, Seen(), Fault.SILENT, 0),
        (PLAIN, Seen(carried=1500), Fault.NONE, 1500),
        (PLAIN, Seen(carried=1400), Fault.NARROW, 1400),
        (PLAIN, Seen(carried=9000), Fault.NONE, 1500),
        (TUNNEL, Seen(), Fault.SILENT, 0),
        (TUNNEL, WHOLE, Fault.NONE, 1450),
        (TUNNEL6, WHOLE, Fault.NONE, 1430),
        (TUNNEL, Seen(carried=1500), Fault.BLOCKED, 1450),
        (TUNNEL, Seen(carried=1500, unchecked=True), Fault.CHECKSUM, 1450),
        (TUNNEL, Seen(carried=1400, plain=True), Fault.NARROW, 1350),
        (TUNNEL, Seen(carried=1500, plain=True), Fault.TUNNEL_NARROW, 1450),
        (TUNNEL, Seen(carried=1500, plain=True, full=True), Fault.SEGMENTATION, 1450),
        # what is most in the way counts
        (TUNNEL, Seen(carried=1400), Fault.BLOCKED, 1350),
    ],
)
def test_answers_mean(target, seen, fault, carried):
    assert judge(target, seen) == (fault, carried)


def test_each_fault_has_words_that_name_the_node_and_what_to_do():
    for fault in Fault:
        said = finding(TUNNEL, fault, 1350, OWN, 0)
        if fault in (Fault.NONE, Fault.SILENT):
            assert said is None
            continue
        assert said is not None
        assert said.source == OWN.at("status.addresses")
        assert "node node-2 at 192.0.2.2" in said.problem
        assert said.hint


def test_a_blocked_port_is_named_also_where_it_is_another():
    assert "UDP port 4789 " in str(finding(TUNNEL, Fault.BLOCKED, 0, OWN, 0))
    assert "UDP port 8472 " in str(finding(TUNNEL, Fault.BLOCKED, 0, OWN, 8472))


def test_ranges_of_one_node_are_one_way_and_the_narrowest_counts():
    routes = [
        route("10.244.2.0/24"),
        route("2001:db8:44:2::/64", mtu=1400),
        route("10.244.9.0/24", Way.BLOCKED, via="192.0.2.9"),
    ]
    expected = {("node-2", VIA): Target("node-2", VIA, Way.VXLAN, 1400, INNER)}
    assert targets_of(routes) == expected
    assert targets_of([route("10.244.2.0/24", Way.DIRECT, 1500)]) == {("node-2", VIA): PLAIN}
    assert TUNNEL.outer == 1500
    assert TUNNEL6.outer == 1500


def test_the_search_begins_at_what_every_network_carries():
    assert sizes(1500, outer_v6=False) == (576, 1500)
    assert sizes(1500, outer_v6=True) == (1280, 1500)
    assert sizes(500, outer_v6=False) == (500, 500)


@given(st.builds(Seen), st.sampled_from([PLAIN, TUNNEL, TUNNEL6]))
def test_nothing_is_said_to_carry_more_than_is_expected(seen: Seen, target: Target):
    fault, carried = judge(target, seen)
    assert carried <= target.mtu
    assert (fault is Fault.SILENT) == (seen.carried == 0)
