"""Gateways as they are now: frames, doors and statuses, each made anew only when something that it depends on changed.

Comes in: what changed of the estate, tables of listeners. Goes out: keys of gateways that are not what they were, doors, statuses, findings. Not here:
what a Gateway means (``frames.py``), routes (``route_state.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from netloom.model.gateways.built import StatusKey
from netloom.model.gateways.doors import node_port
from netloom.model.gateways.estate import Estate, Touched
from netloom.model.gateways.frames import Frame, FrameAround, class_is_ours, class_of, frame_of, parent_of
from netloom.model.gateways.gateway_status import class_status, gateway_status, set_status
from netloom.model.gateways.hostnames import specificity
from netloom.model.gateways.listener_tls import KeyPairs
from netloom.model.gateways.listeners import ListenerId, ReadListener
from netloom.model.gateways.plan import Door, Listener, Transport
from netloom.model.gateways.tables import Table
from netloom.model.gateways.troubles import Trouble
from netloom.model.provenance import Finding, Source
from netloom.units import ObjectKey, Protocol


class GatewayState:
    """All Gateways of ours."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._pairs = KeyPairs()
        self.frames: dict[ObjectKey, Frame] = {}
        self.parents: dict[ObjectKey, ObjectKey] = {}
        """Gateways that ListenerSets name."""
        self._sets: dict[ObjectKey, set[ObjectKey]] = {}
        """ListenerSets that name a Gateway."""
        self._doors: dict[ObjectKey, tuple[Door, ...]] = {}
        self.doors: tuple[Door, ...] = ()
        self._by_service: dict[ObjectKey, ObjectKey] = {}
        self._seen_at: dict[ObjectKey, float] = {}
        self._told: dict[ObjectKey, set[ObjectKey]] = {}
        """ListenerSets that have a status, by Gateway."""

    def update(self, touched: Touched) -> set[ObjectKey]:
        """Make anew what depends on what was touched; keys of Gateways whose frames are not what they were."""
        dirty = self._move_sets(touched) | touched.get("gateways", set()) | self._dependent(touched)
        changed = set()
        for key in dirty:
            frame = self._make(key)
            before = self.frames.get(key)
            if frame is None and before is not None:
                del self.frames[key]
                self._by_service.pop(before.service, None)
            elif frame is not None:
                self.frames[key] = frame
                if before is not None and before.service != frame.service:
                    self._by_service.pop(before.service, None)
                self._by_service[frame.service] = key
            if frame != before:
                changed.add(key)
        return changed

    def update_doors(
        self, tables: Mapping[ListenerId, Table], changed: Iterable[ObjectKey], touched: Touched
    ) -> bool:
        """Doors of these Gateways, and of those whose Service was touched; whether any is another."""
        is_changed = False
        for key in {*changed, *self._of_services(touched)}:
            frame = self.frames.get(key)
            doors = () if frame is None else tuple(self._doors_of(frame, tables))
            if doors != self._doors.get(key, ()):
                is_changed = True
                if doors:
                    self._doors[key] = doors
                else:
                    del self._doors[key]
        if is_changed:
            self.doors = tuple(door for key in sorted(self._doors) for door in self._doors[key])
        return is_changed

    def statuses(
        self, changed: Iterable[ObjectKey], touched: Touched, counts: Mapping[ListenerId, int]
    ) -> Iterator[tuple[StatusKey, dict[str, Any] | None]]:
        """Statuses of classes, Gateways and ListenerSets that may be others now; None: no longer ours."""
        for key in touched.get("classes", ()):
            class_ = self._estate.classes.get(key)
            is_ours = class_ is not None and class_is_ours(class_)
            yield StatusKey("GatewayClass", key), class_status(class_) if class_ and is_ours else None
        for key in {*changed, *self._of_services(touched)}:
            frame = self.frames.get(key)
            before = self._told.pop(key, set())
            if frame is None:
                yield StatusKey("Gateway", key), None
            else:
                service = self._estate.services.get(frame.service)
                yield StatusKey("Gateway", key), gateway_status(frame, counts, service)
                self._told[key] = {one.key for one in frame.sets}
                for one in frame.sets:
                    yield StatusKey("ListenerSet", one.key), set_status(frame, one, counts)
            for gone in before - self._told.get(key, set()):
                if self.parents.get(gone) not in self.frames:
                    yield StatusKey("ListenerSet", gone), None

    def findings(self, changed: Iterable[ObjectKey]) -> Iterator[tuple[object, tuple[Finding, ...]]]:
        """What could not be used of these Gateways and their ListenerSets."""
        for key in changed:
            frame = self.frames.get(key)
            yield ("Gateway", key), () if frame is None else tuple(_findings(frame))

    def _make(self, key: ObjectKey) -> Frame | None:
        estate = self._estate
        gateway = estate.gateways.get(key)
        if gateway is None:
            return None
        class_ = estate.classes.get(ObjectKey("", class_of(gateway)))
        if class_ is None or not class_is_ours(class_):
            return None
        around = FrameAround(
            estate.secrets, estate.config_maps, estate.namespaces, estate.granted, self._pairs, estate.now
        )
        sets = [estate.listener_sets[one] for one in self._sets.get(key, ())]
        self._seen_at[key] = estate.now
        return frame_of(gateway, class_, sets, around)

    def _move_sets(self, touched: Touched) -> set[ObjectKey]:
        """Gateways that touched ListenerSets named or name."""
        concerned = set()
        for key in touched.get("listener_sets", ()):
            one = self._estate.listener_sets.get(key)
            old, new = self.parents.pop(key, None), None if one is None else parent_of(one)
            if old is not None:
                concerned.add(old)
                self._sets[old].discard(key)
            if new is not None:
                concerned.add(new)
                self.parents[key] = new
                self._sets.setdefault(new, set()).add(key)
        return concerned

    def _dependent(self, touched: Touched) -> set[ObjectKey]:
        """Gateways that depend on other things that were touched."""
        if "classes" in touched or "grants" in touched:
            return set(self._estate.gateways)
        found = set()
        secrets, config_maps = touched.get("secrets", set()), touched.get("config_maps", set())
        now = self._estate.now
        for key, frame in self.frames.items():
            is_touched = not frame.secrets.isdisjoint(secrets) or not frame.config_maps.isdisjoint(
                config_maps
            )
            is_over = "now" in touched and not self._seen_at[key] <= now < frame.boundary
            if is_touched or is_over or ("namespaces" in touched and frame.sets):
                found.add(key)
        return found

    def _of_services(self, touched: Touched) -> Iterator[ObjectKey]:
        services = touched.get("services", ())
        return (self._by_service[key] for key in services if key in self._by_service)

    def _doors_of(self, frame: Frame, tables: Mapping[ListenerId, Table]) -> Iterator[Door]:
        by_place: dict[tuple[int, Transport], list[ReadListener]] = {}
        for one in frame.serving:
            if one.transport is not None:
                by_place.setdefault((one.port, one.transport), []).append(one)
        service = self._estate.services.get(frame.service)
        for port, transport in sorted(by_place, key=lambda place: (place[0], place[1].value)):
            listeners = by_place[port, transport]
            listeners.sort(key=lambda one: (specificity(one.hostname), one.hostname))
            protocol = Protocol.UDP if transport is Transport.UDP else Protocol.TCP
            yield Door(
                gateway=frame.key,
                source=frame.source,
                port=port,
                transport=transport,
                listeners=tuple(_listener(one, tables.get(one.id)) for one in listeners),
                node_port=node_port(service, port, protocol),
            )


def _listener(one: ReadListener, table: Table | None) -> Listener:
    name = one.id.name if one.id.kind == "Gateway" else f"{one.id.owner}/{one.id.name}"
    return Listener(
        name=name,
        source=one.source,
        hostname=one.hostname,
        tls=one.tls,
        hosts=() if table is None else table.hosts,
        streams=() if table is None else table.streams,
        is_stream=one.is_stream,
    )


def _findings(frame: Frame) -> Iterator[Finding]:
    yield from _of(frame.source, (*frame.refused, *frame.unresolved))
    for one in frame.listeners:
        yield from _of_listener(one)
    for group in frame.sets:
        yield from _of(group.source, group.refused)
        if not group.refused:
            for one in group.listeners:
                yield from _of_listener(one)


def _of_listener(one: ReadListener) -> Iterator[Finding]:
    conflict = () if one.conflict is None else (one.conflict,)
    yield from _of(one.source, (*one.refused, *conflict, *one.unresolved))


def _of(source: Source, troubles: Iterable[Trouble]) -> Iterator[Finding]:
    return (Finding(source.at(one.field), one.problem) for one in troubles)
