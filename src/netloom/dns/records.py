"""Records on the wire: data from text, sections written with compression, sections of a reply read and cut.

Comes in: record sets of model.names, or bytes of an upstream's reply. Goes out: bytes, or Record values.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

import msgspec

from netloom.dns.wire import (
    CLASS_IN,
    FIXED,
    HEADER,
    TYPE_CNAME,
    TYPE_NS,
    TYPE_SOA,
    Malformed,
    encode_name,
    read_name,
    skip_name,
    suffixes,
)
from netloom.model.names.records import RecordSet, RecordSets, RecordType

# Types whose data begins with a name after so many bytes (RFC 1035 section 3.3, RFC 2782).
_NAME_AT = {TYPE_NS: 0, TYPE_CNAME: 0, RecordType.PTR: 0, 15: 2, RecordType.SRV: 6}
_POINTER_LIMIT = 0x3FFF
_SET = struct.Struct(">HHI")
OWN_NAME = (0xC000 | HEADER.size).to_bytes(2, "big")
"""A pointer to the name of the question."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record with nothing compressed in it."""

    name: bytes
    type: int
    klass: int
    ttl: int
    data: bytes


class Section(msgspec.Struct, frozen=True, gc=False):
    """Where one record of a message lies."""

    section: int
    """0 answers, 1 authority, 2 additional."""
    start: int
    type: int
    klass: int
    ttl: int
    ttl_at: int
    data_at: int
    end: int


def data_of(type_: RecordType, text: str) -> bytes:
    """Data of a record from its presentation form.

    Raises:
        Malformed: the text is none of that type.
    """
    try:
        match type_:
            case RecordType.A:
                return ipaddress.IPv4Address(text).packed
            case RecordType.AAAA:
                return ipaddress.IPv6Address(text).packed
            case RecordType.SRV:
                priority, weight, port, target = text.split(" ")
                return struct.pack(">HHH", int(priority), int(weight), int(port)) + encode_name(target)
            case RecordType.SOA:
                server, mailbox, *times = text.split(" ")
                return encode_name(server) + encode_name(mailbox) + struct.pack(">IIIII", *map(int, times))
            case RecordType.TXT:
                value = text.encode()
                return bytes((len(value),)) + value
            case _:
                return encode_name(text)
    except (ValueError, struct.error) as error:
        raise Malformed(f"{type_.name} record {text!r}: {error}") from None


def pack(sets: RecordSets) -> bytes:
    """Record sets of one name in the form in which they are kept: each with its records as they stand right after a question.

    Owner names point at the question, data is not compressed, so that a set is the body of an answer as it is.

    Raises:
        Malformed: a record is none of its type.
    """
    return b"".join(map(_packed, sets))


def _packed(one: RecordSet) -> bytes:
    pieces: list[bytes] = []
    for text in one.data:
        data = data_of(one.type, text)
        pieces += (OWN_NAME, FIXED.pack(one.type, CLASS_IN, one.ttl, len(data)), data)
    body = b"".join(pieces)
    return _SET.pack(one.type, len(one.data), len(body)) + body


def packed_sets(packed: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, number of records, and the records of each set that ``pack`` put together."""
    at = 0
    while at < len(packed):
        type_, count, size = _SET.unpack_from(packed, at)
        at += _SET.size
        yield type_, count, packed[at : at + size]
        at += size


def records_of(name: bytes, body: bytes) -> Iterator[Record]:
    """The single records of a packed set, for a name."""
    at = 0
    while at < len(body):
        at += len(OWN_NAME)
        type_, klass, ttl, length = FIXED.unpack_from(body, at)
        at += FIXED.size + length
        yield Record(name, type_, klass, ttl, body[at - length : at])


class Writer:
    """Writes records after a question, owners and well-known names compressed (RFC 1035, section 4.1.4)."""

    def __init__(self, question_name: bytes) -> None:
        self.body = bytearray()
        self._base = HEADER.size + len(question_name) + 4
        self._offsets: dict[bytes, int] = {}
        self._note(question_name.lower(), HEADER.size)

    def add(self, record: Record) -> None:
        """Append one record."""
        self._name(record.name)
        fixed_at = len(self.body)
        self.body += FIXED.pack(record.type, record.klass, record.ttl, 0)
        # Only what RFC 1035 defines may be compressed; SRV targets must not be (RFC 2782).
        if record.type in (TYPE_NS, TYPE_CNAME, RecordType.PTR):
            self._name(record.data)
        else:
            self.body += record.data
        length = len(self.body) - fixed_at - FIXED.size
        self.body[fixed_at + 8 : fixed_at + 10] = length.to_bytes(2, "big")

    def _name(self, wire: bytes) -> None:
        folded = wire.lower()
        for at in suffixes(wire)[:-1]:
            offset = self._offsets.get(folded[at:])
            if offset is not None:
                self._note(folded, self._base + len(self.body), stop=at)
                self.body += wire[:at] + (0xC000 | offset).to_bytes(2, "big")
                return
        self._note(folded, self._base + len(self.body))
        self.body += wire

    def _note(self, folded: bytes, offset: int, stop: int = 256) -> None:
        for at in suffixes(folded)[:-1]:
            if at >= stop or offset + at > _POINTER_LIMIT:
                return
            self._offsets.setdefault(folded[at:], offset + at)


def sections(message: bytes, at: int) -> Iterator[Section]:
    """Every record of a message whose question ends at ``at``, in order.

    Raises:
        Malformed: the counts in the header and the bytes do not agree.
    """
    counts = HEADER.unpack_from(message)[3:]
    for section, count in enumerate(counts):
        for _ in range(count):
            start, at = at, skip_name(message, at)
            if at + FIXED.size > len(message):
                raise Malformed("message ends within a record")
            type_, klass, ttl, length = FIXED.unpack_from(message, at)
            data_at = at + FIXED.size
            if data_at + length > len(message):
                raise Malformed("message ends within a record's data")
            # A ttl with the top bit set counts as 0 (RFC 2181, section 8).
            seconds = ttl if ttl < 1 << 31 else 0
            yield Section(section, start, type_, klass, seconds, at + 4, data_at, data_at + length)
            at = data_at + length


def expand(message: bytes, where: Section) -> Record:
    """One record of a message, with nothing compressed in it.

    Raises:
        Malformed: a name in it is none, or its data is longer or shorter than its names say.
    """
    data = message[where.data_at : where.end]
    if where.klass == CLASS_IN:
        if where.type in _NAME_AT:
            at = where.data_at + _NAME_AT[where.type]
            _inside(at, skip_name(message, at), where)
            data = message[where.data_at : at] + read_name(message, at)
        elif where.type == TYPE_SOA:
            second = skip_name(message, where.data_at)
            numbers = skip_name(message, second)
            _inside(numbers, numbers + 20, where)
            data = (
                read_name(message, where.data_at) + read_name(message, second) + message[numbers : where.end]
            )
    return Record(read_name(message, where.start), where.type, where.klass, where.ttl, data)


def _inside(at: int, end: int, where: Section) -> None:
    if at < where.data_at or end != where.end:
        raise Malformed("names in a record's data do not fill it")
