"""A small universe of Services, slices and packets in which everything meets everything: for property and packet tests.

Comes in: a way to choose one of several (hypothesis, or a seeded ``random.Random``). Goes out: objects of a cluster on the addresses
of ``topologies``, and packets that one of its nodes may see. Everything is sampled from a handful of values, so that addresses,
ports, names and conditions collide. Not here: what should happen (``naive_services``), the network itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from netloom.api.core import (
    ClientIPConfig,
    Container,
    ContainerPort,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Node,
    Pod,
    Service,
    ServicePort,
    ServiceStatus,
    SessionAffinityConfig,
)
from netloom.api.discovery import (
    Endpoint,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    HintedNode,
    HintedZone,
)
from netloom.model.inputs import ClusterFacts, ClusterView, NodeFacts
from netloom.testing import builders as b
from netloom.testing.naive_services import Asker, Packet
from netloom.units import Protocol as Transport
from netloom.units import parse_addr

T = TypeVar("T")

NODE = "node-1"
ZONES = ("zone-a", "zone-b")
CLUSTER = ClusterFacts(
    cluster_cidrs=(ipaddress.ip_network("10.244.0.0/16"), ipaddress.ip_network("2001:db8:44::/48")),
    service_cidrs=(ipaddress.ip_network("10.96.0.0/16"), ipaddress.ip_network("2001:db8:96::/112")),
    dns_addresses=(ipaddress.ip_address("10.96.0.10"),),
)
NODE_ADDRESSES = {
    "node-1": ("172.30.0.11", "2001:db8:30::11"),
    "node-2": ("172.30.0.12", "2001:db8:30::12"),
}
NODE_CIDRS = {
    "node-1": ("10.244.1.0/24", "2001:db8:44:1::/64"),
    "node-2": ("10.244.2.0/24", "2001:db8:44:2::/64"),
}
LOCAL_PODS: dict[str, tuple[str, ...]] = {
    "IPv4": ("10.244.1.2", "10.244.1.3"),
    "IPv6": ("2001:db8:44:1::2", "2001:db8:44:1::3"),
}
REMOTE_PODS: dict[str, tuple[str, ...]] = {"IPv4": ("10.244.2.2",), "IPv6": ("2001:db8:44:2::2",)}
CLIENTS = ("192.0.2.18", "2001:db8:c:1::2")
CLUSTER_IPS = ("10.96.0.80", "10.96.0.81", "2001:db8:96::80", "2001:db8:96::81")
BALANCERS = ("198.51.100.1", "198.51.100.2", "2001:db8:e::1", "2001:db8:e::2")
UNASSIGNED = ("10.96.0.99", "2001:db8:96::99")
TARGETS = (8080, 8081)


class Choose(Protocol):
    """Takes one of several."""

    def __call__(self, options: Sequence[T], /) -> T:
        """One of ``options``."""
        ...


class Odds(msgspec.Struct, frozen=True):
    """What may happen in this universe beside sound objects.

    Attributes:
        bad_input: values that no API server lets in, and labels and types that take a Service out.
        protocols: of ports.
        hints: on endpoints.
    """

    bad_input: bool = True
    protocols: tuple[str, ...] = ("TCP", "UDP", "SCTP")
    hints: tuple[EndpointHints | None, ...] = (None,)


def node_facts(zone: str, node_port_cidrs: Sequence[str] | None = None) -> NodeFacts:
    """What the node of the universe is."""
    return NodeFacts(
        name=NODE,
        addresses=tuple(map(ipaddress.ip_address, NODE_ADDRESSES[NODE])),
        pod_cidrs=tuple(map(ipaddress.ip_network, NODE_CIDRS[NODE])),
        cluster_cidrs=CLUSTER.cluster_cidrs,
        service_cidrs=CLUSTER.service_cidrs,
        dns_addresses=CLUSTER.dns_addresses,
        zone=zone,
        node_port_cidrs=None
        if node_port_cidrs is None
        else tuple(map(ipaddress.ip_network, node_port_cidrs)),
    )


def some_facts(choose: Choose) -> NodeFacts:
    """The node, in a zone or in none, with NodePorts at some of its addresses."""
    cidrs: Sequence[Sequence[str] | None] = (
        None,
        None,
        ("172.30.0.0/24",),
        ("2001:db8:30::/64",),
        ("0.0.0.0/0",),
    )
    return node_facts(choose((*ZONES, "")), choose(cidrs))


def some_cluster(choose: Choose, odds: Odds = Odds()) -> ClusterView:  # noqa: B008 - a frozen value
    """Up to three Services with up to five slices, on two nodes with three pods."""
    is_bad = odds.bad_input and choose((True, False))
    odds = msgspec.structs.replace(
        odds, bad_input=is_bad, hints=choose((_HINTS, _HINTS[1:], _HINTS[4:], (None,), (None,)))
    )
    services = [some_service(choose, name, odds) for name in ("a/x", "a/y", "b/x")[: choose((1, 1, 2, 2, 3))]]
    slices = [some_slice(choose, number, services, odds) for number in range(choose((0, 1, 2, 3, 3, 4, 5)))]
    return b.view(*services, *slices, *nodes(), *(some_pod(choose, pod, odds) for pod in pods()))


def nodes() -> list[Node]:
    """Both nodes."""
    return [b.node(name, *NODE_ADDRESSES[name], pod_cidrs=NODE_CIDRS[name]) for name in NODE_ADDRESSES]


def pods() -> list[Pod]:
    """The pods of both nodes."""
    homes = {"node-1": LOCAL_PODS, "node-2": REMOTE_PODS}
    return [
        b.pod(f"a/p{number}-{name}", *pair, node=name)
        for name, addresses in homes.items()
        for number, pair in enumerate(zip(*addresses.values(), strict=True))
    ]


def some_pod(choose: Choose, pod: Pod, odds: Odds = Odds()) -> Pod:  # noqa: B008 - a frozen value
    """One of the pods, mostly as it is; some have host ports, at all of the node's addresses or at one."""
    texts = (*_HOST_IPS, "nonsense", "10.96.0.80", "127.0.0.1", "192.0.2.77") if odds.bad_input else _HOST_IPS
    ports = [
        ContainerPort(
            container_port=choose(TARGETS),
            protocol=choose(odds.protocols),
            host_port=choose((80, 8088, 30080)),
            host_ip=choose(texts),
        )
        for _ in range(choose((0, 0, 1, 1, 2)))
    ]
    kind = choose(("containers", "init_containers"))
    containers = (Container(name="c", ports=tuple(ports), restart_policy=choose(("Always", "Always", None))),)
    meta = msgspec.structs.replace(
        pod.metadata, creation_timestamp=choose((None, "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"))
    )
    if choose((True, False, False, False)):
        meta = msgspec.structs.replace(meta, deletion_timestamp="2024-01-03T00:00:00Z")
    spec = msgspec.structs.replace(pod.spec, **{kind: containers})
    phase = choose(("Running", "Running", "Pending"))
    status = msgspec.structs.replace(pod.status, phase=phase)
    return msgspec.structs.replace(pod, metadata=meta, spec=spec, status=status)


