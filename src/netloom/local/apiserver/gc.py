"""Garbage collection by owner references: dependents go with their last owner, or before it, or stay as orphans.

Comes in: store events. Goes out: deletions and removed references. Also here: core/v1 Events, which go after an hour.
Not here: what a deletion does (deletion.py). Source: Kubernetes docs, "Garbage Collection"; meta/v1 OwnerReference.
"""

from __future__ import annotations

import asyncio
import calendar
import logging
import time
from collections.abc import Iterable

from netloom.errors import StorageError
from netloom.local.apiserver import kinds
from netloom.local.apiserver.deletion import FOREGROUND, ORPHAN, Deletions
from netloom.local.apiserver.history import Event, Record
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.objects import Objects
from netloom.local.apiserver.pause import pause
from netloom.local.apiserver.queries import DeleteOptions, Propagation

EVENT_LIFE_S = 3600
_SWEEP_S = 60.0
_LOG = logging.getLogger(__name__)

Place = tuple[Kind, str, str]


class Collector:
    """Follows one store and collects what lost its owners.

    Call `turn` to do all that is due now; `run` does that whenever something changes.
    """

    def __init__(self, *, objects: Objects, deletions: Deletions) -> None:
        self._objects = objects
        self._deletions = deletions
        self._store = objects.store
        self._by_uid: dict[str, Place] = {}
        self._dependents: dict[str, set[Place]] = {}
        self._due: dict[Place, None] = {}
        self._wake = asyncio.Event()
        for kind in kinds.ALL:
            for record in self._store.scan(kind):
                self._add(record)
        self._store.listen(self._follow)

    async def run(self) -> None:
        """Collect until cancelled. A store that cannot be written now is tried again with the next sweep."""
        swept = float("-inf")
        while True:
            try:
                self.turn()
                if self._objects.clock.monotonic() - swept >= _SWEEP_S:
                    swept = self._objects.clock.monotonic()
                    self.expire_events()
            except StorageError as error:
                _LOG.warning("garbage collection waits: %s", error)
            await pause(self._wake, _SWEEP_S)

    def turn(self) -> None:
        """Everything that is due, including what becomes due by doing it.

        Raises:
            StorageError: the store cannot be written; what was not done is still due.
        """
        self._wake.clear()
        while self._due:
            place = next(iter(self._due))
            record = self._store.get(*place)
            if record is not None:
                self._settle(record)
            self._due.pop(place, None)

    def expire_events(self) -> None:
        """Remove core/v1 Events whose last sign of life is older than an hour."""
        oldest = self._objects.clock.wall() - EVENT_LIFE_S
        for record in [r for r in self._store.scan(kinds.EVENTS) if _written_at(r) < oldest]:
            self._deletions.delete(record, DeleteOptions())

    def learn(self, old: Iterable[Record], new: Iterable[Record]) -> None:
        """Objects that were there before their kind was served as it is served now; ``old``: the same ones, as they were known."""
        for record in old:
            self._drop(record)
        for record in new:
            self._add(record)

    def _follow(self, event: Event) -> None:
        if event.previous is not None:
            self._drop(event.previous)
        if not event.deleted:
            self._add(event.record)
        elif event.record.uid in self._dependents or event.record.owners:
            self._mark(self._dependents.get(event.record.uid, ()))
            # a foreground deletion of an owner waits for this one
            self._mark(filter(None, (self._by_uid.get(o.uid) for o in event.record.owners)))

    def _add(self, record: Record) -> None:
        place = (record.kind, record.namespace, record.name)
        self._by_uid[record.uid] = place
        for owner in record.owners:
            self._dependents.setdefault(owner.uid, set()).add(place)
        if record.owners or FOREGROUND in record.finalizers or ORPHAN in record.finalizers:
            self._mark((place,))

    def _drop(self, record: Record) -> None:
        place = (record.kind, record.namespace, record.name)
        if self._by_uid.get(record.uid) == place:
            del self._by_uid[record.uid]
        for owner in record.owners:
            places = self._dependents.get(owner.uid)
            if places is not None:
                places.discard(place)
                if not places:
                    del self._dependents[owner.uid]

    def _mark(self, places: Iterable[Place]) -> None:
        self._due.update(dict.fromkeys(places))
        self._wake.set()

    def _settle(self, record: Record) -> None:
        """Do for one object what its owners, or its own deletion, ask for."""
        if record.deleting and ORPHAN in record.finalizers:
            self._let_go(record)
        elif record.deleting and FOREGROUND in record.finalizers:
            self._take_along(record)
        elif record.owners and not record.deleting:
            self._follow_owners(record)

    def _let_go(self, owner: Record) -> None:
        for dependent in self._dependents_of(owner):
            self._forget_owners(dependent, {owner.uid})
        self._drop_finalizer(owner, ORPHAN)

    def _take_along(self, owner: Record) -> None:
        for dependent in self._dependents_of(owner):
            if not dependent.deleting:
                self._follow_owners(dependent)
        blocking = any(o.blocks for d in self._dependents_of(owner) for o in d.owners if o.uid == owner.uid)
        if not blocking:
            self._drop_finalizer(owner, FOREGROUND)

    def _follow_owners(self, record: Record) -> None:
        """Delete the object if no owner is left to keep it; else forget only those that are gone or going."""
        owners = {o.uid: self._owner(record, o.uid) for o in record.owners}
        waiting = {
            uid for uid, owner in owners.items()
            if owner is not None and owner.deleting and FOREGROUND in owner.finalizers
        }  # fmt: skip
        gone = {uid for uid, owner in owners.items() if owner is None}
        if len(waiting) + len(gone) < len(owners):
            if waiting | gone:
                self._forget_owners(record, waiting | gone)
            return
        # whoever waits for this one wants it to go only after its own dependents
        more = waiting and self._dependents.get(record.uid)
        propagation: Propagation = "Foreground" if more else "Background"
        self._deletions.delete(record, DeleteOptions(propagation=propagation, uid=record.uid))

    def _owner(self, record: Record, uid: str) -> Record | None:
        """The owner, if there is one of this uid in the dependent's namespace or above namespaces."""
        place = self._by_uid.get(uid)
        if place is None or (place[0].namespaced and place[1] != record.namespace):
            return None
        return self._store.get(*place)

    def _dependents_of(self, owner: Record) -> list[Record]:
        places = sorted(self._dependents.get(owner.uid, ()), key=lambda p: (p[0].qualified, p[1], p[2]))
        records = [self._store.get(*place) for place in places]
        return [r for r in records if r is not None]

    def _forget_owners(self, record: Record, uids: set[str]) -> None:
        document = record.document()
        metadata = document["metadata"]
        metadata["ownerReferences"] = [o for o in metadata["ownerReferences"] if o["uid"] not in uids]
        if not metadata["ownerReferences"]:
            del metadata["ownerReferences"]
        self._objects.rewrite(record, document)

    def _drop_finalizer(self, record: Record, finalizer: str) -> None:
        document = record.document()
        metadata = document["metadata"]
        metadata["finalizers"] = [f for f in metadata["finalizers"] if f != finalizer]
        if not metadata["finalizers"]:
            del metadata["finalizers"]
        self._objects.rewrite(record, document)


def _written_at(record: Record) -> float:
    document = record.document()
    series = document.get("series") or {}
    text = (
        document.get("lastTimestamp")
        or series.get("lastObservedTime")
        or document.get("eventTime")
        or document["metadata"].get("creationTimestamp", "")
    )
    try:
        return calendar.timegm(time.strptime(str(text)[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return 0.0
