"""The durable record of which attachment has which address. In: an attachment and the ranges for it. Out: its addresses.

An address is recorded before anybody hears of it, and one transaction of SQLite is one reservation: whatever the instruction
at which the agent is killed, the record says either "before" or "after". The journal is not forced to disk with each
reservation: a process that is killed loses nothing by that, and after a power cut no pod of before lives any longer (the file
itself stays sound). Not here: what the ranges are, when an address is no longer needed, which one is next (``pick``).
"""

from __future__ import annotations

import contextlib
import ipaddress
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from netloom.clock import Clock, SystemClock
from netloom.cni.ipam import schema, statements
from netloom.cni.ipam.lease import Attachment, Exhausted, Holding, Lease, PortMapping, Taken, Usage
from netloom.cni.ipam.pick import Picker, Room, block_room, node_room, usable
from netloom.cni.transactions import transaction
from netloom.errors import StorageError
from netloom.units import Addr, Cidr

__all__ = ["AddressStore", "Attachment", "Exhausted", "Holding", "Lease", "PortMapping", "Taken", "usable"]

REUSE_DELAY_S = 120.0
"""How long an address stays unused while there are others. A late packet may still be on its way to who had it: names live for
30 s in resolvers, the kernel keeps a closed connection for 60 s and a UDP flow for 120 s (nf_conntrack_udp_timeout_stream)."""


class _Wish(NamedTuple):
    """Who asks, and when."""

    attachment: Attachment
    pod: str
    now: float
    hurry: bool
    picker: Picker


