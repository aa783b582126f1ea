"""Where objects are kept: SQLite for what must survive, memory for what is asked.

Comes in: whole documents of any shape. Goes out: records, sorted; events for listeners. One writer, one thread, one
revision that only grows and is every object's ``metadata.resourceVersion``. What a call returned has been committed and
survives SIGKILL (WAL; the kernel holds the pages). A call that raises has changed nothing, on disk or in memory.
Not here: what a document means, and who may write it.
"""

from __future__ import annotations

import bisect
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from netloom.errors import StorageError
from netloom.local.apiserver import kinds
from netloom.local.apiserver.history import Event, History, Record, record_of
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.status import too_large, unknown_path

_FORMAT = 1
_FIRST_REVISION = 1
"""An empty store has a revision too: 0 means "any" in the API."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    revision INTEGER NOT NULL, document BLOB NOT NULL,
    PRIMARY KEY (kind, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS latest (revision INTEGER NOT NULL);
"""
_PUT = "INSERT OR REPLACE INTO objects (kind, namespace, name, revision, document) VALUES (?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?"
_LATEST = "UPDATE latest SET revision = ?"

_FULL_HINTS = {
    "SQLITE_FULL": "free some space on the disk and try again",
    "SQLITE_READONLY": "make the directory and the file writable and try again",
    "SQLITE_CANTOPEN": "make the directory exist and writable",
    "SQLITE_BUSY": "another API server has it open; stop that one first",
    "SQLITE_NOTADB": "it is not a store; move it away to start with an empty one",
    "SQLITE_CORRUPT": "it is damaged; move it away to start with an empty one",
}


def _make_private(path: str) -> None:
    """Make the file where there is none: Secrets are in it, so nobody but its owner reads it (SQLite's others follow it)."""
    if path == ":memory:":
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        hint = "make the directory exist and writable, and the name that of a file"
        raise StorageError(f"store {path}: cannot open: {error.strerror}", hint) from error


class _Shelf:
    """The objects of one kind: by key, in order, with their history."""

    def __init__(self, floor: int, *, events: int, size: int) -> None:
        self.records: dict[tuple[str, str], Record] = {}
        self.order: list[tuple[str, str]] = []
        self.history = History(floor, events=events, size=size)

    def put(self, record: Record) -> None:
        if record.key not in self.records:
            bisect.insort(self.order, record.key)
        self.records[record.key] = record

    def drop(self, key: tuple[str, str]) -> None:
        del self.records[key]
        del self.order[bisect.bisect_left(self.order, key)]


