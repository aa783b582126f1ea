"""Answers ready as bytes: from the bytes of a query to those of its reply in one look-up.

Comes in: replies as they were sent, and what they hang on. Goes out: entries, in dictionaries that the receive loop looks into itself
(``udp.py``). What an answer depends on is told by whoever made it; the zone says which names have changed.

The key is the whole query without its id, in lower case, for a name is the same in any case. So a reply depends on nothing but the
key, and of askers, where that matters, on their search path: what is the same for all is in ``shared``, and what the search path of
a pod might complete is in a store of that path.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from netloom.dns.answers import Answer, Kept
from netloom.dns.counters import Counters
from netloom.dns.wire import CD, HEADER, QR, RA, RD, TC, TYPE_OPT, Query

SHARED_LIMIT = 120_000
"""Entries for all askers."""
PATHS_LIMIT = 60_000
"""Entries of all search paths together: what strangers make up (NXDOMAIN) is among them."""
DEPENDENTS_LIMIT = 120_000
SHAPES_LIMIT = 96
"""Kinds of queries (flags, type, size) that are kept ready; a client that makes up ever new ones is answered the long way."""
_SETTLED_AT_ONCE = 200
_OPT_SIZE = 11
_COUNTS = struct.Struct(">HHHH")
_COMMON_FLAGS = QR | RA | RD | CD
"""Flags of a reply that hang on the query alone."""
_OPT_START = b"\0" + TYPE_OPT.to_bytes(2, "big")

Entry = list[Any]
"""Bytes 2 to 12 of the reply; how many bytes of the query's end give way to what follows the question; that; an iterator that gives
the same with another record first, or None; and how often it was used."""
Store = dict[bytes, Entry]
Source = Callable[[bytes, int], Answer | None]
"""An answer to a name in lower case and a type, of class IN and the same for all askers; None where that takes more than a look."""


class Shape(NamedTuple):
    """What replies to one kind of queries have in common."""

    flags: int
    type: int
    cut: int
    opt: bytes
    limit: int
    """Bytes of the largest reply."""


class PreparedAnswers:
    """Entries by query, and the names on which they hang."""

    def __init__(self, *, counters: Counters) -> None:
        self._counters = counters
        self.shared: Store = {}
        self._paths: dict[object, Store] = {}
        self._holders: dict[bytes, list[Store]] = {}
        """By name, the stores of search paths that may have answers for it."""
        self._shapes: dict[tuple[bytes, bytes], Shape] = {}
        self.source: Source | None = None
        """Where an answer may be looked for that is asked for the first time, in a kind of query that is known; None: nowhere."""
        self._dependents: dict[bytes, set[bytes]] = {}
        self._dependents_count = 0

    def __len__(self) -> int:
        return len(self.shared) + sum(map(len, self._paths.values()))

    def store(self, path: object) -> Store:
        """The store of askers with this search path; the same dictionary at each call, and as long as this object lives."""
        return self._paths.setdefault(path, {})

    def drop_store(self, path: object) -> None:
        """Nobody has this search path any more."""
        store = self._paths.pop(path, None)
        if store is not None:
            self._drop(store)

    def reply(self, data: bytes, store: Store) -> bytes | None:
        """The whole reply to a query; None where nothing is ready, or only a reply that was cut to the size of a datagram."""
        key = data[2:].lower()
        entry = self.shared.get(key) or store.get(key)
        if entry is None:
            return None
        head, cut, tail, turns, _ = entry
        if head[0] << 8 & TC:
            return None
        entry[4] += 1
        if turns is not None:
            tail = next(turns)
        reply: bytes = data[:2] + head + data[HEADER.size : len(data) - cut] + tail
        return reply

    def make(self, key: bytes) -> Entry | None:
        """The entry for a query that is asked for the first time, where it is a usual one for a name with records of its own."""
        size = 4 + _OPT_SIZE if key[9:10] == b"\1" else 4
        shape = self._shapes.get((key[:10], key[-size:]))
        if shape is None or self.source is None:
            return None
        name = key[10:-size]
        answer = self.source(name, shape.type)
        if answer is None or HEADER.size + len(name) + 4 + len(answer.body) + len(shape.opt) > shape.limit:
            return None
        flags = shape.flags | answer.flags | answer.rcode
        counts = _COUNTS.pack(1, answer.answers, answer.authority, answer.additional + bool(shape.opt))
        turns = _turning(answer.body, answer.stride, shape.opt) if answer.stride else None
        if len(self.shared) >= SHARED_LIMIT:
            self._drop(self.shared)
        entry: Entry = [flags.to_bytes(2, "big") + counts, shape.cut, answer.body + shape.opt, turns, 0]
        self.shared[key] = entry
        return entry

    def keep(self, data: bytes, query: Query, answer: Answer, reply: bytes, path: object) -> None:
        """Have the reply to a query by datagram ready from now on, for all askers or for those with this search path."""
        start, end = data[2 : HEADER.size], data[HEADER.size + len(query.name) :]
        if not self._is_usual(start, end):
            return
        question_end = HEADER.size + len(query.question)
        if (start, end) not in self._shapes:
            flags = int.from_bytes(reply[2:4], "big") & _COMMON_FLAGS
            opt = reply[-_OPT_SIZE:] if query.edns is not None else b""
            self._shapes[start, end] = Shape(flags, query.type, len(data) - question_end, opt, query.udp_size)
        if answer.kept is Kept.FOR_ALL:
            store = self.shared
            if len(store) >= SHARED_LIMIT:
                self._drop(store)
        else:
            store = self.store(path)
            if sum(map(len, self._paths.values())) >= PATHS_LIMIT:
                for one in self._paths.values():
                    self._drop(one)
                self._holders.clear()
            holders = self._holders.setdefault(query.folded, [])
            if not any(one is store for one in holders):
                holders.append(store)
        for name in answer.depends:
            self._depend(name, query.folded)
        tail = reply[question_end:]
        turns = None
        if answer.stride and tail.startswith(answer.body):
            turns = _turning(answer.body, answer.stride, tail[len(answer.body) :])
        key = start + query.folded + end
        if (former := store.get(key)) is not None:
            self._count(former)
        store[key] = [reply[2 : HEADER.size], len(data) - question_end, tail, turns, 0]

    def forget(self, names: Iterable[bytes]) -> None:
        """What hangs on these names is no longer right."""
        for name in names:
            self._forget(name)
            hanging = self._dependents.pop(name, None)
            if hanging is not None:
                self._dependents_count -= len(hanging)
                for one in hanging:
                    self._forget(one)

    def clear(self) -> None:
        """Nothing is right any more."""
        for store in (self.shared, *self._paths.values()):
            self._drop(store)
        self._holders.clear()
        self._dependents.clear()
        self._dependents_count = 0

    def settle(self, note: Callable[[bytes, int, int], None] | None = None) -> None:
        """Count the replies given since the last call by rcode; ``note`` hears of each query (without id), rcode and number."""
        for _ in self.settling(note):
            pass

    def settling(self, note: Callable[[bytes, int, int], None] | None = None) -> Iterator[None]:
        """The same in pieces: all of 100,000 at once would hold up queries for a tenth of a second."""
        for store in (self.shared, *self._paths.values()):
            for number, key in enumerate(list(store), 1):
                entry = store.get(key)
                if entry is not None and entry[4]:
                    if note is not None:
                        note(key, entry[0][1] & 15, entry[4])
                    self._count(entry)
                    entry[4] = 0
                if not number % _SETTLED_AT_ONCE:
                    yield

    def _forget(self, name: bytes) -> None:
        stores = (self.shared, *self._holders.pop(name, ()))
        for start, end in self._shapes:
            key = start + name + end
            for store in stores:
                entry = store.pop(key, None)
                if entry is not None:
                    self._count(entry)

    def _count(self, entry: Entry) -> None:
        self._counters.rcodes[entry[0][1] & 15] += entry[4]
        self._counters.prepared_hits += entry[4]

    def _drop(self, store: Store) -> None:
        for entry in store.values():
            self._count(entry)
        store.clear()

    def _depend(self, name: bytes, question: bytes) -> None:
        if self._dependents_count >= DEPENDENTS_LIMIT:
            self.clear()
        hanging = self._dependents.setdefault(name, set())
        if question not in hanging:
            hanging.add(question)
            self._dependents_count += 1

    def _is_usual(self, start: bytes, end: bytes) -> bool:
        """Whether queries that differ from this in name and id only may be kept."""
        if (start, end) in self._shapes:
            return True
        without_options = len(end) == 4 or (
            len(end) == 4 + _OPT_SIZE and end[4:7] == _OPT_START and end[-2:] == b"\0\0"
        )
        # Keys are folded whole: nothing but the name may have bytes that folding changes, or changes others into.
        both = start + end
        return without_options and both == both.lower() == both.upper() and len(self._shapes) < SHAPES_LIMIT


def _turning(body: bytes, stride: int, end: bytes) -> Iterator[bytes]:
    """The same records, another one first each time, so that clients that take the first spread over all."""
    at = random.randrange(len(body) // stride) * stride  # noqa: S311  a start, not a secret
    while True:
        yield body[at:] + body[:at] + end
        at = (at + stride) % len(body)
