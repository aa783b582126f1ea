"""Answers of upstream servers, kept as long as they said (RFC 1035, RFC 2308), within bounds of number and bytes.

Comes in: a Question and the whole message that answers it. Goes out: a Reply, or nothing once its time is over.
"""

from __future__ import annotations

import msgspec

from netloom.clock import Clock
from netloom.dns.answers import Answer, Ask, write_answer
from netloom.dns.records import Record, Section, expand, sections
from netloom.dns.wire import (
    AD,
    CLASS_IN,
    HEADER,
    TC,
    TYPE_ANY,
    TYPE_CNAME,
    TYPE_OPT,
    TYPE_SOA,
    Malformed,
    Query,
    Rcode,
    name_text,
    skip_name,
    suffixes,
)

_TYPE_DNAME = 39
_TYPE_RRSIG = 46

POSITIVE_LIMIT_S = 3600
"""An answer is kept no longer, whatever its ttl."""
NEGATIVE_LIMIT_S = 30
"""A negative answer is kept no longer (RFC 2308 advises 1 to 3 hours; that is how new names stay unseen)."""
STALE_LIMIT_S = 3600
"""For so long after its end an answer may still be given where no upstream server answers (RFC 8767 section 4)."""
STALE_TTL_S = 30
"""What is given then as ttl (RFC 8767 section 4)."""
PREFETCH_USES = 3
"""An answer that was given so often is fetched anew before its end."""
_PREFETCH_PART = 10
"""That is: when less than one part in so many of its time is left, and at least a second before."""


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of what is kept of upstream answers. Times are in seconds; 0 keeps nothing of that kind."""

    entries: int = 10_000
    max_bytes: int = 16 << 20
    """About: what records cost in memory is estimated."""
    positive_s: int = POSITIVE_LIMIT_S
    negative_s: int = NEGATIVE_LIMIT_S
    stale_s: int = STALE_LIMIT_S
    prefetch: bool = True


class Question(msgspec.Struct, frozen=True, gc=False):
    """What is asked of upstream servers, and what answers are kept by."""

    name: bytes
    """On the wire, lower case."""
    type: int
    dnssec_ok: bool = False
    checking_disabled: bool = False

    @property
    def section(self) -> bytes:
        """The question section."""
        return self.name + self.type.to_bytes(2, "big") + CLASS_IN.to_bytes(2, "big")


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An upstream server's answer, read once."""

    question: Question
    rcode: int
    authentic: bool
    """The upstream server vouches for it (AD)."""
    counts: tuple[int, int, int]
    body: bytes
    """All records but OPT, as they stand after the question."""
    ttls: tuple[tuple[int, int], ...]
    """Offset in ``body`` and value of each ttl."""
    lifetime_s: int
    """How long it may be kept; 0: not at all."""
    server: str = ""
    """Who said so."""

    def records(self) -> list[Record]:
        """The answers, with nothing compressed in them."""
        message = HEADER.pack(0, 0, 1, *self.counts) + self.question.section + self.body
        found = sections(message, HEADER.size + len(self.question.section))
        return [expand(message, where) for where in found if where.section == 0]

    def answer(self, age_s: int, *, stale: bool = False) -> Answer:
        """The answer as it is some seconds later, for a query for the same name; ``stale``: its time is over."""
        body = bytearray(self.body)
        for at, ttl in self.ttls:
            left = STALE_TTL_S if stale else max(0, min(ttl, POSITIVE_LIMIT_S) - age_s)
            body[at : at + 4] = left.to_bytes(4, "big")
        answers, authority, additional = self.counts
        return Answer(self.rcode, AD if self.authentic else 0, answers, authority, additional, bytes(body))

    def answer_after(self, query: Query, ask: Ask, age_s: int, *, stale: bool = False) -> Answer:
        """The answer for a query whose name leads to this one by the aliases or the search path in ``ask``.

        Raises:
            Malformed: the upstream server's records are none.
        """
        head = HEADER.pack(0, 0, 1, *self.counts)
        message = head + self.question.section + self.answer(age_s, stale=stale).body
        found: tuple[list[Record], list[Record], list[Record]] = ([], [], [])
        for where in sections(message, HEADER.size + len(self.question.section)):
            record = expand(message, where)
            if ask.owner and where.section == 0 and record.name.lower() == ask.name:
                record = msgspec.structs.replace(record, name=ask.owner)
            found[where.section].append(record)
        return write_answer(
            query.name, (*ask.prefix, *found[0]), found[1], found[2], rcode=self.rcode, flags=0
        )


def read_reply(question: Question, message: bytes, server: str = "") -> Reply:
    """An upstream server's message whose id and question have been checked.

    Raises:
        Malformed: its records are none.
    """
    flags = int.from_bytes(message[2:4], "big")
    start = skip_name(message, HEADER.size) + 4
    counts = [0, 0, 0]
    ttls = []
    found = []
    records: list[Record] = []
    end = start
    for where in sections(message, start):
        if where.type == TYPE_OPT:
            # OPT is between two neighbours only (RFC 6891, 6.2.5). Usually it is last; what follows it could not keep its
            # place and goes too: the additional section is a courtesy.
            break
        record = expand(message, where)  # raises where its names are none, so that no client has to find out
        if where.section == 0:
            records.append(record)
        counts[where.section] += 1
        ttls.append((where.ttl_at - start, where.ttl))
        found.append(where)
        end = where.end
    _check_chain(question, records)
    rcode = flags & 15
    lifetime = 0 if flags & TC else _lifetime_s(question, rcode, found, message)
    sizes = (counts[0], counts[1], counts[2])
    return Reply(question, rcode, bool(flags & AD), sizes, message[start:end], tuple(ttls), lifetime, server)


