"""What the agent is told of the host side: routes of a configuration, ports that runtimes map, limits of pods."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netloom.agent.config import AgentConfig, RouteEntry
from netloom.agent.mapped_ports import MappedPorts
from netloom.agent.pod_limits import PodLimits
from netloom.cni.bandwidth import EGRESS, INGRESS, Bandwidth
from netloom.cni.ipam.lease import Attachment, Lease, PortMapping
from netloom.engine.acks import Acks
from netloom.engine.pending import Taken
from netloom.errors import UsageError
from netloom.testing import builders as b


def config(*routes, **fields):
    return AgentConfig(
        node="node-1",
        cluster_cidrs=("10.244.0.0/16",),
        service_cidrs=("10.96.0.0/16",),
        static_routes=tuple(RouteEntry(*one) for one in routes),
        **fields,
    )


def test_a_configuration_of_egress_is_read():
    egress = (
        config(
            ("198.51.100.0/24", "192.0.2.1"),
            ("2001:db8:e::/48", "fe80::1", "eth0"),
            ("0.0.0.0/0", "", "eth1"),
            masquerade=False,
            no_masquerade=("203.0.113.0/24",),
        )
        .cluster_facts()
        .egress
    )
    assert [str(one) for one in egress.static_routes] == [
        "198.51.100.0/24 via 192.0.2.1",
        "2001:db8:e::/48 via fe80::1 dev eth0",
        "0.0.0.0/0 dev eth1",
    ]
    assert not egress.masquerade
    assert [str(one) for one in egress.no_masquerade] == ["203.0.113.0/24"]


@pytest.mark.parametrize(
    ("route", "field"),
    [
        (("198.51.100.1/24", "192.0.2.1"), "static_routes[0].destination"),
        (("nowhere", "192.0.2.1"), "static_routes[0].destination"),
        (("224.0.0.0/4", "192.0.2.1"), "static_routes[0].destination"),
        (("10.244.3.0/24", "192.0.2.1"), "static_routes[0].destination"),
        (("10.0.0.0/8", "192.0.2.1"), "static_routes[0].destination"),
        (("198.51.100.0/24", "2001:db8::1"), "static_routes[0].via"),
        (("198.51.100.0/24", "127.0.0.1"), "static_routes[0].via"),
        (("198.51.100.0/24", "router"), "static_routes[0].via"),
        (("2001:db8:e::/48", "fe80::1"), "static_routes[0].device"),
        (("198.51.100.0/24", "", "lo"), "static_routes[0].device"),
        (("198.51.100.0/24", "", "nl0123456789abc"), "static_routes[0].device"),
        (("198.51.100.0/24", "", "a name that is too long"), "static_routes[0].device"),
        (("198.51.100.0/24",), "static_routes[0]"),
    ],
)
def test_a_route_that_leads_nowhere_is_refused_with_its_field(route, field):
    with pytest.raises(UsageError, match="agent configuration: ") as refused:
        config(route).cluster_facts()
    assert f"{field}:" in str(refused.value)
    assert refused.value.hint


def test_a_destination_twice_is_refused():
    with pytest.raises(UsageError, match=r"static_routes\[1\].destination: .* stands twice"):
        config(("198.51.100.0/24", "192.0.2.1"), ("198.51.100.0/24", "192.0.2.2")).cluster_facts()


PORTS = (PortMapping(8080, 80, "tcp"), PortMapping(53, 53, "udp", "192.0.2.11"))


def lease(pod="", ports=PORTS):
    return Lease(Attachment("f00", "eth0"), (ip_address("10.244.0.9"),), pod, ports)


class Marks:
    """Takes what the model is told, and has it in force at once."""

    def __init__(self, acks):
        self.acks = acks
        self.told = []

    def __call__(self, key, value):
        self.told.append((str(key), value))
        number = len(self.told)
        self.acks.taken(Taken(since=1.0, marked=number))
        self.acks.applied(began=1.0, ended=2.0)
        return number


async def test_ports_of_a_container_that_is_no_pod_are_an_input_of_the_model_while_it_is_there():
    acks = Acks()
    marks = Marks(acks)
    ports = MappedPorts(mark=marks, acks=acks)
    await ports.opened(lease())
    ports.closed(lease())
    (key, opened), (_, closed) = marks.told
    assert (key, closed) == ("f00/eth0", None)
    assert [(p.host_port, p.container_port, p.protocol, p.host_ip) for p in opened.ports] == [
        (8080, 80, "tcp", ""),
        (53, 53, "udp", "192.0.2.11"),
    ]
    ports.remember([lease(), lease(pod="a/p"), lease(ports=())])
    assert len(marks.told) == 3


async def test_ports_of_pods_come_from_their_specs():
    marks = Marks(Acks())
    ports = MappedPorts(mark=marks, acks=marks.acks)
    await ports.opened(lease(pod="a/p"))
    ports.closed(lease(pod="a/p"))
    assert marks.told == []


def limits(told):
    return PodLimits(node="node-1", leases=list, report=told.extend)


def test_annotations_count_and_a_runtime_counts_for_what_is_no_pod():
    told = []
    follower = limits(told)
    said = Bandwidth(ingress_rate=5000)
    assert follower.wanted("", said) == said
    assert follower.wanted("a/p", said) == said
    plain = b.pod("a/p", "10.244.0.2", node="node-1")
    follower.pod_changed(plain.key, plain)
    assert follower.wanted("a/p", said) is None
    annotated = b.pod("a/p", "10.244.0.2", node="node-1", annotations={INGRESS: "1M", EGRESS: "quick"})
    follower.pod_changed(annotated.key, annotated)
    assert follower.wanted("a/p", said) == Bandwidth(ingress_rate=1_000_000)
    (finding,) = told
    assert str(finding).startswith(f'Pod a/p: metadata.annotations[{EGRESS}]: "quick" is no quantity')
    follower.pod_changed(annotated.key, annotated)
    assert len(told) == 1
    follower.pod_changed(annotated.key, None)
    assert follower.wanted("a/p", said) == said


def test_pods_of_other_nodes_are_not_followed():
    told = []
    follower = limits(told)
    other = b.pod("a/p", "10.244.1.2", node="node-2", annotations={INGRESS: "quick"})
    follower.pod_changed(other.key, other)
    assert told == []
