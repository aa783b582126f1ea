"""LoadBalancer addresses, external IPs and NodePorts: where a Service is served for clients outside, and by whom."""

from __future__ import annotations

from ipaddress import ip_network

import msgspec
import pytest

from netloom.api.core import LoadBalancerIngress
from netloom.api.discovery import EndpointPort
from netloom.model.services.build import build
from netloom.model.services.frontends import FrontendAction, FrontendKind
from netloom.testing import builders as b

HERE = b.endpoint("10.244.0.2", node="node-1")
THERE = b.endpoint("10.244.1.2", node="node-2")
HERE_SIX = b.endpoint("2001:db8:f:1::2", node="node-1")
ENDING = {"ready": False, "serving": True, "terminating": True}
OUTER = (FrontendKind.NODE_PORT, FrontendKind.LOAD_BALANCER, FrontendKind.EXTERNAL_IP)


def svc(*ips, ports=None, **rest):
    return b.service("a/web", *(ips or ("10.96.0.1",)), ports=ports or [b.port(80, node_port=30080)], **rest)


def web(*endpoints, kind="IPv4", ports=(("", 8080),), name="a/s1"):
    return b.endpoint_slice(name, "web", *endpoints, ports=ports, address_type=kind)


def by_kind(built):
    found = {}
    for one in built.frontends:
        found.setdefault(one.kind, []).append(one)
    return found


def keys(built):
    return [(one.kind.name, str(one.key)) for one in built.frontends]


def findings(built):
    return [(f.source.field, f.problem) for f in built.findings]


def balanced(one):
    return [str(backend) for backend in one.backends]


def test_each_kind_of_address_is_a_frontend_with_its_field(facts):
    service = svc(type="LoadBalancer", ingress=["198.51.100.1"], external_ips=("198.51.100.9",))
    built = build(service, [web(HERE, THERE)], facts)
    assert [(one.kind.name, str(one.key), one.source.field) for one in built.frontends] == [
        ("CLUSTER_IP", "10.96.0.1:80/tcp", "spec.clusterIPs[0], spec.ports[0].port"),
        (
            "LOAD_BALANCER",
            "198.51.100.1:80/tcp",
            "status.loadBalancer.ingress[0].ip, spec.ports[0].port",
        ),
        ("EXTERNAL_IP", "198.51.100.9:80/tcp", "spec.externalIPs[0], spec.ports[0].port"),
        ("NODE_PORT", "*:30080/tcp", "spec.ports[0].nodePort"),
    ]
    assert built.findings == ()
    assert {one.masquerade for one in built.frontends if one.kind in OUTER} == {True}
    assert {one.inside for one in built.frontends} == {None}
    assert {tuple(balanced(one)) for one in built.frontends} == {("10.244.0.2:8080", "10.244.1.2:8080")}


@pytest.mark.parametrize(
    ("ingress", "served", "problems"),
    [
        (LoadBalancerIngress(ip="198.51.100.1"), True, []),
        (LoadBalancerIngress(ip="198.51.100.1", ip_mode="VIP"), True, []),
        (LoadBalancerIngress(ip="198.51.100.1", ip_mode="Proxy"), False, []),
        (LoadBalancerIngress(hostname="lb.example.org"), False, []),
        (
            LoadBalancerIngress(ip="198.51.100.1", ip_mode="vip"),
            False,
            [("status.loadBalancer.ingress[0].ipMode", '"vip" is no ipMode: 198.51.100.1 is not served')],
        ),
        (
            LoadBalancerIngress(ip="lb"),
            False,
            [("status.loadBalancer.ingress[0].ip", '"lb" is no IP address')],
        ),
    ],
)
def test_the_mode_of_a_load_balancers_address(facts, ingress, served, problems):
    built = build(svc(type="LoadBalancer", ingress=[ingress]), [web(HERE)], facts)
    assert (FrontendKind.LOAD_BALANCER in by_kind(built)) is served
    assert findings(built) == problems
    assert FrontendKind.NODE_PORT in by_kind(built)


@pytest.mark.parametrize("type_", ["ClusterIP", "NodePort"])
def test_the_address_of_a_load_balancer_that_is_no_longer_wanted(facts, type_):
    built = build(svc(type=type_, ingress=["198.51.100.1"]), [web(HERE)], facts)
    assert FrontendKind.LOAD_BALANCER not in by_kind(built)


