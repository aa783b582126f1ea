"""The network is a function of the objects that are there, never of the way they came (STYLE rule 7)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from netloom.api.core import Namespace
from netloom.api.meta import KubeObject, LabelSelector
from netloom.api.pools import IPBlock, IPBlockSpec, IPBlockStatus, IPPool, IPPoolSpec
from netloom.model.egress.leaving import ANNOTATION
from netloom.model.inputs import Changes, ClusterView, NodeFacts
from netloom.model.network import Network
from netloom.model.policy.state import PolicyState
from netloom.model.state import Delta, NetworkState, difference
from netloom.testing import builders as b

FACTS = NodeFacts(
    name="node-1",
    addresses=(ip_address("192.0.2.11"), ip_address("2001:db8::11")),
    pod_cidrs=(ip_network("10.244.0.0/24"),),
    cluster_cidrs=(ip_network("10.244.0.0/16"),),
    service_cidrs=(ip_network("10.96.0.0/16"),),
    dns_addresses=(ip_address("10.96.0.10"),),
    zone="zone-a",
)
OTHER_FACTS = st.sampled_from(
    [
        FACTS,
        msgspec.structs.replace(FACTS, zone="zone-b"),
        msgspec.structs.replace(FACTS, name="node-2", addresses=(ip_address("192.0.2.12"),)),
        msgspec.structs.replace(FACTS, service_cidrs=(), cluster_cidrs=(ip_network("10.96.0.0/16"),)),
    ]
)

NOTHING = NetworkState(policy=PolicyState(own_node=Network.compute(ClusterView(), FACTS).policy.own_node))

# Few of each, so that objects meet all the time: the same ClusterIP, NodePort, endpoint, pod address, pod range.
# Most of them are sound, since two broken objects seldom meet.
CREATED = st.sampled_from([None, "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"])
BOOL = st.sampled_from([True, False, None])

service_ports = st.sampled_from(
    [
        (b.port(80),),
        (b.port(80, node_port=30080),),
        (b.port(80, "http", node_port=30080), b.port(53, "dns", protocol="UDP", node_port=30080)),
        (b.port(53, protocol="UDP"),),
        (b.port(70000), b.port(80, protocol="QUIC"), b.port(81), b.port(81, "again")),
    ]
)
cluster_ips = st.sampled_from(
    [
        ("10.96.0.1",),
        ("10.96.0.1", "fd00::1"),
        ("10.96.0.2",),
        ("10.96.0.10",),
        (),
        ("None",),
        ("nonsense", "fd00::1"),
    ]
)
services = st.builds(
    lambda name, ips, ports, **rest: b.service(name, *ips, ports=ports, **rest),
    st.sampled_from(["a/x", "a/y", "b/x"]),
    cluster_ips,
    service_ports,
    created=CREATED,
    type=st.sampled_from(["ClusterIP", "NodePort", "NodePort", "LoadBalancer", "ExternalName"]),
    ip_families=st.sampled_from([(), ("IPv4",), ("IPv4", "IPv6")]),
    internal_traffic_policy=st.sampled_from(["Cluster", "Cluster", "Local", "Odd"]),
    external_traffic_policy=st.sampled_from(["Cluster", "Cluster", "Local"]),
    external_ips=st.sampled_from([(), (), ("198.51.100.1",), ("10.96.0.1", "2001:db8:e::1"), ("10.97.0.1",)]),
    ingress=st.sampled_from([(), ("198.51.100.1",), ("198.51.100.2", "2001:db8:e::1")]),
    health_check_node_port=st.sampled_from([0, 32000, 32000, 32001]),
    session_affinity=st.sampled_from(["None", "None", "ClientIP"]),
    load_balancer_source_ranges=st.sampled_from([(), (), ("192.0.2.0/24",), ("nonsense",)]),
    labels=st.sampled_from([{}, {}, {}, {"service.kubernetes.io/service-proxy-name": "other"}]),
)
LOAD_BALANCERS = st.builds(
    lambda name, ip, created, **rest: b.service(
        name, ip, ports=(b.port(80, node_port=30080),), created=created, type="LoadBalancer", **rest
    ),
    st.sampled_from(["a/x", "a/y"]),
    st.sampled_from(["10.97.0.1", "10.97.0.2"]),
    CREATED,
    external_traffic_policy=st.sampled_from(["Cluster", "Local", "Local"]),
    external_ips=st.sampled_from([(), ("10.97.0.1",), ("10.97.0.2",)]),
    ingress=st.sampled_from([("198.51.100.1",), ("198.51.100.1", "198.51.100.2")]),
    health_check_node_port=st.sampled_from([0, 32000, 32000]),
)
endpoints = st.builds(
    b.endpoint,
    st.sampled_from(["10.244.0.2", "10.244.0.3", "10.244.1.2", "fd01::2", "nonsense"]),
    node=st.sampled_from(["node-1", "node-2", None]),
    pod=st.sampled_from([None, "p"]),
    ready=BOOL,
    serving=BOOL,
    terminating=BOOL,
    for_zones=st.sampled_from([(), (), ("zone-a",), ("zone-b",)]),
    for_nodes=st.sampled_from([(), (), ("node-1",), ("node-2",)]),
)
slices = st.builds(
    lambda name, of, found, ports, kind: b.endpoint_slice(name, of, *found, ports=ports, address_type=kind),
    st.sampled_from(["a/s1", "a/s2"]),
    st.sampled_from(["x", "x", "y", ""]),
    st.lists(endpoints, min_size=1, max_size=3),
    st.sampled_from([(("", 8080),), (("", 8080), ("http", 8080)), (("http", 8081),), (("", 0),)]),
    st.sampled_from(["IPv4", "IPv4", "IPv6", "FQDN"]),
)
sound_slices = st.builds(
    b.endpoint_slice,
    st.sampled_from(["a/s1", "a/s2"]),
    st.sampled_from(["x", "x", "y", ""]),
    st.builds(
        b.endpoint, st.just("10.244.0.2"), ready=BOOL, serving=BOOL, terminating=BOOL, node=st.just("node-1")
    ),
    st.builds(b.endpoint, st.sampled_from(["10.244.0.2", "10.244.0.3"]), ready=BOOL, node=st.just("node-1")),
)
TWO_SERVICES = [
    (b.service("a/x", "10.96.0.1", ports=[b.port(80)]), False),
    (b.service("a/y", "10.96.0.2", ports=[b.port(80)], internal_traffic_policy="Local"), False),
]
pods = st.builds(
    b.pod,
    st.sampled_from(["a/p", "a/q", "b/p"]),
    st.sampled_from(["10.244.0.2", "10.244.0.2", "10.244.0.3", "nonsense"]),
    node=st.sampled_from(["node-1", "node-1", "node-2"]),
    phase=st.sampled_from(["Running", "Pending", "Succeeded"]),
    created=CREATED,
    host_network=st.sampled_from([False, False, True]),
)
host_ports = st.builds(
    lambda port, number, ip: b.host_port(number, port, host_ip=ip),
    st.sampled_from([8080, 30080, 80, 70000]),
    st.sampled_from([80, 81]),
    st.sampled_from(["", "", "0.0.0.0", "192.0.2.11", "198.51.100.1", "127.0.0.1", "10.96.0.1", "nonsense"]),
)
HOST_PORTED = st.builds(
    lambda name, ip, ports, created, leaving: b.pod(
        name, ip, "fd01::9", node="node-1", ports=ports, created=created, deleted=leaving
    ),
    st.sampled_from(["a/x", "a/p", "a/q"]),
    st.sampled_from(["10.244.0.2", "10.244.0.3"]),
    st.lists(host_ports, min_size=1, max_size=3),
    CREATED,
    st.sampled_from([None, None, None, "2024-01-03T00:00:00Z"]),
)
MASQUERADES = st.sampled_from([{}, {}, {ANNOTATION: "false"}, {ANNOTATION: "true"}, {ANNOTATION: "never"}])
NAMESPACES = st.builds(
    lambda annotations, uid: Namespace(
        metadata=msgspec.structs.replace(b.meta("a", annotations=annotations), uid=uid)
    ),
    MASQUERADES,
    st.sampled_from(["1", "2"]),
)
ANNOTATED = st.builds(
    lambda name, node, annotations: b.pod(name, "10.244.0.2", node=node, annotations=annotations),
    st.sampled_from(["a/p", "b/p"]),
    st.sampled_from(["node-1", "node-1", "node-2"]),
    MASQUERADES,
)
nodes = st.builds(
    lambda name, addresses, cidrs, created: b.node(name, *addresses, pod_cidrs=cidrs, created=created),
    st.sampled_from(["node-1", "node-2", "node-3", "node-4"]),
    st.sampled_from(
        [
            ("192.0.2.12",),
            ("192.0.2.12", "2001:db8::12"),
            ("192.0.2.13", "192.0.2.14"),
            ("192.0.2.11",),
            ("x",),
        ]
    ),
    st.sampled_from(
        [
            ("10.244.1.0/24",),
            ("10.244.1.0/24", "fd01::/64"),
            ("10.244.1.128/25",),
            ("10.244.0.0/16",),
            ("10.244.2.0/23",),
            (),
            ("10.0.0.1/8",),
        ]
    ),
    CREATED,
)

POOLS = st.builds(
    lambda name, cidrs, created, selector: IPPool(
        metadata=b.meta(name, created=created), spec=IPPoolSpec(cidrs=cidrs, namespace_selector=selector)
    ),
    st.sampled_from(["p", "q"]),
    st.sampled_from(
        [("10.50.0.0/24",), ("10.50.0.0/25", "fd50::/64"), ("10.244.0.0/20",), ("10.96.0.0/24",), ("x",)]
    ),
    CREATED,
    st.sampled_from([None, LabelSelector()]),
)
BLOCKS = st.builds(
    lambda cidr, node, grants, name: IPBlock(
        metadata=b.meta(name or cidr.replace("/", "-").replace(":", "-")),
        spec=IPBlockSpec(cidr=cidr, node=node, pool="p"),
        status=IPBlockStatus(grants=grants),
    ),
    st.sampled_from(
        ["10.50.0.0/29", "10.50.0.3/32", "10.244.1.7/32", "10.244.2.0/24", "fd50::/122", "nonsense"]
    ),
    st.sampled_from(["node-1", "node-2", "node-3", "nobody"]),
    st.sampled_from(
        [{}, {"node-2": "granted"}, {"node-2": "granted", "node-3": "granted"}, {"node-2": "no"}]
    ),
    st.sampled_from(["", "", "", "other"]),
)


def history_of(*kinds: st.SearchStrategy[KubeObject]) -> st.SearchStrategy[list[tuple[KubeObject, bool]]]:
    """Objects that come, change and (True) go."""
    return st.lists(
        st.tuples(st.one_of(*kinds), st.sampled_from([False, False, True])), min_size=1, max_size=12
    )


def histories() -> st.SearchStrategy[list[tuple[KubeObject, bool]]]:
    """Kinds of objects that do not concern each other meet in few histories; in most, those that do."""
    return st.one_of(
        history_of(services, services, slices),
        history_of(services),
        history_of(sound_slices).map(lambda history: [*TWO_SERVICES, *history]),
        history_of(LOAD_BALANCERS, LOAD_BALANCERS, sound_slices),
        history_of(pods),
        history_of(HOST_PORTED, HOST_PORTED, services),
        history_of(ANNOTATED, NAMESPACES),
        history_of(nodes),
        history_of(nodes, POOLS, BLOCKS, BLOCKS),
        history_of(services, slices, pods, nodes),
    )


def identity(obj: KubeObject) -> tuple[str, object]:
    return type(obj).__name__, obj.key


def step(history: Sequence[tuple[KubeObject, bool]]) -> Changes:
    """Several events taken together, as a watch that coalesces would."""
    last = {identity(obj): (obj, gone) for obj, gone in history}
    there = [obj for obj, gone in last.values() if not gone]
    return b.changes(*there, gone=[obj for obj, gone in last.values() if gone])


def final_view(history: Sequence[tuple[KubeObject, bool]], draw_order: st.DataObject) -> ClusterView:
    last = {identity(obj): (obj, gone) for obj, gone in history}
    there = [obj for obj, gone in last.values() if not gone]
    return b.view(*draw_order.draw(st.permutations(there)))


def plus(state: NetworkState, delta: Delta) -> NetworkState:
    def applied(held, changed):
        merged = {**held, **changed}
        return {key: value for key, value in merged.items() if value is not None}

    return NetworkState(
        frontends=applied(state.frontends, delta.frontends),
        routes=applied(state.routes, delta.routes),
        local_pods=applied(state.local_pods, delta.local_pods),
        ranges=applied(state.ranges, delta.ranges),
        health_checks=applied(state.health_checks, delta.health_checks),
        policy=NOTHING.policy,
        findings=(),
    )


def without_findings(state: NetworkState) -> NetworkState:
    return msgspec.structs.replace(state, findings=())


@given(histories(), st.data())
def test_history_leaves_no_trace(history, data):
    network = Network(FACTS)
    for event in history:
        network.update(step([event]))
        assert network.update(step([event])).is_empty  # a watch repeats itself
    assert network.state == Network.compute(final_view(history, data), FACTS)


@given(histories(), st.lists(st.integers(0, 12), max_size=4), st.data())
def test_splitting_makes_no_difference(history, cuts, data):
    network = Network(FACTS)
    bounds = [0, *sorted(min(cut, len(history)) for cut in cuts), len(history)]
    for start, end in itertools.pairwise(bounds):
        network.update(step(history[start:end]))
    assert network.state == Network.compute(final_view(history, data), FACTS)


@given(histories())
def test_each_delta_is_the_difference_of_the_states(history):
    network = Network(FACTS)
    summed = NOTHING
    for event in history:
        before = network.state
        delta = network.update(step([event]))
        expected = difference(before, network.state)
        assert delta.frontends == expected.frontends
        assert delta.routes == expected.routes
        assert delta.local_pods == expected.local_pods
        assert delta.ranges == expected.ranges
        assert delta.health_checks == expected.health_checks
        assert sorted(map(str, delta.flows)) == sorted(map(str, expected.flows))
        summed = plus(summed, delta)
    assert summed == without_findings(network.state)


@given(histories())
def test_everything_gone_is_nothing(history):
    network = Network(FACTS)
    network.update(step(history))
    network.update(step([(obj, True) for obj, _ in history]))
    assert network.state == NOTHING


@given(histories(), OTHER_FACTS, st.integers(0, 12), st.data())
def test_a_node_that_changes_leaves_no_trace_either(history, facts, when, data):
    network = Network(FACTS)
    network.update(step(history[:when]))
    network.refit(facts)
    network.update(step(history[when:]))
    assert network.state == Network.compute(final_view(history, data), facts)
