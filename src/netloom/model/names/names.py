"""All names of a cluster: ``Names.compute`` is the definition, ``Names.update`` the optimisation.

Comes in: a ClusterView, or Changes. Goes out: a NamesState, or a NamesDelta. Not here: what a single object gives
(services.py, pods.py, zone.py).

A name has claims (objects that add records to it) and descendants. It exists as long as it has either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from netloom.api.core import Namespace, Pod, Service
from netloom.api.discovery import EndpointSlice
from netloom.model.inputs import Changes, ClusterView
from netloom.model.names.pods import namespace_part, pod_part
from netloom.model.names.records import (
    NamesDelta,
    NameSettings,
    NamesState,
    Part,
    RecordSets,
    merge,
)
from netloom.model.names.services import service_part
from netloom.model.names.zone import zone_part, zones_of
from netloom.model.provenance import Source, source_of
from netloom.units import ObjectKey

T = TypeVar("T")
_Claimant = tuple[str, ObjectKey]
"""Kind and key of an object that adds to names."""
_ZONE: _Claimant = ("Zone", ObjectKey("", ""))
_NOTHING = Part()


class Names:
    """The names of a cluster, kept up to date object by object. One owner; not for several threads."""

    def __init__(self, settings: NameSettings) -> None:
        self._settings = settings
        self._zones = zones_of(settings)
        self._zone_set = frozenset(self._zones)
        self._services: dict[ObjectKey, Service] = {}
        self._slices: dict[ObjectKey, EndpointSlice] = {}
        self._slices_of: dict[ObjectKey, set[ObjectKey]] = {}
        self._pods: dict[ObjectKey, Pod] = {}
        self._namespaces: dict[ObjectKey, Namespace] = {}
        self._parts: dict[_Claimant, Part] = {}
        self._claims: dict[str, tuple[_Claimant, ...]] = {}
        self._descendants: dict[str, int] = {}
        self._names: dict[str, RecordSets] = {}
        self._settle(self._replace(_ZONE, zone_part(settings)))

    @property
    def state(self) -> NamesState:
        """Everything as it is now; a copy, so it stays as it is."""
        findings = sorted(f for part in self._parts.values() for f in part.findings)
        return NamesState(self._zones, dict(self._names), tuple(findings))

    def sources(self, name: str) -> tuple[Source, ...]:
        """The objects that give ``name`` its records; empty for a name that is there for its descendants, or not at all."""
        return tuple(sorted(s for c in self._claims.get(name, ()) if (s := self._source(c)) is not None))

    @staticmethod
    def compute(view: ClusterView, settings: NameSettings) -> NamesState:
        """The definition: all names of a cluster, from nothing."""
        slices: dict[ObjectKey, list[EndpointSlice]] = {}
        for piece in view.slices.values():
            if piece.service is not None:
                slices.setdefault(piece.service, []).append(piece)
        parts = [zone_part(settings)]
        parts += (namespace_part(n, settings) for n in view.namespaces.values())
        parts += (pod_part(p, settings) for p in view.pods.values())
        parts += (service_part(s, slices.get(k, ()), settings) for k, s in view.services.items())
        claims: dict[str, list[RecordSets]] = {}
        zones = zones_of(settings)
        for part in parts:
            for name, sets in part.names.items():
                claims.setdefault(name, []).append(sets)
                for parent in _ancestors(name, frozenset(zones)):
                    claims.setdefault(parent, [])
        findings = tuple(sorted(f for part in parts for f in part.findings))
        return NamesState(zones, {name: merge(sets) for name, sets in claims.items()}, findings)

    def update(self, changes: Changes) -> NamesDelta:
        """Take changes in; the cost is that of the Services, pods and namespaces that they touch."""
        services = self._note_slices(changes.slices) | set(changes.services)
        _note(self._services, changes.services)
        _note(self._pods, changes.pods)
        _note(self._namespaces, changes.namespaces)
        touched: set[str] = set()
        for key in services:
            touched |= self._replace(("Service", key), self._service_part(key))
        for key in changes.pods:
            pod = self._pods.get(key)
            touched |= self._replace(("Pod", key), pod_part(pod, self._settings) if pod else _NOTHING)
        for key in changes.namespaces:
            namespace = self._namespaces.get(key)
            part = namespace_part(namespace, self._settings) if namespace else _NOTHING
            touched |= self._replace(("Namespace", key), part)
        return self._settle(touched)

    def _note_slices(self, changes: Mapping[ObjectKey, EndpointSlice | None]) -> set[ObjectKey]:
        """Take slices in; the Services that they belonged or now belong to."""
        services = set()
        for key, piece in changes.items():
            before = self._slices.pop(key, None)
            if before is not None and before.service is not None:
                services.add(before.service)
                members = self._slices_of[before.service]
                members.discard(key)
                if not members:
                    del self._slices_of[before.service]
            if piece is not None:
                self._slices[key] = piece
                if piece.service is not None:
                    services.add(piece.service)
                    self._slices_of.setdefault(piece.service, set()).add(key)
        return services

    def _service_part(self, key: ObjectKey) -> Part:
        service = self._services.get(key)
        if service is None:
            return _NOTHING
        slices = (self._slices[s] for s in self._slices_of.get(key, ()))
        return service_part(service, slices, self._settings)

    def _replace(self, claimant: _Claimant, part: Part) -> set[str]:
        """Put a part in the place of the claimant's former one; the names whose records or existence may have changed."""
        before = self._parts.get(claimant, _NOTHING).names
        if part.names or part.findings:
            self._parts[claimant] = part
        else:
            self._parts.pop(claimant, None)
        touched = {name for name, sets in part.names.items() if before.get(name) != sets}
        alone = (claimant,)  # one tuple for all names of an object: most names have no other
        for name in part.names.keys() - before.keys():
            claims = self._claims.get(name)
            self._claims[name] = alone if claims is None else (*claims, claimant)
            touched |= self._count(name, 1)
        for name in before.keys() - part.names.keys():
            touched.add(name)
            rest = tuple(c for c in self._claims[name] if c != claimant)
            if rest:
                self._claims[name] = rest
            else:
                del self._claims[name]
            touched |= self._count(name, -1)
        return touched

    def _count(self, name: str, step: int) -> set[str]:
        """Note a claim more or less with the ancestors of ``name``; those whose existence hangs on it."""
        turned = set()
        for parent in _ancestors(name, self._zone_set):
            before = self._descendants.get(parent, 0)
            after = before + step
            if after:
                self._descendants[parent] = after
            else:
                del self._descendants[parent]
            if not (before and after):
                turned.add(parent)
        return turned

    def _settle(self, touched: set[str]) -> NamesDelta:
        """Bring the names to what claims and descendants say."""
        upserts: dict[str, RecordSets] = {}
        removals = []
        for name in touched:
            claims = self._claims.get(name)
            if claims is None and name not in self._descendants:
                if self._names.pop(name, None) is not None:
                    removals.append(name)
                continue
            sets = merge([self._parts[c].names[name] for c in claims or ()])
            if self._names.get(name) != sets:
                self._names[name] = upserts[name] = sets
        return NamesDelta(upserts, tuple(sorted(removals)))

    def _source(self, claimant: _Claimant) -> Source | None:
        kind, key = claimant
        objects: Mapping[str, Mapping[ObjectKey, Service | Pod | Namespace]] = {
            "Service": self._services,
            "Pod": self._pods,
            "Namespace": self._namespaces,
        }
        found = objects.get(kind, {}).get(key)
        return source_of(kind, found.metadata) if found is not None else None


def _note(objects: dict[ObjectKey, T], changes: Mapping[ObjectKey, T | None]) -> None:
    for key, value in changes.items():
        if value is None:
            objects.pop(key, None)
        else:
            objects[key] = value


def _ancestors(name: str, zones: frozenset[str]) -> Iterator[str]:
    """The names above ``name`` up to the apex of its zone; none for a name outside of all zones, which only it makes ours."""
    parents = []
    rest = name
    while rest not in zones:
        _, dot, rest = rest.partition(".")
        if not dot:
            return
        parents.append(rest)
    yield from parents