def some_service(choose: Choose, name: str, odds: Odds = Odds()) -> Service:  # noqa: B008 - a frozen value
    """A Service of any type, families, policies and addresses."""
    kinds = ("ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer")
    type_ = choose((*kinds, *kinds, *kinds, "ExternalName") if odds.bad_input else kinds)
    spec: dict[str, Any] = {
        "type": type_,
        "external_ips": choose(_EXTERNAL_IPS + (_ODD_EXTERNAL_IPS if odds.bad_input else ())),
        "external_traffic_policy": choose(("Cluster", "Local")),
        "internal_traffic_policy": choose(("Cluster", "Cluster", "Local")),
        "session_affinity": choose(("None", "None", "ClientIP")),
        "session_affinity_config": choose(_AFFINITIES),
        "traffic_distribution": choose((None, "PreferClose", "PreferSameZone", "PreferSameNode")),
        "load_balancer_source_ranges": choose(_SOURCE_RANGES),
    }
    service = b.service(
        name,
        *choose(_CLUSTER_IPS + (_ODD_CLUSTER_IPS if odds.bad_input else ())),
        ports=_some_ports(choose, type_, odds),
        created=choose((None, "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z")),
        labels=choose(_LABELS if odds.bad_input else ({},)),
        **spec,
    )
    if type_ != "LoadBalancer":
        return service
    ingress = choose(_INGRESS)
    return msgspec.structs.replace(service, status=ServiceStatus(LoadBalancerStatus(ingress)))


