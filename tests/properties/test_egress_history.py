"""Who leaves by which address is a function of the objects that are there, never of the way they came (STYLE rule 7)."""

from __future__ import annotations

import itertools
from ipaddress import ip_address, ip_network

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from netloom.api.core import Namespace
from netloom.api.egress import EgressGateway, EgressGatewaySpec
from netloom.api.meta import LabelSelector, LabelSelectorRequirement
from netloom.model.announcing.gone import GoneNode
from netloom.model.egress.exits import numbers
from netloom.model.egress.state import MOST_EXITS, EgressState, advanced
from netloom.model.inputs import NodeFacts
from netloom.model.network import Network
from netloom.model.state import difference
from netloom.testing import builders as b

FACTS = NodeFacts(
    name="node-1",
    addresses=(ip_address("172.30.0.11"), ip_address("2001:db8:30::11")),
    pod_cidrs=(ip_network("10.244.1.0/24"), ip_network("2001:db8:44:1::/64")),
    cluster_cidrs=(ip_network("10.244.0.0/16"),),
)
CREATED = st.sampled_from([None, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])
SELECTORS = st.sampled_from(
    [
        None,
        None,
        LabelSelector(),
        LabelSelector({"app": "a"}),
        LabelSelector(match_expressions=(LabelSelectorRequirement("app", "Exists"),)),
        LabelSelector(match_expressions=(LabelSelectorRequirement("app", "Near"),)),
    ]
)
RANGES = st.sampled_from(
    [(), (), ("198.51.100.0/24",), ("198.51.100.0/25", "2001:db8:c::/48"), ("0.0.0.0/0",), ("x",)]
)
GATEWAYS = st.builds(
    lambda name, created, **spec: EgressGateway(
        metadata=b.meta(name, created=created), spec=EgressGatewaySpec(**spec)
    ),
    st.sampled_from(["g", "h", "i"]),
    CREATED,
    pod_selector=SELECTORS,
    namespace_selector=SELECTORS,
    node_selector=SELECTORS,
    destinations=RANGES,
    except_destinations=RANGES,
    addresses=st.sampled_from(
        [
            ("192.0.2.10",),
            ("192.0.2.10", "192.0.2.11", "2001:db8:1::10"),
            ("2001:db8:1::10", "2001:db8:1::11"),
            ("172.30.0.12", "10.244.1.7"),
            ("x",),
            ("192.0.2.300", "2001:db8:1::10"),
            (),
        ]
    ),
    when_unavailable=st.sampled_from(["Drop", "Node", "Maybe"]),
)
LABELS = st.sampled_from([{}, {"app": "a"}, {"app": "b"}])
PODS = st.builds(
    lambda name, addresses, **rest: b.pod(name, *addresses, **rest),
    st.sampled_from(["a/p", "a/q", "b/p"]),
    st.sampled_from([("10.244.1.2",), ("10.244.1.2", "2001:db8:44:1::2"), ("10.244.2.2",), ("x",)]),
    node=st.sampled_from(["node-1", "node-2"]),
    labels=LABELS,
    created=CREATED,
    phase=st.sampled_from(["Running", "Running", "Succeeded"]),
    deleted=st.sampled_from([None, None, "2026-01-03T00:00:00Z"]),
    host_network=st.sampled_from([False, False, True]),
)
NODES = st.builds(
    lambda name, address, cidrs, labels: b.node(name, address, pod_cidrs=cidrs, labels=labels),
    st.sampled_from(["node-1", "node-2", "node-3"]),
    st.sampled_from(["172.30.0.11", "172.30.0.12", "192.0.2.10"]),
    st.sampled_from([("10.244.2.0/24",), ("10.244.3.0/24", "2001:db8:44:3::/64"), ()]),
    LABELS,
)
NAMESPACES = st.builds(
    lambda name, labels: Namespace(metadata=b.meta(name, labels=labels)), st.sampled_from(["a", "b"]), LABELS
)
GONE = st.builds(GoneNode, st.sampled_from(["node-1", "node-2", "node-3"]))
EVENTS = st.tuples(
    st.one_of(GATEWAYS, GATEWAYS, PODS, PODS, NODES, NODES, NAMESPACES, GONE),
    st.sampled_from([False, False, True]),
)
HISTORIES = st.lists(EVENTS, min_size=1, max_size=14)


def kept(history):
    """What is there in the end, and what has gone."""
    last = {(type(thing).__name__, thing.key): (thing, is_gone) for thing, is_gone in history}
    there = [thing for thing, is_gone in last.values() if not is_gone]
    return there, [thing for thing, is_gone in last.values() if is_gone]


def step(history):
    there, gone = kept(history)
    return b.changes(*there, gone=gone)


@given(HISTORIES, st.lists(st.integers(0, 14), max_size=4))
def test_history_leaves_no_trace_and_each_delta_is_the_difference(history, cuts):
    network, summed = Network(FACTS), EgressState()
    bounds = [0, *sorted(min(cut, len(history)) for cut in cuts), len(history)]
    for start, end in itertools.pairwise(bounds):
        before = network.state
        changes = step(history[start:end])
        delta = network.update(changes).egress
        assert delta == difference(before, network.state).egress
        assert network.update(changes).egress.is_empty  # a watch repeats itself
        summed = advanced(summed, delta)
        assert summed == network.state.egress
    there, _ = kept(history)
    computed = Network.compute(b.view(*there), FACTS)
    assert (network.state.egress, network.state.findings) == (computed.egress, computed.findings)


@given(HISTORIES, st.sampled_from(["node-1", "node-2"]))
def test_a_node_that_changes_leaves_no_trace_either(history, name):
    network = Network(msgspec.structs.replace(FACTS, name="node-3"))
    network.update(step(history))
    facts = msgspec.structs.replace(FACTS, name=name)
    network.refit(facts)
    there, _ = kept(history)
    assert network.state.egress == Network.compute(b.view(*there), facts).egress


@given(st.sets(st.ip_addresses(), max_size=12), st.ip_addresses())
def test_each_address_has_a_number_of_its_own(addresses, another):
    found = numbers(addresses)
    assert set(found) == addresses
    assert len(set(found.values())) == len(addresses)
    assert all(1 <= number <= MOST_EXITS for number in found.values())
    assert numbers(sorted(addresses, key=str)) == found
    with_one_more = numbers({*addresses, another})
    assert sum(with_one_more[one] != number for one, number in found.items()) <= len(addresses)
