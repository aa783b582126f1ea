"""What a change does to who reaches whom: ``netloom plan``. Pure.

Comes in: an estate and a change. Goes out: the reachability that is gained and lost, in few rows, each with why it was so and why it
will be otherwise. Nothing is changed anywhere. Not here: reading files or a cluster (``estate``), the text (``plan_text.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netloom.api.meta import KubeObject
from netloom.errors import NotFound
from netloom.model.inputs import ClusterFacts
from netloom.model.policy.state import PortRange
from netloom.model.provenance import Source
from netloom.observe.estate.estate import Estate, Ref, applied, deleted
from netloom.observe.estate.scenes import Surveyed, survey
from netloom.observe.estate.services import Door, DoorKey
from netloom.observe.estate.ways import Target, Ways
from netloom.observe.reach.ends import End, EndKind
from netloom.observe.reach.naming import EndName, Namer
from netloom.observe.reach.portspace import Stretch, each_bit
from netloom.observe.reach.reasons import Reason, Reasons
from netloom.observe.reach.rows import Rectangle, rectangles
from netloom.units import Family, Protocol

_MOST_THROUGH = 5
_RELAYED = "through other nodes"
_LOST, _GAINED = "lost", "gained"


class Change(msgspec.Struct, frozen=True):
    """Objects to apply, in order, and objects to delete; each with the file that says so, where one does."""

    apply: tuple[tuple[Ref, KubeObject], ...] = ()
    delete: tuple[Ref, ...] = ()
    files: Mapping[Ref, str] = {}


class ChangedObject(msgspec.Struct, frozen=True):
    """What becomes of one object."""

    action: str
    """``created``, ``changed`` or ``deleted``."""
    kind: str
    namespace: str
    name: str
    file: str = ""


class Row(msgspec.Struct, frozen=True):
    """Each of the senders gains, or loses, these ports of each of the receivers."""

    effect: str
    """``gained`` or ``lost``."""
    sender: str
    receiver: str
    ports: str
    family: str
    """``IPv4`` or ``IPv6`` where it is so in that family only; empty: in all that there are."""
    senders: tuple[EndName, ...]
    receivers: tuple[EndName, ...]
    stretches: tuple[Stretch, ...]
    before: tuple[Reason, ...]
    """For one pair of the row."""
    after: tuple[Reason, ...]
    services: tuple[str, ...] = ()
    """Services that lead to the receivers at these ports."""
    connections: int = 0
    """Pairs of workloads, nodes and ranges that it is about."""


class ServiceRow(msgspec.Struct, frozen=True):
    """The senders get, or no longer get, to the targets through a Service."""

    effect: str
    sender: str
    door: str
    target: str
    """``shop/web 8080/tcp``."""
    note: str
    """Where it is so for some of the connections only."""
    reason: str
    sources: tuple[Source, ...]
    senders: tuple[EndName, ...]
    targets: tuple[EndName, ...]
    service: str = ""


class PlanReport(msgspec.Struct, frozen=True):
    """The whole answer."""

    objects: tuple[ChangedObject, ...]
    lost: tuple[Row, ...]
    gained: tuple[Row, ...]
    services_lost: tuple[ServiceRow, ...] = ()
    services_gained: tuple[ServiceRow, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_lost(self) -> bool:
        """Somebody no longer reaches somebody."""
        return bool(self.lost or self.services_lost)

    @property
    def has_gained(self) -> bool:
        """Somebody newly reaches somebody."""
        return bool(self.gained or self.services_gained)


def plan(estate: Estate, change: Change, facts: ClusterFacts | None = None) -> PlanReport:
    """What a change would do.

    Args:
        estate: what is there.
        change: what would be applied and deleted.
        facts: the cluster's settings, where they are known.

    Raises:
        NotFound: an object to delete is not there.
    """
    for ref in change.delete:
        if estate.find(ref) is None and not any(ref == given for given, _ in change.apply):
            raise NotFound(
                f"{ref}: is not there, so it cannot be deleted", "see kubectl get, or correct the name"
            )
    after = deleted(applied(estate, change.apply), change.delete)
    surveyed = survey((estate, after), facts)
    comparison = _Comparison(surveyed, estate, after)
    rows = comparison.rows()
    services = comparison.service_rows()
    return PlanReport(
        objects=tuple(_changed(estate, after, change)),
        lost=tuple(row for row in rows if row.effect == _LOST),
        gained=tuple(row for row in rows if row.effect == _GAINED),
        services_lost=tuple(row for row in services if row.effect == _LOST),
        services_gained=tuple(row for row in services if row.effect == _GAINED),
        notes=surveyed.notes,
    )


def _changed(before: Estate, after: Estate, change: Change) -> Iterator[ChangedObject]:
    refs = dict.fromkeys((*(ref for ref, _ in change.apply), *change.delete))
    for ref in refs:
        was, now = before.find(ref), after.find(ref)
        if was == now:
            continue
        action = "created" if was is None else "deleted" if now is None else "changed"
        yield ChangedObject(action, ref.kind, ref.namespace, ref.name, change.files.get(ref, ""))


class _Comparison:
    """Two sides, compared."""

    def __init__(self, surveyed: Surveyed, before: Estate, after: Estate) -> None:
        self._reach = surveyed.reach
        self._estates = before, after
        self._namers = Namer(self._reach.all, 0), Namer(self._reach.all, 1)
        self._ways = Ways(surveyed, 0), Ways(surveyed, 1)
        self._reasons = Reasons(self._reach.judged[0]), Reasons(self._reach.judged[1])
        self._families = {end.family for end in self._reach.ends}

    def rows(self) -> list[Row]:
        """Direct reachability, families with the same rows together."""
        found: dict[tuple[str, tuple[EndName, ...], tuple[EndName, ...], int], list[Rectangle]] = {}
        for one in rectangles(self._reach.differences()):
            namer = self._namers[0 if one.is_lost else 1]
            effect = _LOST if one.is_lost else _GAINED
            key = effect, namer.names(one.senders), namer.names(one.receivers), one.ports
            found.setdefault(key, []).append(one)
        return [self._row(key, same) for key, same in found.items()]

    def _row(
        self, key: tuple[str, tuple[EndName, ...], tuple[EndName, ...], int], same: list[Rectangle]
    ) -> Row:
        effect, senders, receivers, ports = key
        side = 0 if effect == _LOST else 1
        namer = self._namers[side]
        first = same[0]
        sender, receiver = self._pair(first.senders, first.receivers)
        protocol, port = self._port(ports, receiver, side)
        return Row(
            effect=effect,
            sender=namer.text(first.senders),
            receiver=namer.text(first.receivers),
            ports=self._reach.ports.text(ports),
            family=self._family_text({self._reach.ends[next(each_bit(one.senders))].family for one in same}),
            senders=senders,
            receivers=receivers,
            stretches=tuple(self._reach.ports.joined(ports)),
            before=self._reasons[0].of(sender, receiver, protocol, port),
            after=self._reasons[1].of(sender, receiver, protocol, port),
            services=tuple(self._services_to(side, first.receivers, ports)),
            connections=len(senders) * len(receivers),
        )

    def _pair(self, senders: int, receivers: int) -> tuple[End, End]:
        """Two ends to ask about: different ones, pods where there are any."""
        ends = self._reach.ends
        first, second = (
            sorted((ends[place] for place in each_bit(mask)), key=lambda end: end.kind is not EndKind.POD)
            for mask in (senders, receivers)
        )
        receiver = second[0]
        return next((end for end in first if end is not receiver), first[0]), receiver

    def _port(self, ports: int, receiver: End, side: int) -> tuple[Protocol | None, int]:
        """One to ask about: one that the receiver declares, or that a rule names."""
        example = receiver.examples[side]
        for port in () if example is None else example.ports:
            if self._reach.ports.bits(PortRange(port.protocol, port.number, port.number)) & ports:
                return port.protocol, port.number
        stretches = list(self._reach.ports.in_bits(ports))
        single = next((s for s in stretches if s.protocol is not None and s.first == s.last), stretches[0])
        return single.protocol, max(single.first, 1) if single.protocol is not None else 0

    def _family_text(self, families: set[Family]) -> str:
        return "" if families == self._families else next(iter(families)).address_type

    def _services_to(self, side: int, receivers: int, ports: int) -> list[str]:
        leading = self._ways[side].leading_to
        found = dict.fromkeys(
            str(door)
            for place in each_bit(receivers)
            for bits, door in leading.get(place, ())
            if bits & ports and not door.kind.is_outer
        )
        names = list(found)
        if len(names) > _MOST_THROUGH:
            return [*names[:_MOST_THROUGH], f"{len(names) - _MOST_THROUGH} more Services"]
        return names

    def service_rows(self) -> list[ServiceRow]:
        """Doors that open or close; of inner ones only those where it is the Service that does it, not a policy."""
        rows: list[ServiceRow] = []
        keys = {**self._ways[0].targets, **self._ways[1].targets}
        for key in sorted(keys, key=lambda k: (k.service, k.kind.value, k.port, k.protocol.value)):
            rows += self._door_rows(key)
        return rows

    def _door_rows(self, key: DoorKey) -> Iterator[ServiceRow]:
        before, after = (ways.targets.get(key, frozenset()) for ways in self._ways)
        changes: dict[tuple[str, int, str, str], int] = {}
        for target in before | after:
            if target in before and target in after and not key.kind.is_outer:
                continue  # the pods' own rows tell it
            ports = self._reach.ports.text(self._reach.ports.bits(target.ports))
            for effect, senders, note in self._moved(key, target, before, after):
                way = effect, senders, note, ports
                changes[way] = changes.get(way, 0) | 1 << target.end
        for (effect, senders, note, ports), targets in sorted(changes.items()):
            side = 0 if effect == _LOST else 1
            namer = self._namers[side]
            reason, sources = self._because(key, effect, senders, targets, note)
            yield ServiceRow(
                effect=effect,
                sender=namer.text(senders),
                door=str(key),
                target=f"{namer.text(targets)} {ports}",
                note=note,
                reason=reason,
                sources=sources,
                senders=namer.names(senders),
                targets=namer.names(targets),
                service=str(key.service),
            )

    def _moved(
        self, key: DoorKey, target: Target, before: Iterable[Target], after: Iterable[Target]
    ) -> Iterator[tuple[str, int, str]]:
        """Effect, senders, and the note where only one of two ways is concerned."""
        none = (0, 0)
        was = now = none
        if target in before:
            way = self._ways[0].way(key, target)
            was = way.direct, way.relayed
        if target in after:
            way = self._ways[1].way(key, target)
            now = way.direct, way.relayed
        for effect, old, new in ((_LOST, was, now), (_GAINED, now, was)):
            direct, relayed = old[0] & ~new[0], old[1] & ~new[1]
            both = direct & relayed
            if both:
                yield effect, both, ""
            here = direct & ~both
            if here:
                yield (
                    effect,
                    here,
                    "at the endpoint's own node" if key.kind.is_outer and old[1] | new[1] else "",
                )
            if relayed & ~both:
                yield effect, relayed & ~both, _RELAYED

    def _because(
        self, key: DoorKey, effect: str, senders: int, targets: int, note: str
    ) -> tuple[str, tuple[Source, ...]]:
        """What of the Service, or else of whom, is responsible."""
        doors = tuple(ways.doors.get(key) for ways in self._ways)
        was, now = doors
        if was is None or now is None:
            return self._about_the_door(key, was, now)
        old, new = (estate.objects.get("Service", {}).get(key.service) for estate in self._estates)
        if old != new and was.endpoints != now.endpoints:
            field = self._changed_field(old, new)
            return f"{now.source.subject}: {field} is another", (now.source.at(field),)
        if was.endpoints != now.endpoints:
            names = self._namers[0 if effect == _LOST else 1].names(targets)
            first = names[0] if names else EndName("Pod", "?")
            source = Source(first.kind, first.namespace, first.name)
            return f"{source.subject} is an endpoint on one side only: its labels, ports, or it itself", (
                source,
            )
        if was.ranges != now.ranges or was.is_local != now.is_local:
            field = (
                "spec.loadBalancerSourceRanges" if was.ranges != now.ranges else "spec.externalTrafficPolicy"
            )
            return f"{now.source.subject}: {field} is another", (now.source.at(field),)
        return self._policies(senders, targets, note, now)

    def _policies(self, senders: int, targets: int, note: str, door: Door) -> tuple[str, tuple[Source, ...]]:
        """What they say now of a client that comes in at the endpoint's own node, or at another."""
        if note == _RELAYED:
            senders = self._reach.all.where(lambda end: end.kind is EndKind.NODE)
        sender, receiver = self._pair(senders, targets)
        target = next(t.ports for t in self._ways[1].targets[door.key] if t.end == receiver.index)
        said = self._reasons[1].of(sender, receiver, target.protocol, target.first)
        return "; ".join(reason.text for reason in said), tuple(s for reason in said for s in reason.sources)

    def _about_the_door(
        self, key: DoorKey, was: Door | None, now: Door | None
    ) -> tuple[str, tuple[Source, ...]]:
        door = now or was
        assert door is not None  # noqa: S101 - the key is of one of the two
        is_there = [key.service in estate.objects.get("Service", {}) for estate in self._estates]
        if not is_there[1]:
            return f"{door.source.subject} is deleted", (door.source.at(""),)
        if not is_there[0]:
            return f"{door.source.subject} is new", (door.source.at(""),)
        return f"{door.source} {'is not there any more' if now is None else 'is new'}", (door.source,)

    @staticmethod
    def _changed_field(old: KubeObject | None, new: KubeObject | None) -> str:
        was, now = (msgspec.to_builtins(getattr(one, "spec", None)) or {} for one in (old, new))
        for field in ("selector", "ports"):
            if was.get(field) != now.get(field):
                return f"spec.{field}"
        return next((f"spec.{f}" for f in now if was.get(f) != now.get(f)), "spec")
