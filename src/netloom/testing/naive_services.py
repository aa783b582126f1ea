"""Services as the API's documentation tells them, read naively: a second voice beside the model, for property and packet tests.

Comes in: the objects of a cluster, what a node is, one first packet of a connection. Goes out: what must happen to it. Every question
goes through all objects again, in the order in which the documentation speaks of them; nothing is shared with ``netloom.model``
but its inputs, so that the two can disagree. Not here: conntrack, routes, policies.

What the documentation leaves to the implementation, netloom says itself:
- of several Services that claim one address and port the oldest has it, then the first by namespace and name;
- of one Service's own addresses that are equal, a ClusterIP counts before a LoadBalancer address, and that before an external IP;
- addresses in the pods' range are not served, nor are LoadBalancer addresses and external IPs in the range of Services;
- a host port of a pod (core/v1 ContainerPort.hostPort) comes behind all Services; of two pods the one that stays has it, then the
  older. Given an address (hostIP) it comes before NodePorts and host ports of all addresses. The pod sees the sender's own address;
- what is not served in the range of Services is refused, another proxy's too, unless that one has translated it before;
- what pods of this node send to NodePorts, LoadBalancer addresses and external IPs keeps its source: the answer comes back here;
- of an endpoint that stands in several slices the entry counts that is most willing (ready, then serving while it terminates), of
  equal ones the first by the slice's name; of two ports of a slice with one name and protocol, the first.
"""

from __future__ import annotations

import enum

import msgspec

from netloom.api.core import Service, ServicePort
from netloom.api.discovery import SERVICE_NAME_LABEL, Endpoint, EndpointSlice
from netloom.model.inputs import ClusterView, NodeFacts
from netloom.testing.naive_host_ports import place_alone, place_everywhere
from netloom.units import Addr, Family, ObjectKey, Protocol, family_of, parse_addr, parse_cidr

OPT_OUT_LABELS = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")
"""Well-known labels: whatever their value, another proxy, or none, serves the Service."""
DEFAULT_AFFINITY_S = 10800
Place = tuple[Addr, int]


class Asker(enum.Enum):
    """Who sends the packet, as the node sees it."""

    POD = "a pod of this node"
    NODE = "the node itself"
    OTHER = "somebody else"
    """A client outside, another node, or a pod of another node."""


class Packet(msgspec.Struct, frozen=True):
    """The first packet of a connection, on its way through one node."""

    asker: Asker
    source: Addr
    destination: Addr
    protocol: Protocol
    port: int


class Verdict(enum.Enum):
    """What becomes of a packet."""

    SERVED = "served"
    REJECT = "refused at once"
    DROP = "not answered"
    PASS = "no business of Services"  # noqa: S105 - a verdict, not a password


class Outcome(msgspec.Struct, frozen=True):
    """The verdict, and for what is served the details."""

    verdict: Verdict
    backends: frozenset[Place] = frozenset()
    """One of these answers, each with the same chance."""
    kept: frozenset[Place] = frozenset()
    """Those of them that see the sender's own address; the others see the node's. Empty for what the node itself sends, which comes
    from the node's address in any case."""
    affinity_s: int = 0
    """Seconds since its last connection for which a client goes to the same backend again; 0: not at all."""


class Kind(enum.Enum):
    """The kinds of a Service's addresses, in the order in which one Service's own are considered."""

    CLUSTER_IP = 0
    LOAD_BALANCER = 1
    EXTERNAL_IP = 2
    NODE_PORT = 3


class Standing(msgspec.Struct, frozen=True):
    """An endpoint in a slice: its place for one port, and what the slice says of it there."""

    place: Place
    endpoint: Endpoint


def naive(view: ClusterView, facts: NodeFacts, packet: Packet) -> Outcome:
    """What must happen to a packet on a node."""
    found = _addressed(view, facts, packet)
    if (place := _host_port_place(view, facts, packet, found)) is not None:
        is_kept = packet.asker is Asker.OTHER or (packet.asker is Asker.POD and place[0] != packet.source)
        return Outcome(Verdict.SERVED, frozenset({place}), frozenset({place} if is_kept else ()))
    return _nobodys(facts, packet) if found is None else _of_service(view, facts, packet, found)


