"""DNS messages as bytes: names, headers, questions, EDNS. Strict: what is not well formed is Malformed, never guessed at.

Comes in: bytes of a datagram or a stream. Goes out: a Query, or the parts that a reply is made of.
Not here: records of answers (records.py), what is answered.
Sources: RFC 1035 section 4, RFC 6891 (EDNS), RFC 9619 (one question).
"""

from __future__ import annotations

import enum
import struct

import msgspec

from netloom.errors import NetloomError

HEADER = struct.Struct(">HHHHHH")
"""Id, flags, and the counts of questions, answers, authority and additional records."""
FIXED = struct.Struct(">HHIH")
"""What follows a record's name: type, class, ttl, length of its data."""

QR = 0x8000
AA = 0x0400
TC = 0x0200
RD = 0x0100
RA = 0x0080
AD = 0x0020
CD = 0x0010

CLASS_IN = 1
CLASS_CHAOS = 3
CLASS_ANY = 255
TYPE_NS = 2
TYPE_CNAME = 5
TYPE_SOA = 6
TYPE_OPT = 41
TYPE_IXFR = 251
TYPE_AXFR = 252
TYPE_ANY = 255
FIRST_META_TYPE = 128
"""Types from here to 255 ask for something else than records of a type (RFC 6895, section 3.1)."""

PLAIN_UDP_SIZE = 512
"""What a client takes that says nothing else (RFC 1035, section 4.2.1)."""
UDP_SIZE = 1232
"""The largest datagram that we send or ask for: never a fragment, on any path that carries IPv6."""
MAX_NAME = 255
MAX_LABEL = 63
DO = 0x8000
OPTION_COOKIE = 10
OPTION_KEEPALIVE = 11


class Rcode(enum.IntEnum):
    """Response codes (RFC 1035 section 4.1.1, RFC 6891 section 9)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class Malformed(NetloomError):
    """Bytes that are no DNS message, or text that is no name."""


class Edns(msgspec.Struct, frozen=True, gc=False):
    """A query's OPT record (RFC 6891, section 6.1.2)."""

    size: int
    """Bytes of a UDP answer that the client takes."""
    version: int
    dnssec_ok: bool
    cookie: bytes = b""
    """Data of its COOKIE option (RFC 7873): the client's 8 bytes, and perhaps ours of before."""
    keepalive: bool = False
    """It asks how long a connection may stay open (RFC 7828)."""


class Query(msgspec.Struct, frozen=True, gc=False):
    """One question and what came with it."""

    id: int
    flags: int
    name: bytes
    """The name on the wire, in the case as asked."""
    folded: bytes
    """The same in lower case: names are equal whatever their case (RFC 4343)."""
    type: int
    klass: int
    edns: Edns | None = None

    @property
    def opcode(self) -> int:
        """Kind of query; 0 is a plain one."""
        return self.flags >> 11 & 15

    @property
    def recursion_desired(self) -> bool:
        """The client wants us to ask others."""
        return bool(self.flags & RD)

    @property
    def question(self) -> bytes:
        """The question section, to be given back as it came."""
        return self.name + struct.pack(">HH", self.type, self.klass)

    @property
    def udp_size(self) -> int:
        """Bytes that an answer by UDP may have; less than 512 counts as 512 (RFC 6891, section 6.2.3)."""
        if self.edns is None:
            return PLAIN_UDP_SIZE
        return max(PLAIN_UDP_SIZE, min(self.edns.size, UDP_SIZE))


def parse_query(data: bytes) -> Query:
    """One query, whole and nothing after it.

    Raises:
        Malformed: the bytes are no query, or have not exactly one question.
    """
    if len(data) < HEADER.size:
        raise Malformed("message is shorter than a header")
    ident, flags, questions, answers, authority, additional = HEADER.unpack_from(data)
    if questions != 1:
        raise Malformed(f"message has {questions} questions, not one (RFC 9619)")
    end = skip_name(data, HEADER.size, compressed=False)
    if end + 4 > len(data):
        raise Malformed("message ends within its question")
    name = data[HEADER.size : end]
    type_, klass = struct.unpack_from(">HH", data, end)
    edns, end = _read_additional(data, end + 4, answers + authority, additional)
    if end != len(data):
        raise Malformed(f"message has {len(data) - end} bytes after its last record")
    return Query(ident, flags, name, name.lower(), type_, klass, edns)


def _read_additional(data: bytes, at: int, before: int, additional: int) -> tuple[Edns | None, int]:
    """Step over the records of a query; its OPT record, and where the records end."""
    edns = None
    for index in range(before + additional):
        start, at = at, skip_name(data, at)
        if at + FIXED.size > len(data):
            raise Malformed("message ends within a record")
        type_, klass, ttl, length = FIXED.unpack_from(data, at)
        at += FIXED.size + length
        if at > len(data):
            raise Malformed("message ends within a record's data")
        if type_ == TYPE_OPT:
            if index < before or edns is not None or data[start] != 0:
                raise Malformed(
                    "OPT record is not the only one, not at the root, or not in the additional section"
                )
            cookie, keepalive = _read_options(data, at - length, at)
            edns = Edns(klass, ttl >> 16 & 255, bool(ttl & DO), cookie, keepalive)
    return edns, at