def _some_ports(choose: Choose, type_: str, odds: Odds) -> list[ServicePort]:
    has_node_ports = type_ in {"NodePort", "LoadBalancer"} and choose((True, True, True, False))

    def port(number: int, name: str, protocol: str, node_port: int) -> ServicePort:
        return b.port(number, name, protocol=protocol, node_port=node_port if has_node_ports else 0)

    first = choose(odds.protocols)
    sets = [
        [port(80, "", first, 30080)],
        [port(80, "", first, 30080)],
        [port(80, "http", first, 30080), port(81, "more", first, 30081)],
        [port(80, "http", "TCP", 30080), port(80, "more", "UDP", 30080)],
        [port(53, "dns", "UDP", 30080), port(80, "http", "TCP", 30081)],
    ]
    if odds.bad_input:
        sets.append([b.port(0, "http"), b.port(65536, "more"), port(80, "", "TCP", 30080)])
        sets.append([b.port(80, "http", protocol="QUIC"), port(81, "more", "TCP", 30081)])
    return choose(sets)


def some_slice(
    choose: Choose,
    number: int,
    services: Sequence[Service],
    odds: Odds = Odds(),  # noqa: B008 - a frozen value
) -> EndpointSlice:
    """A slice of one of the Services, or of none, with up to three endpoints."""
    of = choose(services)
    kind = choose(("IPv4", "IPv4", "IPv6"))
    if odds.bad_input:
        kind = choose((kind,) * 9 + ("FQDN",))
    found = [some_endpoint(choose, kind, odds) for _ in range(choose((1, 1, 2, 2, 3)))]
    label = of.metadata.name if not odds.bad_input else choose((of.metadata.name,) * 9 + ("",))
    return b.endpoint_slice(
        f"{of.metadata.namespace}/s{number}",
        label,
        *found,
        ports=_some_endpoint_ports(choose, of, odds),
        address_type=kind,
    )


def _some_endpoint_ports(choose: Choose, of: Service, odds: Odds) -> list[EndpointPort]:
    """Mostly those of the Service, with numbers of their own."""
    fitting = [EndpointPort(name=p.name, protocol=p.protocol, port=choose(TARGETS)) for p in of.spec.ports]
    if not odds.bad_input or choose((True, True, True, False)):
        return fitting
    others = [
        EndpointPort(
            name=choose(("", "http", None)), protocol=choose(("TCP", None, "UDP")), port=choose(TARGETS)
        ),
        EndpointPort(
            name=of.spec.ports[0].name, protocol=of.spec.ports[0].protocol, port=choose((None, 0, 65536))
        ),
    ]
    return choose((fitting[:1], others, [*fitting, *others]))


def some_endpoint(choose: Choose, kind: str, odds: Odds = Odds()) -> Endpoint:  # noqa: B008 - a frozen value
    """An endpoint in any condition; where it is is mostly told rightly."""
    local = LOCAL_PODS.get(kind, ("example.org",))
    remote = REMOTE_PODS.get(kind, ("example.org",))
    address, node = choose([(a, "node-1") for a in local] + [(a, "node-2") for a in remote])
    if odds.bad_input:
        address = choose((address,) * 12 + ("nonsense", "2001:db8:44:1::2", "10.244.1.2"))
        node = choose((node,) * 6 + ("node-2", None))  # type: ignore[assignment]  # the API allows none
    condition = choose(_CONDITIONS)
    endpoint = b.endpoint(
        address, node=node, ready=condition[0], serving=condition[1], terminating=condition[2]
    )
    return msgspec.structs.replace(endpoint, zone=choose(ZONES), hints=choose(odds.hints))


def some_packet(choose: Choose, view: ClusterView, facts: NodeFacts, odds: Odds = Odds()) -> Packet:  # noqa: B008
    """A packet to a Service, mostly, or to somewhere near one."""
    aims = [aim for service in view.services.values() for aim in _aims(service, facts)]
    aims += [aim for pod in view.pods.values() for aim in _host_port_aims(pod, facts)]
    is_aimed = choose((True, True, True, False))
    if aims and is_aimed:
        where, port, protocol = choose(aims)
    else:
        near = [
            *map(str, facts.addresses),
            *UNASSIGNED,
            NODE_ADDRESSES["node-2"][0],
            *(aim[0] for aim in aims),
        ]
        where, port, protocol = choose(near), choose((80, 81, 30080, 30081, 53, 8080)), choose(odds.protocols)
    destination = ipaddress.ip_address(where)
    asker = choose(list(Asker))
    sources: dict[Asker, Sequence[str]] = {
        Asker.POD: [a for pair in LOCAL_PODS.values() for a in pair],
        Asker.NODE: NODE_ADDRESSES[NODE],
        Asker.OTHER: [
            *CLIENTS,
            *NODE_ADDRESSES["node-2"],
            *(a for pair in REMOTE_PODS.values() for a in pair),
        ],
    }
    same = [a for a in map(ipaddress.ip_address, sources[asker]) if a.version == destination.version]
    return Packet(asker, choose(same), destination, Transport(protocol), port)