def _check_chain(question: Question, records: list[Record]) -> None:
    """All answers are of the name asked, or of one that its aliases lead to (RFC 1034, 4.3.2; RFC 6672 for DNAME).

    Raises:
        Malformed: somebody tells of other names, too, which nobody asked.
    """
    targets = {question.name}
    left = records
    while left:
        mine = [
            r
            for r in left
            if r.name.lower() in targets or (r.type == _TYPE_DNAME and _is_above(r.name.lower(), targets))
        ]
        if not mine:
            raise Malformed(f"answer tells of {name_text(left[0].name)}, which is not what was asked")
        targets |= {r.data.lower() for r in mine if r.type == TYPE_CNAME}
        left = [
            r
            for r in left
            if r not in mine and not (r.type == _TYPE_RRSIG and _is_above(r.name.lower(), targets))
        ]


def _is_above(name: bytes, targets: set[bytes]) -> bool:
    return any(
        len(name) < len(one) and len(one) - len(name) in suffixes(one) and one.endswith(name)
        for one in targets
    )


def _lifetime_s(question: Question, rcode: int, found: list[Section], message: bytes) -> int:
    if not found or rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return 0
    shortest = min(where.ttl for where in found)
    wanted = {question.type} if question.type != TYPE_ANY else {w.type for w in found}
    if rcode == Rcode.NOERROR and any(w.section == 0 and w.type in wanted for w in found):
        return min(shortest, POSITIVE_LIMIT_S)
    soa = next((w for w in found if w.section == 1 and w.type == TYPE_SOA), None)
    if soa is None:
        return 0  # a negative answer without SOA must not be kept (RFC 2308, section 5)
    minimum = int.from_bytes(message[soa.end - 4 : soa.end], "big")
    return min(shortest, minimum, NEGATIVE_LIMIT_S)


_DEFAULTS = CacheSettings()


class Found(msgspec.Struct, frozen=True, gc=False):
    """What the cache has for a question."""

    reply: Reply
    age_s: int
    """Whole seconds since it came."""
    is_stale: bool = False
    """Its time is over: to be given only where nobody can say it anew."""
    is_wanted: bool = False
    """It is used often and ends soon: to be fetched anew while it is still good. Said once."""


class _Entry:
    """A reply that is kept."""

    __slots__ = ("is_asked_for", "reply", "since", "uses")

    def __init__(self, reply: Reply, since: float) -> None:
        self.reply = reply
        self.since = since
        self.uses = 0
        self.is_asked_for = False


class AnswerCache:
    """Replies by question, the least recently used leaving first.

    Args:
        clock: the time.
        settings: the bounds.
    """

    def __init__(self, *, clock: Clock, settings: CacheSettings = _DEFAULTS) -> None:
        self._clock = clock
        self._settings = settings
        self._size_limit = settings.max_bytes
        self._size = 0
        self._entries: dict[Question, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes that the replies take, about."""
        return self._size

    def replies(self) -> list[Reply]:
        """Those that are still good."""
        now = self._clock.monotonic()
        return [e.reply for e in self._entries.values() if now - e.since < self._lifetime_s(e.reply)]

    def get(self, question: Question) -> Found | None:
        """A reply that is still good, or one that is not any more but better than nothing."""
        entry = self._entries.pop(question, None)
        if entry is None:
            return None
        age = self._clock.monotonic() - entry.since
        lifetime = self._lifetime_s(entry.reply)
        if age >= lifetime + self._settings.stale_s:
            self._size -= _weight(entry.reply)
            return None
        self._entries[question] = entry
        entry.uses += 1
        is_stale = age >= lifetime
        return Found(entry.reply, int(age), is_stale, not is_stale and self._is_wanted(entry, lifetime - age))

    def put(self, reply: Reply) -> None:
        """Keep a reply as long as it may be kept."""
        if self._lifetime_s(reply) <= 0 or _weight(reply) > self._size_limit:
            return
        former = self._entries.pop(reply.question, None)
        if former is not None:
            self._size -= _weight(former.reply)
        self._entries[reply.question] = _Entry(reply, self._clock.monotonic())
        self._size += _weight(reply)
        while len(self._entries) > self._settings.entries or self._size > self._size_limit:
            oldest = next(iter(self._entries))
            self._size -= _weight(self._entries.pop(oldest).reply)

    def _lifetime_s(self, reply: Reply) -> int:
        is_positive = reply.rcode == Rcode.NOERROR and reply.counts[0] > 0
        return min(reply.lifetime_s, self._settings.positive_s if is_positive else self._settings.negative_s)

    def _is_wanted(self, entry: _Entry, left_s: float) -> bool:
        if not self._settings.prefetch or entry.is_asked_for or entry.uses < PREFETCH_USES:
            return False
        if left_s > max(1.0, self._lifetime_s(entry.reply) / _PREFETCH_PART):
            return False
        entry.is_asked_for = True
        return True


def _weight(reply: Reply) -> int:
    """Bytes that a reply costs, about: its records twice (bytes and ttls), and the objects around them."""
    return 400 + len(reply.body) + 100 * len(reply.ttls) + len(reply.question.name)
