"""The ways out, compiled: ranges that do not overlap, few operations for a change, and which flows end."""

from __future__ import annotations

import itertools
from ipaddress import ip_address, ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.fabric.egress.compile import TunnelProgram, compile_tunnels
from netloom.fabric.egress.flows import Outlook, has_ended
from netloom.fabric.egress.shares import holder, shares
from netloom.fabric.egress.table import WAYS, EgressTable, advance, comments, creation, egress_table
from netloom.model.egress.state import EgressPod, EgressState, Exit, PodWay, TunnelEnd, way_of
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source
from netloom.model.routes.ways import Way
from netloom.model.state import PeerRoute
from netloom.program.conntrack import Flow, Tuple
from netloom.program.nft import AddElements
from netloom.program.routes import RouteKind
from netloom.units import Family, ObjectKey

SOURCE = Source("EgressGateway", "", "g", field="spec.addresses[0]")
EXIT, OTHER = ip_address("192.0.2.50"), ip_address("192.0.2.51")
POD, FAR = ip_address("10.244.1.7"), ip_address("10.244.3.7")
OUTSIDE = ip_address("198.51.100.7")
INSIDE = (ip_network("10.244.0.0/16"),)
FACTS = NodeFacts(
    name="node-1",
    addresses=(ip_address("172.30.0.11"),),
    pod_cidrs=(ip_network("10.244.1.0/24"), ip_network("fd00:1::/64")),
    cluster_cidrs=INSIDE,
)
ROUTES = {
    ip_network(f"10.244.{n}.0/24"): PeerRoute(
        ip_network(f"10.244.{n}.0/24"),
        ip_address(f"172.30.0.{10 + n}"),
        f"node-{n}",
        SOURCE,
        Way.DIRECT,
        "",
        mtu,
    )
    for n, mtu in ((2, 1500), (3, 1400))
}
ENDS = {f"node-{n}": TunnelEnd(f"node-{n}", ip_address(f"10.244.{n}.1")) for n in (2, 3)}


def way(address=EXIT, **more):
    return PodWay(SOURCE, address, SOURCE, **more)


def state_of(node="node-2", pods=None, **more):
    pods = {POD: EgressPod(ObjectKey("shop", "p"), "node-1", (way(),))} if pods is None else pods
    exits = {EXIT: Exit(EXIT, node, 7, SOURCE), OTHER: Exit(OTHER, "node-1", 9, SOURCE)}
    return EgressState(pods, exits, frozenset({ip_address("172.30.0.12")}), ENDS, **more)


RANGES = st.sampled_from(
    ["0.0.0.0/0", "198.51.100.0/24", "198.51.100.0/25", "203.0.113.0/24", "128.0.0.0/1", "198.51.100.7/32"]
).map(ip_network)
WAYS_OF = st.lists(
    st.builds(
        lambda address, destinations, excepts: way(address, destinations=destinations, excepts=excepts),
        st.sampled_from([EXIT, OTHER]),
        st.one_of(st.none(), st.lists(RANGES, max_size=3).map(tuple)),
        st.lists(RANGES, max_size=2).map(tuple),
    ),
    max_size=4,
).map(tuple)
PLACES = ("198.51.100.7", "198.51.100.200", "203.0.113.9", "8.8.8.8", "169.254.169.254", "255.255.255.255")


@given(WAYS_OF, st.sampled_from(PLACES).map(ip_address))
def test_ranges_say_what_the_model_says_of_each_address_and_do_not_overlap(ways, destination):
    found = shares(ways, Family.V4)
    assert all(one[0][1] < other[0][0] for one, other in itertools.pairwise(found))
    state = state_of(pods={POD: EgressPod(ObjectKey("shop", "p"), "node-1", ways)})
    assert holder(found, destination) == way_of(state, POD, destination)


def test_without_gateways_there_is_nothing():
    assert compile_tunnels(FACTS, ROUTES, EgressState()) == TunnelProgram()


def test_each_address_of_another_node_has_a_table_of_routes_and_answers_have_one():
    program = compile_tunnels(FACTS, ROUTES, state_of())
    assert {(r.table & 0xFFF, str(r.destination), str(r.via), r.mtu) for r in program.routes} == {
        (7, "0.0.0.0/0", "10.244.2.1", 0),
        (0xFFF, "10.244.2.0/24", "10.244.2.1", 0),
        (0xFFF, "10.244.3.0/24", "10.244.3.1", 1350),
    }
    assert program.device is not None
    assert program.device.mtu == 1450
    assert {rule.table & 0xFFF for _, rule in program.rules} == {7, 0xFFF}
    (nowhere,) = (r for r in compile_tunnels(FACTS, ROUTES, state_of(node="")).routes if r.table & 0xFFF == 7)
    assert nowhere.kind is RouteKind.BLACKHOLE


