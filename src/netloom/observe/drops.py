"""Packets that policies dropped, with names. In: logged packets, and the cluster. Out: who wanted what of whom, and why not.

A packet is named by what is there at that moment: the pods that have its addresses, the rule that denies it, or for a packet that
nothing allows the policies that isolate the pod and the nearest miss. Memory is bounded: of very many drops some are forgotten, of very
many a second some have addresses only. What was logged is a sample anyway (each rule logs so many a second). Not here: reading them
(``agent/drops``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from netloom.api.core import Pod
from netloom.clock import Clock
from netloom.dataplane.nftables.policy.chains import Program
from netloom.dataplane.nftables.policy.table import PolicyTable
from netloom.linux.ip_headers import Headers
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.judge import Judge, Judgement
from netloom.model.policy.state import ChainKey, Direction
from netloom.model.policy.verdicts import Traffic
from netloom.model.provenance import Source
from netloom.model.walk.targets import workload_of
from netloom.program.nft_rules import Log
from netloom.units import Addr, Family, ObjectKey, Protocol, family_of

_NAMING_S = 0.2
"""So much of each second may go into names: the nearest miss costs a look at every rule about a pod, and there may be thousands."""
_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}
_WORDS = {1: "icmp", 58: "icmpv6"}


class DropEnd(msgspec.Struct, frozen=True):
    """One end of a dropped packet."""

    address: str
    port: int = 0
    pod: str = ""
    """``namespace/name`` of the pod that had the address then; empty where none had it."""
    workload: str = ""
    """What controls the pod: ``Deployment shop/web``."""

    @property
    def text(self) -> str:
        """For people: pod, or else address."""
        return self.pod or self.address


class Drop(msgspec.Struct, frozen=True):
    """One packet that a policy dropped."""

    number: int
    """Of this node, one more each time."""
    at: float
    """Seconds since the epoch."""
    node: str
    source: DropEnd
    destination: DropEnd
    """After a Service's address was translated: policies see the backend."""
    protocol: str
    """``tcp``; the number where it has no name here."""
    direction: str = ""
    """``egress`` where policies of the sender dropped it, ``ingress`` of the receiver; empty where that is not known any more."""
    why: str = ""
    """In words."""
    rule: Source | None = None
    """Policy and field of the rule that denies; None: no rule allowed it."""
    policies: tuple[Source, ...] = ()
    """For a packet that no rule allowed: the policies that isolate the pod."""
    miss: Source | None = None
    """And the rule that comes nearest to allowing it."""


class DropReport(msgspec.Struct, frozen=True):
    """What one node's agent knows of drops since it started."""

    node: str
    seen: int
    missed: int
    """Logged faster than they could be read."""
    problem: str = ""
    """Why none is seen at all."""
    drops: tuple[Drop, ...] = ()
    """The last ones, oldest first."""


class Cluster(msgspec.Struct, frozen=True):
    """What drops are named by: the policies' own view, and each pod's object."""

    policies: PolicyCluster
    pods: Mapping[ObjectKey, Pod]


