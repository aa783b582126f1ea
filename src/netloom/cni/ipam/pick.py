"""Which address is next. In: the record, a range, and what is left out. Out: an address, or None where there is none.

Never used ones come first, in order; then those that have been unused for long enough, the longest first; then what was left out in
an earlier order; at last, where there is nothing else, those that were in use a moment ago. Not here: writing it down.
"""

from __future__ import annotations

import ipaddress
import sqlite3
from collections.abc import Callable, Iterator, Sequence

import msgspec

from netloom.units import Addr, Cidr

_NEWEST = """
SELECT address FROM addresses WHERE family = ? AND address BETWEEN ? AND ? AND NOT ahead ORDER BY address DESC LIMIT 1
"""
_UNUSED = """
SELECT address FROM addresses WHERE freed IS NOT NULL AND +family = ? AND +address BETWEEN ? AND ? AND at <= ? ORDER BY at, freed
"""  # the plus signs keep SQLite from the primary key: the first row of the index `rested` that fits is the answer
_COUNT = "SELECT count(*) FROM addresses WHERE family = ? AND address BETWEEN ? AND ?"
_IN_ORDER = "SELECT address FROM addresses WHERE family = ? AND address BETWEEN ? AND ? ORDER BY address"
_ONE = "SELECT 1 FROM addresses WHERE family = ? AND address = ?"


class Room(msgspec.Struct, frozen=True):
    """A range, and the first and last of its addresses that pods may have."""

    range: Cidr
    first: Addr
    last: Addr

    def __contains__(self, address: Addr) -> bool:
        return self.range.version == address.version and int(self.first) <= int(address) <= int(self.last)


def usable(network: Cidr) -> tuple[Addr, Addr]:
    """First and last address of a node's range that pods may have.

    Left out: the network's own address (RFC 4291 section 2.6.1 keeps it for routers), the first after it, which fabrics give
    to the node's own interface, and the last, which in IPv4 means everybody.
    """
    base = network.network_address
    return base + 2, base + (network.num_addresses - 2)


def node_room(network: Cidr) -> Room:
    """A node's range, without its edges."""
    return Room(network, *usable(network))


def block_room(network: Cidr) -> Room:
    """A block of a pool: all of it. What is not to be handed out at the edges of the pool is reserved."""
    return Room(network, network.network_address, network.broadcast_address)


class Picker:
    """Looks into a record, inside of its transaction.

    Args:
        db: the record.
        reserved: what nobody is given.
        unused_since: seconds since the epoch; addresses given back later were in use a moment ago.
    """

    def __init__(self, db: sqlite3.Connection, reserved: Sequence[Cidr], unused_since: float) -> None:
        self._db = db
        self._reserved = tuple(reserved)
        self._unused_since = unused_since

    def next(self, rooms: Sequence[Room], *, hurry: bool) -> Addr | None:
        """The next address. ``hurry``: one that was in use a moment ago will do."""
        searches: list[Callable[[Room], Addr | None]] = [
            self._never_used,
            lambda room: self._longest_unused(room, self._unused_since),
            self._left_out,
        ]
        if hurry:
            searches.append(lambda room: self._longest_unused(room, float("inf")))
        for search in searches:
            for room in rooms:
                address = search(room)
                if address is not None:
                    return address
        return None

    def is_reserved(self, address: Addr) -> bool:
        """True for an address that nobody is given."""
        return self._after_reserved(address) is not None

    def _never_used(self, room: Room) -> Addr | None:
        if int(room.first) > int(room.last):
            return None
        row = self._db.execute(_NEWEST, self._key(room)).fetchone()
        candidate: Addr = room.first if row is None else ipaddress.ip_address(row[0]) + 1
        while candidate in room:
            beyond = self._after_reserved(candidate)
            if beyond is None:
                if self._db.execute(_ONE, (candidate.version, candidate.packed)).fetchone() is None:
                    return candidate
                beyond = int(candidate) + 1
            if beyond > int(room.last):
                return None
            candidate = type(room.last)(beyond)
        return None

    def _longest_unused(self, room: Room, since: float) -> Addr | None:
        if int(room.first) > int(room.last):
            return None
        rows = self._db.execute(_UNUSED, (*self._key(room), since))
        found = (ipaddress.ip_address(packed) for (packed,) in rows)
        return next((address for address in found if not self.is_reserved(address)), None)

    def _left_out(self, room: Room) -> Addr | None:
        """The lowest without a row below the newest: it was reserved when its turn came."""
        (rows,) = self._db.execute(_COUNT, self._key(room)).fetchone()
        if rows > int(room.last) - int(room.first):
            return None
        for low, high in self._gaps(room):
            candidate = low
            while candidate <= high:
                address = type(room.last)(candidate)
                beyond = self._after_reserved(address)
                if beyond is None:
                    return address
                candidate = beyond
        return None

    def _gaps(self, room: Room) -> Iterator[tuple[int, int]]:
        if int(room.first) > int(room.last):
            return
        following = int(room.first)
        for (packed,) in self._db.execute(_IN_ORDER, self._key(room)):
            here = int(ipaddress.ip_address(packed))
            if here > following:
                yield following, here - 1
            following = here + 1
        if following <= int(room.last):
            yield following, int(room.last)

    def _after_reserved(self, address: Addr) -> int | None:
        """The number after the reserved range that this address is in; None where it is in none."""
        for network in self._reserved:
            if network.version == address.version and address in network:
                return int(network.broadcast_address) + 1
        return None

    @staticmethod
    def _key(room: Room) -> tuple[int, bytes, bytes]:
        return room.range.version, room.first.packed, room.last.packed
