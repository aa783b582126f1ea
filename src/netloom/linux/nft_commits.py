"""The kernel's notifications of nftables, put together to commits. Pure: messages in, values out.

In: netlink messages of group NFNLGRP_NFTABLES, in their order. Out: :class:`Commit` values. Not here: the socket (``nft_events``), what
elements say (``nft_codec``). From ``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import collections
import struct
from collections.abc import Collection, Iterable

import msgspec

from netloom.linux.netlink import Message, attributes, text
from netloom.linux.nft_codec import SUBSYSTEM
from netloom.units import Family

_NEWGEN = SUBSYSTEM << 8 | 15
_GEN_ID = 1
_GEN_PROC_PID = 2
_GEN_PROC_NAME = 3

_TABLE = 1
_NAME = {"table": 1, "chain": 3, "rule": 2, "map": 2, "element": 2}
"""Which attribute names the object itself, its chain or its set."""
_WORDS = ("table", "chain", "rule", "map", "element")
_KINDS = {
    kind: (word, deletes)
    for place, word in enumerate(_WORDS)
    for kind, deletes in ((3 * place, False), (3 * place + 2, True), (26 + place, True))
}
"""By message: NFT_MSG_NEW..., NFT_MSG_DEL..., and NFT_MSG_DESTROY... of newer programs."""
_FAMILIES = {2: Family.V4, 10: Family.V6}

_LENGTH = struct.Struct("=H")
_MOST_ELEMENTS = 256
"""Of more elements of one map in one commit the keys are not told."""
_MOST_CHANGES = 1024
_MOST_PLACES = 8192


class Change(msgspec.Struct, frozen=True):
    """What one commit did to the objects of one kind in one place."""

    family: Family
    table: str
    kind: str
    """``table``, ``chain``, ``rule``, ``map`` (maps and sets) or ``element``."""
    name: str
    """Of the chain (for rules, the one that they are in), or of the map or set."""
    added: int = 0
    deleted: int = 0
    bodies: tuple[bytes, ...] | None = ()
    """Of elements: the messages, which ``nft_codec.decode_elements`` reads. None: more than are kept."""


class Commit(msgspec.Struct, frozen=True):
    """One transaction that the kernel has taken."""

    generation: int
    """Of the ruleset after it; 32 bits, which wrap."""
    pid: int
    """Of whoever committed, as the initial pid namespace numbers it."""
    process: str
    """Its name, at most 15 characters."""
    tables: frozenset[tuple[Family, str]]
    """The tables that it touched, of families ip and ip6."""
    changes: tuple[Change, ...] = ()
    """In the tables that were asked for."""

    def counts(self) -> dict[str, int]:
        """How many objects of each kind were added or deleted."""
        found: collections.Counter[str] = collections.Counter()
        for change in self.changes:
            found[change.kind] += change.added + change.deleted
        return dict(found)


class Overrun(msgspec.Struct, frozen=True):
    """Notifications were lost: anything may have happened, and all has to be looked at."""


Event = Commit | Overrun


class Reading:
    """Puts notifications together to commits; the kernel sends the objects first and the generation last.

    Args:
        tables: names of the tables whose changes are wanted in detail.
    """

    def __init__(self, tables: Collection[str]) -> None:
        self._wanted = frozenset(tables)
        self._tables: set[tuple[Family, str]] = set()
        self._changes: dict[tuple[Family, str, str, str], _Counts] = {}
        self._places: dict[tuple[int, int, bytes], _Counts | None] = {}
        self._truncated = False

    def feed(self, messages: Iterable[Message]) -> list[Event]:
        """The commits that these messages complete, in order."""
        complete: list[Event] = []
        for message in messages:
            if message.type == _NEWGEN:
                complete.append(self._commit(message.body))
            elif message.type >> 8 == SUBSYSTEM and message.body:
                self._take(message.type & 0xFF, message.body)
        return complete

    def forget(self) -> None:
        """Start anew, after messages were lost."""
        self._tables, self._changes, self._places, self._truncated = set(), {}, {}, False

    def _take(self, kind: int, body: bytes) -> None:
        # Every object has its table in its first attribute and its own name, chain or map in the second. There may be 50,000 of
        # one map in a commit: what these bytes mean is looked up once.
        end = _end(body, _end(body, 4))
        place = (kind, body[0], body[4:end])
        known = self._places.get(place)
        if known is None and place not in self._places:
            if len(self._places) >= _MOST_PLACES:
                self._places = {}
            known = self._places[place] = self._place(kind, body)
        if known is not None:
            known.take(body, deleted=_KINDS[kind][1])

    def _place(self, kind: int, body: bytes) -> _Counts | None:
        """Where to count an object; None where it is of no interest."""
        family = _FAMILIES.get(body[0])
        if family is None:
            return None
        found = attributes(body, 4)
        table = text(found.get(_TABLE, b""))
        self._tables.add((family, table))
        if table not in self._wanted or kind not in _KINDS:
            return None
        word, _ = _KINDS[kind]
        where = (family, table, word, text(found.get(_NAME[word], b"")))
        counts = self._changes.get(where)
        if counts is None:
            if len(self._changes) >= _MOST_CHANGES:
                self._truncated = True
                return None
            counts = self._changes[where] = _Counts(keeps=word == "element")
        return counts

    def _commit(self, body: bytes) -> Event:
        found = attributes(body, 4)
        commit = Commit(
            generation=int.from_bytes(found.get(_GEN_ID, b""), "big"),
            pid=int.from_bytes(found.get(_GEN_PROC_PID, b""), "big"),
            process=text(found.get(_GEN_PROC_NAME, b"")),
            tables=frozenset(self._tables),
            changes=tuple(counts.change(*place) for place, counts in self._changes.items()),
        )
        event: Event = Overrun() if self._truncated else commit
        self.forget()
        return event


class _Counts:
    """A change that grows."""

    def __init__(self, *, keeps: bool) -> None:
        self._added = 0
        self._deleted = 0
        self._keeps = keeps
        self._bodies: list[bytes] | None = []

    def take(self, body: bytes, *, deleted: bool) -> None:
        if deleted:
            self._deleted += 1
        else:
            self._added += 1
        if not self._keeps or self._bodies is None:
            return
        if len(self._bodies) < _MOST_ELEMENTS:
            self._bodies.append(body)
        else:
            self._bodies = None

    def change(self, family: Family, table: str, kind: str, name: str) -> Change:
        bodies = None if self._bodies is None else tuple(self._bodies)
        return Change(family, table, kind, name, self._added, self._deleted, bodies)


def _end(body: bytes, offset: int) -> int:
    """Where the attribute at this offset ends."""
    if offset + 4 > len(body):
        return len(body)
    (length,) = _LENGTH.unpack_from(body, offset)
    padded: int = (length + 3) & ~3
    return offset + max(padded, 4)