def _aims(service: Service, facts: NodeFacts) -> list[tuple[str, int, str]]:
    """Address, port and protocol of everything that a Service says it has."""
    own = [*service.spec.cluster_ips, *service.spec.external_ips]
    own += [ingress.ip for ingress in service.status.load_balancer.ingress]
    words = [word.value for word in Transport]
    ports = [port for port in service.spec.ports if port.protocol in words and 0 < port.port < 65536]
    aims = [(ip, port.port, port.protocol) for ip in own if parse_addr(ip) for port in ports]
    for port in ports:
        if port.node_port:
            aims += [(str(address), port.node_port, port.protocol) for address in facts.addresses]
    return aims


def _host_port_aims(pod: Pod, facts: NodeFacts) -> list[tuple[str, int, str]]:
    """Each host port at each address of the node, wherever the pod is."""
    containers = (*pod.spec.containers, *pod.spec.init_containers)
    ports = [port for container in containers for port in container.ports if port.host_port]
    return [(str(own), port.host_port, port.protocol) for own in facts.addresses for port in ports]


_CLUSTER_IPS: tuple[tuple[str, ...], ...] = (
    ("10.96.0.80",),
    ("10.96.0.81",),
    ("10.96.0.80", "2001:db8:96::80"),
    ("2001:db8:96::80", "10.96.0.81"),
    ("2001:db8:96::81",),
)
_ODD_CLUSTER_IPS: tuple[tuple[str, ...], ...] = (("10.96.0.10",), ("10.244.1.80",), ("None",))
_EXTERNAL_IPS: tuple[tuple[str, ...], ...] = (
    (),
    (),
    ("198.51.100.1",),
    ("2001:db8:e::1", "198.51.100.2"),
    ("172.30.0.11",),
)
_ODD_EXTERNAL_IPS: tuple[tuple[str, ...], ...] = (
    ("10.96.0.80",),
    ("10.244.2.2",),
    ("nonsense", "198.51.100.1"),
)
_HOST_IPS = ("", "", "", "0.0.0.0", "::", *NODE_ADDRESSES[NODE])  # noqa: S104 - what a hostIP may say
_INGRESS: tuple[tuple[LoadBalancerIngress, ...], ...] = (
    (),
    (LoadBalancerIngress(ip="198.51.100.1"),),
    (LoadBalancerIngress(ip="198.51.100.2", ip_mode="VIP"), LoadBalancerIngress(ip="2001:db8:e::2")),
    (LoadBalancerIngress(ip="198.51.100.1", ip_mode="Proxy"),),
    (LoadBalancerIngress(hostname="example.org"), LoadBalancerIngress(ip="2001:db8:e::1")),
)
_SOURCE_RANGES: tuple[tuple[str, ...], ...] = (
    (),
    (),
    ("192.0.2.0/24", "2001:db8:c::/48"),
    ("10.244.1.0/24",),
    ("2001:db8:c::/48",),
    ("172.30.0.11/32", " 10.244.1.2/32 "),
)
_AFFINITIES: tuple[SessionAffinityConfig | None, ...] = (
    None,
    SessionAffinityConfig(),
    SessionAffinityConfig(ClientIPConfig(60)),
)
_LABELS: tuple[dict[str, str], ...] = (
    *({},) * 10,
    {"service.kubernetes.io/service-proxy-name": "other"},
    {"service.kubernetes.io/headless": ""},
)
_CONDITIONS: tuple[tuple[bool | None, bool | None, bool | None], ...] = (
    (True, True, False),
    (True, None, None),
    (None, None, None),
    (False, False, False),
    (False, None, None),
    (False, None, True),
    (False, True, True),
    (False, True, True),
    (False, True, False),
    (False, False, True),
    (True, True, True),
)
_HINTS: tuple[EndpointHints | None, ...] = (
    None,
    EndpointHints(for_zones=(HintedZone("zone-a"),)),
    EndpointHints(for_zones=(HintedZone("zone-a"), HintedZone("zone-b"))),
    EndpointHints(for_zones=(HintedZone("zone-b"),)),
    EndpointHints(for_zones=(HintedZone("zone-a"),), for_nodes=(HintedNode("node-1"),)),
    EndpointHints(for_zones=(HintedZone("zone-b"),), for_nodes=(HintedNode("node-2"),)),
)
