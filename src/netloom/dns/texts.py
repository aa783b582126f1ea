"""Records as text for people (RFC 1035 section 5.1). Comes in: records. Goes out: ``name ttl TYPE data``."""

from __future__ import annotations

import ipaddress
import struct

from netloom.dns.records import Record
from netloom.dns.wire import TYPE_CNAME, TYPE_NS, TYPE_SOA, name_text, skip_name
from netloom.model.names.records import RecordType

NAMES = {one.name: int(one) for one in RecordType} | {
    "NS": TYPE_NS,
    "SOA": TYPE_SOA,
    "CNAME": TYPE_CNAME,
    "MX": 15,
    "ANY": 255,
}
"""Types that have a name here."""
_WORDS = {number: word for word, number in NAMES.items()}


def type_text(number: int) -> str:
    """``A`` for 1; ``TYPE65`` for what has no name here (RFC 3597 section 5)."""
    return _WORDS.get(number, f"TYPE{number}")


def record_text(record: Record) -> str:
    """One record."""
    return f"{name_text(record.name)} {record.ttl} {type_text(record.type)} {_data(record.type, record.data)}"


def _data(type_: int, data: bytes) -> str:  # noqa: PLR0911 - a type each
    try:
        match type_:
            case RecordType.A | RecordType.AAAA:
                return str(ipaddress.ip_address(data))
            case RecordType.PTR | 5 | 2:
                return name_text(data)
            case RecordType.SRV:
                priority, weight, port = struct.unpack_from(">HHH", data)
                return f"{priority} {weight} {port} {name_text(data[6:])}"
            case 15:
                return f"{int.from_bytes(data[:2], 'big')} {name_text(data[2:])}"
            case RecordType.TXT:
                return " ".join(_strings(data))
            case RecordType.SOA:
                middle = skip_name(data, 0)
                end = skip_name(data, middle)
                numbers = " ".join(map(str, struct.unpack_from(">IIIII", data, end)))
                return f"{name_text(data[:middle])} {name_text(data[middle:end])} {numbers}"
    except (ValueError, struct.error, IndexError):
        pass
    return f"\\# {len(data)} {data.hex()}"


def _strings(data: bytes) -> list[str]:
    found = []
    at = 0
    while at < len(data):
        text = data[at + 1 : at + 1 + data[at]].decode("ascii", "backslashreplace")
        found.append(f'"{text}"')
        at += 1 + data[at]
    return found
