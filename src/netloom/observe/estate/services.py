"""Ways to pods through Services: which doors there are, whom they lead to, and who may use them. Pure.

Comes in: an estate and its pods. Goes out: doors. Endpoints are the pods that a Service selects, ready or not, and what slices say of
a Service without a selector. Not here: what policies say of what comes through (``reachability.py``), names, session affinity.

A ClusterIP (and a headless Service's name) is for pods and nodes; NodePorts, load balancers and external IPs are looked at from
outside, since from inside there is a shorter way.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netloom.api.core import Service, ServicePort
from netloom.api.discovery import EndpointSlice
from netloom.model.policy.reading.blocks import joined
from netloom.model.policy.state import NetworkPeers, PortRange
from netloom.model.provenance import Source, source_of
from netloom.model.services.labels import opt_out, served_service
from netloom.model.services.ports import ServedPort, read_ports
from netloom.model.services.texts import read_range
from netloom.observe.estate.estate import Estate
from netloom.observe.reach.scene import PodEnd
from netloom.observe.reachability import Interest
from netloom.units import Addr, Family, ObjectKey, Protocol, family_of, parse_addr


class DoorKind(enum.Enum):
    """Where a Service can be asked."""

    CLUSTER_IP = "ClusterIP"
    HEADLESS = "headless"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "load balancer"
    EXTERNAL_IP = "external IP"

    @property
    def is_outer(self) -> bool:
        """For clients outside of the cluster."""
        return self not in (DoorKind.CLUSTER_IP, DoorKind.HEADLESS)


class DoorKey(msgspec.Struct, frozen=True, cache_hash=True):
    """One way in."""

    service: ObjectKey
    kind: DoorKind
    protocol: Protocol
    port: int
    """0: one that the API server will choose."""

    def __str__(self) -> str:
        at = f"{self.port or 'a port'}/{self.protocol.word}"
        match self.kind:
            case DoorKind.CLUSTER_IP:
                return f"Service {self.service}:{at}"
            case DoorKind.NODE_PORT:
                return f"Service {self.service} at NodePort {at}"
            case kind:
                return f"Service {self.service}:{at} ({kind.value})"


class Endpoint(msgspec.Struct, frozen=True, cache_hash=True):
    """Whom a door leads to: a pod, or an address that an EndpointSlice names."""

    pod: ObjectKey | None
    address: Addr | None
    ports: PortRange


class Door(msgspec.Struct, frozen=True):
    """A door, and where it leads."""

    key: DoorKey
    source: Source
    """The Service and the field that makes it."""
    endpoints: frozenset[Endpoint]
    families: frozenset[Family]
    ranges: NetworkPeers | None = None
    """Whom it lets in (``spec.loadBalancerSourceRanges``)."""
    is_local: bool = False
    """``externalTrafficPolicy`` Local: clients keep their address, and come in at nodes with an endpoint only."""
    target: str = ""
    """``spec.ports[].targetPort`` as written."""


class Selection:
    """Pods by what Services select."""

    def __init__(self, pods: Mapping[ObjectKey, PodEnd]) -> None:
        self._by_pair: dict[tuple[str, str, str], list[PodEnd]] = {}
        for pod in pods.values():
            for key, value in pod.labels.items():
                self._by_pair.setdefault((pod.key.namespace, key, value), []).append(pod)

    def of(self, service: Service) -> list[PodEnd]:
        """The pods that a Service selects; none without a selector."""
        pairs = (service.spec.selector or {}).items()
        found = min(
            (self._by_pair.get((service.metadata.namespace, *pair), []) for pair in pairs),
            key=len,
            default=[],
        )
        return [pod for pod in found if pairs <= pod.labels.items()]


def doors_of(
    estate: Estate, pods: Mapping[ObjectKey, PodEnd], families: Iterable[Family]
) -> dict[DoorKey, Door]:
    """All doors of all Services; ``families`` are those of the cluster."""
    selection = Selection(pods)
    slices: dict[ObjectKey, list[EndpointSlice]] = {}
    for slice_ in estate.of(EndpointSlice).values():
        if (service := served_service(slice_)) is not None:
            slices.setdefault(service, []).append(slice_)
    found: dict[DoorKey, Door] = {}
    for service_ in estate.of(Service).values():
        for door in _doors(service_, selection, slices.get(service_.key, []), frozenset(families)):
            found.setdefault(door.key, door)
    return found


def interest_of(
    services: Iterable[Service], doors: Iterable[Door], asked: Iterable[PortRange] = ()
) -> Interest:
    """What Services look at, for the cutting of classes; and the ports that are asked about."""
    labels = frozenset(key for service in services for key in service.spec.selector or ())
    ports: dict[PortRange, None] = dict.fromkeys(asked)
    ranges: dict[NetworkPeers, None] = {}
    for door in doors:
        ports.update((endpoint.ports, None) for endpoint in door.endpoints)
        if door.ranges is not None:
            ranges[door.ranges] = None
    return Interest(labels, tuple(ports), tuple(ranges))


def _doors(
    service: Service, selection: Selection, slices: list[EndpointSlice], families: frozenset[Family]
) -> Iterator[Door]:
    spec = service.spec
    if spec.type == "ExternalName" or opt_out(service.metadata.labels):
        return
    subject = source_of("Service", service.metadata)
    chosen = selection.of(service)
    families = _families(service, families)
    ranges = _ranges(service)
    for port in read_ports(service, subject)[0]:
        written = spec.ports[port.index]
        if spec.selector:
            endpoints = frozenset(_selected(chosen, written, port.protocol))
        else:
            endpoints = frozenset(_listed(slices, port))
        for kind, number, field in _ways(service, port):
            yield Door(
                key=DoorKey(service.key, kind, port.protocol, number),
                source=subject.at(field),
                endpoints=endpoints,
                families=families,
                ranges=ranges if kind is DoorKind.LOAD_BALANCER else None,
                is_local=kind.is_outer and spec.external_traffic_policy == "Local",
                target=str(written.target_port or written.port),
            )


def _ways(service: Service, port: ServedPort) -> Iterator[tuple[DoorKind, int, str]]:
    """Kind, number and field of each door of a port."""
    spec, at = service.spec, f"spec.ports[{port.index}]"
    if service.is_headless:
        yield DoorKind.HEADLESS, port.port, f"{at}.port"
        return
    yield DoorKind.CLUSTER_IP, port.port, f"{at}.port"
    if port.node_port or spec.type == "NodePort":
        yield DoorKind.NODE_PORT, port.node_port, f"{at}.nodePort" if port.node_port else "spec.type"
    if spec.type == "LoadBalancer":
        yield DoorKind.LOAD_BALANCER, port.port, "spec.type"
    if spec.external_ips:
        yield DoorKind.EXTERNAL_IP, port.port, "spec.externalIPs"


def _selected(pods: Iterable[PodEnd], port: ServicePort, protocol: Protocol) -> Iterator[Endpoint]:
    for pod in pods:
        target = port.target_port
        if isinstance(target, str) and target:
            numbers = (p.number for p in pod.ports if p.name == target and p.protocol is protocol)
            number = next(numbers, 0)
        else:
            number = int(target or port.port)
        if 0 < number < 65536:
            yield Endpoint(pod.key, None, PortRange(protocol, number, number))


def _listed(slices: Iterable[EndpointSlice], port: ServedPort) -> Iterator[Endpoint]:
    for slice_ in slices:
        for given in slice_.ports or ():
            if given.port is None or ((given.name or ""), given.protocol or "TCP") != port.key:
                continue
            ports = PortRange(port.protocol, given.port, given.port)
            for endpoint in slice_.endpoints:
                address = parse_addr(endpoint.addresses[0]) if endpoint.addresses else None
                if address is not None and endpoint.is_ready:
                    yield Endpoint(None, address, ports)


def _families(service: Service, families: frozenset[Family]) -> frozenset[Family]:
    named = {family for family in Family if family.address_type in service.spec.ip_families}
    given = service.spec.cluster_ips or (service.spec.cluster_ip,)
    addressed = {family_of(a) for text in given if (a := parse_addr(text)) is not None}
    return frozenset(named or addressed or families)


def _ranges(service: Service) -> NetworkPeers | None:
    texts = service.spec.load_balancer_source_ranges
    if not texts:
        return None
    return NetworkPeers(joined(cidr for text in texts if (cidr := read_range(text.strip())) is not None))