def _of_service(
    view: ClusterView, facts: NodeFacts, packet: Packet, found: tuple[Service, ServicePort, Kind]
) -> Outcome:
    service, port, kind = found
    if packet.destination in facts.dns_addresses and packet.port == 53:
        return Outcome(Verdict.PASS)  # the node's own DNS server has this address
    if kind is Kind.LOAD_BALANCER and not _is_let_in(service, packet.source):
        return Outcome(Verdict.DROP)
    standings = _standings(view, service, port, family_of(packet.destination))
    if _is_local(service, kind, packet.asker):
        chosen = _local(standings, facts)
        if not chosen:
            return Outcome(Verdict.DROP if any(map(_is_usable, standings)) else Verdict.REJECT)
    else:
        chosen = _anywhere(standings, facts)
        if not chosen:
            return Outcome(Verdict.REJECT)
    backends = frozenset(standing.place for standing in chosen)
    return Outcome(
        Verdict.SERVED,
        backends,
        frozenset(place for place in backends if _is_source_kept(service, kind, packet, place)),
        affinity_seconds(service),
    )


def known_places(view: ClusterView, facts: NodeFacts, packet: Packet) -> frozenset[Place]:
    """Where a connection to the packet's destination may already be: every endpoint that stands in a slice, whatever is said of it.

    KEP-1669: established connections of endpoints that terminate live on.
    """
    found = _addressed(view, facts, packet)
    if (place := _host_port_place(view, facts, packet, found)) is not None:
        return frozenset({place})
    if found is None:
        return frozenset()
    service, port, _ = found
    return frozenset(s.place for s in _standings(view, service, port, family_of(packet.destination)))


def health_checks(view: ClusterView, facts: NodeFacts) -> dict[int, tuple[ObjectKey, int]]:
    """For each health check port: the Service, and how many ready endpoints it has on this node, each address once.

    Of whatever port, as kube-proxy counts.
    core/v1 ServiceSpec.healthCheckNodePort: only with type LoadBalancer and externalTrafficPolicy Local.
    """
    checks: dict[int, tuple[ObjectKey, int]] = {}
    for service in _by_age(view):
        spec = service.spec
        if not is_proxied(service) or spec.type != "LoadBalancer" or spec.external_traffic_policy != "Local":
            continue
        here = {
            address
            for one in view.slices.values()
            if _is_of(one, service) and _has_ports(one)
            for endpoint in one.endpoints
            if endpoint.is_ready
            and endpoint.node_name == facts.name
            and (address := _address(one, endpoint)) is not None
        }
        if spec.health_check_node_port:
            checks.setdefault(spec.health_check_node_port, (service.key, len(here)))
    return checks


def is_proxied(service: Service) -> bool:
    """Whether a Service has virtual addresses that this proxy serves."""
    if any(label in service.metadata.labels for label in OPT_OUT_LABELS):
        return False
    return service.spec.type != "ExternalName" and bool(_cluster_ips(service))


def affinity_seconds(service: Service) -> int:
    """core/v1 ServiceSpec.sessionAffinity and ClientIPConfig.timeoutSeconds."""
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    if config is None or config.client_ip is None or config.client_ip.timeout_seconds is None:
        return DEFAULT_AFFINITY_S
    return config.client_ip.timeout_seconds


def _by_age(view: ClusterView) -> list[Service]:
    def age(service: Service) -> tuple[bool, str, str, str]:
        meta = service.metadata
        created = meta.creation_timestamp
        return (created is None, created or "", meta.namespace, meta.name)

    return sorted(view.services.values(), key=age)


