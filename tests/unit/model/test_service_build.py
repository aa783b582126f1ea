"""What one Service and its slices mean on one node."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec
import pytest

from netloom.api.discovery import EndpointPort, TargetRef
from netloom.model.inputs import NodeFacts
from netloom.model.services.build import build
from netloom.model.services.frontends import FrontendAction, FrontendKey, FrontendKind
from netloom.testing import builders as b
from netloom.units import Family, Protocol

FACTS = NodeFacts(name="node-1", dns_addresses=(ip_address("10.96.0.10"),))
READY = b.endpoint("10.244.0.2", node="node-1", pod="p-1")
REMOTE = b.endpoint("10.244.1.2", node="node-2", pod="p-2")
DRAINING = b.endpoint("10.244.1.3", node="node-2", ready=False, serving=True, terminating=True)
DRAINED = b.endpoint("10.244.1.4", node="node-2", ready=False, serving=False, terminating=True)
UNREADY = b.endpoint("10.244.1.5", node="node-2", ready=False, serving=True)


def web(*endpoints, ports=(("", 8080),), kind="IPv4", name="a/s1"):
    return b.endpoint_slice(name, "web", *endpoints, ports=ports, address_type=kind)


def svc(*ips, ports=None, **spec):
    return b.service("a/web", *(ips or ("10.96.0.1",)), ports=ports or [b.port(80)], **spec)


def only(built):
    (frontend,) = built.frontends
    return frontend


def backends(frontend):
    return [str(backend) for backend in frontend.backends]


def left_out(frontend):
    return [(out.address, out.reason, out.source.field) for out in frontend.left_out]


def findings(built):
    return [(f.source.kind, f.source.field, f.problem) for f in built.findings]


def test_cluster_ip():
    frontend = only(build(svc(), [web(REMOTE, READY)], FACTS))
    assert frontend.key == FrontendKey(Family.V4, ip_address("10.96.0.1"), Protocol.TCP, 80)
    assert frontend.kind is FrontendKind.CLUSTER_IP
    assert frontend.action is FrontendAction.BALANCE
    assert not frontend.masquerade
    assert backends(frontend) == ["10.244.0.2:8080", "10.244.1.2:8080"]
    assert frontend.backends[0].node == "node-1"
    assert str(frontend.backends[0].pod) == "a/p-1"
    assert str(frontend.backends[0].source) == "EndpointSlice a/s1: endpoints[1]"
    assert str(frontend.source) == "Service a/web: spec.clusterIPs[0], spec.ports[0].port"
    assert str(frontend.service_port) == "a/web/tcp"


def test_only_cluster_ip_is_set():
    service = b.service("a/web", ports=[b.port(80)])
    spec = msgspec.structs.replace(service.spec, cluster_ip="10.96.0.9")
    frontend = only(build(msgspec.structs.replace(service, spec=spec), [], FACTS))
    assert frontend.source.field == "spec.clusterIP, spec.ports[0].port"


@pytest.mark.parametrize(
    "service",
    [
        svc("None"),
        svc(type="ExternalName", external_name="example.org"),
        b.service("a/web", ports=[b.port(80)]),
        b.service("a/web", ports=[b.port(80, node_port=30080)], type="NodePort"),
        b.service("a/web", "10.96.0.1"),
    ],
    ids=["headless", "external-name", "no-address-yet", "node-port-without-family", "no-ports"],
)
def test_no_frontends(service):
    assert build(service, [web(READY)], FACTS).frontends == ()


@pytest.mark.parametrize("type_", ["NodePort", "LoadBalancer"])
def test_node_port(type_):
    built = build(
        svc(type=type_, ports=[b.port(80, "http", node_port=30080)]), [web(READY, ports=[("http", 1)])], FACTS
    )
    cluster_ip, node_port = built.frontends
    assert cluster_ip.kind is FrontendKind.CLUSTER_IP
    assert str(node_port.key) == "*:30080/tcp"
    assert node_port.kind is FrontendKind.NODE_PORT
    assert node_port.masquerade
    assert backends(node_port) == ["10.244.0.2:1"]
    assert node_port.source.field == "spec.ports[0].nodePort"
    assert str(node_port.service_port) == "a/web:http/tcp"


def test_a_node_port_of_a_cluster_ip_service_is_not_served():
    built = build(svc(ports=[b.port(80, node_port=30080)]), [web(READY)], FACTS)
    assert [f.kind for f in built.frontends] == [FrontendKind.CLUSTER_IP]


def test_a_node_port_not_yet_given():
    assert len(build(svc(type="NodePort"), [web(READY)], FACTS).frontends) == 1


def test_both_families():
    service = svc("10.96.0.1", "fd00::1", type="NodePort", ports=[b.port(80, node_port=30080)])
    six = web(b.endpoint("fd01::2", node="node-1"), kind="IPv6", name="a/s6")
    built = build(service, [six, web(READY)], FACTS)
    assert {str(f.key): backends(f) for f in built.frontends if f.key.address} == {
        "10.96.0.1:80/tcp": ["10.244.0.2:8080"],
        "[fd00::1]:80/tcp": ["[fd01::2]:8080"],
    }
    assert {f.key.family for f in built.frontends if not f.key.address} == {Family.V4, Family.V6}


def test_node_ports_are_of_the_families_of_the_cluster_ips():
    service = svc(
        "10.96.0.1", type="NodePort", ports=[b.port(80, node_port=30080)], ip_families=("IPv6", "IPv9")
    )
    built = build(service, [], FACTS)
    assert [(f.kind.value, f.key.family) for f in built.frontends] == [
        ("ClusterIP", Family.V4),
        ("NodePort", Family.V4),
    ]
    assert findings(built) == [
        ("Service", "spec.ipFamilies[0]", "IPv6, but no ClusterIP is of it: not served in it"),
        ("Service", "spec.ipFamilies[1]", '"IPv9" is no IP family'),
    ]


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
def test_protocols_join_service_and_slice(protocol):
    service = svc(ports=[b.port(53, "dns", protocol=protocol)])
    ports = [EndpointPort(name="dns", protocol=p, port=n) for p, n in (("TCP", 1), ("UDP", 2), ("SCTP", 3))]
    frontend = only(build(service, [web(READY, ports=ports)], FACTS))
    assert backends(frontend) == [f"10.244.0.2:{ {'TCP': 1, 'UDP': 2, 'SCTP': 3}[protocol] }"]


def test_an_absent_protocol_is_tcp():
    frontend = only(build(svc(), [web(READY, ports=[EndpointPort(port=81)])], FACTS))
    assert backends(frontend) == ["10.244.0.2:81"]


def test_a_slice_without_the_port():
    built = build(svc(ports=[b.port(80, "http")]), [web(READY, ports=[("metrics", 9)])], FACTS)
    frontend = only(built)
    assert frontend.action is FrontendAction.REJECT
    assert left_out(frontend) == [("10.244.0.2", 'its slice has no port "http" with protocol TCP', "ports")]
    assert findings(built) == [
        ("EndpointSlice", "ports[0]", 'Service a/web has no port named "metrics" with protocol TCP: not used')
    ]


def test_a_slice_without_ports():
    bare = msgspec.structs.replace(web(READY), ports=None)
    assert left_out(only(build(svc(), [bare], FACTS))) == [
        ("10.244.0.2", "its slice has no unnamed port with protocol TCP", "ports")
    ]


def test_an_endpoint_that_another_slice_gives_the_port_is_not_left_out():
    frontend = only(build(svc(), [web(READY, ports=[("x", 9)]), web(READY, name="a/s2")], FACTS))
    assert backends(frontend) == ["10.244.0.2:8080"]
    assert frontend.left_out == ()


def test_conditions_and_their_reasons():
    frontend = only(build(svc(), [web(READY, DRAINING, DRAINED, UNREADY)], FACTS))
    assert backends(frontend) == ["10.244.0.2:8080"]
    assert left_out(frontend) == [
        ("10.244.1.3:8080", "terminating, while others are ready", "endpoints[1].conditions.terminating"),
        ("10.244.1.4:8080", "terminating and no longer serving", "endpoints[2].conditions.serving"),
        ("10.244.1.5:8080", "not ready", "endpoints[3].conditions.ready"),
    ]


def test_nil_conditions_mean_ready():
    assert backends(only(build(svc(), [web(b.endpoint("10.244.0.2", ready=None))], FACTS))) == [
        "10.244.0.2:8080"
    ]


def test_terminating_endpoints_serve_where_nobody_is_ready():
    frontend = only(build(svc(), [web(DRAINING, DRAINED, UNREADY)], FACTS))
    assert backends(frontend) == ["10.244.1.3:8080"]
    assert len(frontend.left_out) == 2


def test_nobody_left():
    frontend = only(build(svc(), [web(DRAINED, UNREADY)], FACTS))
    assert frontend.action is FrontendAction.REJECT
    assert len(frontend.left_out) == 2


def test_the_same_endpoint_in_two_slices_counts_once_and_the_more_usable_entry_counts():
    unready = b.endpoint("10.244.0.2", ready=False)
    built = build(svc(), [web(READY, name="a/s3"), web(unready, name="a/s1"), web(READY, name="a/s2")], FACTS)
    frontend = only(built)
    assert [str(backend.source) for backend in frontend.backends] == ["EndpointSlice a/s2: endpoints[0]"]
    assert frontend.left_out == ()


def test_internal_traffic_policy_local():
    frontend = only(build(svc(internal_traffic_policy="Local"), [web(READY, REMOTE)], FACTS))
    assert backends(frontend) == ["10.244.0.2:8080"]
    assert left_out(frontend) == [
        ("10.244.1.2:8080", "on node-2, and spec.internalTrafficPolicy is Local", "endpoints[1].nodeName")
    ]


def test_local_falls_back_to_local_terminating_ones_only():
    local = b.endpoint("10.244.0.9", node="node-1", ready=False, serving=True, terminating=True)
    frontend = only(build(svc(internal_traffic_policy="Local"), [web(local, REMOTE)], FACTS))
    assert backends(frontend) == ["10.244.0.9:8080"]


def test_local_without_local_endpoints_drops():
    nowhere = b.endpoint("10.244.0.8")
    frontend = only(build(svc(internal_traffic_policy="Local"), [web(REMOTE, nowhere)], FACTS))
    assert frontend.action is FrontendAction.DROP
    assert "on no known node" in frontend.left_out[1].reason


def test_external_traffic_policy_local_keeps_the_source():
    service = svc(type="NodePort", external_traffic_policy="Local", ports=[b.port(80, node_port=30080)])
    cluster_ip, node_port = build(service, [web(READY, REMOTE)], FACTS).frontends
    assert len(cluster_ip.backends) == 2
    assert backends(node_port) == ["10.244.0.2:8080"]
    assert not node_port.masquerade


@pytest.mark.parametrize(
    ("port", "action"),
    [
        (b.port(53), FrontendAction.NODE_LOCAL),
        (b.port(53, protocol="UDP"), FrontendAction.NODE_LOCAL),
        (b.port(53, protocol="SCTP"), FrontendAction.REJECT),
        (b.port(9153), FrontendAction.BALANCE),
    ],
)
def test_the_dns_address(port, action):
    frontend = only(build(svc("10.96.0.10", ports=[port]), [web(READY)], FACTS))
    assert frontend.action is action
    assert bool(frontend.backends) is (action is FrontendAction.BALANCE)


def test_the_dns_port_of_another_address_is_balanced():
    assert only(build(svc(ports=[b.port(53)]), [web(READY)], FACTS)).action is FrontendAction.BALANCE


@pytest.mark.parametrize(
    ("ports", "field", "problem", "frontends"),
    [
        ([b.port(80, protocol="tcp")], "spec.ports[0].protocol", '"tcp" is no protocol', 0),
        ([b.port(0)], "spec.ports[0].port", "0 is no port", 0),
        ([b.port(80), b.port(65536)], "spec.ports[1].port", "65536 is no port", 2),
        ([b.port(80), b.port(80, "x")], "spec.ports[1].port", "80 repeats TCP port", 2),
        ([b.port(80, node_port=99999)], "spec.ports[0].nodePort", "99999 is no port", 1),
        (
            [b.port(80, node_port=30080), b.port(81, node_port=30080)],
            "spec.ports[1].nodePort",
            "30080 repeats a TCP nodePort of the same Service",
            3,
        ),
    ],
)
def test_a_broken_port_is_found_and_the_others_go_on(ports, field, problem, frontends):
    ports = [msgspec.structs.replace(p, node_port=p.node_port or 30000 + p.port % 2000) for p in ports]
    built = build(svc(type="NodePort", ports=ports), [web(READY)], FACTS)
    assert findings(built) == [("Service", field, problem)]
    assert len(built.frontends) == frontends


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("nonsense", '"nonsense" is no IP address'),
        ("10.96.0.1/32", '"10.96.0.1/32" is no IP address'),
        ("fe80::1%eth0", '"fe80::1%eth0" is no IP address'),
        ("010.96.0.1", '"010.96.0.1" is no IP address'),
        ("127.0.0.1", "127.0.0.1 is a loopback address"),
        ("224.0.0.1", "224.0.0.1 is a multicast address"),
        ("169.254.1.1", "169.254.1.1 is a link-local address"),
        ("0.0.0.0", "0.0.0.0 is the unspecified address"),
        ("::1", "::1 is a loopback address"),
        ("::", ":: is the unspecified address"),
        ("ff02::1", "ff02::1 is a multicast address"),
        ("fe80::1", "fe80::1 is a link-local address"),
        ("10.96.0.1", "10.96.0.1 repeats spec.clusterIPs[0]"),
    ],
)
def test_a_broken_cluster_ip_is_found_and_the_other_goes_on(address, problem):
    built = build(svc("10.96.0.1", address), [web(READY)], FACTS)
    assert findings(built) == [("Service", "spec.clusterIPs[1]", problem)]
    assert len(built.frontends) == 1


def test_ordinary_addresses_near_the_special_ones_are_served():
    near = ["126.0.0.1", "128.0.0.1", "223.0.0.1", "240.0.0.1", "169.253.0.1", "0.0.0.1", "fec0::1", "::2"]
    built = build(svc(*near), [], FACTS)
    assert built.findings == ()
    assert len(built.frontends) == len(near)


@pytest.mark.parametrize(
    ("endpoint", "field", "problem"),
    [
        (b.endpoint(), "endpoints[0]", "has no address"),
        (b.endpoint("x"), "endpoints[0].addresses[0]", '"x" is no IP address'),
        (b.endpoint("fd00::1"), "endpoints[0].addresses[0]", "fd00::1 is not of addressType IPv4"),
        (b.endpoint("127.0.0.1"), "endpoints[0].addresses[0]", "127.0.0.1 is a loopback address"),
    ],
)
def test_a_broken_endpoint_is_left_out_and_the_others_serve(endpoint, field, problem):
    built = build(svc(), [web(endpoint, READY)], FACTS)
    assert findings(built) == [("EndpointSlice", field, problem)]
    assert backends(only(built)) == ["10.244.0.2:8080"]
    assert [(reason, at) for _, reason, at in left_out(only(built))] == [(problem, field)]


@pytest.mark.parametrize(
    ("port", "field", "problem"),
    [
        (EndpointPort(name="x", protocol="tcp", port=1), "ports[1].protocol", '"tcp" is no protocol'),
        (EndpointPort(name="x"), "ports[1].port", "has no number, and a Service port needs one"),
        (EndpointPort(name="x", port=0), "ports[1].port", "0 is no port"),
        (EndpointPort(port=81), "ports[1].name", 'repeats the name ""'),
    ],
)
def test_a_broken_slice_port_is_found(port, field, problem):
    built = build(svc(), [web(READY, ports=[("", 8080), port])], FACTS)
    assert findings(built) == [("EndpointSlice", field, problem)]
    assert backends(only(built)) == ["10.244.0.2:8080"]


def test_an_address_type_that_is_not_served():
    built = build(svc(), [web(b.endpoint("example.org"), kind="FQDN"), web(READY, name="a/s2")], FACTS)
    assert findings(built) == [("EndpointSlice", "addressType", 'addressType "FQDN" is not served')]
    assert backends(only(built)) == ["10.244.0.2:8080"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"type": "Odd"}, "spec.type"),
        ({"internal_traffic_policy": "Odd"}, "spec.internalTrafficPolicy"),
        ({"external_traffic_policy": "Odd"}, "spec.externalTrafficPolicy"),
        ({"session_affinity": "Odd"}, "spec.sessionAffinity"),
        ({"external_ips": ("127.0.0.1",)}, "spec.externalIPs[0]"),
        ({"traffic_distribution": "Odd"}, "spec.trafficDistribution"),
    ],
)
def test_what_is_not_served_as_written_is_found_and_the_rest_serves(spec, field):
    built = build(svc(**spec), [web(READY)], FACTS)
    assert [f.source.field for f in built.findings] == [field]
    assert only(built).action is FrontendAction.BALANCE


@pytest.mark.parametrize(
    ("target", "pod"),
    [
        (None, None),
        (("Node", "", "n"), None),
        (("Pod", "", ""), None),
        (("Pod", "", "p"), "a/p"),
        (("Pod", "other", "p"), "other/p"),
    ],
)
def test_the_pod_behind_an_endpoint(target, pod):
    ref = TargetRef(kind=target[0], namespace=target[1], name=target[2]) if target else None
    endpoint = msgspec.structs.replace(READY, target_ref=ref)
    (backend,) = only(build(svc(), [web(endpoint)], FACTS)).backends
    assert (str(backend.pod) if backend.pod else None) == pod


def test_frontend_keys_have_a_total_order():
    service = svc("10.96.0.1", "fd00::1", type="NodePort", ports=[b.port(80, node_port=30080)])
    keys = [f.key for f in build(service, [], FACTS).frontends]
    assert [str(key) for key in sorted(keys, key=lambda k: k.sort_key)] == [
        "*:30080/tcp",
        "10.96.0.1:80/tcp",
        "*:30080/tcp",
        "[fd00::1]:80/tcp",
    ]