def _read_options(data: bytes, at: int, end: int) -> tuple[bytes, bool]:
    """The cookie, and whether keepalive is asked for; other options are stepped over (RFC 6891, section 6.1.2)."""
    cookie, keepalive = b"", False
    while at < end:
        if at + 4 > end:
            raise Malformed("EDNS option is cut short")
        code, length = struct.unpack_from(">HH", data, at)
        at += 4 + length
        if code == OPTION_COOKIE and not cookie:
            cookie = data[at - length : at]
            if len(cookie) != 8 and not 16 <= len(cookie) <= 40:
                raise Malformed("cookie has a length that none can have (RFC 7873, section 5.2.2)")
        keepalive |= code == OPTION_KEEPALIVE
    if at != end:
        raise Malformed("EDNS option is longer than its record")
    return cookie, keepalive


def skip_name(data: bytes, at: int, *, compressed: bool = True) -> int:
    """Where the name that begins at ``at`` ends; a pointer ends it and is not followed.

    Raises:
        Malformed: no name is there.
    """
    stop, end = _labels(data, at)
    if end - stop == 2 and not compressed:
        raise Malformed("name of a question is compressed")
    return end


def read_name(data: bytes, at: int) -> bytes:
    """The name that begins at ``at``, without compression.

    Raises:
        Malformed: no name is there, or its pointers do not all lead further back (so loops cannot be).
    """
    pieces = []
    total = 1
    while True:
        stop, end = _labels(data, at)
        pieces.append(data[at:stop])
        total += stop - at
        if total > MAX_NAME:
            raise Malformed("name is longer than 255 bytes")
        if end - stop == 1:
            return b"".join(pieces) + b"\0"
        target = int.from_bytes(data[stop:end], "big") & 0x3FFF
        if target >= at:
            raise Malformed("name has a pointer that does not lead back")
        at = target


def _labels(data: bytes, at: int) -> tuple[int, int]:
    """Where the labels from ``at`` on end, and where the root (one byte) or the pointer (two) after them ends."""
    start = at
    size = len(data)
    while at < size and at - start < MAX_NAME:
        length = data[at]
        if length == 0:
            return at, at + 1
        if length <= MAX_LABEL:
            at += 1 + length
        elif length >= 0xC0 and at + 1 < size:
            return at, at + 2
        else:
            break
    raise Malformed("name is cut short, too long, or has a label of an unknown kind")


def encode_name(text: str) -> bytes:
    """A name on the wire, in lower case; ``text`` is absolute, with or without the final dot.

    Raises:
        Malformed: an empty label, a label over 63 bytes, a name over 255.
    """
    text = text.removesuffix(".")
    if not text:
        return b"\0"
    try:
        labels = text.lower().encode("ascii").split(b".")
    except UnicodeEncodeError:
        raise Malformed(f"name {text!r} is not ASCII") from None
    wire = bytearray()
    for label in labels:
        if not 0 < len(label) <= MAX_LABEL:
            raise Malformed(f"name {text!r} has a label that is empty or over 63 bytes")
        wire.append(len(label))
        wire += label
    wire.append(0)
    if len(wire) > MAX_NAME:
        raise Malformed(f"name {text!r} is longer than 255 bytes")
    return bytes(wire)


def name_text(wire: bytes) -> str:
    """A name without compression as text for people; unusual bytes are a backslash and three digits (RFC 1035, 5.1)."""
    labels = []
    at = 0
    while at < len(wire) and wire[at]:
        label = wire[at + 1 : at + 1 + wire[at]]
        labels.append("".join(chr(b) if 33 <= b < 127 and b not in b".\\" else f"\\{b:03d}" for b in label))
        at += 1 + wire[at]
    return ".".join(labels) or "."


def suffixes(wire: bytes) -> list[int]:
    """Offsets at which the labels of a name without compression begin, the root's last."""
    offsets = []
    at = 0
    while wire[at]:
        offsets.append(at)
        at += 1 + wire[at]
    offsets.append(at)
    return offsets


def opt_record(
    *, rcode: int = 0, dnssec_ok: bool = False, size: int = UDP_SIZE, options: bytes = b""
) -> bytes:
    """An OPT record; ``rcode`` gives it the bits above the header's four, ``options`` are whole."""
    bits = (rcode >> 4) << 24 | (DO if dnssec_ok else 0)
    return b"\0" + FIXED.pack(TYPE_OPT, size, bits, len(options)) + options


def option(code: int, data: bytes) -> bytes:
    """One EDNS option."""
    return struct.pack(">HH", code, len(data)) + data


def opcode_of(data: bytes) -> int:
    """Kind of query of a message that has a whole header; 0 is a plain one, NOTIFY 4, UPDATE 5."""
    return data[2] >> 3 & 15


def error_reply(data: bytes, rcode: int) -> bytes | None:
    """The reply to something that is no proper query: header only. None where even that would be wrong (RFC 1035, 4.1.1).

    An answer is never answered, so that two servers cannot keep each other busy.
    """
    if len(data) < HEADER.size or data[2] & 0x80:
        return None
    flags = QR | (int.from_bytes(data[2:4], "big") & 0x7900) | rcode
    return data[:2] + struct.pack(">HHHHH", flags, 0, 0, 0, 0)