@pytest.mark.parametrize(
    ("type_", "node_port", "served"),
    [
        ("ClusterIP", 30080, False),
        ("NodePort", 30080, True),
        ("LoadBalancer", 30080, True),
        ("LoadBalancer", 0, False),  # allocateLoadBalancerNodePorts: false
    ],
)
def test_node_ports(facts, type_, node_port, served):
    service = svc(type=type_, ports=[b.port(80, node_port=node_port)], ingress=["198.51.100.1"])
    built = build(service, [web(HERE)], facts)
    assert (FrontendKind.NODE_PORT in by_kind(built)) is served
    assert (FrontendKind.LOAD_BALANCER in by_kind(built)) is (type_ == "LoadBalancer")


@pytest.mark.parametrize("type_", ["ClusterIP", "NodePort", "LoadBalancer"])
def test_external_ips_of_every_type(facts, type_):
    built = build(svc(type=type_, external_ips=("198.51.100.9",)), [web(HERE)], facts)
    assert len(by_kind(built)[FrontendKind.EXTERNAL_IP]) == 1


@pytest.mark.parametrize(
    "service",
    [
        svc("None", type="ClusterIP", external_ips=("198.51.100.9",)),
        svc(type="ExternalName", external_name="example.org", external_ips=("198.51.100.9",)),
        b.service("a/web", ports=[b.port(80)], external_ips=("198.51.100.9",)),
    ],
    ids=["headless", "external-name", "no-address-yet"],
)
def test_without_a_cluster_ip_nothing_is_served(facts, service):
    built = build(service, [web(HERE)], facts)
    assert built.frontends == ()
    assert built.findings == ()


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("nonsense", '"nonsense" is no IP address'),
        ("127.0.0.1", "127.0.0.1 is a loopback address"),
        ("169.254.169.254", "169.254.169.254 is a link-local address"),
        ("224.0.0.1", "224.0.0.1 is a multicast address"),
        ("0.0.0.0", "0.0.0.0 is the unspecified address"),
        ("::1", "::1 is a loopback address"),
        ("10.96.0.1", "10.96.0.1 repeats spec.clusterIPs[0]"),
        ("198.51.100.1", "198.51.100.1 repeats status.loadBalancer.ingress[0].ip"),
        (
            "10.244.7.7",
            "10.244.7.7 lies in 10.244.0.0/16, the range of pods: not served, it would hide a pod",
        ),
        ("10.96.0.2", "10.96.0.2 lies in 10.96.0.0/16, the range of ClusterIPs: not served"),
        ("10.96.0.10", "10.96.0.10 lies in 10.96.0.0/16, the range of ClusterIPs: not served"),
        ("2001:db8:e::1", "2001:db8:e::1: Service a/web has no IPv6 family: not served"),
    ],
)
def test_an_external_ip_that_is_not_served_and_the_rest_is(facts, address, problem):
    service = svc(type="LoadBalancer", ingress=["198.51.100.1"], external_ips=(address, "198.51.100.9"))
    built = build(service, [web(HERE)], facts)
    assert findings(built) == [("spec.externalIPs[0]", problem)]
    assert [str(one.key) for one in by_kind(built)[FrontendKind.EXTERNAL_IP]] == ["198.51.100.9:80/tcp"]
    assert len(built.frontends) == 4


@pytest.mark.parametrize("address", ["10.244.7.7", "10.96.0.2", "198.51.100.256"])
def test_a_load_balancers_address_that_is_not_served(facts, address):
    built = build(svc(type="LoadBalancer", ingress=[address, "198.51.100.1"]), [web(HERE)], facts)
    assert [f.source.field for f in built.findings] == ["status.loadBalancer.ingress[0].ip"]
    assert [str(one.key) for one in by_kind(built)[FrontendKind.LOAD_BALANCER]] == ["198.51.100.1:80/tcp"]


def test_a_cluster_ip_in_the_range_of_pods_is_not_served(facts):
    built = build(svc("10.244.3.3", type="NodePort"), [web(HERE)], facts)
    assert keys(built) == [("NODE_PORT", "*:30080/tcp")]
    assert findings(built) == [
        (
            "spec.clusterIPs[0]",
            "10.244.3.3 lies in 10.244.0.0/16, the range of pods: not served, it would hide a pod",
        )
    ]


