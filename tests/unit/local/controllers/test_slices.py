from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.api.core import ContainerPort, PodIP, ServicePort, ServiceSpec
from netloom.api.discovery import Endpoint, EndpointConditions, EndpointPort, TargetRef
from netloom.local.controllers.objects import (
    Condition,
    Container,
    EndpointSlice,
    Meta,
    Pod,
    PodSpec,
    PodStatus,
    Service,
)
from netloom.local.controllers.slices import (
    Plan,
    SliceContent,
    address_types,
    legacy_subsets,
    plan,
    target_port,
    wanted,
)

ZONES = {"node-1": "east", "node-2": ""}
WEB = EndpointPort(name="web", protocol="TCP", port=8080)


def service(*ports: ServicePort, **spec: object) -> Service:
    return Service(
        metadata=Meta(name="cart", namespace="shop"),
        spec=msgspec.structs.replace(ServiceSpec(ports=ports, selector={"app": "cart"}), **spec),
    )


def pod(name: str, *, ready: bool = True, gone: bool = False, ip: str = "10.1.0.1", **options: object) -> Pod:
    spec = PodSpec(node_name="node-1", containers=(Container(ports=(ContainerPort(8080, "http"),)),))
    status = PodStatus(
        phase="Running",
        pod_ips=(PodIP(ip),) if ip else (),
        conditions=(Condition(type="Ready", status="True" if ready else "False"),),
    )
    return Pod(
        metadata=Meta(
            name=name,
            namespace="shop",
            uid=f"u-{name}",
            deletion_timestamp="2026-01-01T00:00:00Z" if gone else None,
        ),
        spec=msgspec.structs.replace(spec, **options),
        status=status,
    )


@pytest.mark.parametrize(
    ("ready", "gone", "publish", "conditions"),
    [
        (True, False, False, EndpointConditions(ready=True, serving=True, terminating=False)),
        (False, False, False, EndpointConditions(ready=False, serving=False, terminating=False)),
        (True, True, False, EndpointConditions(ready=False, serving=True, terminating=True)),
        (False, True, False, EndpointConditions(ready=False, serving=False, terminating=True)),
        (False, False, True, EndpointConditions(ready=True, serving=False, terminating=False)),
        (True, True, True, EndpointConditions(ready=True, serving=True, terminating=True)),
    ],
)
def test_conditions(ready, gone, publish, conditions):
    svc = service(ServicePort(80, "web", target_port=8080), publish_not_ready_addresses=publish)
    found = wanted(svc, [pod("a", ready=ready, gone=gone)], ZONES)
    assert [e.conditions for e in found[("IPv4", (WEB,))]] == [conditions]


def test_what_an_endpoint_says():
    svc = service(ServicePort(80, "web", target_port="http"))
    (endpoint,) = wanted(svc, [pod("a", hostname="one", subdomain="cart")], ZONES)[("IPv4", (WEB,))]
    assert endpoint == Endpoint(
        addresses=("10.1.0.1",),
        conditions=EndpointConditions(ready=True, serving=True, terminating=False),
        hostname="one",
        node_name="node-1",
        target_ref=TargetRef("Pod", "shop", "a", "u-a"),
        zone="east",
    )


def test_a_hostname_needs_the_services_name_as_subdomain():
    svc = service(ServicePort(80))
    for subdomain in ("", "other"):
        found = wanted(svc, [pod("a", hostname="one", subdomain=subdomain)], ZONES)
        assert [e.hostname for endpoints in found.values() for e in endpoints] == [None]


@pytest.mark.parametrize(
    "left_out",
    [
        pod("a", ip=""),
        msgspec.structs.replace(pod("a"), status=PodStatus(phase="Succeeded", pod_ip="10.1.0.1")),
        msgspec.structs.replace(pod("a"), status=PodStatus(phase="Failed", pod_ip="10.1.0.1")),
        pod("a", node_name="gone"),
    ],
)
def test_pods_that_are_no_endpoints(left_out):
    assert wanted(service(ServicePort(80)), [left_out], ZONES) == {("IPv4", ()): []}


