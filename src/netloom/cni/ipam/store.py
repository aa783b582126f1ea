"""The durable record of which attachment has which address. In: an attachment and the node's ranges. Out: its addresses.

An address is recorded before anybody hears of it, and one transaction of SQLite is one reservation: whatever the instruction
at which the agent is killed, the record says either "before" or "after". The journal is not forced to disk with each
reservation: a process that is killed loses nothing by that, and after a power cut no pod of before lives any longer (the file
itself stays sound). Not here: what the ranges are, and when an address is no longer needed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from netloom.errors import StorageError, Unavailable
from netloom.units import Addr, Cidr

_SCHEMA = """
CREATE TABLE IF NOT EXISTS addresses (
    family INTEGER NOT NULL,
    address BLOB NOT NULL,
    container TEXT,
    interface TEXT,
    pod TEXT NOT NULL DEFAULT '',
    freed INTEGER,
    PRIMARY KEY (family, address)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS holders ON addresses (container, interface, family) WHERE container IS NOT NULL;
CREATE INDEX IF NOT EXISTS free ON addresses (freed) WHERE freed IS NOT NULL;
"""
# A row is an address that was handed out at least once. Free ones, and only those, have a number in `freed`; the one with
# the smallest number has been unused for longest.

_FREE = """
UPDATE addresses SET container = NULL, interface = NULL, pod = '',
    freed = (SELECT coalesce(max(freed), 0) + 1 FROM addresses WHERE freed IS NOT NULL)
WHERE container = ? AND interface = ? AND family IN (?, ?)
"""
_LONGEST_UNUSED = """
SELECT address FROM addresses WHERE freed IS NOT NULL AND +family = ? AND +address BETWEEN ? AND ? ORDER BY freed LIMIT 1
"""  # the plus signs keep SQLite from the primary key: the first row of the index on `freed` that fits is the answer


class Attachment(msgspec.Struct, frozen=True, order=True):
    """One interface of one container: the key under which CNI asks for and gives back (CNI_CONTAINERID, CNI_IFNAME)."""

    container: str
    interface: str

    def __str__(self) -> str:
        return f"{self.container}/{self.interface}"


class Lease(msgspec.Struct, frozen=True):
    """Addresses that an attachment has, at most one of each family; ``pod`` is a note for people (namespace/name)."""

    attachment: Attachment
    addresses: tuple[Addr, ...]
    pod: str = ""


class AddressStore:
    """The record, in a file of its own. For any number of threads; two processes exclude each other by SQLite's lock.

    Args:
        path: the file; made where it is not there. Its directory must exist.

    Raises:
        StorageError: it cannot be opened, or is no such record.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(self._path, timeout=5, isolation_level=None, check_same_thread=False)
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._db.executescript(_SCHEMA)
            except sqlite3.Error:
                self._db.close()
                raise
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def reserve(self, attachment: Attachment, ranges: Sequence[Cidr], pod: str = "") -> tuple[Addr, ...]:
        """One address of each family in ``ranges``; the same ones where the attachment has them already.

        Addresses never used come first, then those unused for longest.

        Raises:
            Unavailable: all addresses of a range are in use.
            StorageError: it could not be recorded; nothing was.
        """
        with self._transaction():
            held = self._held(attachment)
            chosen = []
            for version in sorted({r.version for r in ranges}):
                of_family = [r for r in ranges if r.version == version]
                kept = [a for a in held if a.version == version]
                if kept and any(kept[0] in r for r in of_family):
                    chosen.append(kept[0])
                    continue
                if kept:  # the node's ranges have changed since
                    self._free(attachment, (version, version))
                chosen.append(self._take(attachment, of_family, pod))
            return tuple(chosen)

    def release(self, attachment: Attachment) -> bool:
        """Give back what an attachment has; False where that is nothing.

        Raises:
            StorageError: it could not be recorded; the addresses stay reserved.
        """
        with self._transaction():
            return self._free(attachment) > 0

    def find(self, attachment: Attachment) -> Lease | None:
        """What an attachment has.

        Raises:
            StorageError: the record cannot be read.
        """
        query = "SELECT pod, address FROM addresses WHERE container = ? AND interface = ? ORDER BY family"
        with self._translated(), self._lock:
            rows = self._db.execute(query, (attachment.container, attachment.interface)).fetchall()
        if not rows:
            return None
        return Lease(attachment, tuple(ipaddress.ip_address(packed) for _, packed in rows), rows[0][0])

    def leases(self) -> list[Lease]:
        """All that is in use.

        Raises:
            StorageError: the record cannot be read.
        """
        query = (
            "SELECT container, interface, pod, address FROM addresses WHERE container IS NOT NULL"
            " ORDER BY container, interface, family"
        )
        with self._translated(), self._lock:
            rows = self._db.execute(query).fetchall()
        found: dict[Attachment, Lease] = {}
        for container, interface, pod, packed in rows:
            key = Attachment(container, interface)
            before = found[key].addresses if key in found else ()
            found[key] = Lease(key, (*before, ipaddress.ip_address(packed)), pod)
        return list(found.values())

    def check_writable(self) -> None:
        """Pass where a reservation could be recorded now.

        Raises:
            StorageError: it could not.
        """
        with self._transaction():
            self._db.execute("UPDATE addresses SET freed = freed WHERE family = 0")

    def _held(self, attachment: Attachment) -> list[Addr]:
        query = "SELECT address FROM addresses WHERE container = ? AND interface = ?"
        rows = self._db.execute(query, (attachment.container, attachment.interface))
        return [ipaddress.ip_address(packed) for (packed,) in rows]

    def _take(self, attachment: Attachment, ranges: Sequence[Cidr], pod: str) -> Addr:
        address = self._first(self._never_used, ranges) or self._first(self._longest_unused, ranges)
        if address is None:
            names = ", ".join(map(str, ranges))
            raise Unavailable(
                f"attachment {attachment}: all pod addresses of {names} are in use",
                "delete pods of this node, or give nodes larger ranges (--pod-cidr)",
            )
        self._db.execute(
            "INSERT OR REPLACE INTO addresses (family, address, container, interface, pod) VALUES (?, ?, ?, ?, ?)",
            (address.version, address.packed, attachment.container, attachment.interface, pod),
        )
        return address

    @staticmethod
    def _first(search: Callable[[Cidr], Addr | None], ranges: Sequence[Cidr]) -> Addr | None:
        for network in ranges:
            address = search(network)
            if address is not None:
                return address
        return None

    def _never_used(self, network: Cidr) -> Addr | None:
        first, last = usable(network)
        query = "SELECT max(address) FROM addresses WHERE family = ? AND address BETWEEN ? AND ?"
        (highest,) = self._db.execute(query, (network.version, first.packed, last.packed)).fetchone()
        if highest is None:
            return first if int(first) <= int(last) else None
        following: Addr = ipaddress.ip_address(highest) + 1
        return following if int(following) <= int(last) else None

    def _longest_unused(self, network: Cidr) -> Addr | None:
        first, last = usable(network)
        row = self._db.execute(_LONGEST_UNUSED, (network.version, first.packed, last.packed)).fetchone()
        return None if row is None else ipaddress.ip_address(row[0])

    def _free(self, attachment: Attachment, versions: tuple[int, int] = (4, 6)) -> int:
        return self._db.execute(_FREE, (attachment.container, attachment.interface, *versions)).rowcount

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated(), self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk makes SQLite roll back by itself
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> StorageError:
        return StorageError(
            f"address database {self._path}: {error}",
            "free some space on its file system, and see that the directory exists and is writable",
        )


def usable(network: Cidr) -> tuple[Addr, Addr]:
    """First and last address of a range that pods may have.

    Left out: the network's own address (RFC 4291 section 2.6.1 keeps it for routers), the first after it, which fabrics give
    to the node's own interface, and the last, which in IPv4 means everybody.
    """
    base = network.network_address
    return base + 2, base + (network.num_addresses - 2)