def test_a_range_of_services_within_that_of_pods(facts):
    wide = msgspec.structs.replace(facts, cluster_cidrs=(ip_network("10.0.0.0/8"),))
    built = build(svc(), [web(HERE)], wide)
    assert keys(built) == [("CLUSTER_IP", "10.96.0.1:80/tcp")]
    assert built.findings == ()


def local(**rest):
    return svc(
        type="LoadBalancer",
        external_traffic_policy="Local",
        ingress=["198.51.100.1"],
        external_ips=("198.51.100.9",),
        **rest,
    )


LOCAL_ENDING = b.endpoint("10.244.0.3", node="node-1", **ENDING)
FAR_ENDING = b.endpoint("10.244.1.3", node="node-2", **ENDING)
UNREADY = b.endpoint("10.244.0.4", node="node-1", ready=False)


@pytest.mark.parametrize(
    ("endpoints", "action", "outside", "inside_action", "inside", "draining"),
    [
        ([HERE, THERE], "BALANCE", ["10.244.0.2"], "BALANCE", ["10.244.0.2", "10.244.1.2"], []),
        ([THERE], "DROP", [], "BALANCE", ["10.244.1.2"], []),
        ([LOCAL_ENDING, THERE], "BALANCE", ["10.244.0.3"], "BALANCE", ["10.244.1.2"], []),
        ([LOCAL_ENDING, HERE], "BALANCE", ["10.244.0.2"], "BALANCE", ["10.244.0.2"], ["10.244.0.3"]),
        ([FAR_ENDING], "DROP", [], "BALANCE", ["10.244.1.3"], []),
        (
            [FAR_ENDING, LOCAL_ENDING],
            "BALANCE",
            ["10.244.0.3"],
            "BALANCE",
            ["10.244.0.3", "10.244.1.3"],
            [],
        ),
        ([UNREADY], "REJECT", [], "REJECT", [], ["10.244.0.4"]),
        ([UNREADY, THERE], "DROP", [], "BALANCE", ["10.244.1.2"], ["10.244.0.4"]),
        ([], "REJECT", [], "REJECT", [], []),
    ],
    ids=[
        "ready-here-and-there",
        "only-there",
        "ending-here",
        "ending-beside-ready-here",
        "only-ending-there",
        "ending-here-and-there",
        "unready",
        "unready-here-ready-there",
        "none",
    ],
)
def test_external_traffic_policy_local(facts, endpoints, action, outside, inside_action, inside, draining):
    built = build(local(), [web(*endpoints)], facts)
    outer = [one for one in built.frontends if one.kind in OUTER]
    assert len(outer) == 3
    for one in outer:
        assert one.action is FrontendAction[action]
        assert [str(backend.address) for backend in one.backends] == outside
        assert one.inside is not None
        assert one.inside.action is FrontendAction[inside_action]
        assert [str(backend.address) for backend in one.inside.backends] == inside
        assert [str(backend.address) for backend in one.draining] == draining
        assert not one.masquerade


def test_external_traffic_policy_local_leaves_the_cluster_ip_alone(facts):
    cluster_ip = build(local(), [web(THERE)], facts).frontends[0]
    assert cluster_ip.inside is None
    assert balanced(cluster_ip) == ["10.244.1.2:8080"]


def test_each_pool_says_who_is_not_in_it(facts):
    one = build(local(), [web(HERE, THERE, UNREADY)], facts).frontends[1]
    assert [(out.address, out.reason) for out in one.left_out] == [
        ("10.244.1.2:8080", "on node-2, and spec.externalTrafficPolicy is Local"),
        ("10.244.0.4:8080", "not ready"),
    ]
    assert [(out.address, out.reason) for out in one.inside.left_out] == [("10.244.0.4:8080", "not ready")]


@pytest.mark.parametrize(
    ("endpoints", "action", "used", "draining"),
    [
        ([HERE, THERE], "BALANCE", ["10.244.0.2"], ["10.244.1.2"]),
        ([THERE], "DROP", [], ["10.244.1.2"]),
        ([FAR_ENDING], "DROP", [], ["10.244.1.3"]),
        ([LOCAL_ENDING, THERE], "BALANCE", ["10.244.0.3"], ["10.244.1.2"]),
        ([UNREADY], "REJECT", [], ["10.244.0.4"]),
    ],
)
def test_internal_traffic_policy_local(facts, endpoints, action, used, draining):
    service = svc(type="NodePort", internal_traffic_policy="Local")
    cluster_ip, node_port = build(service, [web(*endpoints)], facts).frontends
    assert cluster_ip.action is FrontendAction[action]
    assert [str(backend.address) for backend in cluster_ip.backends] == used
    assert [str(backend.address) for backend in cluster_ip.draining] == draining
    assert cluster_ip.inside is None
    assert node_port.action is not FrontendAction.DROP
    assert node_port.inside is None