def test_a_pod_of_an_unknown_node_counts_where_not_ready_addresses_are_published():
    svc = service(ServicePort(80), publish_not_ready_addresses=True)
    assert any(wanted(svc, [pod("a", node_name="gone")], ZONES).values())


@pytest.mark.parametrize(
    ("port", "number"),
    [
        (ServicePort(80), 80),
        (ServicePort(80, target_port=0), 80),
        (ServicePort(80, target_port=9000), 9000),
        (ServicePort(80, target_port="http"), 8080),
        (ServicePort(80, target_port="http", protocol="UDP"), None),
        (ServicePort(80, target_port="metrics"), None),
        (ServicePort(80, target_port="proxy"), 15001),
        (ServicePort(80, target_port="init"), None),
    ],
)
def test_target_ports(port, number):
    subject = pod(
        "a",
        init_containers=(
            Container(ports=(ContainerPort(15001, "proxy"),), restart_policy="Always"),
            Container(ports=(ContainerPort(1, "init"),)),
        ),
    )
    assert target_port(subject, port) == number


def test_named_ports_that_differ_make_one_port_set_each():
    svc = service(ServicePort(80, "web", target_port="http"))
    other = pod("b", ip="10.1.0.2", containers=(Container(ports=(ContainerPort(9090, "http"),)),))
    found = wanted(svc, [pod("a"), other], ZONES)
    assert {ports[0].port: [e.addresses[0] for e in es] for (_, ports), es in found.items()} == {
        8080: ["10.1.0.1"],
        9090: ["10.1.0.2"],
    }


def test_families():
    both = msgspec.structs.replace(
        pod("a"), status=PodStatus(phase="Running", pod_ips=(PodIP("10.1.0.1"), PodIP("2001:db8::1")))
    )
    svc = service(ServicePort(80), ip_families=("IPv6", "IPv4"))
    found = wanted(svc, [both], ZONES)
    assert {t: [e.addresses for e in es] for (t, _), es in found.items()} == {
        "IPv6": [("2001:db8::1",)],
        "IPv4": [("10.1.0.1",)],
    }
    assert address_types(service(cluster_ip="2001:db8::10")) == ("IPv6",)
    assert address_types(service(cluster_ip="None")) == ("IPv4",)


def endpoint(i: int, *, ready: bool = True) -> Endpoint:
    return Endpoint(
        addresses=(f"10.1.{i // 250}.{i % 250}",),
        conditions=EndpointConditions(ready=ready),
        target_ref=TargetRef(uid=f"u{i}"),
    )


def as_slices(plan_: Plan, there: list[EndpointSlice], labels: dict[str, str]) -> list[EndpointSlice]:
    """What the API server holds after the plan."""
    held = {s.metadata.name: s for s in there}
    for doomed in plan_.delete:
        del held[doomed.metadata.name]
    for slice_, content in plan_.update:
        held[slice_.metadata.name] = made(slice_.metadata.name, content, labels)
    for content in plan_.create:
        name = next(n for i in itertools.count() if (n := f"n{i}") not in held)
        held[name] = made(name, content, labels)
    return list(held.values())


def made(name: str, content: SliceContent, labels: dict[str, str]) -> EndpointSlice:
    return EndpointSlice(
        metadata=Meta(name=name, namespace="shop", labels=labels),
        address_type=content.address_type,
        endpoints=content.endpoints,
        ports=content.ports,
    )


def test_an_unchanged_service_is_not_written():
    want = {("IPv4", (WEB,)): [endpoint(i) for i in range(250)]}
    first = plan(want, [], labels={})
    assert [len(c.endpoints) for c in first.create] == [100, 100, 50]
    there = as_slices(first, [], {})
    assert plan(want, there, labels={}) == Plan()
    assert plan({k: list(reversed(v)) for k, v in want.items()}, there, labels={}) == Plan()
    assert len(plan(want, there, labels={"a": "b"}).update) == 3


