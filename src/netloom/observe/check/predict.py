"""What the model says of a case: with the policies that there are, and without any.

Comes in: cases, a cluster. Goes out: for each the verdict and its reason; what the pod is to connect to; whether the connection would
arrive if no policy were there; and at which points policies have a say, so that other policies can be tried without another walk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

import msgspec

from netloom.errors import UsageError
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.judge import Judge, Judgement
from netloom.model.policy.state import Action, Direction
from netloom.model.policy.verdicts import Traffic
from netloom.model.provenance import Source
from netloom.model.state import NetworkState
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.packet import NameTarget, Packet
from netloom.model.walk.resolve import Start, resolve
from netloom.model.walk.steps import Branch, Outcome
from netloom.model.walk.walk import walk
from netloom.observe.check.ends import Case
from netloom.observe.check.expectations import Expected
from netloom.observe.check.prober import Probe
from netloom.units import Addr, ObjectKey, Protocol

_ARRIVES = (Outcome.DELIVERED, Outcome.EXTERNAL)
_POLICIES = ("NetworkPolicy", "ClusterNetworkPolicy")
_DNS_PORT = 53

Point = tuple[Direction, Traffic]
Allowed = Callable[[Point], bool]


class Prediction(msgspec.Struct, frozen=True):
    """What the model says of one case."""

    verdict: Expected | None
    """None: some connections arrive and some do not, or something other than a policy is in the way."""
    reason: str
    sources: tuple[Source, ...]
    open_reason: str
    """Why it would not arrive if no policy were there; empty where it would."""
    probe: Probe | None
    """What to try; None where there is no pod to try it from, or nothing to send."""
    targets: tuple[tuple[ObjectKey, Addr, int, Protocol], ...] = ()
    """The pods that it may arrive at, each with address and port."""
    points: frozenset[Point] = frozenset()
    """Where policies have a say."""
    is_external: bool = False
    """It leaves the cluster."""
    is_itself: bool = False
    """A pod that reaches nobody but itself."""


class Predictor:
    """Predicts, in one cluster at one moment."""

    def __init__(self, cluster: ClusterModel) -> None:
        without = msgspec.structs.replace(cluster.view, policies={}, cluster_policies={})
        self._open = _OpenCluster(without, cluster.facts)
        self._cluster = _BoundCluster(cluster, self._open)

    @cached_property
    def policies(self) -> PolicyCluster:
        """The policies and what they are about; a copy that may be changed."""
        return PolicyCluster.of(self._cluster.view, self._cluster.facts.dns_addresses)

    def predict(self, case: Case) -> Prediction:
        """What becomes of the connections of a case.

        Raises:
            UsageError: the receiver leaves open which port is meant.
        """
        try:
            starts = resolve(self._cluster, case.origin, case.destination)
            self._open.asked.clear()
            unbound = walk(self._open, case.origin, case.destination)
            points = frozenset(self._open.asked)
            bound = walk(self._cluster, case.origin, case.destination)
        except UsageError as error:
            place = f"{case.expectation.place}: " if case.expectation is not None else ""
            raise UsageError(f"{place}{error.problem}", error.hint) from error
        packets = [branch.packet for branch in unbound.branches if branch.packet is not None]
        blocked = [branch for branch in unbound.branches if branch.ending.outcome not in _ARRIVES]
        return Prediction(
            verdict=_verdict(bound.branches),
            reason=bound.ending.reason,
            sources=bound.ending.sources,
            open_reason=blocked[0].ending.reason if blocked else "",
            probe=_probe(case, starts),
            targets=tuple(self._targets(packets)),
            points=points,
            is_external=any(branch.ending.outcome is Outcome.EXTERNAL for branch in unbound.branches),
            is_itself=bool(packets) and all(one.destination in case.origin.addresses for one in packets),
        )

    def _targets(self, packets: Iterable[Packet]) -> Iterable[tuple[ObjectKey, Addr, int, Protocol]]:
        for packet in packets:
            pod = self._cluster.pod_at(packet.destination)
            if pod is not None:
                yield pod.key, packet.destination, packet.port, packet.protocol


class _BoundCluster(ClusterModel):
    """The same cluster. What policies come to on each node is left out: a walk asks the judge."""

    def __init__(self, cluster: ClusterModel, without: ClusterModel) -> None:
        super().__init__(cluster.view, cluster.facts)
        self._without = without

    def state(self, node: str) -> NetworkState:
        """Without policies."""
        return self._without.state(node)


class _OpenCluster(ClusterModel):
    """The same cluster with every policy taken away; notes where policies would have been asked."""

    @cached_property
    def asked(self) -> list[Point]:
        """In order."""
        return []

    @cached_property
    def judge(self) -> Judge:
        """Lets everything pass."""
        return _Open(self.asked)


class _Open(Judge):
    def __init__(self, asked: list[Point]) -> None:
        super().__init__(PolicyCluster())
        self._asked = asked

    def judge(self, direction: Direction, traffic: Traffic) -> Judgement:
        self._asked.append((direction, traffic))
        return Judgement(direction, None, Action.ACCEPT)


def verdict_at(points: Iterable[Point], is_allowed: Allowed) -> Expected | None:
    """What policies come to that allow these points or not: a connection must pass both ends, and a name must be looked up first."""
    ways: dict[tuple[Addr, int], bool] = {}
    for point in points:
        traffic = point[1]
        way = (traffic.destination, traffic.port)
        ways[way] = ways.get(way, True) and is_allowed(point)
    names = [passes for (_, port), passes in ways.items() if port == _DNS_PORT]
    others = [passes for (_, port), passes in ways.items() if port != _DNS_PORT]
    if others and names and not any(names):
        return Expected.DENY
    decisive = others or names
    if all(decisive):
        return Expected.ALLOW
    return None if any(decisive) else Expected.DENY


def _verdict(branches: Iterable[Branch]) -> Expected | None:
    found = list(branches)
    if all(branch.ending.outcome in _ARRIVES for branch in found):
        return Expected.ALLOW
    return Expected.DENY if all(map(is_denied, found)) else None


def is_denied(branch: Branch) -> bool:
    """A policy is in the way."""
    ending = branch.ending
    return ending.outcome is Outcome.DROPPED and any(source.kind in _POLICIES for source in ending.sources)


def _probe(case: Case, starts: Iterable[Start | Branch]) -> Probe | None:
    """Names are looked up by the pod itself; everything else is an address."""
    if case.origin.pod is None:
        return None
    packet = next((start.packet for start in starts if isinstance(start, Start)), None)
    target = case.destination.target
    if packet is None:
        if not isinstance(target, NameTarget) or not isinstance(case.destination.port, int):
            return None
        protocol = case.destination.protocol or Protocol.TCP
        return Probe(case.origin.pod, target.name, case.destination.port, protocol)
    host = str(packet.destination)
    if isinstance(target, NameTarget):
        host = target.name
    return Probe(case.origin.pod, host, packet.port, packet.protocol)