def test_a_node_without_a_range_has_no_tunnel():
    program = compile_tunnels(msgspec.structs.replace(FACTS, pod_cidrs=()), ROUTES, state_of())
    assert program.device is None
    assert {route.kind for route in program.routes} == {RouteKind.BLACKHOLE}


def count(before, after):
    table = egress_table(before, Family.V4, "node-1", INSIDE)
    changed = [a for a in {**before.pods, **after.pods} if before.pods.get(a) != after.pods.get(a)]
    return advance(table, after, "node-1", INSIDE, changed)[1].count


def test_a_pod_is_one_element_and_an_address_that_comes_here_three():
    more = {
        **state_of().pods,
        ip_address("10.244.1.8"): EgressPod(ObjectKey("shop", "q"), "node-1", (way(),)),
    }
    assert count(state_of(), state_of(pods=more)) == 1
    assert count(state_of(), state_of(node="node-3")) == 0  # a route
    assert count(state_of(), state_of(node="node-1")) == 3


PODS_NOW = st.dictionaries(
    st.integers(2, 6).map(lambda n: ip_address(f"10.244.1.{n}")),
    st.builds(
        lambda ways, node: EgressPod(ObjectKey("shop", "p"), node, ways),
        st.sampled_from(
            [(way(),), (way(OTHER),), (way(destinations=(ip_network("8.0.0.0/8"),)), way(OTHER))]
        ),
        st.sampled_from(["node-1", "node-3"]),
    ),
)


@given(st.lists(st.tuples(PODS_NOW, st.sampled_from(["", "node-1", "node-2"])), min_size=2, max_size=4))
def test_history_leaves_no_trace_but_in_the_numbers_of_labels(histories):
    (pods, node), *_ = histories
    table = egress_table(state_of(node, pods), Family.V4, "node-1", INSIDE)
    present = {name: dict(found) for name, found in table.elements.items()}
    for (before, _), (after, node) in itertools.pairwise(histories):
        state = state_of(node, after)
        changed = [one for one in {**before, **after} if before.get(one) != after.get(one)]
        table, transaction = advance(table, state, "node-1", INSIDE, changed)
        for op in transaction.ops:
            held = present[op.container.name]
            if isinstance(op, AddElements):
                held.update(op.elements)
            else:
                for key in op.keys:
                    del held[key]
        assert present == table.elements
        assert egress_table(state, Family.V4, "node-1", INSIDE, table.labels) == table


def test_what_falls_back_has_no_element_while_nobody_has_its_address():
    pods = {POD: EgressPod(ObjectKey("shop", "p"), "node-1", (way(falls_back=True),))}
    assert egress_table(state_of("", pods), Family.V4, "node-1", ()).elements[WAYS.name] == {}
    assert egress_table(state_of("node-2", pods), Family.V4, "node-1", ()).elements[WAYS.name]


def test_chains_are_told_by_their_comments():
    for family in Family:
        assert set(comments(family)) >= {"choose", "translate", "sent", "arrivals"}
    assert creation(EgressTable(Family.V4)).render().startswith("add table ip netloom-egress\n")


def flow(source, seen_as, destination=OUTSIDE):
    return Flow(
        family=Family.V4,
        protocol=6,
        original=Tuple(source, destination, 4000, 443),
        reply=Tuple(destination, seen_as, 443, 4000),
        id=1,
    )


OWN_NODE = ip_address("172.30.0.11")


@pytest.mark.parametrize(
    ("state", "one", "has_to_go"),
    [
        # sent on to another node: untouched here
        (state_of(), flow(POD, POD), False),
        (state_of(), flow(POD, OWN_NODE), True),
        (state_of(), flow(POD, EXIT), True),
        # left here
        (state_of(node="node-1"), flow(POD, EXIT), False),
        (state_of(node="node-1"), flow(POD, POD), True),
        # not by a gateway any more
        (state_of(pods={}), flow(POD, OWN_NODE), False),
        (state_of(pods={}), flow(POD, EXIT), True),
        (state_of(pods={}), flow(POD, POD), True),
        # of a pod of another node, whose address this one has lost
        (state_of(pods={FAR: EgressPod(ObjectKey("shop", "f"), "node-3", (way(),))}), flow(FAR, EXIT), True),
        # within the cluster
        (state_of(), flow(POD, POD, FAR), False),
        (state_of(), flow(POD, OWN_NODE, ip_address("172.30.0.12")), False),
        # nobody's business
        (state_of(), flow(ip_address("10.244.1.99"), OWN_NODE), False),
    ],
)
def test_flows_that_would_be_others_end(state, one, has_to_go):
    outlook = Outlook("node-1", state, INSIDE, frozenset({EXIT, OTHER}))
    suspects = {POD: True, FAR: True}
    assert has_ended(one, suspects, outlook) is has_to_go
