from __future__ import annotations

import ipaddress

import pytest

from netloom.dataplane.nftables.flows import has_ended, is_stale, looks, looks_at_start
from netloom.model.inputs import NodeFacts
from netloom.program.conntrack import Flow, FlowFilter, Tuple
from netloom.testing.frontends import backend, frontend
from netloom.units import Family, Protocol

UDP, TCP = Protocol.UDP, Protocol.TCP
FACTS = NodeFacts(
    name="node-1",
    addresses=(ipaddress.ip_address("192.0.2.11"),),
    pod_cidrs=(ipaddress.ip_network("10.244.1.0/24"),),
    cluster_cidrs=(ipaddress.ip_network("10.244.0.0/16"),),
    service_cidrs=(ipaddress.ip_network("10.96.0.0/16"),),
)
CART, PORT = "10.96.0.80:80", "192.0.2.11:30080"
A, B, C, OTHER = "10.244.1.5:8080", "10.244.1.6:8080", "10.244.1.7:8080", "198.51.100.1:53"
POD, NODE, OUTSIDE = "10.244.1.9", "192.0.2.11", "203.0.113.7"


def flow(destination, answers=None, protocol=UDP, client=POD):
    """A flow from a pod to ``destination`` that goes to ``answers`` (itself where that is not said)."""
    to, at = (backend(text) for text in (destination, answers or destination))
    source = ipaddress.ip_address(client)
    return Flow(
        Family.V4,
        protocol.number,
        Tuple(source, to.address, 40000, to.port),
        Tuple(at.address, source, at.port, 40000),
        7,
    )


def changed(*after, gone=()):
    """The frontends of a change: as they are now, and those that are gone."""
    return {one.key: one for one in after} | {one.key: None for one in gone}


LEFT = frontend(CART, B, protocol=UDP)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (flow(CART, A), True),
        (flow(CART, B), False),
        (flow(CART), True),
        (flow(A), False),
        (flow("10.96.0.80:81", A), False),
        (flow(CART, A, TCP), False),
        (flow(OTHER), False),
    ],
)
def test_udp_flows_live_only_where_their_frontend_would_send_them(one, expected):
    assert has_ended(one, changed(LEFT), FACTS) is expected


@pytest.mark.parametrize("one", [flow(CART, A), flow(CART)])
def test_all_flows_of_a_udp_frontend_end_translated_or_not(one):
    for after in (changed(frontend(CART, protocol=UDP)), changed(gone=[LEFT])):
        assert has_ended(one, after, FACTS)
        assert not has_ended(flow(OTHER), after, FACTS)


@pytest.mark.parametrize("protocol", [TCP, Protocol.SCTP])
def test_connections_drain_while_their_endpoint_is_there_and_end_when_it_has_left(protocol):
    one = flow(CART, A, protocol)
    assert not has_ended(one, changed(frontend(CART, B, protocol=protocol, draining=[A])), FACTS)
    assert not has_ended(one, changed(frontend(CART, protocol=protocol, draining=[A])), FACTS)
    assert has_ended(one, changed(frontend(CART, B, protocol=protocol)), FACTS)
    assert has_ended(one, changed(gone=[frontend(CART, protocol=protocol)]), FACTS)
    to_the_address_itself = flow(CART, None, protocol)
    assert not has_ended(to_the_address_itself, changed(gone=[frontend(CART, protocol=protocol)]), FACTS)


def test_a_udp_flow_does_not_drain():
    assert has_ended(flow(CART, A), changed(frontend(CART, B, protocol=UDP, draining=[A])), FACTS)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (flow(PORT, A), True),
        (flow("203.0.113.5:30080", A), True),
        (flow(PORT, B), False),
        (flow("10.96.0.80:30080", A), False),
    ],
)
def test_node_ports_are_known_by_their_port_at_addresses_that_are_no_service(one, expected):
    assert has_ended(one, changed(frontend("*:30080", B, protocol=UDP)), FACTS) is expected


def test_untranslated_flows_to_a_node_port_end_at_the_nodes_own_addresses_only():
    began = changed(frontend("*:30080", A, protocol=UDP))
    assert has_ended(flow(PORT), began, FACTS)
    assert not has_ended(flow("203.0.113.5:30080"), began, FACTS)


@pytest.mark.parametrize(
    ("client", "back", "expected"),
    [(OUTSIDE, A, False), (OUTSIDE, B, True), (POD, B, False), (NODE, B, False), (POD, C, True)],
)
def test_with_two_pools_it_matters_who_the_client_is(client, back, expected):
    two = frontend("192.0.2.80:80", A, protocol=UDP, inside=[A, B])
    assert has_ended(flow("192.0.2.80:80", back, client=client), changed(two), FACTS) is expected


def test_who_is_no_longer_let_in_is_not_let_go_on():
    closed = frontend("192.0.2.80:80", A, source_ranges=["203.0.113.0/24"])
    assert has_ended(flow("192.0.2.80:80", A, TCP, client="198.51.100.9"), changed(closed), FACTS)
    assert not has_ended(flow("192.0.2.80:80", A, TCP, client=OUTSIDE), changed(closed), FACTS)


def test_each_look_walks_the_whole_table_so_there_is_one_for_each_protocol():
    key = frontend(CART, protocol=UDP).key
    assert looks([key]) == [FlowFilter(Family.V4, 17, key.address, 80)]
    many = [frontend(f"10.96.0.{n}:80", protocol=UDP).key for n in range(1, 100)]
    lone = frontend("10.96.0.1:80").key
    assert looks([*many, lone]) == [
        FlowFilter(Family.V4, 6, lone.address, 80),
        FlowFilter(Family.V4, 17),
    ]
    assert looks([]) == []
    assert looks_at_start([Family.V6]) == [FlowFilter(Family.V6, number) for number in (17, 6, 132)]


STATE = {
    one.key: one
    for one in (
        frontend(CART, A, protocol=UDP),
        frontend(CART, A, protocol=TCP),
        frontend("10.96.0.81:80", protocol=UDP),
        frontend("10.96.0.10:53", protocol=UDP, node_local=True),
        frontend("*:30080", A, protocol=UDP),
    )
}


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (flow(CART, A), False),
        (flow(CART, B), True),
        (flow(CART), True),
        (flow("10.96.0.81:80", A), True),
        (flow("10.96.0.81:80"), True),
        (flow("10.96.0.10:53"), False),
        (flow("10.96.0.10:53", A), True),
        (flow(PORT, A), False),
        (flow(PORT, B), True),
        (flow(PORT), True),
        (flow("203.0.113.5:30080"), False),
        (flow("10.96.0.99:80", A), True),
        (flow("10.96.0.99:80", A, TCP), True),
        (flow("192.0.2.11:30099", A, TCP), True),
        (flow("192.0.2.11:443", A, TCP), False),
        (flow(CART, B, TCP), True),
        (flow(OTHER), False),
        (flow(OTHER, A), True),
        (flow(A), False),
    ],
)
def test_what_is_stale_at_start(one, expected):
    assert is_stale(one, STATE, FACTS) is expected


def test_other_protocols_are_never_touched():
    icmp = Flow(Family.V4, 1, flow(CART, A).original, flow(CART, A).reply, 1)
    assert not is_stale(icmp, STATE, FACTS)
    assert not has_ended(icmp, changed(gone=[LEFT]), FACTS)