def _addressed(
    view: ClusterView, facts: NodeFacts, packet: Packet
) -> tuple[Service, ServicePort, Kind] | None:
    """The Service and port that a packet is for. A Service's address is meant before a NodePort at the same address."""
    family = family_of(packet.destination)
    for kinds in ((Kind.CLUSTER_IP, Kind.LOAD_BALANCER, Kind.EXTERNAL_IP), (Kind.NODE_PORT,)):
        for service in _by_age(view):
            # A Service of one family has nothing at addresses of the other (ServiceSpec.ipFamilies).
            if not is_proxied(service) or family not in {family_of(a) for a in _cluster_ips(service)}:
                continue
            for kind in kinds:
                for port in service.spec.ports:
                    if _is_at(service, port, kind, facts, packet):
                        return service, port, kind
    return None


def _host_port_place(
    view: ClusterView, facts: NodeFacts, packet: Packet, found: tuple[Service, ServicePort, Kind] | None
) -> Place | None:
    """Where the pod listens whose host port a packet is for, if it is for one."""
    asked = (packet.destination, packet.protocol, packet.port)
    place = None
    if found is None or found[2] is Kind.NODE_PORT:
        place = place_alone(view, facts, *asked)
    if place is None and found is None:
        place = place_everywhere(view, facts, *asked)
    return place


def _is_at(service: Service, port: ServicePort, kind: Kind, facts: NodeFacts, packet: Packet) -> bool:
    if (port.protocol or "TCP") != packet.protocol.value or packet.port == 0:
        return False
    to = packet.destination
    if kind is Kind.NODE_PORT:
        return (
            service.spec.type in {"NodePort", "LoadBalancer"}
            and port.node_port == packet.port
            and to in facts.addresses
            and (facts.node_port_cidrs is None or any(to in cidr for cidr in facts.node_port_cidrs))
        )
    foreign = [*facts.cluster_cidrs, *facts.pod_cidrs]
    if kind is not Kind.CLUSTER_IP:
        foreign += facts.service_cidrs
    is_foreign = any(to in cidr for cidr in foreign)
    return port.port == packet.port and not is_foreign and to in _addresses(service, kind)


def _addresses(service: Service, kind: Kind) -> list[Addr]:
    if kind is Kind.CLUSTER_IP:
        return _cluster_ips(service)
    if kind is Kind.EXTERNAL_IP:
        return _parsed(service.spec.external_ips)
    if service.spec.type != "LoadBalancer":
        return []
    # KEP-1860: with ipMode Proxy the load balancer wants to see the traffic itself.
    ingress = service.status.load_balancer.ingress
    return _parsed(tuple(i.ip for i in ingress if i.ip and i.ip_mode in {None, "VIP"}))


def _cluster_ips(service: Service) -> list[Addr]:
    """None for a headless Service."""
    return _parsed(service.spec.cluster_ips or (service.spec.cluster_ip,))


def _parsed(texts: tuple[str, ...]) -> list[Addr]:
    return [address for address in map(parse_addr, texts) if address is not None]


def _nobodys(facts: NodeFacts, packet: Packet) -> Outcome:
    to = packet.destination
    if not any(to in cidr for cidr in facts.service_cidrs):
        return Outcome(Verdict.PASS)
    return Outcome(Verdict.REJECT)


def _is_let_in(service: Service, source: Addr) -> bool:
    """core/v1 ServiceSpec.loadBalancerSourceRanges: whoever else asks at a LoadBalancer address, pods and nodes too, is not."""
    texts = service.spec.load_balancer_source_ranges
    ranges = [parse_cidr(text.strip()) for text in texts]
    return not texts or any(cidr is not None and source in cidr for cidr in ranges)


def _is_local(service: Service, kind: Kind, asker: Asker) -> bool:
    """Whether only endpoints of this node may answer (KEP-2086; ServiceSpec.externalTrafficPolicy: from within, always all)."""
    if kind is Kind.CLUSTER_IP:
        return service.spec.internal_traffic_policy == "Local"
    return service.spec.external_traffic_policy == "Local" and asker is Asker.OTHER


