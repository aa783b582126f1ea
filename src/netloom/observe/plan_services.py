"""What a change does to the ways through Services: doors that open or close, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from netloom.api.core import Service
from netloom.model.provenance import Source
from netloom.observe.estate.estate import Ref
from netloom.observe.estate.kinds import Workload
from netloom.observe.estate.services import Door, DoorKey, DoorKind
from netloom.observe.estate.ways import Target
from netloom.observe.plan_sides import GAINED, LOST, Sides, side_of
from netloom.observe.reach.ends import EndKind
from netloom.observe.reach.naming import EndName

_OWN_NODE = "at the endpoint's own node"
_RELAYED = "through other nodes"


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


class ServiceRows:
    """Two sides, compared."""

    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self._reach = sides.reach
        self._ways = sides.ways
        self._estates = sides.estates

    def all(self) -> list[ServiceRow]:
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
            side = side_of(effect)
            namer = self._sides.namers[side]
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
        for effect, old, new in ((LOST, was, now), (GAINED, now, was)):
            direct, relayed = old[0] & ~new[0], old[1] & ~new[1]
            both = direct & relayed
            if both:
                yield effect, both, ""
            if direct & ~both:
                yield effect, direct & ~both, _OWN_NODE if self._has_two_ways(key, effect) else ""
            if relayed & ~both:
                yield effect, relayed & ~both, _RELAYED

    def _has_two_ways(self, key: DoorKey, effect: str) -> bool:
        """Clients outside come in at whatever node."""
        door = self._ways[side_of(effect)].doors.get(key)
        return key.kind.is_outer and door is not None and not door.is_local

    def _because(
        self, key: DoorKey, effect: str, senders: int, targets: int, note: str
    ) -> tuple[str, tuple[Source, ...]]:
        """What of the Service, or else of whom, is responsible."""
        doors = tuple(ways.doors.get(key) for ways in self._ways)
        was, now = doors
        if was is None or now is None:
            return self._about_the_door(key, was, now)
        old, new = (estate.of(Service).get(key.service) for estate in self._estates)
        if was.endpoints != now.endpoints:
            nobody = "" if now.endpoints else "; it has no endpoint any more"
            if old is not None and new is not None and (field := changed_field(old, new, key)):
                return f"{now.source.subject}: {field} is another{nobody}", (now.source.at(field),)
            return self._about_endpoints(effect, targets, nobody)
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
        sender, receiver = self._sides.pair(senders, targets)
        target = next(t.ports for t in self._ways[1].targets[door.key] if t.end == receiver.index)
        said = self._sides.reasons[1].of(sender, receiver, target.protocol, target.first)
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

    def _about_endpoints(self, effect: str, targets: int, nobody: str) -> tuple[str, tuple[Source, ...]]:
        """What of the workloads behind a Service, which is the same, is another now."""
        sources: dict[Source, str] = {}
        for name in self._sides.namers[side_of(effect)].names(targets):
            ref = Ref(name.kind, name.namespace, name.name)
            was, now = (estate.find(ref) for estate in self._estates)
            source = Source(name.kind, name.namespace, name.name)
            if was is None or now is None:
                sources[source] = f"{source.subject} is {'new' if was is None else 'not there any more'}"
            elif isinstance(was, Workload) and isinstance(now, Workload):
                labels = was.template.metadata.labels == now.template.metadata.labels
                field = "spec.template.spec" if labels else "spec.template.metadata.labels"
                sources[source.at(field)] = f"{source.subject}: {field} is another"
            else:
                sources[source] = f"{source.subject} is another"
        return "; ".join(sources.values()) + nobody, tuple(sources)


def changed_field(old: Service, new: Service, key: DoorKey) -> str:
    """The field by which a Service has other endpoints at a door; empty where it is none of its fields."""
    if old.spec.selector != new.spec.selector:
        return "spec.selector"
    number = "node_port" if key.kind is DoorKind.NODE_PORT else "port"
    for index, port in enumerate(new.spec.ports):
        if (getattr(port, number), port.protocol) != (key.port, key.protocol.value):
            continue
        before = next(
            (p for p in old.spec.ports if (getattr(p, number), p.protocol) == (key.port, port.protocol)), port
        )
        if before.target_port != port.target_port:
            return f"spec.ports[{index}].targetPort"
        if before.port != port.port:
            return f"spec.ports[{index}].port"
    return ""
