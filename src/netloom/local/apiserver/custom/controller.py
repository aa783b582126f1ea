"""CustomResourceDefinitions come and go: names, conditions, kinds that are served, and the end of all objects of a kind.

Comes in: the store's events about definitions. Goes out: their status, and the registry with what they define. `turn` does all that is due now; `run` does
that whenever something changes. Not here: whether a definition is in order (definition.py). Source: the controllers of apiextensions-apiserver.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from netloom.errors import StorageError
from netloom.local.apiserver import apply, kinds
from netloom.local.apiserver.custom import names, versions
from netloom.local.apiserver.custom.served import CustomKind, is_served, kinds_of, more_versions
from netloom.local.apiserver.deletion import Deletions
from netloom.local.apiserver.gc import Collector
from netloom.local.apiserver.history import Event, Record
from netloom.local.apiserver.objects import Objects
from netloom.local.apiserver.pause import pause
from netloom.local.apiserver.queries import DeleteOptions
from netloom.local.apiserver.registry import Registry
from netloom.local.apiserver.watches import Hub

_LOG = logging.getLogger(__name__)
_MANAGER = "kube-apiserver"
_AGAIN_S = 5.0
"""When a store that could not be written is tried again."""


class Definitions:
    """Follows one store, and serves what is defined in it."""

    def __init__(
        self, *, objects: Objects, deletions: Deletions, registry: Registry, hub: Hub, collector: Collector
    ) -> None:
        self._objects = objects
        self._store = objects.store
        self._deletions = deletions
        self._registry = registry
        self._hub = hub
        self._collector = collector
        self._served: dict[str, tuple[bytes, CustomKind]] = {}
        """What is served by the name of its definition: the spec that it is served by, the version that is kept."""
        self._more: dict[str, tuple[CustomKind, ...]] = {}
        """Further versions of kinds that are there from the start, by the name of their definition."""
        self._going: set[str] = set()
        """Definitions that wait for their objects to go."""
        self._due: dict[str, None] = {}
        self._wake = asyncio.Event()
        for record in self._store.scan(kinds.CUSTOM_RESOURCE_DEFINITIONS):
            self._take(record.name, functools.partial(self._serve_again, record))
            self._mark(record.name)
        self._store.listen(self._follow)

    async def run(self) -> None:
        """Follow until cancelled. A store that cannot be written now is tried again."""
        while True:
            wait: float | None = None
            try:
                self.turn()
            except StorageError as error:
                _LOG.warning("definitions wait: %s", error)
                wait = _AGAIN_S
            await pause(self._wake, wait)

    def turn(self) -> None:
        """Everything that is due.

        Raises:
            StorageError: the store cannot be written; what was not done is still due.
        """
        self._wake.clear()
        while self._due:
            name = next(iter(self._due))
            del self._due[name]
            try:
                self._take(name, functools.partial(self._look_at, name))
            except StorageError:
                self._due[name] = None
                raise

    @staticmethod
    def _take(name: str, step: Callable[[], None]) -> None:
        try:
            step()
        except StorageError:
            raise
        except Exception:  # noqa: BLE001 - the boundary of one definition
            # one that was kept by another version of this server, and is in no order, must not end the server
            _LOG.exception("definition %s is not served", name)

    def _look_at(self, name: str) -> None:
        record = self._store.get(kinds.CUSTOM_RESOURCE_DEFINITIONS, "", name)
        if record is None:
            self._withdraw(name)
        else:
            self._settle(record)

    def _serve_again(self, record: Record) -> None:
        """What was served when the server stopped is served when it accepts requests."""
        if names.is_established(document := record.document()):
            self._serve(record.name, document)

    def _follow(self, event: Event) -> None:
        record = event.record
        if record.kind is kinds.CUSTOM_RESOURCE_DEFINITIONS:
            self._mark(record.name)
        elif event.deleted and record.kind.qualified in self._going:
            self._mark(record.kind.qualified)

    def _mark(self, name: str) -> None:
        self._due[name] = None
        self._wake.set()

    def _settle(self, record: Record) -> None:
        document = record.document()
        status = dict(document.get("status") or {})
        if not record.deleting:
            self._name(record.name, document, status)
        document["status"] = status
        if names.is_established(document):
            self._serve(record.name, document)
        if record.deleting and names.FINALIZER in record.finalizers:
            self._empty(record.name, document)
        self._write(record, document)

    def _name(self, name: str, document: Mapping[str, Any], status: dict[str, Any]) -> None:
        """Names and conditions of a definition that stays, and the versions that its objects may be kept in."""
        spec = document["spec"]
        others = names.taken(spec["group"], name, kinds.ALL, self._accepted(spec["group"], name))
        status["acceptedNames"], wanted = names.accepted(
            spec["names"], status.get("acceptedNames") or {}, others
        )
        conditions = list(status.get("conditions") or ())
        before = names.find(conditions, names.ESTABLISHED)
        for new in filter(None, (wanted, names.established(wanted, before), names.approved(document))):
            conditions = names.with_condition(conditions, new, self._objects.now())
        status["conditions"] = conditions
        kept = next(v["name"] for v in spec["versions"] if v.get("storage"))
        stored = status.get("storedVersions") or []
        status["storedVersions"] = stored if kept in stored else [*stored, kept]

    def _accepted(self, group: str, name: str) -> list[dict[str, Any]]:
        """Names that the other definitions of a group have."""
        return [
            (record.document().get("status") or {}).get("acceptedNames") or {}
            for record in self._store.scan(kinds.CUSTOM_RESOURCE_DEFINITIONS)
            if record.name != name and record.name.partition(".")[2] == group
        ]

    def _serve(self, name: str, document: dict[str, Any]) -> None:
        """Serve what the definition says now, where that is not what is served already."""
        if kind := kinds.BY_QUALIFIED.get(name):
            # every server of ours has this kind and serves it itself, in one version
            self._serve_more(name, more_versions(document, kind))
            return
        accepted = {**document["spec"]["names"], **(document["status"].get("acceptedNames") or {})}
        document = {**document, "spec": {**document["spec"], "names": accepted}}
        terminating = "deletionTimestamp" in document["metadata"]
        spec = msgspec.json.encode(document["spec"], order="deterministic")
        served = self._served.get(name)
        same = served is not None and served[0] == spec
        if same and terminating == (name in self._going):
            return
        made = kinds_of(document)
        self._registry.define(name, [kind for kind in made if is_served(document, kind)])
        self._served[name] = (spec, made[0])
        if terminating:
            self._going.add(name)
        if same:
            return
        old = list(self._store.scan(served[1])) if served is not None else []
        records = self._store.open(made[0], lambda kept: versions.kept_as(made[0], kept))
        self._collector.learn(old, records)
        self._hub.end(made[0])

    def _serve_more(self, name: str, more: tuple[CustomKind, ...]) -> None:
        said = [(kind.gvk, kind.version_data.schema) for kind in more]
        served = [(kind.gvk, kind.version_data.schema) for kind in self._more.get(name, ())]
        if said != served:
            self._more[name] = more
            self._registry.define(name, more)

    def _empty(self, name: str, document: dict[str, Any]) -> None:
        """Delete the objects of a definition that goes; when none is left, nothing holds it any more."""
        left = 0
        if name in self._served:
            _, kept = self._served[name]
            for record in list(self._store.scan(kept)):
                left += not self._deletions.delete(record, DeleteOptions()).gone
        status, metadata = document["status"], document["metadata"]
        status["conditions"] = names.with_condition(
            list(status.get("conditions") or ()), names.going(left), self._objects.now()
        )
        if not left:
            metadata["finalizers"] = [one for one in metadata["finalizers"] if one != names.FINALIZER]

    def _withdraw(self, name: str) -> None:
        """The definition is gone, and its kind with it; names that it had are free for others."""
        self._going.discard(name)
        if self._more.pop(name, None):
            self._registry.define(name, ())
        served = self._served.pop(name, None)
        if served is not None:
            self._registry.define(name, ())
            self._hub.end(served[1])
            self._store.forget(served[1])
        group = name.partition(".")[2]
        for record in self._store.scan(kinds.CUSTOM_RESOURCE_DEFINITIONS):
            if record.name.partition(".")[2] == group:
                self._mark(record.name)

    def _write(self, record: Record, document: dict[str, Any]) -> None:
        old = record.document()
        if document == old:
            return
        gvk = record.kind.gvk
        now = self._objects.now()
        self._objects.rewrite(
            record, apply.track_update(gvk, old, document, _MANAGER, "Update", "status", now)
        )