def _is_source_kept(service: Service, kind: Kind, packet: Packet, place: Place) -> bool:
    """Whether a backend sees the sender's own address.

    A client from elsewhere that was led to a ClusterIP gets its answer through this node only if its address is replaced: so
    kube-proxy documents ``--cluster-cidr`` and ``--detect-local-mode``.
    """
    if packet.asker is Asker.POD:
        return place[0] != packet.source  # else it would answer to itself
    is_local = kind is not Kind.CLUSTER_IP and service.spec.external_traffic_policy == "Local"
    return packet.asker is Asker.OTHER and is_local


def _standings(view: ClusterView, service: Service, port: ServicePort, family: Family) -> list[Standing]:
    """Every endpoint of a Service's port, each place once: by label, by name of the port, by protocol, by addressType."""
    found: dict[Place, Standing] = {}
    for one in sorted(view.slices.values(), key=lambda s: s.key):
        number = _number(one, port) if _is_of(one, service) and one.address_type == family.address_type else 0
        for endpoint in one.endpoints if number else ():
            address = _address(one, endpoint)
            if address is None:
                continue
            standing = Standing((address, number), endpoint)
            rival = found.setdefault(standing.place, standing)
            if _unwillingness(endpoint) < _unwillingness(rival.endpoint):
                found[standing.place] = standing
    return list(found.values())


def _is_of(one: EndpointSlice, service: Service) -> bool:
    of = (one.metadata.namespace, one.metadata.labels.get(SERVICE_NAME_LABEL))
    return of == (service.metadata.namespace, service.metadata.name)


def _has_ports(one: EndpointSlice) -> bool:
    words = {protocol.value for protocol in Protocol}
    return any(p.port and 0 < p.port < 65536 and (p.protocol or "TCP") in words for p in one.ports or ())


def _address(one: EndpointSlice, endpoint: Endpoint) -> Addr | None:
    """discovery/v1 Endpoint.addresses: the first one only, of the family that the slice says."""
    address = parse_addr(endpoint.addresses[0]) if endpoint.addresses else None
    return address if address is not None and family_of(address).address_type == one.address_type else None


def _number(one: EndpointSlice, port: ServicePort) -> int:
    """The port's number in a slice; 0 where it has none."""
    for offered in one.ports or ():
        same = (offered.name or "", offered.protocol or "TCP") == (port.name, port.protocol or "TCP")
        if same and offered.port is not None and 0 < offered.port < 65536:
            return offered.port
    return 0


def _unwillingness(endpoint: Endpoint) -> int:
    if endpoint.is_ready:
        return 0
    return 1 if endpoint.is_serving and endpoint.is_terminating else 2


def _is_usable(standing: Standing) -> bool:
    return _unwillingness(standing.endpoint) < 2


def _best(standings: list[Standing]) -> list[Standing]:
    """The ready ones; where there is none, those that terminate and still serve (KEP-1669)."""
    return [s for s in standings if s.endpoint.is_ready] or [s for s in standings if _is_usable(s)]


def _local(standings: list[Standing], facts: NodeFacts) -> list[Standing]:
    return _best([s for s in standings if s.endpoint.node_name == facts.name])


def _anywhere(standings: list[Standing], facts: NodeFacts) -> list[Standing]:
    """All, or those that the hints give to this node or zone.

    KEP-3015 and EndpointHints: nodes first, then zones; either counts only where every ready endpoint has such a hint and at
    least one of them names us. The hints decide; ``spec.trafficDistribution`` is read by who writes them.
    """
    best = _best(standings)
    if not any(s.endpoint.is_ready for s in best):
        return best
    by_node = [[hint.name for hint in s.endpoint.hints.for_nodes] if s.endpoint.hints else [] for s in best]
    by_zone = [[hint.name for hint in s.endpoint.hints.for_zones] if s.endpoint.hints else [] for s in best]
    for mine, hints in ((facts.name, by_node), (facts.zone, by_zone)):
        if mine and all(hints) and any(mine in names for names in hints):
            return [s for s, names in zip(best, hints, strict=True) if mine in names]
    return best
