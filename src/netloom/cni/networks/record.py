"""The durable record of what was attached to which pod besides its first interface. In: calls, before they are made. Out: the same.

What is to be done is written down before it is done, with everything that undoing it needs: configuration, arguments, interface. So
DEL and GC need no API server, no NetworkAttachmentDefinition and no memory, at whatever instruction the agent was killed. Addresses
of pools are here, too, from before they are asked for until they have been given back. One transaction of SQLite is one step; the
file is beside the address store's. Not here: doing any of it (``attachments``, ``leases``).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from netloom.cni.delegate import Call
from netloom.cni.ipam.store import Attachment
from netloom.cni.transactions import transaction
from netloom.errors import StorageError

_T = TypeVar("_T", bound=msgspec.Struct)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS networks (
    container TEXT NOT NULL, interface TEXT NOT NULL, place INTEGER NOT NULL, entry BLOB NOT NULL,
    PRIMARY KEY (container, interface, place)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (
    name TEXT PRIMARY KEY, container TEXT NOT NULL, interface TEXT NOT NULL, entry BLOB NOT NULL
) WITHOUT ROWID;
"""


class NetworkEntry(msgspec.Struct, frozen=True):
    """One network of one pod. ``result`` None: ADD was begun and nothing is known of its end.

    ``pod`` is namespace/name; ``network`` names the NetworkAttachmentDefinition, for people; ``where`` the annotation's entry;
    ``primary`` the runtime's network configuration, with which the pod's first interface was made. ``default_routes`` of the pod
    go through this network.
    """

    call: Call
    pod: str
    network: str
    where: str
    primary: str = ""
    result: dict[str, Any] | None = None
    default_routes: tuple[tuple[str, str], ...] = ()
    """Interface and gateway."""


class LeaseEntry(msgspec.Struct, frozen=True):
    """An address of a pool for an interface. ``released``: it is not needed any more, and the API server is to be told."""

    name: str
    pool: str
    address: str
    attachment: Attachment
    keep_for: str = ""
    """Name of the pod that it is kept for; empty: it is not kept."""
    keep_seconds: int = 0
    released: bool = False


class NetworkRecord:
    """The record, in a file of its own. For any number of threads.

    Which attachments have entries is known without asking the file: pods without further networks cost nothing.

    Args:
        path: the file; made where it is not there. Its directory must exist.

    Raises:
        StorageError: it cannot be opened, or is no such record.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)
        self._lock = threading.Lock()
        with self._translated():
            self._db = sqlite3.connect(self._path, timeout=5, isolation_level=None, check_same_thread=False)
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._db.executescript(_SCHEMA)
                rows = self._db.execute("SELECT DISTINCT container, interface FROM networks").fetchall()
            except sqlite3.Error:
                self._db.close()
                raise
        self._present = {Attachment(*row) for row in rows}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __contains__(self, attachment: Attachment) -> bool:
        return attachment in self._present

    def attachments(self) -> list[Attachment]:
        """All that have further networks."""
        return sorted(self._present)

    def begin(self, attachment: Attachment, entry: NetworkEntry) -> int:
        """Write down what is about to be done; its place among the attachment's.

        Raises:
            StorageError: it could not be written; it must not be done.
        """
        query = "SELECT coalesce(max(place), 0) + 1 FROM networks WHERE container = ? AND interface = ?"
        with self._transaction():
            (place,) = self._db.execute(query, (attachment.container, attachment.interface)).fetchone()
            row = (attachment.container, attachment.interface, place, msgspec.json.encode(entry))
            self._db.execute("INSERT INTO networks VALUES (?, ?, ?, ?)", row)
            self._present.add(attachment)
        number: int = place
        return number

    def note(self, attachment: Attachment, place: int, entry: NetworkEntry) -> None:
        """Write down what has become of it.

        Raises:
            StorageError: it could not be written.
        """
        row = (msgspec.json.encode(entry), attachment.container, attachment.interface, place)
        with self._transaction():
            self._db.execute(
                "UPDATE networks SET entry = ? WHERE container = ? AND interface = ? AND place = ?", row
            )

    def forget(self, attachment: Attachment, place: int) -> None:
        """It is undone.

        Raises:
            StorageError: it could not be written; it will be undone once more.
        """
        key = (attachment.container, attachment.interface)
        with self._transaction():
            self._db.execute(
                "DELETE FROM networks WHERE container = ? AND interface = ? AND place = ?", (*key, place)
            )
            left = self._db.execute(
                "SELECT 1 FROM networks WHERE container = ? AND interface = ? LIMIT 1", key
            )
            if left.fetchone() is None:
                self._present.discard(attachment)

    def entries(self, attachment: Attachment) -> list[tuple[int, NetworkEntry]]:
        """What was done for an attachment, in the order of doing.

        Raises:
            StorageError: the record cannot be read.
        """
        query = "SELECT place, entry FROM networks WHERE container = ? AND interface = ? ORDER BY place"
        rows = self._rows(query, (attachment.container, attachment.interface))
        return [(place, self._decode(entry, NetworkEntry)) for place, entry in rows]

    # --- addresses of pools

    def put_lease(self, entry: LeaseEntry) -> None:
        """Write down an address: before it is asked for, and when it is to be given back.

        Raises:
            StorageError: it could not be written.
        """
        at = entry.attachment
        with self._transaction():
            row = (entry.name, at.container, at.interface, msgspec.json.encode(entry))
            self._db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", row)

    def drop_lease(self, name: str) -> None:
        """It is given back, or was never had.

        Raises:
            StorageError: it could not be written.
        """
        with self._transaction():
            self._db.execute("DELETE FROM leases WHERE name = ?", (name,))

    def leases_of(self, attachment: Attachment) -> list[LeaseEntry]:
        """The addresses of an interface.

        Raises:
            StorageError: the record cannot be read.
        """
        query = "SELECT entry FROM leases WHERE container = ? AND interface = ? ORDER BY name"
        rows = self._rows(query, (attachment.container, attachment.interface))
        return [self._decode(entry, LeaseEntry) for (entry,) in rows]

    def leases(self) -> list[LeaseEntry]:
        """All addresses that this node knows of.

        Raises:
            StorageError: the record cannot be read.
        """
        return [
            self._decode(entry, LeaseEntry)
            for (entry,) in self._rows("SELECT entry FROM leases ORDER BY name", ())
        ]

    def _rows(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._translated(), self._lock:
            return self._db.execute(query, values).fetchall()

    def _decode(self, data: bytes, kind: type[_T]) -> _T:
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError as error:
            raise StorageError(
                f"record of networks {self._path}: an entry cannot be read: {error}",
                "was it written by a newer release?",
            ) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated(), self._lock, transaction(self._db):
            yield

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(
                f"record of networks {self._path}: {error}",
                "free some space on its file system, and see that the directory exists and is writable",
            ) from error
