"""What a handler says to a query, and the bytes that become of it.

Comes in: a Query and an Answer. Goes out: a whole message, cut to what the client takes.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from netloom.dns.records import Record, Writer, sections
from netloom.dns.wire import (
    AA,
    CD,
    HEADER,
    QR,
    RA,
    RD,
    TC,
    Query,
    Rcode,
    opt_record,
)


class Kept(enum.Enum):
    """For whom an answer may be kept ready until a name that it depends on changes."""

    NOT = enum.auto()
    FOR_ALL = enum.auto()
    FOR_PATH = enum.auto()
    """Only for askers with the same search path as this one, or, like this one, none."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A finished answer: sections as bytes, to stand after a question whose name has the length they were made for."""

    rcode: int
    flags: int = 0
    """AA, AD: flags besides those that every reply has."""
    answers: int = 0
    authority: int = 0
    additional: int = 0
    """Counts of records in the three sections; an OPT record is never among them."""
    body: bytes = b""
    stride: int = 0
    """Where all of ``body`` is answers of one length, that length: they may stand in any order. Otherwise 0."""
    kept: Kept = Kept.NOT
    depends: tuple[bytes, ...] = ()
    """Names besides the one asked that the answer hangs on."""


class Ask(msgspec.Struct, frozen=True, gc=False):
    """Only an upstream server can answer this, and how its answer is to be given.

    Whoever asks upstream puts ``prefix`` before the answers that came, and gives records of ``name`` under ``owner`` where there is
    one. What it says when upstream denies or fails is the server's matter, not the asker's: NXDOMAIN, NODATA, SERVFAIL as they came.
    """

    name: bytes
    """On the wire, lower case."""
    prefix: tuple[Record, ...] = ()
    """Aliases that lead from the name asked to ``name``."""
    owner: bytes = b""
    """The name as the client asked it, where that is another than ``name``, by the search path of its pod."""


class Later(msgspec.Struct, frozen=True):
    """Nobody can say yet: the names of the cluster are still to come."""


LATER = Later()
SERVFAIL = Answer(Rcode.SERVFAIL)
REFUSED = Answer(Rcode.REFUSED)
NOTIMP = Answer(Rcode.NOTIMP)
BADVERS = Answer(Rcode.BADVERS)


def write_answer(  # noqa: PLR0913  the parts of an Answer
    question_name: bytes,
    answers: Sequence[Record],
    authority: Sequence[Record] = (),
    additional: Sequence[Record] = (),
    *,
    rcode: int = Rcode.NOERROR,
    flags: int = AA,
    kept: Kept = Kept.NOT,
    depends: tuple[bytes, ...] = (),
) -> Answer:
    """An Answer from records, for questions with this name."""
    writer = Writer(question_name)
    for record in (*answers, *authority, *additional):
        writer.add(record)
    body = bytes(writer.body)
    return Answer(
        rcode, flags, len(answers), len(authority), len(additional), body, kept=kept, depends=depends
    )


def assemble(query: Query, answer: Answer, limit: int, options: bytes = b"") -> bytes:
    """The reply to a query, at most ``limit`` bytes long; what does not fit is left out and, where it matters, TC says so.

    ``options`` go into the OPT record, which is there exactly where the query has one.
    """
    opt = b""
    if query.edns is not None:
        opt = opt_record(rcode=answer.rcode, dnssec_ok=query.edns.dnssec_ok, options=options)
    flags = QR | RA | answer.flags | query.flags & (RD | CD) | answer.rcode & 15 | query.opcode << 11
    counts = (answer.answers, answer.authority, answer.additional)
    question = query.question
    room = limit - HEADER.size - len(question) - len(opt)
    body = answer.body
    if len(body) > room:
        counts, body, cut = _cut(question, answer, room)
        flags |= cut
    head = HEADER.pack(query.id, flags, 1, counts[0], counts[1], counts[2] + bool(opt))
    return head + question + body + opt


def _cut(question: bytes, answer: Answer, room: int) -> tuple[tuple[int, int, int], bytes, int]:
    """Whole records from the front as long as they fit.

    Missing additional records are no loss that a client must know of (RFC 2181, section 9); any other sets TC.
    """
    before = HEADER.size + len(question)
    counts = [answer.answers, answer.authority, answer.additional]
    message = HEADER.pack(0, 0, 1, *counts) + question + answer.body
    kept = [0, 0, 0]
    end = before
    for where in sections(message, before):
        if where.end - before > room:
            break
        kept[where.section] += 1
        end = where.end
    whole = kept[:2] == counts[:2]
    return (kept[0], kept[1], kept[2]), message[before:end], 0 if whole else TC
