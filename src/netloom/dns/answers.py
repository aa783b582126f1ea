"""What a handler says to a query, and the bytes that become of it.

Comes in: a Query and an Answer. Goes out: a whole message, cut to what the client takes.
"""

from __future__ import annotations

import struct
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

_COUNTS = struct.Struct(">HHHH")


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


class Ask(msgspec.Struct, frozen=True, gc=False):
    """Only an upstream server can answer this, and what is to stand before its answer."""

    name: bytes
    """On the wire, lower case."""
    prefix: tuple[Record, ...] = ()
    """Aliases that lead from the name asked to ``name``."""


SERVFAIL = Answer(Rcode.SERVFAIL)
REFUSED = Answer(Rcode.REFUSED)
NOTIMP = Answer(Rcode.NOTIMP)
BADVERS = Answer(Rcode.BADVERS)


def write_answer(
    question_name: bytes,
    answers: Sequence[Record],
    authority: Sequence[Record] = (),
    additional: Sequence[Record] = (),
    *,
    rcode: int = Rcode.NOERROR,
    flags: int = AA,
) -> Answer:
    """An Answer from records, for questions with this name."""
    writer = Writer(question_name)
    for record in (*answers, *authority, *additional):
        writer.add(record)
    body = bytes(writer.body)
    return Answer(rcode, flags, len(answers), len(authority), len(additional), body)


def assemble(query: Query, answer: Answer, limit: int) -> bytes:
    """The reply to a query, at most ``limit`` bytes long; what does not fit is left out and, where it matters, TC says so."""
    opt = b""
    if query.edns is not None:
        opt = opt_record(rcode=answer.rcode, dnssec_ok=query.edns.dnssec_ok)
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


def prepared_head(answer: Answer, *, edns: bool) -> bytes:
    """Bytes 2 to 12 of the reply to a plain query with RD set: what the fast path puts between id and question."""
    flags = QR | RA | RD | answer.flags | answer.rcode
    counts = _COUNTS.pack(1, answer.answers, answer.authority, answer.additional + edns)
    return flags.to_bytes(2, "big") + counts
