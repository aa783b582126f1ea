"""The nearest miss: of all rules that might have allowed a packet, the one that asks for the smallest change, in words.

Comes in: the NetworkPolicies that isolate a pod, and a packet that none of their rules allows. Goes out: field and sentence. The
smallest change is the one with the fewest conditions that do not hold: a port, a label, a range.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from netloom.model.policy.chains import named_ports
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.pods import PodFacts
from netloom.model.policy.reading.rules import PolicyReading, PortName, ReadPeer, ReadPort, ReadRule
from netloom.model.policy.state import Direction, NetworkPeers, PodPeers, PortRange
from netloom.model.policy.unmet import unmet_labels
from netloom.model.policy.verdicts import Traffic, in_range
from netloom.model.provenance import Source

_NOTHING_SAID = 1000
_FAR = 100
"""Further away than any number of labels: another kind of peer altogether."""


class Miss(msgspec.Struct, frozen=True):
    """What would have to be otherwise, and where that is written."""

    source: Source
    text: str
    distance: int
    """Number of conditions that do not hold; comparable between misses."""


class _Gap(msgspec.Struct, frozen=True):
    """What is missing at one part of a rule."""

    distance: int
    field: str
    text: str
    """Empty where nothing is missing."""


def nearest_miss(
    cluster: PolicyCluster,
    direction: Direction,
    readings: Iterable[PolicyReading],
    pod: PodFacts,
    traffic: Traffic,
) -> Miss | None:
    """The nearest of all misses; the first one as written where several are equally near. None where no policy was given."""
    question = _Question(cluster, direction, pod, traffic)
    misses = (miss for reading in readings for miss in question.misses(reading))
    return min(misses, key=lambda miss: miss.distance, default=None)


class _Question:
    """One packet at one end."""

    def __init__(self, cluster: PolicyCluster, direction: Direction, pod: PodFacts, traffic: Traffic) -> None:
        self._cluster = cluster
        self._direction = direction
        self._pod = pod
        self._traffic = traffic
        self._other = traffic.other(direction)
        self._peer = cluster.holder(self._other)

    def misses(self, reading: PolicyReading) -> Iterator[Miss]:
        """One for each pair of a peer and a port in the rules of a policy."""
        word = self._direction.value
        name = f"{reading.ref.namespace}/{reading.ref.name}"
        rules = reading.rules(self._direction) or ()
        if not rules:
            text = f"{name} allows no {word} at all: it has no {word} rule that can be used"
            yield Miss(reading.source.at(f"spec.{word}"), text, _NOTHING_SAID)
        for rule in rules:
            where = f"{name} {rule.field.removeprefix('spec.')}"
            port = self._port_gap(rule)
            for peer in self._peer_gaps(rule):
                distance = port.distance + peer.distance
                field = peer.field if peer.text else port.field
                yield Miss(reading.source.at(field), self._sentence(where, port, peer), distance)

    def _sentence(self, where: str, port: _Gap, peer: _Gap) -> str:
        goes = self._port_text()
        if not port.text:
            return f"{goes} is allowed in {where}, but {peer.text}"
        if not peer.text:
            return f"{where} allows {self._other_text()}, but {port.text}, not {goes}"
        return f"{where}: {port.text}, not {goes}; and {peer.text}"

    def _port_text(self) -> str:
        if self._traffic.protocol is None:
            return "traffic without ports"
        return f"port {self._traffic.port}/{self._traffic.protocol.word}"

    def _other_text(self) -> str:
        return f"pod {self._peer.key}" if self._peer is not None else str(self._other)

    def _port_gap(self, rule: ReadRule) -> _Gap:
        field = f"{rule.field}.ports"
        if rule.ports is None or any(self._is_port(port) for port in rule.ports):
            return _Gap(0, field, "")
        if not rule.ports:
            return _Gap(_FAR, field, "none of its ports can be used")
        shown = " and ".join(self._shown(port) for port in rule.ports)
        return _Gap(1, rule.ports[0].field if len(rule.ports) == 1 else field, f"only to {shown}")

    def _ports_of(self, name: PortName) -> tuple[PortRange, ...]:
        pod = self._pod if self._direction is Direction.INGRESS else self._peer
        return () if pod is None else named_ports(pod, name)

    def _is_port(self, port: ReadPort) -> bool:
        ranges = (port.port,) if isinstance(port.port, PortRange) else self._ports_of(port.port)
        return any(in_range(one, self._traffic) for one in ranges)

    def _shown(self, port: ReadPort) -> str:
        if isinstance(port.port, PortRange):
            return f"{'' if port.port.last > port.port.first else 'port '}{port.port}"
        ranges = self._ports_of(port.port)
        pod = self._pod if self._direction is Direction.INGRESS else self._peer
        if ranges:
            return f'port "{port.port.name}" ({" and ".join(map(str, ranges))})'
        whom = f"pod {pod.key}" if pod is not None else str(self._other)
        return f'port "{port.port.name}", which {whom} has not'

    def _peer_gaps(self, rule: ReadRule) -> Iterator[_Gap]:
        if rule.peers is None:
            yield _Gap(0, rule.field, "")
            return
        if not rule.peers:
            yield _Gap(_FAR, rule.field, "none of its peers can be used")
        for peer in rule.peers:
            yield self._peer_gap(peer)

    def _peer_gap(self, peer: ReadPeer) -> _Gap:
        field, where = peer.field, f"its {peer.field.rpartition('.')[2]}"
        if isinstance(peer.key, PodPeers):
            return self._pod_gap(peer.key, field, where)
        cidrs = peer.key.cidrs if isinstance(peer.key, NetworkPeers) else ()
        if any(self._other in cidr for cidr in cidrs):
            return _Gap(0, field, "")
        if self._peer is not None:
            text = f"{where} wants {peer.written}, and pod {self._peer.key} has the address {self._other}"
            return _Gap(_FAR, field, text)
        is_family = any(cidr.version == self._other.version for cidr in cidrs)
        text = f"{where} wants {peer.written}, which {self._other} is not in"
        return _Gap(2 if is_family else _FAR, field, text)

    def _pod_gap(self, peers: PodPeers, field: str, where: str) -> _Gap:
        pod = self._peer
        if pod is None:
            return _Gap(_FAR, field, f"{where} wants {peers}, and {self._other} is no pod")
        wanted: list[str] = []
        if peers.namespaces is None and peers.namespace != pod.key.namespace:
            wanted.append(f"namespace {peers.namespace} and pod {pod.key} is in {pod.key.namespace}")
        elif peers.namespaces is not None:
            labels = self._cluster.namespace_labels(pod.key.namespace)
            wanted += unmet_labels(peers.namespaces, labels, f"namespace {pod.key.namespace}")
        wanted += unmet_labels(peers.pods, pod.labels, f"pod {pod.key}")
        return _Gap(len(wanted), field, f"{where} wants {', and '.join(wanted)}" if wanted else "")
