"""Affinity, source ranges, health checks, labels: what a Service says about all of its frontends."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec
import pytest

from netloom.api.core import ClientIPConfig, SessionAffinityConfig
from netloom.api.discovery import EndpointPort
from netloom.model.services.build import build
from netloom.model.services.frontends import FrontendKind
from netloom.model.services.labels import HEADLESS_LABEL, PROXY_NAME_LABEL, served_service
from netloom.model.services.source_ranges import ANNOTATION
from netloom.testing import builders as b
from netloom.units import ObjectKey

HERE = b.endpoint("10.244.0.2", node="node-1")
THERE = b.endpoint("10.244.1.2", node="node-2")


def svc(*ips, **rest):
    return b.service("a/web", *(ips or ("10.96.0.1",)), ports=[b.port(80, node_port=30080)], **rest)


def web(*endpoints, kind="IPv4", ports=(("", 8080),), name="a/s1"):
    return b.endpoint_slice(name, "web", *endpoints, ports=ports, address_type=kind)


def findings(built):
    return [(f.source.field, f.problem) for f in built.findings]


def timeout(seconds):
    return SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=seconds))


@pytest.mark.parametrize(
    ("affinity", "config", "seconds", "problems"),
    [
        ("None", None, 0, []),
        ("", None, 0, []),
        ("None", timeout(60), 0, []),
        ("ClientIP", None, 10800, []),
        ("ClientIP", SessionAffinityConfig(), 10800, []),
        ("ClientIP", timeout(None), 10800, []),
        ("ClientIP", timeout(1), 1, []),
        ("ClientIP", timeout(86400), 86400, []),
        ("ClientIP", timeout(0), 10800, ["0 seconds is out of range; 10800 are kept"]),
        ("ClientIP", timeout(86401), 10800, ["86401 seconds is out of range; 10800 are kept"]),
        ("ClientIP", timeout(-1), 10800, ["-1 seconds is out of range; 10800 are kept"]),
        ("Cookie", None, 0, ['"Cookie" is no session affinity; served without']),
    ],
)
def test_session_affinity(facts, affinity, config, seconds, problems):
    service = svc(
        type="LoadBalancer",
        session_affinity=affinity,
        session_affinity_config=config,
        ingress=["198.51.100.1"],
        external_ips=("198.51.100.9",),
    )
    built = build(service, [web(HERE)], facts)
    assert {one.affinity_s for one in built.frontends} == {seconds}
    assert len(built.frontends) == 4
    assert [f.problem for f in built.findings] == problems


def ranges_of(facts, given=(), *, annotation=None, ips=("10.96.0.1",), ingress=("198.51.100.1",)):
    service = svc(
        *ips,
        type="LoadBalancer",
        load_balancer_source_ranges=tuple(given),
        ingress=ingress,
        external_ips=("198.51.100.9",),
        annotations={} if annotation is None else {ANNOTATION: annotation},
    )
    built = build(service, [web(HERE)], facts)
    assert {one.source_ranges for one in built.frontends if one.kind is not FrontendKind.LOAD_BALANCER} == {
        None
    }
    found = [
        None if one.source_ranges is None else [str(cidr) for cidr in one.source_ranges]
        for one in built.frontends
        if one.kind is FrontendKind.LOAD_BALANCER
    ]
    return found, findings(built)


@pytest.mark.parametrize(
    ("given", "ranges", "problems"),
    [
        ([], None, []),
        (["203.0.113.0/24"], ["203.0.113.0/24"], []),
        (["  203.0.113.0/24\t"], ["203.0.113.0/24"], []),
        (["203.0.113.7/24", "203.0.113.0/24"], ["203.0.113.0/24"], []),
        (["0.0.0.0/0"], ["0.0.0.0/0", "198.51.100.1/32"], []),
        (["2001:db8::/32"], [], []),
        (
            ["203.0.113.0/33", "203.0.113.0/24"],
            ["203.0.113.0/24"],
            [("spec.loadBalancerSourceRanges[0]", '"203.0.113.0/33" is no CIDR')],
        ),
        (["all"], [], [("spec.loadBalancerSourceRanges[0]", '"all" is no CIDR')]),
        (["203.0.113.7"], [], [("spec.loadBalancerSourceRanges[0]", '"203.0.113.7" is no CIDR')]),
        ([""], [], [("spec.loadBalancerSourceRanges[0]", '"" is no CIDR')]),
        # A node that is let in may have the address itself: then that is its source.
        (["192.0.2.0/24"], ["192.0.2.0/24", "198.51.100.1/32"], []),
        (["192.0.2.12/32"], ["192.0.2.12/32"], []),
    ],
)
def test_source_ranges(facts, given, ranges, problems):
    assert ranges_of(facts, given) == ([ranges], problems)


def test_source_ranges_are_of_each_family(facts):
    ips, ingress = ("10.96.0.1", "2001:db8:c::1"), ("198.51.100.1", "2001:db8:e::1")
    assert ranges_of(facts, ["203.0.113.0/24", "2001:db8:a::/48"], ips=ips, ingress=ingress) == (
        [["203.0.113.0/24"], ["2001:db8:a::/48"]],
        [],
    )
    assert ranges_of(facts, ["203.0.113.0/24"], ips=ips, ingress=ingress) == ([["203.0.113.0/24"], []], [])
    assert ranges_of(facts, ["2001:db8:1::/48"], ips=ips, ingress=ingress) == (
        [[], ["2001:db8:1::/48", "2001:db8:e::1/128"]],
        [],
    )


@pytest.mark.parametrize(
    ("given", "annotation", "ranges", "fields"),
    [
        ([], "203.0.113.0/24, 198.51.100.0/24", ["203.0.113.0/24", "198.51.100.0/24"], []),
        ([], " ", None, []),
        ([], "x", [], [f"metadata.annotations[{ANNOTATION}]"]),
        (["203.0.113.0/24"], "x", ["203.0.113.0/24"], []),
    ],
)
def test_source_ranges_of_the_annotation(facts, given, annotation, ranges, fields):
    found, problems = ranges_of(facts, given, annotation=annotation)
    assert found == [ranges]
    assert [field for field, _ in problems] == fields


@pytest.mark.parametrize("type_", ["ClusterIP", "NodePort"])
def test_source_ranges_are_for_load_balancers_only(facts, type_):
    service = svc(type=type_, load_balancer_source_ranges=("x",), external_ips=("198.51.100.9",))
    built = build(service, [web(HERE)], facts)
    assert {one.source_ranges for one in built.frontends} == {None}
    assert built.findings == ()


def health(facts, *slices, port=32000, policy="Local", type_="LoadBalancer", ips=()):
    service = svc(*ips, type=type_, external_traffic_policy=policy, health_check_node_port=port)
    built = build(service, slices, facts)
    found = built.health_check
    return (built.health_port, found.local_endpoints if found else None), findings(built)


@pytest.mark.parametrize(
    ("type_", "policy", "port", "found"),
    [
        ("LoadBalancer", "Local", 32000, (32000, 1)),
        ("LoadBalancer", "Cluster", 32000, (0, None)),
        ("NodePort", "Local", 32000, (0, None)),
        ("LoadBalancer", "Local", 0, (0, None)),
    ],
)
def test_health_checks_of_load_balancers_with_policy_local(facts, type_, policy, port, found):
    assert health(facts, web(HERE, THERE), port=port, policy=policy, type_=type_) == (found, [])


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_health_check_port_that_is_none(facts, port):
    assert health(facts, port=port) == ((0, None), [("spec.healthCheckNodePort", f"{port} is no port")])


@pytest.mark.parametrize(
    ("slices", "count"),
    [
        ((), 0),
        ((web(THERE),), 0),
        ((web(b.endpoint("10.244.0.2", node="node-1", ready=False, serving=True, terminating=True)),), 0),
        ((web(b.endpoint("10.244.0.2", node="node-1", ready=None)),), 1),
        ((web(HERE), web(HERE, name="a/s2")), 1),
        ((web(HERE, ports=[("", 1)]), web(HERE, ports=[("", 2)], name="a/s2")), 1),
        ((web(HERE), web(b.endpoint("10.244.0.3", node="node-1"), name="a/s2")), 2),
        ((web(HERE, ports=[]),), 0),
    ],
)
def test_who_is_counted_by_a_health_check(facts, slices, count):
    assert health(facts, *slices)[0] == (32000, count)


def test_a_health_check_counts_both_families(facts):
    six = web(b.endpoint("2001:db8:f:1::2", node="node-1"), kind="IPv6", name="a/s6")
    assert health(facts, web(HERE), six, ips=("10.96.0.1", "2001:db8:c::1")) == ((32000, 2), [])


@pytest.mark.parametrize("label", [PROXY_NAME_LABEL, HEADLESS_LABEL])
@pytest.mark.parametrize("value", ["", "other"])
def test_what_is_left_to_somebody_else(facts, label, value):
    service = svc(
        type="LoadBalancer",
        external_traffic_policy="Local",
        health_check_node_port=32000,
        ingress=["198.51.100.1"],
        labels={label: value},
    )
    built = build(service, [web(HERE)], facts)
    assert (built.frontends, built.findings, built.health_check) == ((), (), None)


@pytest.mark.parametrize(
    ("labels", "service"),
    [
        ({}, ObjectKey("a", "web")),
        ({PROXY_NAME_LABEL: "other"}, None),
        ({HEADLESS_LABEL: ""}, None),
        ({"kubernetes.io/service-name": ""}, None),
    ],
)
def test_slices_that_are_left_to_somebody_else(labels, service):
    slice_ = web(HERE)
    meta = msgspec.structs.replace(slice_.metadata, labels={**slice_.metadata.labels, **labels})
    assert served_service(msgspec.structs.replace(slice_, metadata=meta)) == service


@pytest.mark.parametrize("policy", ["Local", "Cluster"])
def test_policies_that_are_absent(facts, policy):
    service = svc(type="NodePort", external_traffic_policy="", internal_traffic_policy=policy)
    assert build(service, [web(HERE)], facts).findings == ()


def test_a_slice_with_ports_that_nobody_has(facts):
    ports = [
        EndpointPort(name="", port=8080),
        EndpointPort(name="", protocol="UDP", port=53),
        EndpointPort(name="m", port=9),
    ]
    built = build(svc(), [web(HERE, ports=ports)], facts)
    assert findings(built) == [
        ("ports[1]", "Service a/web has no port UDP without a name: not used"),
        ("ports[2]", 'Service a/web has no port named "m" with protocol TCP: not used'),
    ]
    assert len(built.frontends[0].backends) == 1


def test_endpoints_that_stand_twice_in_a_slice(facts):
    unready = b.endpoint("10.244.0.2", node="node-1", ready=False)
    built = build(svc(), [web(unready, THERE, HERE)], facts)
    assert findings(built) == [("endpoints[2].addresses[0]", "10.244.0.2 repeats endpoints[0]")]
    assert [str(backend.source) for backend in built.frontends[0].backends] == [
        "EndpointSlice a/s1: endpoints[2]",
        "EndpointSlice a/s1: endpoints[1]",
    ]


def test_five_thousand_endpoints(facts):
    endpoints = [b.endpoint(f"10.244.{i // 250}.{i % 250 + 1}", node=f"node-{i % 50}") for i in range(5000)]
    slices = [web(*endpoints[i : i + 100], name=f"a/s{i:05}") for i in range(0, 5000, 100)]
    one = build(svc(), reversed(slices), facts).frontends[0]
    assert len(one.backends) == 5000
    assert list(one.backends) == sorted(one.backends, key=lambda backend: backend.sort_key)


def test_endpoints_beyond_what_the_api_lets_into_one_slice(facts):
    endpoints = [b.endpoint(f"10.244.{i // 250}.{i % 250 + 1}") for i in range(1100)]
    one = build(svc(), [web(*endpoints)], facts).frontends[0]
    assert (
        str(max(one.backends, key=lambda backend: backend.sort_key).source)
        == "EndpointSlice a/s1: endpoints[1099]"
    )


def test_thousands_of_ports(facts):
    names = [(f"p{i}", i) for i in range(1, 3001)]
    service = b.service("a/web", "10.96.0.1", ports=[b.port(number, name) for name, number in names])
    built = build(service, [web(HERE, THERE, ports=names)], facts)
    assert built.findings == ()
    assert len(built.frontends) == 3000
    assert {len(one.backends) for one in built.frontends} == {2}


def test_an_endpoint_at_an_address_of_the_node_and_a_named_target_port(facts):
    """Slices with hand-made endpoints, and several slices for the numbers of one named port."""
    slices = [
        web(b.endpoint(str(ip_address("203.0.113.5"))), ports=[("", 80)]),
        web(HERE, ports=[("", 9090)], name="a/s2"),
    ]
    one = build(msgspec.structs.replace(svc()), slices, facts).frontends[0]
    assert [str(backend) for backend in one.backends] == ["10.244.0.2:9090", "203.0.113.5:80"]