class DropNamer:
    """Names packets of one node.

    Args:
        node: its name.
        cluster: what is there now; None where that is not known yet.
        tables: what of policies the kernel has, by family; empty where that is not known.
        clock: the time.
    """

    def __init__(
        self,
        *,
        node: str,
        cluster: Callable[[], Cluster | None],
        tables: Callable[[], Mapping[Family, PolicyTable]],
        clock: Clock,
    ) -> None:
        self._node = node
        self._cluster = cluster
        self._tables = tables
        self._clock = clock
        self._marks: dict[ChainKey, tuple[Program, frozenset[str]]] = {}
        self._second = 0
        self._spent = 0.0

    def name(self, number: int, headers: Headers, prefix: str, at: float | None) -> Drop:
        """The drop of a packet with these headers, logged by the rule with this prefix."""
        began = self._clock.monotonic()
        if int(began) != self._second:
            self._second, self._spent = int(began), 0.0
        cluster = self._cluster() if self._spent < _NAMING_S else None
        protocol = _PROTOCOLS.get(headers.protocol)
        drop = Drop(
            number=number,
            at=self._clock.wall() if at is None else at,
            node=self._node,
            source=_end(headers.source, headers.source_port, cluster),
            destination=_end(headers.destination, headers.destination_port, cluster),
            protocol=protocol.word if protocol else _WORDS.get(headers.protocol, str(headers.protocol)),
        )
        if cluster is None:
            return drop
        traffic = Traffic(headers.source, headers.destination, protocol, headers.destination_port)
        drop = _explained(drop, self._judged(traffic, prefix, Judge(cluster.policies)))
        self._spent += self._clock.monotonic() - began
        return drop

    def _judged(self, traffic: Traffic, prefix: str, judge: Judge) -> Judgement | None:
        """At the end whose chain has the rule that logged it; where that is gone, at the end that denies it now."""
        direction = self._direction(traffic, prefix)
        if direction is not None:
            return judge.judge(direction, traffic)
        return next((one for one in judge.both(traffic) if not one.is_allowed), None)

    def _direction(self, traffic: Traffic, prefix: str) -> Direction | None:
        """The sender's policies are asked first."""
        table = self._tables().get(family_of(traffic.source))
        if table is None:
            return None
        for direction in (Direction.EGRESS, Direction.INGRESS):
            pod = table.pods.get(traffic.own(direction))
            key = None if pod is None else pod.egress if direction is Direction.EGRESS else pod.ingress
            if key is not None and prefix in self._marks_of(table, key):
                return direction
        return None

    def _marks_of(self, table: PolicyTable, key: ChainKey) -> frozenset[str]:
        program = table.programs.get(key)
        if program is None:
            return frozenset()
        known = self._marks.get(key)
        if known is None or known[0] is not program:
            if len(self._marks) > len(table.programs):
                self._marks = {key: value for key, value in self._marks.items() if key in table.programs}
            known = self._marks[key] = (program, marks_of(program))
        return known[1]


def marks_of(program: Program) -> frozenset[str]:
    """The prefixes that rules of a program log with."""
    return frozenset(
        statement.prefix
        for _, rules in program.chains
        for rule in rules
        for statement in rule.statements
        if isinstance(statement, Log)
    )


def _end(address: Addr, port: int, cluster: Cluster | None) -> DropEnd:
    holder = None if cluster is None else cluster.policies.holder(address)
    if cluster is None or holder is None:
        return DropEnd(str(address), port)
    pod = cluster.pods.get(holder.key)
    kind, name = ("", "") if pod is None else workload_of(pod)
    workload = f"{kind} {holder.key.namespace}/{name}" if name else ""
    return DropEnd(str(address), port, str(holder.key), workload)


def _explained(drop: Drop, judgement: Judgement | None) -> Drop:
    if judgement is None:
        why = "by policies that are not there any more"
        return msgspec.structs.replace(drop, why=why)
    named = msgspec.structs.replace(drop, direction=judgement.direction.value)
    if judgement.is_allowed:
        return msgspec.structs.replace(named, why="by policies that have changed since: now it is allowed")
    if judgement.rule is not None:
        rule = judgement.rule
        title = f' "{rule.name}"' if rule.name else ""
        return msgspec.structs.replace(named, why=f"denied by {rule.source}{title}", rule=rule.source)
    return msgspec.structs.replace(
        named,
        why=_unallowed(judgement),
        policies=judgement.isolating,
        miss=None if judgement.miss is None else judgement.miss.source,
    )


def _unallowed(judgement: Judgement) -> str:
    shown = ", ".join(source.subject for source in judgement.isolating[:3])
    more = len(judgement.isolating) - 3
    rest = f" and {more} more" if more > 0 else ""
    text = f"{judgement.direction.value} of pod {judgement.pod} is isolated by {shown}{rest}"
    return f"{text}; {judgement.miss.text}" if judgement.miss is not None else text


def drops_of(drops: Iterable[Drop], *, namespace: str = "", pod: str = "") -> Iterable[Drop]:
    """Those with an end in a namespace, and with a pod at one end; a pod without a namespace is of any."""
    for drop in drops:
        ends = (drop.source.pod, drop.destination.pod)
        if namespace and not any(end.startswith(f"{namespace}/") for end in ends):
            continue
        if pod and not any(end == pod or end.endswith(f"/{pod}") for end in ends if end):
            continue
        yield drop