def test_draining_is_in_order_and_without_what_cannot_be_read(facts):
    slices = [
        web(UNREADY, b.endpoint("nonsense"), b.endpoint("10.244.9.9", ready=False)),
        web(LOCAL_ENDING, HERE, name="a/s0"),
    ]
    one = build(svc(), slices, facts).frontends[0]
    assert balanced(one) == ["10.244.0.2:8080"]
    assert [str(backend) for backend in one.draining] == [
        "10.244.0.3:8080",
        "10.244.0.4:8080",
        "10.244.9.9:8080",
    ]


def test_the_dns_address_drains_nothing(facts):
    service = svc("10.96.0.10", ports=[b.port(53, protocol="UDP")])
    one = build(service, [web(UNREADY)], facts).frontends[0]
    assert one.action is FrontendAction.NODE_LOCAL
    assert one.draining == ()


@pytest.mark.parametrize("ips", [("10.96.0.1", "2001:db8:c::1"), ("2001:db8:c::1", "10.96.0.1")])
@pytest.mark.parametrize("families", [(), ("IPv4", "IPv6"), ("IPv6", "IPv4")])
def test_dual_stack_in_both_orders(facts, ips, families):
    service = svc(
        *ips,
        type="LoadBalancer",
        ip_families=families,
        ingress=["198.51.100.1", "2001:db8:e::1"],
        external_ips=("2001:db8:e::9", "198.51.100.9"),
    )
    slices = [web(HERE), web(HERE_SIX, kind="IPv6", name="a/s6")]
    built = build(service, slices, facts)
    assert built.findings == ()
    assert {(kind, str(key)) for kind, key in keys(built)} == {
        ("CLUSTER_IP", "10.96.0.1:80/tcp"),
        ("CLUSTER_IP", "[2001:db8:c::1]:80/tcp"),
        ("LOAD_BALANCER", "198.51.100.1:80/tcp"),
        ("LOAD_BALANCER", "[2001:db8:e::1]:80/tcp"),
        ("EXTERNAL_IP", "198.51.100.9:80/tcp"),
        ("EXTERNAL_IP", "[2001:db8:e::9]:80/tcp"),
        ("NODE_PORT", "*:30080/tcp"),
    }
    assert len(built.frontends) == 8
    for one in built.frontends:
        expected = "10.244.0.2:8080" if one.key.family.value == "ip" else "[2001:db8:f:1::2]:8080"
        assert balanced(one) == [expected]


@pytest.mark.parametrize(("ip", "kind"), [("10.96.0.1", "IPv6"), ("2001:db8:c::1", "IPv4")])
def test_a_slice_of_a_family_that_its_service_lacks(facts, ip, kind):
    endpoint = HERE_SIX if kind == "IPv6" else HERE
    built = build(svc(ip), [web(endpoint, kind=kind)], facts)
    assert findings(built) == [("addressType", f"{kind}, and Service a/web has no ClusterIP of it: not used")]
    assert [one.action for one in built.frontends] == [FrontendAction.REJECT]


def test_one_number_for_several_protocols(facts):
    ports = [
        b.port(53, f"dns-{protocol.lower()}", protocol=protocol, node_port=30053)
        for protocol in ("TCP", "UDP", "SCTP")
    ]
    service = svc(ports=ports, type="LoadBalancer", ingress=["198.51.100.1"])
    slice_ports = [EndpointPort(name=p.name, protocol=p.protocol, port=5300 + i) for i, p in enumerate(ports)]
    built = build(service, [web(HERE, ports=slice_ports)], facts)
    assert built.findings == ()
    assert {(str(one.key), *balanced(one)) for one in built.frontends} == {
        (f"{host}:{number}/{protocol}", f"10.244.0.2:{5300 + i}")
        for i, protocol in enumerate(("tcp", "udp", "sctp"))
        for host, number in (("10.96.0.1", 53), ("198.51.100.1", 53), ("*", 30053))
    }
