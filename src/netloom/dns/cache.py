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
    TYPE_OPT,
    TYPE_SOA,
    Query,
    Rcode,
    skip_name,
)

POSITIVE_LIMIT_S = 3600
"""An answer is kept no longer, whatever its ttl."""
NEGATIVE_LIMIT_S = 30
"""A negative answer is kept no longer (RFC 2308 advises 1 to 3 hours; that is how new names stay unseen)."""


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

    def answer(self, age_s: int) -> Answer:
        """The answer as it is some seconds later, for a query for the same name."""
        body = bytearray(self.body)
        for at, ttl in self.ttls:
            body[at : at + 4] = max(0, min(ttl, POSITIVE_LIMIT_S) - age_s).to_bytes(4, "big")
        answers, authority, additional = self.counts
        return Answer(self.rcode, AD if self.authentic else 0, answers, authority, additional, bytes(body))

    def answer_after(self, query: Query, ask: Ask, age_s: int) -> Answer:
        """The answer for a query whose name leads to this one by the aliases in ``ask``.

        Raises:
            Malformed: the upstream server's records are none.
        """
        head = HEADER.pack(0, 0, 1, *self.counts)
        message = head + self.question.section + self.answer(age_s).body
        found: tuple[list[Record], list[Record], list[Record]] = ([], [], [])
        for where in sections(message, HEADER.size + len(self.question.section)):
            found[where.section].append(expand(message, where))
        return write_answer(
            query.name, (*ask.prefix, *found[0]), found[1], found[2], rcode=self.rcode, flags=0
        )


def read_reply(question: Question, message: bytes) -> Reply:
    """An upstream server's message whose id and question have been checked.

    Raises:
        Malformed: its records are none.
    """
    flags = int.from_bytes(message[2:4], "big")
    start = skip_name(message, HEADER.size) + 4
    counts = [0, 0, 0]
    ttls = []
    found = []
    end = start
    for where in sections(message, start):
        if where.type == TYPE_OPT:
            # OPT is between two neighbours only (RFC 6891, 6.2.5). Usually it is last; what follows it could not keep its
            # place and goes too: the additional section is a courtesy.
            break
        expand(message, where)  # raises where its names are none, so that no client has to find out
        counts[where.section] += 1
        ttls.append((where.ttl_at - start, where.ttl))
        found.append(where)
        end = where.end
    rcode = flags & 15
    lifetime = 0 if flags & TC else _lifetime_s(question, rcode, found, message)
    sizes = (counts[0], counts[1], counts[2])
    return Reply(question, rcode, bool(flags & AD), sizes, message[start:end], tuple(ttls), lifetime)


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


class AnswerCache:
    """Replies by question, the least recently used leaving first."""

    def __init__(self, *, clock: Clock, entries: int = 10_000, size: int = 16 << 20) -> None:
        self._clock = clock
        self._limit = entries
        self._size_limit = size
        self._size = 0
        self._replies: dict[Question, tuple[float, Reply]] = {}

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, question: Question) -> tuple[Reply, int] | None:
        """A reply that is still good, and its age in whole seconds."""
        kept = self._replies.pop(question, None)
        if kept is None:
            return None
        since, reply = kept
        age = self._clock.monotonic() - since
        if age >= reply.lifetime_s:
            self._size -= _weight(reply)
            return None
        self._replies[question] = kept
        return reply, int(age)

    def put(self, reply: Reply) -> None:
        """Keep a reply as long as it may be kept."""
        if reply.lifetime_s <= 0 or _weight(reply) > self._size_limit:
            return
        former = self._replies.pop(reply.question, None)
        if former is not None:
            self._size -= _weight(former[1])
        self._replies[reply.question] = (self._clock.monotonic(), reply)
        self._size += _weight(reply)
        while len(self._replies) > self._limit or self._size > self._size_limit:
            oldest = next(iter(self._replies))
            self._size -= _weight(self._replies.pop(oldest)[1])


def _weight(reply: Reply) -> int:
    """Bytes that a reply costs, about: its records twice (bytes and ttls), and the objects around them."""
    return 400 + len(reply.body) + 100 * len(reply.ttls) + len(reply.question.name)