def test_one_change_is_one_write():
    endpoints = [endpoint(i) for i in range(250)]
    there = as_slices(plan({("IPv4", (WEB,)): endpoints}, [], labels={}), [], {})
    for changed in (
        [*endpoints[:17], endpoint(17, ready=False), *endpoints[18:]],
        endpoints[1:],
        [*endpoints, endpoint(999)],
        [*endpoints[:17], *endpoints[18:]],
    ):
        todo = plan({("IPv4", (WEB,)): changed}, there, labels={})
        assert (len(todo.create), len(todo.update), len(todo.delete)) == (0, 1, 0)


def test_the_placeholder_is_rewritten_not_replaced():
    there = as_slices(plan({("IPv4", ()): []}, [], labels={}), [], {})
    assert [s.endpoints for s in there] == [()]
    todo = plan({("IPv4", (WEB,)): [endpoint(1)]}, there, labels={})
    assert (len(todo.create), len(todo.update), len(todo.delete)) == (0, 1, 0)
    back = plan({("IPv4", ()): []}, as_slices(todo, there, {}), labels={})
    assert (len(back.create), len(back.update), len(back.delete)) == (0, 1, 0)


def test_an_unnamed_port_may_be_stored_without_name():
    port = EndpointPort(name="", protocol="TCP", port=80)
    want = {("IPv4", (port,)): [endpoint(1)]}
    (slice_,) = as_slices(plan(want, [], labels={}), [], {})
    stored = msgspec.structs.replace(slice_, ports=(EndpointPort(name=None, protocol="TCP", port=80),))
    assert plan(want, [stored], labels={}) == Plan()


ports_sets = st.sampled_from([(), (WEB,), (WEB, EndpointPort(name="x", protocol="UDP", port=53))])
groups = st.tuples(st.sampled_from(["IPv4", "IPv6"]), ports_sets)
states = st.dictionaries(
    groups,
    st.lists(
        st.builds(endpoint, st.integers(0, 30), ready=st.booleans()),
        max_size=12,
        unique_by=lambda e: e.addresses,
    ),
    max_size=4,
)


@given(st.lists(states, min_size=1, max_size=5), st.integers(1, 4))
def test_any_history_ends_in_exactly_what_is_wanted(history, limit):
    labels = {"a": "b"}
    there: list[EndpointSlice] = []
    for want in history:
        there = as_slices(plan(want, there, labels=labels, limit=limit), there, labels)
        held = sorted(
            (s.address_type, str(s.ports), e.addresses, e.conditions.ready)
            for s in there
            for e in s.endpoints
        )
        assert held == sorted(
            (t, str(p), e.addresses, e.conditions.ready) for (t, p), es in want.items() for e in es
        )
        assert all(len(s.endpoints) <= limit for s in there)
        assert plan(want, there, labels=labels, limit=limit) == Plan()


def test_legacy_subsets():
    svc = service(ServicePort(80, "web", target_port=8080))
    pods = [
        pod("b", ip="10.1.0.10"),
        pod("a", ip="10.1.0.9"),
        pod("c", ready=False, ip="10.1.0.1"),
        pod("d", gone=True),
    ]
    (subset,) = legacy_subsets(svc, pods)
    assert [a["ip"] for a in subset["addresses"]] == ["10.1.0.9", "10.1.0.10"]
    assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.1.0.1"]
    assert subset["ports"] == [{"name": "web", "port": 8080, "protocol": "TCP"}]
    assert subset["addresses"][0]["targetRef"] == {
        "kind": "Pod",
        "namespace": "shop",
        "name": "a",
        "uid": "u-a",
    }


def test_legacy_subsets_publish_and_overflow():
    svc = service(ServicePort(80), publish_not_ready_addresses=True)
    (subset,) = legacy_subsets(svc, [pod("a", ready=False), pod("b", gone=True, ip="10.1.0.2")])
    assert len(subset["addresses"]) == 2
    assert "notReadyAddresses" not in subset
    many = [pod(f"p{i}", ip=f"10.1.{i // 250}.{i % 250}", ready=i >= 10) for i in range(1010)]
    (subset,) = legacy_subsets(service(ServicePort(80)), many)
    assert len(subset["addresses"]) == 1000
    assert "notReadyAddresses" not in subset
    assert legacy_subsets(svc, []) == []
