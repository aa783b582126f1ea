"""DNS messages in words, for tests: queries from text, replies read back by code that shares nothing with the server's.

Comes in: names and types as text, or bytes. Goes out: bytes, or a Reply whose sections are lines of text.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence

import msgspec

from netloom.model.names.records import RecordSet, RecordSets, RecordType

TYPES = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "PTR": 12,
    "TXT": 16,
    "AAAA": 28,
    "SRV": 33,
    "OPT": 41,
    "ANY": 255,
}
"""Types by the words that zone files use."""
_WORDS = {number: word for word, number in TYPES.items()}
_RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
_FLAGS = {"qr": 0x8000, "aa": 0x400, "tc": 0x200, "rd": 0x100, "ra": 0x80, "ad": 0x20, "cd": 0x10}


class Reply(msgspec.Struct, frozen=True):
    """A message in words; names in it end in a dot."""

    ident: int
    rcode: str
    flags: frozenset[str]
    question: str
    """Name, class and type numbers; empty where there is none."""
    answers: tuple[str, ...]
    authority: tuple[str, ...]
    additional: tuple[str, ...]
    size: int
    """Bytes of the whole message."""


def read_reply(data: bytes) -> Reply:
    """Read a message.

    Raises:
        ValueError: counts and bytes do not agree.
    """
    ident, flags, questions, *counts = struct.unpack_from(">HHHHHH", data)
    at = 12
    question = ""
    if questions:
        name, at = _read_name(data, at)
        kind, klass = struct.unpack_from(">HH", data, at)
        at += 4
        question = f"{name} {klass} {kind}"
    sections = []
    for count in counts:
        lines = []
        for _ in range(count):
            line, at = _read_record(data, at)
            lines.append(line)
        sections.append(tuple(lines))
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes after the last record")
    rcode = flags & 15
    word = _RCODES[rcode] if rcode < len(_RCODES) else str(rcode)
    set_flags = frozenset(name for name, bit in _FLAGS.items() if flags & bit)
    return Reply(ident, word, set_flags, question, sections[0], sections[1], sections[2], len(data))


def write_query(
    name: str,
    kind: str | int = "A",
    *,
    flags: int = 0x100,
    edns: int = 0,
    dnssec_ok: bool = False,
    ident: int = 0x1234,
) -> bytes:
    """A query; ``edns`` is the size to say in an OPT record, 0 for none. The case of ``name`` is kept."""
    opt = b"\0" + struct.pack(">HHIH", 41, edns, 0x8000 if dnssec_ok else 0, 0) if edns else b""
    head = struct.pack(">HHHHHH", ident, flags, 1, 0, 0, bool(edns))
    number = TYPES[kind] if isinstance(kind, str) else kind
    return head + write_name(name) + struct.pack(">HH", number, 1) + opt


def write_name(name: str) -> bytes:
    """A name on the wire, in the case given."""
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def write_record(line: str) -> bytes:
    """A record from a line such as ``www.example.org. 300 A 192.0.2.1``; types A, AAAA, CNAME, NS, PTR, SOA."""
    name, ttl, kind, text = line.split(" ", 3)
    words = text.split(" ")
    if kind in ("A", "AAAA"):
        data = ipaddress.ip_address(text).packed
    elif kind == "SOA":
        data = write_name(words[0]) + write_name(words[1]) + struct.pack(">IIIII", *map(int, words[2:]))
    else:
        data = write_name(text)
    return write_name(name) + struct.pack(">HHIH", TYPES[kind], 1, int(ttl), len(data)) + data


def parse_zone(lines: Sequence[str]) -> dict[str, RecordSets]:
    """Lines ``name`` or ``name TYPE data`` (names without final dot) as the model would give them, ttl 5."""
    names: dict[str, dict[RecordType, set[str]]] = {}
    for line in lines:
        name, *rest = line.split(" ", 2)
        types = names.setdefault(name, {})
        if rest:
            types.setdefault(RecordType[rest[0]], set()).add(rest[1])
    return {
        name: tuple(RecordSet(t, tuple(sorted(types[t])), 5) for t in sorted(types))
        for name, types in names.items()
    }


def _read_name(data: bytes, at: int) -> tuple[str, int]:
    labels: list[str] = []
    end = 0
    while data[at]:
        if data[at] >= 0xC0:
            end = end or at + 2
            at = (data[at] & 63) << 8 | data[at + 1]
            continue
        labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1"))
        at += 1 + data[at]
    return ".".join(labels) + ".", end or at + 1


def _read_record(data: bytes, at: int) -> tuple[str, int]:
    name, at = _read_name(data, at)
    kind, klass, ttl, length = struct.unpack_from(">HHIH", data, at)
    at += 10
    if kind == TYPES["OPT"]:
        return f"OPT size={klass} ttl={ttl:#x}", at + length
    word = _WORDS.get(kind, f"TYPE{kind}")
    return f"{name} {ttl} {word} {_read_data(data, word, at, at + length)}", at + length


def _read_data(data: bytes, word: str, at: int, end: int) -> str:
    if word in ("A", "AAAA"):
        return str(ipaddress.ip_address(data[at:end]))
    if word in ("CNAME", "PTR", "NS"):
        return _read_name(data, at)[0]
    if word == "SRV":
        numbers = struct.unpack_from(">HHH", data, at)
        return " ".join(map(str, numbers)) + " " + _read_name(data, at + 6)[0]
    if word == "SOA":
        server, at = _read_name(data, at)
        mailbox, at = _read_name(data, at)
        return f"{server} {mailbox} " + " ".join(map(str, struct.unpack_from(">IIIII", data, at)))
    if word == "TXT":
        return data[at + 1 : at + 1 + data[at]].decode("latin-1")
    return data[at:end].hex()
