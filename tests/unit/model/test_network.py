"""Local pods, disputes, deltas and the flows that end with them; histories are in tests/properties."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from netloom.api.discovery import EndpointPort
from netloom.model.inputs import NodeFacts
from netloom.model.network import Network
from netloom.model.services.frontends import FrontendAction
from netloom.model.state import Delta, NetworkState, difference
from netloom.testing import builders as b

FACTS = NodeFacts(name="node-1", addresses=(ip_address("192.0.2.11"),))
OLD, NEW = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"
TCP, UDP = [b.port(80)], [b.port(80, protocol="UDP")]


def net(*objects):
    network = Network(FACTS)
    network.update(b.changes(*objects))
    return network


def slice_of(*addresses, protocol="TCP", name="a/s1", of="web"):
    ports = [EndpointPort(name="", protocol=protocol, port=8080)]
    return b.endpoint_slice(name, of, *(b.endpoint(a, node="node-1") for a in addresses), ports=ports)


def flows(delta):
    return sorted(map(str, delta.flows))


def local_pods(*pods):
    state = Network.compute(b.view(*pods), FACTS)
    return {str(a): str(p.pod) for a, p in state.local_pods.items()}, [str(f) for f in state.findings]


def test_pods_of_this_node_only():
    assert local_pods(
        b.pod("a/here", "10.244.0.2", "fd01::2", node="node-1"),
        b.pod("a/there", "10.244.1.2", node="node-2"),
        b.pod("a/host", "192.0.2.11", node="node-1", host_network=True),
        b.pod("a/done", "10.244.0.3", node="node-1", phase="Succeeded"),
        b.pod("a/failed", "10.244.0.4", node="node-1", phase="Failed"),
        b.pod("a/waiting", node="node-1", phase="Pending"),
    ) == ({"10.244.0.2": "a/here", "fd01::2": "a/here"}, [])


def test_only_pod_ip_is_set():
    pod = b.pod("a/p", node="node-1")
    pod = msgspec.structs.replace(pod, status=msgspec.structs.replace(pod.status, pod_ip="10.244.0.2"))
    assert local_pods(pod) == ({"10.244.0.2": "a/p"}, [])


def test_a_pod_address_that_is_none():
    found, findings = local_pods(b.pod("a/p", "x", "10.244.0.2", node="node-1"))
    assert found == {"10.244.0.2": "a/p"}
    assert findings == [
        'Pod a/p: status.podIPs[0].ip: "x" is no IP address; the node that runs the pod reports it; look at its log'
    ]


def test_of_two_pods_with_one_address_the_older_has_it():
    found, findings = local_pods(
        b.pod("a/young", "10.244.0.2", node="node-1", created=NEW),
        b.pod("a/old", "10.244.0.2", node="node-1", created=OLD),
    )
    assert found == {"10.244.0.2": "a/old"}
    assert findings == [
        "Pod a/young: status.podIPs: 10.244.0.2 belongs to Pod a/old, which is older; delete one of the two pods"
    ]


def test_of_two_services_with_one_node_port_the_older_has_it():
    port = [b.port(80, node_port=30080)]
    young = b.service("a/young", "10.96.0.1", ports=port, type="NodePort", created=NEW)
    old = b.service("z/old", "10.96.0.2", ports=port, type="NodePort", created=OLD)
    network = net(young)
    delta = network.update(b.changes(old))
    assert sorted(map(str, delta.frontends)) == ["*:30080/tcp", "10.96.0.2:80/tcp"]
    assert [str(f) for f in network.state.findings] == [
        "Service a/young: spec.ports[0].nodePort: *:30080/tcp belongs to Service z/old, which is older; "
        "give one of the two another"
    ]
    back = network.update(b.changes(gone=[old]))
    assert sorted(map(str, back.frontends)) == ["*:30080/tcp", "10.96.0.2:80/tcp"]
    assert network.state.findings == ()


def test_a_backend_that_goes_takes_its_flows_with_it():
    service = b.service("a/web", "10.96.0.1", ports=UDP)
    network = net(service, slice_of("10.244.0.2", "10.244.0.3", protocol="UDP"))
    delta = network.update(b.changes(slice_of("10.244.0.3", "10.244.0.4", protocol="UDP")))
    assert flows(delta) == ["10.96.0.1:80/udp"]


def test_a_backend_in_another_slice_is_the_same_backend():
    network = net(b.service("a/web", "10.96.0.1", ports=UDP), slice_of("10.244.0.2", protocol="UDP"))
    moved = slice_of("10.244.0.2", protocol="UDP", name="a/s2")
    delta = network.update(b.changes(moved, gone=[slice_of(name="a/s1")]))
    assert len(delta.frontends) == 1
    assert delta.flows == ()


def test_a_frontend_that_goes_takes_all_its_flows_with_it():
    service = b.service("a/web", "10.96.0.1", ports=TCP)
    network = net(service, slice_of("10.244.0.2"))
    assert flows(network.update(b.changes(gone=[service]))) == ["10.96.0.1:80/tcp"]


def test_a_frontend_without_backends_any_more_takes_all_its_flows_with_it():
    network = net(b.service("a/web", "10.96.0.1", ports=TCP), slice_of("10.244.0.2"))
    delta = network.update(b.changes(slice_of()))
    assert [f.action for f in delta.frontends.values()] == [FrontendAction.REJECT]
    assert flows(delta) == ["10.96.0.1:80/tcp"]


@pytest.mark.parametrize(("protocol", "ended"), [("UDP", ["10.96.0.1:80/udp"]), ("TCP", [])])
def test_what_went_untranslated_before_the_frontend_balanced(protocol, ended):
    network = net(b.service("a/web", "10.96.0.1", ports=[b.port(80, protocol=protocol)]))
    assert flows(network.update(b.changes(slice_of("10.244.0.2", protocol=protocol)))) == ended


def test_a_frontend_that_never_balanced_has_no_flows():
    service = b.service("a/web", "10.96.0.1", ports=UDP)
    assert net(service).update(b.changes(gone=[service])).flows == ()


def test_nothing_changes_nothing():
    objects = [
        b.service("a/web", "10.96.0.1", ports=TCP),
        slice_of("10.244.0.2"),
        b.pod("a/p", "10.244.0.2", node="node-1"),
        b.node("node-2", "192.0.2.12", pod_cidrs=["10.244.1.0/24"]),
    ]
    network = net(*objects)
    assert network.update(b.changes(*objects)) == Delta()
    assert network.update(b.changes()).is_empty
    assert network.update(b.changes(gone=[b.service("a/other"), b.pod("a/other"), b.node("other")])).is_empty


def test_a_heartbeat_of_a_node_changes_nothing():
    node = b.node("node-2", "192.0.2.12", pod_cidrs=["10.244.1.0/24"])
    network = net(node)
    beat = msgspec.structs.replace(
        node, metadata=msgspec.structs.replace(node.metadata, resource_version="7")
    )
    assert network.update(b.changes(beat)).is_empty


def test_a_slice_that_changes_its_service():
    network = net(
        b.service("a/web", "10.96.0.1", ports=TCP),
        b.service("a/x", "10.96.0.2", ports=TCP),
        slice_of("10.244.0.2"),
    )
    delta = network.update(b.changes(slice_of("10.244.0.2", of="x")))
    assert {str(k): len(f.backends) for k, f in delta.frontends.items()} == {
        "10.96.0.1:80/tcp": 0,
        "10.96.0.2:80/tcp": 1,
    }


def test_a_state_is_a_value():
    network = net(b.service("a/web", "10.96.0.1", ports=TCP))
    before = network.state
    network.update(b.changes(gone=[b.service("a/web")]))
    assert len(before.frontends) == 1
    assert network.state == Network.compute(b.view(), FACTS)
    assert not network.state.frontends


def test_difference_both_ways():
    state = net(b.node("node-2", "192.0.2.12", pod_cidrs=["10.244.1.0/24"])).state
    assert list(difference(NetworkState(), state).routes.values()) == list(state.routes.values())
    assert list(difference(state, NetworkState()).routes.values()) == [None]
    assert difference(state, state).is_empty


def test_a_cluster_ip_belongs_to_its_service_whoever_is_older():
    own = b.service("a/own", "10.96.0.1", ports=TCP, created=NEW)
    guest = b.service("z/guest", "10.96.0.2", ports=TCP, external_ips=("10.96.0.1",), created=OLD)
    for order in ([own, guest], [guest, own]):
        network = Network(FACTS)
        for one in order:
            network.update(b.changes(one))
        held = {str(key): one.source.subject for key, one in network.state.frontends.items()}
        assert held["10.96.0.1:80/tcp"] == "Service a/own"
        assert [str(f) for f in network.findings] == [
            "Service z/guest: spec.externalIPs[0], spec.ports[0].port: 10.96.0.1:80/tcp belongs to Service a/own, "
            "whose ClusterIP it is; give one of the two another"
        ]
        assert network.state == Network.compute(b.view(own, guest), FACTS)
        network.update(b.changes(gone=[own]))
        assert {one.source.subject for one in network.state.frontends.values()} == {"Service z/guest"}
        assert network.findings == ()


@pytest.mark.parametrize("kind", ["external_ips", "ingress"])
def test_of_two_services_with_one_outer_address_the_older_has_it(kind):
    outer = {kind: ("198.51.100.1",), "type": "LoadBalancer"}
    young = b.service("a/young", "10.96.0.1", ports=TCP, created=NEW, **outer)
    old = b.service("z/old", "10.96.0.2", ports=TCP, created=OLD, **outer)
    other_port = b.service("z/other", "10.96.0.3", ports=[b.port(81)], created=OLD, **outer)
    state = Network.compute(b.view(young, old, other_port), FACTS)
    held = {str(key): one.source.subject for key, one in state.frontends.items()}
    assert held["198.51.100.1:80/tcp"] == "Service z/old"
    assert held["198.51.100.1:81/tcp"] == "Service z/other"
    assert [f.source.subject for f in state.findings] == ["Service a/young"]
    assert "which is older" in state.findings[0].problem


def with_health(name, ip, *, created=OLD, port=32000, **rest):
    return b.service(
        name,
        ip,
        ports=TCP,
        created=created,
        type="LoadBalancer",
        external_traffic_policy="Local",
        health_check_node_port=port,
        **rest,
    )


def test_of_two_services_with_one_health_check_port_the_older_has_it():
    old, young = with_health("a/web", "10.96.0.1"), with_health("a/x", "10.96.0.2", created=NEW)
    network = net(young)
    delta = network.update(b.changes(old, slice_of("10.244.0.2")))
    assert {port: (str(c.service), c.local_endpoints) for port, c in delta.health_checks.items()} == {
        32000: ("a/web", 1)
    }
    assert [str(f) for f in network.findings] == [
        "Service a/x: spec.healthCheckNodePort: belongs to Service a/web, which is older: load balancers are told of "
        "that one's endpoints; give one of the two another"
    ]
    assert {str(c.service) for c in network.update(b.changes(gone=[old])).health_checks.values()} == {"a/x"}
    assert network.findings == ()


def test_a_health_check_follows_its_endpoints():
    network = net(with_health("a/web", "10.96.0.1"))
    assert network.state.health_checks[32000].local_endpoints == 0
    delta = network.update(b.changes(slice_of("10.244.0.2", "10.244.0.3")))
    assert delta.health_checks[32000].local_endpoints == 2
    assert network.update(b.changes(slice_of("10.244.0.3", "10.244.0.2"))).health_checks == {}
    assert network.update(b.changes(with_health("a/web", "10.96.0.1", port=0))).health_checks == {32000: None}


def test_a_service_that_is_handed_to_another_proxy_is_gone_from_here():
    service = b.service("a/web", "10.96.0.1", ports=TCP)
    network = net(service, slice_of("10.244.0.2"))
    other = b.service(
        "a/web", "10.96.0.1", ports=TCP, labels={"service.kubernetes.io/service-proxy-name": "x"}
    )
    assert list(network.update(b.changes(other)).frontends.values()) == [None]
    assert len(network.update(b.changes(service)).frontends) == 1


def test_a_slice_that_is_handed_to_another_proxy_is_gone_from_here():
    network = net(b.service("a/web", "10.96.0.1", ports=TCP), slice_of("10.244.0.2"))
    slice_ = slice_of("10.244.0.2")
    labels = {**slice_.metadata.labels, "service.kubernetes.io/headless": ""}
    meta = msgspec.structs.replace(slice_.metadata, labels=labels)
    (one,) = network.update(b.changes(msgspec.structs.replace(slice_, metadata=meta))).frontends.values()
    assert one.action is FrontendAction.REJECT


def test_one_of_several_slices_changes():
    network = net(
        b.service("a/web", "10.96.0.1", ports=TCP),
        *(slice_of(f"10.244.0.{i}", name=f"a/s{i}") for i in range(1, 6)),
    )
    for change, left in (
        (b.changes(slice_of("10.244.0.33", name="a/s3")), [1, 2, 4, 5, 33]),
        (b.changes(gone=[slice_of(name="a/s1"), slice_of(name="a/s2")]), [4, 5, 33]),
        (b.changes(gone=[slice_of(name="a/s4"), slice_of(name="a/s5")]), [33]),
        (b.changes(slice_of("10.244.0.4", name="a/s4")), [4, 33]),
    ):
        (one,) = network.update(change).frontends.values()
        assert [int(str(backend.address).rpartition(".")[2]) for backend in one.backends] == left


def test_a_node_that_is_another_now():
    hinted = b.endpoint_slice(
        "a/s1",
        "web",
        b.endpoint("10.244.0.2", node="node-1", for_zones=["zone-a"]),
        b.endpoint("10.244.1.2", node="node-2", for_zones=["zone-b"]),
    )
    objects = [
        b.service("a/web", "10.96.0.1", ports=TCP),
        with_health("a/x", "10.96.0.2"),
        hinted,
        b.pod("a/p", "10.244.0.2", node="node-1"),
        b.pod("a/q", "10.244.1.2", node="node-2"),
        b.node("node-1", "192.0.2.11", pod_cidrs=["10.244.0.0/24"]),
        b.node("node-2", "192.0.2.12", pod_cidrs=["10.244.1.0/24"]),
    ]
    network = net(*objects)
    for change in (
        {"zone": "zone-b"},
        {"zone": ""},
        {"name": "node-2", "pod_cidrs": (ip_network("10.244.1.0/24"),)},
        {"cluster_cidrs": (ip_network("10.96.0.0/16"),)},
        {"dns_addresses": (ip_address("10.96.0.1"),)},
    ):
        facts = msgspec.structs.replace(FACTS, **change)
        network.refit(facts)
        assert network.state == Network.compute(b.view(*objects), facts)
        assert network.update(b.changes(*objects)).is_empty
    (one,) = network.update(b.changes(gone=[hinted])).frontends.values()
    assert one.action is FrontendAction.REJECT
