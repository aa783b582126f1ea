from __future__ import annotations

import ipaddress

import pytest

from netloom.dataplane.nftables.flows import ended_by, has_ended, is_stale, looks, looks_at_start
from netloom.model.inputs import NodeFacts
from netloom.model.services.frontends import FlowClass
from netloom.program.conntrack import Flow, FlowFilter, Tuple
from netloom.testing.frontends import backend, frontend
from netloom.units import Family, Protocol

UDP, TCP = Protocol.UDP, Protocol.TCP
FACTS = NodeFacts(
    name="node-1",
    addresses=(ipaddress.ip_address("192.0.2.11"),),
    cluster_cidrs=(ipaddress.ip_network("10.244.0.0/16"),),
    service_cidrs=(ipaddress.ip_network("10.96.0.0/16"),),
)
CART, PORT = "10.96.0.80:80", "192.0.2.11:30080"
A, B, OTHER = "10.244.1.5:8080", "10.244.1.6:8080", "198.51.100.1:53"


def flow(destination, answers=None, protocol=UDP):
    """A flow from a pod to ``destination`` that goes to ``answers`` (itself where that is not said)."""
    to, at = (backend(text) for text in (destination, answers or destination))
    source = ipaddress.ip_address("10.244.1.9")
    return Flow(
        Family.V4,
        protocol.number,
        Tuple(source, to.address, 40000, to.port),
        Tuple(at.address, source, at.port, 40000),
        7,
    )


def ended(*classes, present=()):
    return ended_by(classes, {one.key for one in present})


def gone(place, back=None, protocol=UDP):
    key = frontend(place, protocol=protocol).key
    return FlowClass(key, backend(back) if back else None)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (flow(CART, A), True),
        (flow(CART, B), False),
        (flow(CART), False),
        (flow(A), False),
        (flow("10.96.0.80:81", A), False),
        (flow(CART, A, TCP), False),
        (flow(OTHER), False),
    ],
)
def test_the_flows_of_a_removed_udp_backend_end_and_no_others(one, expected):
    assert has_ended(one, ended(gone(CART, A), present=[frontend(CART, protocol=UDP)]), FACTS) is expected


@pytest.mark.parametrize("one", [flow(CART, A), flow(CART)])
def test_all_flows_of_a_udp_frontend_end_translated_or_not(one):
    assert has_ended(one, ended(gone(CART)), FACTS)
    assert not has_ended(flow(OTHER), ended(gone(CART)), FACTS)


@pytest.mark.parametrize("protocol", [TCP, Protocol.SCTP])
def test_connections_outlive_their_backend_and_their_last_but_not_their_service(protocol):
    here = [frontend(CART, protocol=protocol)]
    one = flow(CART, A, protocol)
    assert ended(gone(CART, A, protocol), gone(CART, None, protocol), present=here) == {}
    vanished = ended(gone(CART, None, protocol))
    assert has_ended(one, vanished, FACTS)
    assert not has_ended(flow(CART, None, protocol), vanished, FACTS)


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
    here = [frontend("*:30080", protocol=UDP)]
    assert has_ended(one, ended(gone("*:30080", A), present=here), FACTS) is expected


def test_untranslated_flows_to_a_node_port_end_at_the_nodes_own_addresses_only():
    began = ended(gone("*:30080"), present=[frontend("*:30080", A, protocol=UDP)])
    assert has_ended(flow(PORT), began, FACTS)
    assert not has_ended(flow("203.0.113.5:30080"), began, FACTS)


def test_few_frontends_are_looked_for_one_by_one_and_many_at_once():
    key = frontend(CART, protocol=UDP).key
    assert looks(ended(gone(CART, A), gone(CART, B), present=[frontend(CART, protocol=UDP)])) == [
        FlowFilter(Family.V4, 17, key.address, 80)
    ]
    many = ended(*(gone(f"10.96.0.{n}:80") for n in range(1, 100)), gone("10.96.0.1:80", None, TCP))
    assert looks(many) == [FlowFilter(Family.V4, 6), FlowFilter(Family.V4, 17)]
    assert looks({}) == []
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
        (flow(CART, B, TCP), False),
        (flow(OTHER), False),
        (flow(OTHER, A), False),
        (flow(A), False),
    ],
)
def test_what_is_stale_at_start(one, expected):
    assert is_stale(one, STATE, FACTS) is expected


def test_other_protocols_are_never_touched():
    icmp = Flow(Family.V4, 1, flow(CART, A).original, flow(CART, A).reply, 1)
    assert not is_stale(icmp, STATE, FACTS)
    assert not has_ended(icmp, ended(gone(CART)), FACTS)
