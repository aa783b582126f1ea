"""From what the user named to the packets that are sent.

Comes in: origin and destination. Goes out: a start for each address that a connection may be made to, or an ending. Not here:
what happens on the way (``path.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address

import msgspec

from netloom.api.core import Pod, Service
from netloom.errors import UsageError
from netloom.model.provenance import Source, source_of
from netloom.model.routes.local_pods import given_addresses, is_finished
from netloom.model.services.labels import opt_out
from netloom.model.services.ports import read_ports
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.frontends import serves_node_ports
from netloom.model.walk.names import ask
from netloom.model.walk.packet import (
    AddressTarget,
    Destination,
    InternetTarget,
    NameTarget,
    NodeTarget,
    Origin,
    OriginKind,
    Packet,
    PodTarget,
    ServiceTarget,
    UrlTarget,
)
from netloom.model.walk.ports import NamedPort, Port, listed, pick, pod_ports, service_ports, slice_ports
from netloom.model.walk.steps import Branch, Ending, Outcome, Stage, Step
from netloom.units import Addr, Family, ObjectKey, Protocol, family_of, parse_addr

_INTERNET: dict[Family, Addr] = {Family.V4: IPv4Address("192.0.2.1"), Family.V6: IPv6Address("2001:db8::1")}
"""Somewhere that is never part of a cluster (RFC 5737, RFC 3849)."""
_HTTPS = 443


class Start(msgspec.Struct, frozen=True):
    """A packet about to be sent, and what happened before."""

    share: Fraction
    steps: tuple[Step, ...]
    packet: Packet


def resolve(cluster: ClusterModel, origin: Origin, wanted: Destination) -> tuple[Start | Branch, ...]:
    """The packets that a sender's new connections begin with; a Branch where none is sent at all.

    Raises:
        UsageError: no port can be found, see ``ports.pick``.
    """
    resolver = _Resolver(cluster, origin, wanted)
    starts: tuple[Start | Branch, ...]
    match wanted.target:
        case AddressTarget(address):
            starts = resolver.addresses((address,), ())
        case NameTarget(name):
            starts = resolver.name(name)
        case NodeTarget(name):
            starts = resolver.node(name)
        case PodTarget(key, note):
            starts = resolver.pod(cluster.view.pods[key], note)
        case ServiceTarget(key):
            starts = resolver.service(cluster.view.services[key])
        case InternetTarget():
            starts = resolver.internet()
        case UrlTarget(url):
            # no gateway means it: as any other client would connect
            host = NameTarget(url.host) if url.address is None else AddressTarget(url.address)
            starts = resolve(cluster, origin, Destination(wanted.text, host, url.port, Protocol.TCP))
    return starts


class _Resolver:
    def __init__(self, cluster: ClusterModel, origin: Origin, wanted: Destination) -> None:
        self._cluster = cluster
        self._origin = origin
        self._wanted = wanted
        own = tuple(dict.fromkeys(family_of(a) for a in origin.addresses))
        self._families: tuple[Family, ...] = own or tuple(Family)

    def addresses(self, addresses: Sequence[Addr], steps: tuple[Step, ...]) -> tuple[Start | Branch, ...]:
        """One start for each address; a client takes any of them."""
        share = Fraction(1, len(addresses))
        return tuple(self._start(address, self._port_at(address), steps, share) for address in addresses)

    def name(self, name: str) -> tuple[Start | Branch, ...]:
        """What DNS says, and on from there."""
        answer = ask(self._cluster, self._origin, name, self._families)
        if answer.ending is not None:
            return (Branch(Fraction(1), answer.steps, answer.ending),)
        return self.addresses(answer.addresses, answer.steps)

    def node(self, name: str) -> tuple[Start | Branch, ...]:
        """The node's own address."""
        addresses = self._of_family(self._cluster.nodes[name].addresses)
        if not addresses:
            node = self._cluster.view.nodes[ObjectKey("", name)]
            source = source_of("Node", node.metadata, "status.addresses")
            return (_no_way(f"node {name} has no InternalIP of the sender's family", source),)
        port = pick(self._wanted, (), f"node {name}")
        return (self._start(addresses[0], port, (), Fraction(1)),)

    def pod(self, pod: Pod, note: str) -> tuple[Start | Branch, ...]:
        """The pod's own address."""
        subject = source_of("Pod", pod.metadata)
        given = [a for _, text in given_addresses(pod) if (a := parse_addr(text)) is not None]
        if is_finished(pod):
            return (
                _no_way(f"{subject.subject} has finished ({pod.status.phase})", subject.at("status.phase")),
            )
        if not given:
            reason = f"{subject.subject} has no address yet (phase {pod.status.phase})"
            return (
                _no_way(reason, subject.at("status.podIPs"), f"see kubectl describe pod {pod.metadata.name}"),
            )
        addresses = self._of_family(given)
        if not addresses:
            return (
                _no_way(
                    f"{subject.subject} has no address of the sender's family", subject.at("status.podIPs")
                ),
            )
        port = pick(self._wanted, pod_ports(pod), subject.subject)
        steps = (Step(Stage.NAME, "", note, (subject,)),) if note else ()
        return (self._start(addresses[0], port, steps, Fraction(1)),)

    def service(self, service: Service) -> tuple[Start | Branch, ...]:
        """Its ClusterIP; its endpoints if it is headless; its NodePort for a client outside."""
        subject = source_of("Service", service.metadata)
        if service.spec.type == "ExternalName" or service.is_headless:
            full = f"{service.metadata.name}.{service.metadata.namespace}.svc.{self._cluster.facts.cluster_domain}."
            return self.name(full)
        if self._origin.kind is OriginKind.OUTSIDE:
            return self._from_outside(service, subject)
        given = [
            a for text in service.spec.cluster_ips or (service.spec.cluster_ip,) if (a := parse_addr(text))
        ]
        addresses = self._of_family(given)
        if not addresses:
            what = "no ClusterIP of the sender's family" if given else "no ClusterIP yet"
            return (_no_way(f"{subject.subject} has {what}", subject.at("spec.clusterIPs")),)
        port = pick(self._wanted, service_ports(service), subject.subject)
        return (self._start(addresses[0], port, (), Fraction(1)),)

    def internet(self) -> tuple[Start | Branch, ...]:
        """Somewhere outside, at the sender's first family."""
        if isinstance(self._wanted.port, str):
            raise UsageError(f"{self._wanted.text}: ports outside have no names", "write a number")
        port = (self._wanted.port or _HTTPS, self._wanted.protocol or Protocol.TCP)
        return (self._start(_INTERNET[self._families[0]], port, (), Fraction(1)),)

    def _from_outside(self, service: Service, subject: Source) -> tuple[Start | Branch, ...]:
        if label := opt_out(service.metadata.labels):
            source = subject.at(f"metadata.labels[{label}]")
            return (_no_way(f"{subject.subject} has the label {label}: it is not served here", source),)
        number, protocol = pick(self._wanted, service_ports(service), subject.subject)
        outer = self._cluster.outer_addresses(service)
        given = next((one for f in self._families for one in outer if one.family is f), None)
        if given is not None:
            text = f"the {given.kind.value} {given.address} can be reached from outside"
            step = Step(Stage.SERVICE, "", text, (subject.at(given.field),))
            return (self._start(given.address, (number, protocol), (step,), Fraction(1)),)
        if service.spec.type not in ("NodePort", "LoadBalancer"):
            reason = f"{subject.subject} is of type {service.spec.type}, which nothing outside can reach"
            return (_no_way(reason, subject.at("spec.type"), "make it NodePort or LoadBalancer"),)
        return self._to_node_port(service, subject, (number, protocol))

    def _to_node_port(self, service: Service, subject: Source, wanted: Port) -> tuple[Start | Branch, ...]:
        number, protocol = wanted
        served, _ = read_ports(service, subject)
        found = next((p for p in served if (p.port, p.protocol) == (number, protocol)), None)
        if found is None or not found.node_port:
            has = listed(service_ports(service))
            reason = f"{subject.subject} has no NodePort for {number}/{protocol.word}; it has {has}"
            return (_no_way(reason, subject.at("spec.ports")),)
        doors = [
            (name, a, serves_node_ports(facts, a))
            for name, facts in self._cluster.nodes.items()
            for a in self._of_family(facts.addresses)
        ]
        if not doors:
            return (
                _no_way(f"no node has an address of the family that leads to {subject.subject}", subject),
            )
        name, address, _ = next((door for door in doors if door[2]), doors[0])
        where = "on every node" if all(door[2] for door in doors) else "on some nodes"
        text = f"NodePort {found.node_port} {where}: the client takes {name}"
        step = Step(Stage.SERVICE, "", text, (subject.at(f"spec.ports[{found.index}].nodePort"),))
        return (self._start(address, (found.node_port, protocol), (step,), Fraction(1)),)

    def _port_at(self, address: Addr) -> Port:
        """What the port may be named after: the Service or the pod that has the address."""
        service = self._cluster.service_with(address) or self._cluster.outer_service(address)
        if service is not None:
            return pick(self._wanted, service_ports(service), f"Service {service.key}")
        pod = self._cluster.pod_at(address)
        return pick(
            self._wanted, self._ports_of_endpoint(address, pod), f"pod {pod.key}" if pod else str(address)
        )

    def _ports_of_endpoint(self, address: Addr, pod: Pod | None) -> tuple[NamedPort, ...]:
        """A pod's declared ports; where it declares none, those that EndpointSlices give its address."""
        declared = pod_ports(pod) if pod is not None else ()
        if declared:
            return declared
        text = str(address)
        slices = [
            s for s in self._cluster.view.slices.values() if any(text in e.addresses for e in s.endpoints)
        ]
        return slice_ports(slices)

    def _of_family(self, addresses: Sequence[Addr]) -> list[Addr]:
        return [a for family in self._families for a in addresses if family_of(a) is family]

    def _start(self, address: Addr, port: Port, steps: tuple[Step, ...], share: Fraction) -> Start | Branch:
        if family_of(address) not in self._families and not address.is_loopback:
            reason = f"{self._origin.text} has no address of the family of {address}"
            return Branch(share, steps, Ending(Outcome.UNREACHABLE, reason))
        source = self._origin.address(family_of(address))
        return Start(share, steps, Packet(source, address, port[1], port[0]))


def _no_way(reason: str, source: Source, hint: str = "") -> Branch:
    return Branch(Fraction(1), (), Ending(Outcome.UNREACHABLE, reason, hint, (source,)))
