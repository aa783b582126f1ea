"""Who can reach whom on which ports: of one cluster, or of one before and after a change. Pure.

Comes in: one or two scenes, what their Services look at. Goes out: for each receiver the senders, by sets of ports; and what of it
the change gains and loses. What counts is what policies say of new connections between the addresses of both ends, on different
nodes: that an address outside has no way to a pod but through a Service is the network's matter (``estate/doors.py`` has those ways).

Everything is a number of which each bit is a class of ends or a stretch of ports (``reach``), so that a cluster with a thousand
workloads is a few thousand operations, not a billion questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec

from netloom.model.policy.state import Direction, NetworkPeers, PortRange
from netloom.observe.reach.ends import End, EndKind, Ends, looked_at
from netloom.observe.reach.judged import Judged, Partition
from netloom.observe.reach.portspace import PortSpace, each_bit
from netloom.observe.reach.scene import Scene
from netloom.units import Family

_SENDERS = {
    EndKind.POD: frozenset({EndKind.POD, EndKind.HOST, EndKind.NODE, EndKind.OUTSIDE}),
    EndKind.HOST: frozenset({EndKind.POD, EndKind.HOST, EndKind.NODE, EndKind.OUTSIDE}),
    EndKind.NODE: frozenset({EndKind.POD}),
    EndKind.OUTSIDE: frozenset({EndKind.POD, EndKind.HOST}),
    EndKind.DNS: frozenset({EndKind.POD, EndKind.HOST}),
}
"""By receiver, who is asked about as its sender: wherever a workload is at one end."""


class Interest(msgspec.Struct, frozen=True):
    """What Services look at besides the policies."""

    labels: frozenset[str] = frozenset()
    """Keys of their selectors."""
    ports: tuple[PortRange, ...] = ()
    """Of their endpoints."""
    ranges: tuple[NetworkPeers, ...] = ()
    """Whom they let in."""


class Difference(msgspec.Struct, frozen=True):
    """What changes for one receiver: its senders by the ports that they gain, and by those that they lose."""

    gained: Partition
    lost: Partition


class Reachability:
    """All ends of a cluster, and on each side who reaches whom.

    Args:
        scenes: one, or one before and one after.
        interest: what Services look at, on whichever side.
    """

    def __init__(self, scenes: Sequence[Scene], interest: Interest | None = None) -> None:
        interest = interest or Interest()
        self.looked = looked_at(scenes, interest.labels, interest.ranges)
        self.all = Ends(scenes, self.looked)
        self.ends = self.all.ends
        self.ports = PortSpace(_ranges(scenes, interest))
        self.judged = tuple(
            Judged(scene, number, ends=self.all, looked=self.looked, ports=self.ports)
            for number, scene in enumerate(scenes)
        )
        self._senders = {
            (kind, family): self._senders_to(kind, family) for kind in EndKind for family in Family
        }
        self._tables: dict[int, tuple[Partition, ...]] = {}

    def _senders_to(self, kind: EndKind, family: Family) -> int:
        return self.all.where(lambda end: end.kind in _SENDERS[kind] and end.family is family)

    def table(self, side: int) -> tuple[Partition, ...]:
        """For each end as the receiver, in order: by ports, the senders that reach it."""
        if side not in self._tables:
            self._tables[side] = tuple(self._compute(self.judged[side]))
        return self._tables[side]

    def domain(self, side: int, receiver: End) -> int:
        """The senders that an end is asked about."""
        return self._senders[receiver.kind, receiver.family] & self.judged[side].present

    def reaches(self, side: int, receiver: End, ports: int) -> int:
        """The senders that reach an end on any of these ports."""
        found = 0
        for bits, mask in self.table(side)[receiver.index].items():
            if bits & ports:
                found |= mask
        return found

    def ports_between(self, side: int, sender: End, receiver: End) -> int:
        """On which ports one end reaches another."""
        cells = self.table(side)[receiver.index].items()
        return next((bits for bits, mask in cells if mask & sender.bit), 0)

    def differences(self) -> Iterator[tuple[End, Difference]]:
        """Each receiver for which the change makes one."""
        before, after = self.table(0), self.table(-1 % len(self.judged))
        for end, was, now in zip(self.ends, before, after, strict=True):
            if was != now:
                found = _difference(was, now)
                if found.gained or found.lost:
                    yield end, found

    def _compute(self, judged: Judged) -> Iterator[Partition]:
        free, restricted = self._outgoing(judged)
        for end in self.ends:
            if not judged.present & end.bit:
                yield {}
                continue
            domain = self.domain(judged.number, end)
            yield _both(
                self._incoming(judged, end, domain),
                {self.ports.everything: free, **restricted[end.index]},
                domain,
            )

    def _incoming(self, judged: Judged, end: End, domain: int) -> Partition:
        example = end.examples[judged.number]
        if end.kind is EndKind.DNS and example is not None:
            ports = (PortRange(port.protocol, port.number, port.number) for port in example.ports)
            return {self.ports.all_bits(ports): domain}
        incoming = judged.allowed(end, Direction.INGRESS)
        return {self.ports.everything: domain} if incoming is None else incoming

    def _outgoing(self, judged: Judged) -> tuple[int, list[dict[int, int]]]:
        """The ends that may send to everybody, and for each receiver the others that may, by ports."""
        free = 0
        by_rules: dict[int, tuple[Partition, int]] = {}
        for end in self.ends:
            if not judged.present & end.bit:
                continue
            outgoing = judged.allowed(end, Direction.EGRESS)
            if outgoing is None:
                free |= end.bit
            else:
                senders = by_rules.get(id(outgoing), (outgoing, 0))[1]
                by_rules[id(outgoing)] = outgoing, senders | end.bit
        restricted: list[dict[int, int]] = [{} for _ in self.ends]
        for outgoing, senders in by_rules.values():
            for bits, receivers in outgoing.items():
                for place in each_bit(receivers):
                    cell = restricted[place]
                    cell[bits] = cell.get(bits, 0) | senders
        everything = self.ports.everything
        for cell in restricted:
            if everything in cell:
                cell[everything] |= free
        return free, restricted


def _both(incoming: Partition, outgoing: Partition, domain: int) -> Partition:
    """The senders that may send and are let in."""
    found: dict[int, int] = {}
    for let_in, receivers in incoming.items():
        here = receivers & domain
        if not here:
            continue
        for sent, senders in outgoing.items():
            bits, mask = let_in & sent, here & senders
            if bits and mask:
                found[bits] = found.get(bits, 0) | mask
    return found


def _difference(before: Partition, after: Partition) -> Difference:
    gained: dict[int, int] = {}
    lost: dict[int, int] = {}
    for was, old in _whole(before, after):
        for now, new in _whole(after, before):
            mask = old & new
            if not mask or was == now:
                continue
            if more := now & ~was:
                gained[more] = gained.get(more, 0) | mask
            if less := was & ~now:
                lost[less] = lost.get(less, 0) | mask
    return Difference(gained, lost)


def _whole(given: Partition, other: Partition) -> list[tuple[int, int]]:
    """With the ends that are only in the other: those that reach nothing here."""
    mine = theirs = 0
    for mask in given.values():
        mine |= mask
    for mask in other.values():
        theirs |= mask
    rest = theirs & ~mine
    return [*given.items(), (0, rest)] if rest else list(given.items())


def _ranges(scenes: Iterable[Scene], interest: Interest) -> Iterator[PortRange]:
    """Every range and every number that anything names."""
    yield from interest.ports
    for scene in scenes:
        declared = (pod.ports for pods in (scene.pods.values(), scene.stand_ins) for pod in pods)
        for port in chain.from_iterable(declared):
            yield PortRange(port.protocol, port.number, port.number)
        for reading in scene.readings:
            for rule in (*(reading.ingress or ()), *(reading.egress or ())):
                for named in rule.ports or ():
                    if isinstance(named.port, PortRange):
                        yield named.port