class AddressStore:
    """The record, in a file of its own. For any number of threads; two processes exclude each other by SQLite's lock.

    Args:
        path: the file; made where it is not there. Its directory must exist.
        clock: wall time is written down with each address.
        reuse_delay_s: how long an address stays unused while there are others.

    Raises:
        StorageError: it cannot be opened, is no such record, or is one of a newer release.
    """

    def __init__(
        self, path: Path | str, *, clock: Clock | None = None, reuse_delay_s: float = REUSE_DELAY_S
    ) -> None:
        self._path = str(path)
        self._lock = threading.Lock()
        self._clock = clock or SystemClock()
        self._reuse_delay_s = reuse_delay_s
        try:
            self._db = sqlite3.connect(self._path, timeout=5, isolation_level=None, check_same_thread=False)
            try:
                schema.prepare(self._db, self._path, self._clock.wall())
                # a clock that was set back must not keep addresses for years
                self._db.execute(
                    "UPDATE addresses SET at = :now WHERE at > :now", {"now": self._clock.wall()}
                )
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def reserve(  # noqa: PLR0913 - what may be given, what is asked for, what is to be remembered: by keyword
        self,
        attachment: Attachment,
        ranges: Sequence[Cidr],
        pod: str = "",
        *,
        blocks: Sequence[Cidr] = (),
        requested: Sequence[Addr] = (),
        reserved: Sequence[Cidr] = (),
        ports: Sequence[PortMapping] = (),
        versions: Sequence[int] = (),
        hurry: bool = True,
    ) -> tuple[Addr, ...]:
        """One address of each family that is wanted; the same ones where the attachment has them already.

        Addresses never used come first, then those unused for longest; those that were in use a moment ago only where nothing
        else is left. All of it is one transaction: the addresses of both families and the ports, or nothing.

        Args:
            attachment: who is to have them.
            ranges: the node's; their edges are left out.
            pod: namespace/name, a note for people; who had an address last may have it again at once.
            blocks: further ranges, of which everything may be given.
            requested: these and no others, in their families.
            reserved: what nobody is given.
            ports: what is to be remembered with them.
            versions: the families that are wanted (4, 6), besides those of the ranges and blocks.
            hurry: whether an address will do that was in use a moment ago.

        Raises:
            Exhausted: all addresses of a family are in use, or were a moment ago.
            Taken: somebody has what was asked for, or had it a moment ago.
            StorageError: it could not be recorded; nothing was.
        """
        asked: dict[int, Addr] = {address.version: address for address in requested}
        with self._transaction():
            now = self._clock.wall()
            closed = {text for (text,) in self._db.execute("SELECT range FROM closed")}
            rooms = [*map(node_room, ranges), *(block_room(b) for b in blocks if str(b) not in closed)]
            picker = Picker(self._db, reserved, now - self._reuse_delay_s)
            wish = _Wish(attachment, pod, now, hurry, picker)
            held: dict[int, Addr] = {address.version: address for address in self._held(attachment)}
            chosen = []
            for version in sorted({*(r.version for r in (*ranges, *blocks)), *asked, *versions}):
                of_family = [room for room in rooms if room.range.version == version]
                found = self._settle(wish, of_family, held.get(version), asked.get(version))
                if found is None:
                    raise _exhausted(attachment, version, (*ranges, *blocks))
                chosen.append(found)
            self._remember_ports(attachment, ports)
            return tuple(chosen)

    def release(self, attachment: Attachment, *, was_used: bool = True) -> bool:
        """Give back what an attachment has; False where that is nothing. What was never used may be given to others at once.

        Raises:
            StorageError: it could not be recorded; the addresses stay reserved.
        """
        with self._transaction():
            return self._free(attachment, self._clock.wall() if was_used else 0.0) > 0

    def find(self, attachment: Attachment) -> Lease | None:
        """What an attachment has.

        Raises:
            StorageError: the record cannot be read.
        """
        where = "WHERE a.container = ? AND a.interface = ? ORDER BY a.family"
        return next(iter(self._leases(where, msgspec.structs.astuple(attachment))), None)

    def leases(self) -> list[Lease]:
        """All that is in use.

        Raises:
            StorageError: the record cannot be read.
        """
        return self._leases("WHERE a.container IS NOT NULL ORDER BY a.container, a.interface, a.family", ())

    def holding(self, address: Addr) -> Holding | None:
        """Who has an address, or had it last; None where this node never gave it to anybody.

        Raises:
            StorageError: the record cannot be read.
        """
        with self._translated(), self._lock:
            return self._holding(address)

    def holdings(self) -> list[Holding]:
        """Every address that was handed out at least once, in order.

        Raises:
            StorageError: the record cannot be read.
        """
        query = "SELECT address, container, interface, pod, at, lent FROM addresses ORDER BY family, address"
        with self._translated(), self._lock:
            return [
                Holding(
                    ipaddress.ip_address(packed),
                    None if container is None else Attachment(container, interface),
                    pod,
                    at,
                    lent or "",
                )
                for packed, container, interface, pod, at, lent in self._db.execute(query)
            ]

    def usage(self, network: Cidr) -> Usage:
        """How many addresses of a range are in use.

        Raises:
            StorageError: the record cannot be read.
        """
        since = self._clock.wall() - self._reuse_delay_s
        with self._translated(), self._lock:
            return Usage(*self._db.execute(statements.USAGE, (since, *_bounds(network))).fetchone())

    def lend(self, address: Addr, block: str) -> Holding | None:
        """From now on another node gives this address of ours, with an IPBlock of that name; repeated, it is the same.

        Returns:
            Who has it here, where somebody has: then it stays ours. None where it is the other's now.

        Raises:
            StorageError: it could not be recorded.
        """
        with self._transaction():
            holding = self._holding(address)
            if holding is not None and holding.attachment is not None:
                return holding
            self._db.execute(statements.LEND, (address.version, address.packed, self._clock.wall(), block))
            return None

    def take_back(self, lent: Iterable[str]) -> int:
        """What went to other nodes is ours again, but for these blocks; the number of addresses. It counts as just used.

        Raises:
            StorageError: it could not be recorded.
        """
        kept = set(lent)
        with self._transaction():
            rows = self._db.execute(
                "SELECT family, address, lent FROM addresses WHERE lent IS NOT NULL"
            ).fetchall()
            back = [
                (self._clock.wall(), family, packed) for family, packed, block in rows if block not in kept
            ]
            query = f"UPDATE addresses SET lent = NULL, freed = {statements.FREED}, at = ? WHERE family = ? AND address = ?"  # noqa: S608 - a constant
            self._db.executemany(query, back)
            return len(back)

    def return_to(self, address: Addr, pod: str) -> None:
        """What went to another node is ours again, and this pod (namespace/name) may have it at once: it had it there.

        Raises:
            StorageError: it could not be recorded.
        """
        with self._transaction():
            self._db.execute(statements.RETURN_TO, (pod, self._clock.wall(), address.version, address.packed))

    def close_range(self, network: Cidr, *, at_once_for: str = "") -> bool:
        """Nothing of a range is handed out any more, if nobody has any of it, or had until a moment ago; else False.

        ``at_once_for``: the only one who may have had some a moment ago (namespace/name of a pod).

        Raises:
            StorageError: it could not be recorded.
        """
        with self._transaction():
            since = self._clock.wall() - self._reuse_delay_s
            if self._db.execute(statements.BUSY, (*_bounds(network), since, at_once_for)).fetchone()[0]:
                return False
            self._db.execute("INSERT OR IGNORE INTO closed VALUES (?)", (str(network),))
            return True

    def open_range(self, network: Cidr) -> None:
        """What ``close_range`` closed is handed out again.

        Raises:
            StorageError: it could not be recorded.
        """
        with self._transaction():
            self._db.execute("DELETE FROM closed WHERE range = ?", (str(network),))

    def check_writable(self) -> None:
        """Pass where a reservation could be recorded now.

        Raises:
            StorageError: it could not.
        """
        with self._transaction():
            self._db.execute("UPDATE addresses SET freed = freed WHERE family = 0")

    def _settle(
        self, wish: _Wish, rooms: Sequence[Room], kept: Addr | None, wanted: Addr | None
    ) -> Addr | None:
        """The address of one family, written down; None where there is none left."""
        if kept is not None and (kept == wanted or wanted is None) and _is_in(kept, rooms):
            return kept
        if kept is not None:  # the node's ranges, or what the pod asks for, have changed since
            self._free(wish.attachment, wish.now, (kept.version, kept.version))
        if wanted is None:
            found = wish.picker.next(rooms, hurry=wish.hurry)
            if found is None:
                return None
        else:
            found = self._as_asked(wanted, wish, rooms)
        key = msgspec.structs.astuple(wish.attachment)
        is_ahead = wanted is not None
        self._db.execute(statements.TAKE, (found.version, found.packed, *key, wish.pod, wish.now, is_ahead))
        return found

    def _as_asked(self, wanted: Addr, wish: _Wish, rooms: Sequence[Room]) -> Addr:
        if not _is_in(wanted, rooms) or wish.picker.is_reserved(wanted):
            problem = f"{wanted} is none of the addresses that this node may give"
            hint = "ask for another, or for none"
            raise Taken(problem, hint, holding=Holding(wanted, None, "", 0.0))
        holding = self._holding(wanted)
        if holding is None:
            return wanted
        if holding.attachment is not None:
            who = f"pod {holding.pod}" if holding.pod else f"attachment {holding.attachment}"
            raise Taken(f"{wanted} belongs to {who}", "ask for another, or delete that one", holding=holding)
        if holding.block:
            problem = f"{wanted} is another node's (IPBlock {holding.block})"
            raise Taken(problem, "ask for another", holding=holding)
        rest = holding.since + self._reuse_delay_s - wish.now
        if rest > 0 and (not wish.pod or holding.pod != wish.pod):
            problem = f"{wanted} was {holding.pod or 'another container'}'s until {wish.now - holding.since:.0f} s ago"
            raise Taken(problem, f"it is free in {rest:.0f} s; try again", holding=holding)
        return wanted

    def _holding(self, address: Addr) -> Holding | None:
        query = "SELECT container, interface, pod, at, lent FROM addresses WHERE family = ? AND address = ?"
        row = self._db.execute(query, (address.version, address.packed)).fetchone()
        if row is None:
            return None
        container, interface, pod, at, lent = row
        attachment = None if container is None else Attachment(container, interface)
        return Holding(address, attachment, pod, at, lent or "")

    def _held(self, attachment: Attachment) -> list[Addr]:
        query = "SELECT address FROM addresses WHERE container = ? AND interface = ?"
        rows = self._db.execute(query, msgspec.structs.astuple(attachment))
        return [ipaddress.ip_address(packed) for (packed,) in rows]

    def _leases(self, where: str, values: tuple[str, ...]) -> list[Lease]:
        with self._translated(), self._lock:
            rows = self._db.execute(statements.LEASES + where, values).fetchall()
        found: dict[Attachment, Lease] = {}
        for container, interface, pod, at, packed, ports in rows:
            key = Attachment(container, interface)
            before = found[key].addresses if key in found else ()
            mappings = () if ports is None else msgspec.json.decode(ports, type=tuple[PortMapping, ...])
            found[key] = Lease(key, (*before, ipaddress.ip_address(packed)), pod, mappings, at)
        return list(found.values())

    def _remember_ports(self, attachment: Attachment, ports: Sequence[PortMapping]) -> None:
        key = msgspec.structs.astuple(attachment)
        if ports:
            self._db.execute(
                "INSERT OR REPLACE INTO ports VALUES (?, ?, ?)", (*key, msgspec.json.encode(ports))
            )
        else:
            self._db.execute("DELETE FROM ports WHERE container = ? AND interface = ?", key)

    def _free(self, attachment: Attachment, at: float, versions: tuple[int, int] = (4, 6)) -> int:
        key = msgspec.structs.astuple(attachment)
        if versions == (4, 6):
            self._db.execute("DELETE FROM ports WHERE container = ? AND interface = ?", key)
        return self._db.execute(statements.FREE, (at, *key, *versions)).rowcount

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated(), self._lock, transaction(self._db):
            yield

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


def _is_in(address: Addr, rooms: Iterable[Room]) -> bool:
    return any(address in room for room in rooms)


def _bounds(network: Cidr) -> tuple[int, bytes, bytes]:
    return network.version, network.network_address.packed, network.broadcast_address.packed


def _exhausted(attachment: Attachment, version: int, ranges: Iterable[Cidr]) -> Exhausted:
    names = ", ".join(str(r) for r in ranges if r.version == version) or f"IPv{version}"
    return Exhausted(
        f"attachment {attachment}: all pod addresses of {names} are in use",
        "delete pods of this node, or give nodes larger ranges (--pod-cidr)",
        version=version,
    )
