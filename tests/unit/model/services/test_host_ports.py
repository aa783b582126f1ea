"""Host ports: what a pod asks for, what cannot be read, who wins, and containers that are no pods."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from netloom.api.core import Container
from netloom.model.attachments import MappedPort, PlainAttachment
from netloom.model.inputs import Changes, ClusterView, NodeFacts
from netloom.model.network import Network
from netloom.model.services.frontends import FrontendAction, FrontendKey, FrontendKind
from netloom.model.services.host_ports import HostPortReader
from netloom.testing import builders as b
from netloom.units import Family, ObjectKey, Protocol

FACTS = NodeFacts(
    name="node-1",
    addresses=(ip_address("192.0.2.11"), ip_address("2001:db8::11")),
    pod_cidrs=(ip_network("10.244.0.0/24"), ip_network("2001:db8:44::/64")),
    cluster_cidrs=(ip_network("10.244.0.0/16"),),
    service_cidrs=(ip_network("10.96.0.0/16"),),
)
ADDRESSES = ("10.244.0.2", "2001:db8:44::2")


def asked(*ports, facts=FACTS, addresses=ADDRESSES, **fields):
    return HostPortReader(facts).of_pod(b.pod("a/p", *addresses, node="node-1", ports=ports, **fields))


def places(built):
    return {str(one.key): [str(backend) for backend in one.backends] for one in built.frontends}


@pytest.mark.parametrize(
    ("host_ip", "expected"),
    [
        ("", {"*:80/tcp": ["[2001:db8:44::2]:8080"]}),
        ("0.0.0.0", {"*:80/tcp": ["10.244.0.2:8080"]}),
        ("::", {"*:80/tcp": ["[2001:db8:44::2]:8080"]}),
        ("192.0.2.11", {"192.0.2.11:80/tcp": ["10.244.0.2:8080"]}),
        ("2001:db8::11", {"[2001:db8::11]:80/tcp": ["[2001:db8:44::2]:8080"]}),
        ("127.0.0.1", {"127.0.0.1:80/tcp": ["10.244.0.2:8080"]}),
        ("10.96.0.1", {}),
        ("10.244.3.3", {}),
        ("169.254.1.1", {}),
        ("nonsense", {}),
    ],
)
def test_the_host_ip_says_where(host_ip, expected):
    built = asked(b.host_port(8080, 80, host_ip=host_ip))
    assert places(built) == expected
    assert len(built.frontends) == (2 if not host_ip else len(expected))
    assert bool(built.findings) is (not expected)
    for finding in built.findings:
        assert finding.source.field == "spec.containers[0].ports[0].hostIP"
        assert "not served" in finding.problem


def test_a_frontend_of_a_host_port_has_one_backend_and_leaves_the_source_alone():
    (four, six) = asked(b.host_port(8080, 80, name="http")).frontends
    assert four.key == FrontendKey(Family.V4, None, Protocol.TCP, 80)
    assert six.key.family is Family.V6
    assert four.kind is FrontendKind.HOST_PORT
    assert (four.masquerade, four.action) == (False, FrontendAction.BALANCE)
    assert str(four.source) == "Pod a/p: spec.containers[0].ports[0].hostPort"
    assert four.owner == "hostPort of Pod a/p"


def test_at_loopback_the_kernel_translates_nothing():
    (one,) = asked(b.host_port(8080, 80, host_ip="127.0.0.1")).frontends
    assert one.action is FrontendAction.NODE_LOCAL
    assert [str(backend) for backend in one.backends] == ["10.244.0.2:8080"]


def test_sidecars_count_and_what_runs_once_does_not():
    sidecar = Container(name="s", restart_policy="Always", ports=(b.host_port(1, 81),))
    once = Container(name="o", ports=(b.host_port(2, 82),))
    built = asked(init_containers=(once, sidecar), addresses=ADDRESSES[:1])
    assert [str(one.source.field) for one in built.frontends] == ["spec.initContainers[1].ports[0].hostPort"]


@pytest.mark.parametrize(
    "fields",
    [{"host_network": True}, {"phase": "Succeeded"}, {"phase": "Failed"}, {"addresses": ()}],
    ids=str,
)
def test_who_has_no_network_of_its_own_has_no_host_ports(fields):
    assert asked(b.host_port(8080, 80), **fields).frontends == ()


def test_pods_of_other_nodes_are_not_asked():
    pod = b.pod("a/p", "10.244.1.2", node="node-2", ports=[b.host_port(8080, 80)])
    assert HostPortReader(FACTS).of_pod(pod).frontends == ()


@pytest.mark.parametrize(
    ("port", "field"),
    [
        (b.host_port(8080, 70000), "hostPort"),
        (b.host_port(0, 80), "containerPort"),
        (b.host_port(8080, 80, protocol="QUIC"), "protocol"),
    ],
)
def test_what_is_no_port_is_found_and_the_others_are_served(port, field):
    built = asked(port, b.host_port(8081, 81, host_ip="0.0.0.0"))
    assert places(built) == {"*:81/tcp": ["10.244.0.2:8081"]}
    assert [one.source.field for one in built.findings] == [f"spec.containers[0].ports[0].{field}"]


def test_a_port_twice_in_one_pod_is_found():
    built = asked(b.host_port(8080, 80), b.host_port(8081, 80), addresses=ADDRESSES[:1])
    assert places(built) == {"*:80/tcp": ["10.244.0.2:8080"]}
    assert "repeats spec.containers[0].ports[0].hostPort" in built.findings[0].problem


OLD, NEW = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"
PORT = b.host_port(8080, 30080)
SERVICE = b.service("a/s", "10.96.0.5", ports=[b.port(80, node_port=30080)], type="NodePort", created=NEW)


def pod(name, address, created=OLD, deleted=None, port=PORT):
    return b.pod(name, address, node="node-1", ports=[port], created=created, deleted=deleted)


def holder_and_findings(*objects):
    state = Network.compute(b.view(*objects), FACTS)
    key = FrontendKey(Family.V4, None, Protocol.TCP, 30080)
    return state.frontends[key].source.subject, [str(finding) for finding in state.findings]


@pytest.mark.parametrize(
    ("objects", "holder", "loser", "because"),
    [
        ((pod("a/p", "10.244.0.2"), SERVICE), "Service a/s", "Pod a/p", "Services come before host ports"),
        ((pod("a/q", "10.244.0.3"), pod("a/p", "10.244.0.2", NEW)), "Pod a/q", "Pod a/p", "which is older"),
        (
            (pod("a/q", "10.244.0.3", deleted=NEW), pod("a/p", "10.244.0.2", NEW)),
            "Pod a/p",
            "Pod a/q",
            "stays while this one goes",
        ),
    ],
)
def test_of_several_one_has_a_port_and_the_other_is_told(objects, holder, loser, because):
    found, findings = holder_and_findings(*objects)
    assert found == holder
    (finding,) = findings
    assert finding.startswith(
        f"{loser}: spec.containers[0].ports[0].hostPort: *:30080/tcp belongs to {holder}"
    )
    assert because in finding


def test_one_address_comes_before_all_and_the_pod_in_the_way_is_told():
    alone = pod("a/z", "10.244.0.3", NEW, port=b.host_port(8080, 30080, host_ip="192.0.2.11"))
    found, findings = holder_and_findings(pod("a/p", "10.244.0.2"), alone)
    assert found == "Pod a/p"
    assert findings == [
        "Pod a/p: spec.containers[0].ports[0].hostPort: 192.0.2.11:30080/tcp belongs to Pod a/z, which asks for this"
        " address alone (hostIP); give one of the two another port"
    ]
    # what a Service loses is found at the pod: of a Service every node would be asked
    _, findings = holder_and_findings(SERVICE, alone)
    assert findings[0].startswith(
        "Pod a/z: spec.containers[0].ports[0].hostPort: takes 192.0.2.11:30080/tcp from Service a/s"
    )


def test_a_container_that_is_no_pod_has_its_ports_below_all_others():
    key = ObjectKey("", "f00/eth0")
    mapped = PlainAttachment(
        "f00/eth0",
        (ip_address("10.244.0.9"),),
        (MappedPort(30080, 8080), MappedPort(53, 53, "udp", "192.0.2.11")),
    )
    network = Network(FACTS)
    network.update(Changes(attachments={key: mapped}))
    four = FrontendKey(Family.V4, None, Protocol.TCP, 30080)
    udp = FrontendKey(Family.V4, ip_address("192.0.2.11"), Protocol.UDP, 53)
    assert set(network.state.frontends) == {four, udp}
    assert (
        str(network.state.frontends[udp].source)
        == "Container f00/eth0: runtimeConfig.portMappings[1].hostPort"
    )
    taken = pod("a/p", "10.244.0.2")
    network.update(Changes(pods={taken.key: taken}))
    assert network.state.frontends[four].source.subject == "Pod a/p"
    assert "pods come before other containers" in str(network.findings[0])
    view = ClusterView(pods={taken.key: taken}, attachments={key: mapped})
    assert network.state == Network.compute(view, FACTS)
    delta = network.update(Changes(attachments={key: None}))
    assert delta.frontends == {udp: None}
    assert delta.flows == (udp,)
    assert network.state == Network.compute(msgspec.structs.replace(view, attachments={}), FACTS)