class Store:
    """All objects of a cluster.

    Args:
        path: the database file; made if it is not there. ``:memory:`` keeps nothing.
        window: how many events of each kind a watch can replay.
        window_bytes: how many bytes of documents those may hold, for each kind.
        patience_s: seconds to wait for whoever has it open; 0 refuses at once.

    Raises:
        StorageError: the file cannot be opened, is no store, or is open elsewhere.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        window: int = 8192,
        window_bytes: int = 64 << 20,
        patience_s: float = 0.0,
    ) -> None:
        self._path = str(path)
        self._listeners: list[Callable[[Event], None]] = []
        self.revision = _FIRST_REVISION
        _make_private(self._path)
        try:
            # one process owns the file: no shared memory, and a second server is refused instead of mixing revisions
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=patience_s)
        except sqlite3.Error as error:
            raise self._storage_error("open", error) from error
        try:
            rows = self._load()
        except sqlite3.Error as error:
            self._db.close()
            raise self._storage_error("open", error) from error
        except BaseException:
            self._db.close()
            raise
        self._window = (window, window_bytes)
        self._shelves = {kind.qualified: self._new_shelf() for kind in kinds.ALL}
        self._unclaimed: dict[str, list[tuple[int, bytes]]] = {}
        for name, revision, raw in rows:
            kind = kinds.BY_QUALIFIED.get(name)
            if kind is not None:
                self._shelves[name].put(record_of(kind, msgspec.json.decode(raw), revision, raw))
            else:
                self._unclaimed.setdefault(name, []).append((revision, raw))

    def _load(self) -> list[tuple[str, int, bytes]]:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        format_ = self._db.execute("PRAGMA user_version").fetchone()[0]
        if format_ not in {0, _FORMAT}:
            raise StorageError(
                f"store {self._path}: written in format {format_}, this version reads {_FORMAT}",
                "use the version that wrote it, or move it away to start with an empty one",
            )
        self._db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";\n"):
            self._db.execute(statement)
        if self._db.execute("SELECT revision FROM latest").fetchone() is None:
            self._db.execute("INSERT INTO latest VALUES (?)", (_FIRST_REVISION,))
        self._db.execute(f"PRAGMA user_version = {_FORMAT}")
        self._db.execute("COMMIT")
        rows = self._db.execute("SELECT kind, revision, document FROM objects").fetchall()
        latest = self._db.execute("SELECT revision FROM latest").fetchone()[0]
        self.revision = max([latest, *(revision for _, revision, _ in rows)])
        return rows

    def open(self, kind: Kind, read: Callable[[dict[str, Any]], dict[str, Any]]) -> list[Record]:
        """Keep objects of a kind that a definition defines; ``read`` makes what is kept already a document of this kind.

        For a kind that is kept, too: its objects are read anew, and its history begins anew, for old events are of the old kind.
        """
        name = kind.qualified
        found = self._unclaimed.pop(name, None)
        if found is None and name in self._shelves:
            found = [(record.revision, record.raw) for record in self._shelves[name].records.values()]
        shelf = self._shelves[name] = self._new_shelf()
        for revision, raw in found or ():
            shelf.put(record_of(kind, read(msgspec.json.decode(raw)), revision))
        return list(shelf.records.values())

    def forget(self, kind: Kind) -> None:
        """Keep no more objects of a kind whose definition is gone; those that are left stay in the file."""
        shelf = self._shelves.pop(kind.qualified, None)
        if shelf is not None and shelf.records:
            self._unclaimed[kind.qualified] = [(r.revision, r.raw) for r in shelf.records.values()]

    def _new_shelf(self) -> _Shelf:
        events, size = self._window
        return _Shelf(self.revision, events=events, size=size)

    def _shelf(self, kind: Kind) -> _Shelf:
        shelf = self._shelves.get(kind.qualified)
        if shelf is None:  # its definition went while the request was being read
            raise unknown_path()
        return shelf

    def close(self) -> None:
        """Close the file. The store cannot be used afterwards."""
        self._db.close()

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call this with every event after its commit, in order, before the write returns. It must not raise or write."""
        self._listeners.append(listener)

    def get(self, kind: Kind, namespace: str, name: str) -> Record | None:
        """The object of this name, or None."""
        shelf = self._shelves.get(kind.qualified)
        return shelf.records.get((namespace, name)) if shelf is not None else None

    def count(self, kind: Kind) -> int:
        """How many objects of this kind there are."""
        return len(self._shelf(kind).order)

    def scan(
        self, kind: Kind, namespace: str = "", *, after: tuple[str, str] = ("", ""), at: int | None = None
    ) -> Iterator[Record]:
        """Objects in the order of namespace and name.

        Args:
            kind: which objects.
            namespace: only those in it; empty means all.
            after: only those behind this key.
            at: as they were at this revision; None is now.

        Raises:
            ApiError: 410 where the window does not reach back to ``at``, 504 where ``at`` is in the future.
        """
        shelf = self._shelf(kind)
        records, order = shelf.records, shelf.order
        if at is not None and at != self.revision:
            if at > self.revision:
                raise too_large(at, self.revision)
            records, order = self._rewind(shelf, at)
        start = max(after, (namespace, ""))
        for index in range(bisect.bisect_right(order, start), len(order)):
            key = order[index]
            if namespace and key[0] != namespace:
                return
            yield records[key]

    @staticmethod
    def _rewind(shelf: _Shelf, at: int) -> tuple[dict[tuple[str, str], Record], list[tuple[str, str]]]:
        undo = shelf.history.undo(at)
        if not undo:
            return shelf.records, shelf.order
        records = shelf.records | {key: was for key, was in undo.items() if was is not None}
        for key, was in undo.items():
            if was is None:
                records.pop(key, None)
        return records, sorted(records)

    def history(self, kind: Kind) -> History:
        """What happened to objects of this kind lately."""
        return self._shelf(kind).history

    def put(self, kind: Kind, document: dict[str, Any]) -> Record:
        """Create or replace one object; sets ``metadata.resourceVersion`` in the document.

        Raises:
            StorageError: it could not be written; nothing changed.
        """
        revision = self.revision + 1
        document["metadata"]["resourceVersion"] = str(revision)
        record = record_of(kind, document, revision)
        where = (kind.qualified, record.namespace, record.name)
        self._write(((_PUT, (*where, revision, record.raw)),))
        shelf = self._shelf(kind)
        previous = shelf.records.get(record.key)
        shelf.put(record)
        self._commit(shelf, Event(record, previous))
        return record

    def remove(self, kind: Kind, document: dict[str, Any]) -> Record:
        """Remove one object, whose last state is this document; its resourceVersion becomes that of the removal.

        Raises:
            StorageError: it could not be written; nothing changed.
        """
        revision = self.revision + 1
        document["metadata"]["resourceVersion"] = str(revision)
        record = record_of(kind, document, revision)
        shelf = self._shelf(kind)
        previous = shelf.records[record.key]
        where = (kind.qualified, record.namespace, record.name)
        self._write(((_DELETE, where), (_LATEST, (revision,))))
        shelf.drop(record.key)
        self._commit(shelf, Event(record, previous, deleted=True))
        return record

    def _commit(self, shelf: _Shelf, event: Event) -> None:
        self.revision = event.revision
        shelf.history.append(event)
        for listener in self._listeners:
            listener(event)

    def _write(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        try:
            if len(statements) == 1:  # autocommit is the cheapest transaction
                self._db.execute(*statements[0])
                return
            self._db.execute("BEGIN")
            for sql, values in statements:
                self._db.execute(sql, values)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._storage_error("write", error) from error

    def _storage_error(self, verb: str, error: sqlite3.Error) -> StorageError:
        code = getattr(error, "sqlite_errorname", "")
        hint = next((text for prefix, text in _FULL_HINTS.items() if code.startswith(prefix)), "")
        return StorageError(f"store {self._path}: cannot {verb}: {error}", hint or "see the disk's state")
