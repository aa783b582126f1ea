"""Records, and what happened to them: the window that watches replay.

Comes in: one record for each write. Goes out: events in the order of their revision, with their watch lines encoded
once however many clients read them. Not here: durability (store.py) and delivery (watches.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from netloom.local.apiserver import fields
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.status import too_old

EventType = Literal["ADDED", "MODIFIED", "DELETED"]


class Owner(msgspec.Struct, frozen=True):
    """One entry of ``metadata.ownerReferences``, as far as garbage collection reads it."""

    uid: str
    blocks: bool = False


class Record(msgspec.Struct, frozen=True):
    """One stored document and what is asked of it often. ``raw`` is the whole document as JSON."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    revision: int
    raw: bytes
    labels: dict[str, str]
    values: dict[str, str]
    owners: tuple[Owner, ...]
    finalizers: tuple[str, ...]
    deleting: bool

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name, the order of lists."""
        return (self.namespace, self.name)

    def document(self) -> dict[str, Any]:
        """The document, decoded afresh: the caller may change it."""
        document: dict[str, Any] = msgspec.json.decode(self.raw)
        return document


def record_of(kind: Kind, document: dict[str, Any], revision: int, raw: bytes = b"") -> Record:
    """The record of a document whose metadata is well formed. ``raw`` where it is encoded already."""
    meta = document["metadata"]
    values = fields.values(kind, document)
    values["metadata.name"] = meta["name"]
    values["metadata.namespace"] = meta.get("namespace", "")
    return Record(
        kind=kind,
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        uid=meta.get("uid", ""),
        revision=revision,
        raw=raw or msgspec.json.encode(document),
        labels=meta.get("labels") or {},
        values=values,
        owners=tuple(
            Owner(o.get("uid", ""), bool(o.get("blockOwnerDeletion")))
            for o in meta.get("ownerReferences") or ()
        ),
        finalizers=tuple(meta.get("finalizers") or ()),
        deleting="deletionTimestamp" in meta,
    )


class Event:
    """One change of one object. ``record`` is the state after it, of a deletion the last one."""

    __slots__ = ("_lines", "deleted", "previous", "record")

    def __init__(self, record: Record, previous: Record | None, *, deleted: bool = False) -> None:
        self.record = record
        self.previous = previous
        self.deleted = deleted
        self._lines: dict[EventType, bytes] = {}

    @property
    def revision(self) -> int:
        """The resourceVersion of this change."""
        return self.record.revision

    @property
    def type(self) -> EventType:
        """What a watch without selectors calls it."""
        if self.deleted:
            return "DELETED"
        return "MODIFIED" if self.previous is not None else "ADDED"

    def line(self, type_: EventType) -> bytes:
        """The watch line, shared by all who get this change under this type."""
        line = self._lines.get(type_)
        if line is None:
            line = self._lines[type_] = watch_line(type_, self.raw(type_))
        return line

    def raw(self, type_: EventType) -> bytes:
        """The object that goes with the type: one that left a selector is shown as it was, at this revision."""
        if type_ != "DELETED" or self.deleted or self.previous is None:
            return self.record.raw
        document = self.previous.document()
        document["metadata"]["resourceVersion"] = str(self.revision)
        return msgspec.json.encode(document)


def watch_line(type_: str, raw: bytes) -> bytes:
    """One line of a watch stream (meta/v1 WatchEvent)."""
    return b'{"type":"%b","object":%b}\n' % (type_.encode(), raw)


class History:
    """The latest events of one kind, bounded in number and in bytes."""

    def __init__(self, floor: int, *, events: int, size: int) -> None:
        self._events: deque[Event] = deque()
        self._limit = events
        self._room = size
        self.floor = floor
        """Events up to this revision are not kept: a watch must start here or later."""

    def append(self, event: Event) -> None:
        """Keep one more, dropping the oldest where the window is full."""
        self._events.append(event)
        self._room -= len(event.record.raw)
        while len(self._events) > self._limit or (self._room < 0 and len(self._events) > 1):
            oldest = self._events.popleft()
            self._room += len(oldest.record.raw)
            self.floor = oldest.revision

    def since(self, revision: int) -> list[Event]:
        """Events after this revision, oldest first.

        Raises:
            ApiError: 410, some of them are gone.
        """
        if revision < self.floor:
            raise too_old(revision, self.floor)
        later = list(self._newest_first(revision))
        later.reverse()
        return later

    def undo(self, revision: int) -> dict[tuple[str, str], Record | None]:
        """Objects that changed after this revision, as they were at it; None where they were not there.

        Raises:
            ApiError: 410, the window does not reach back that far.
        """
        return {e.record.key: e.previous for e in reversed(self.since(revision))}

    def _newest_first(self, revision: int) -> Iterator[Event]:
        for event in reversed(self._events):
            if event.revision <= revision:
                return
            yield event
