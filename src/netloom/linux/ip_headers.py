"""Who sends a packet to whom: addresses, protocol and ports from its first bytes. Pure.

In: bytes from the IP header on, perhaps cut short. Out: a value, or None for what cannot be read. (RFC 791, RFC 8200, RFC 4302,
RFC 9293, RFC 768, RFC 9260.)
"""

from __future__ import annotations

import ipaddress
import struct

import msgspec

from netloom.units import Addr, Family

_WITH_PORTS = frozenset(
    (6, 17, 132, 33, 136)
)  # TCP, UDP, SCTP, DCCP, UDP-Lite: ports come first in all of them
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION = 0, 43, 44, 51, 60
_MOST_EXTENSIONS = 8
_PORTS = struct.Struct(">HH")


class Headers(msgspec.Struct, frozen=True, gc=False):
    """What of a packet policies and people look at."""

    source: Addr
    destination: Addr
    protocol: int
    """IANA protocol number of what IP carries."""
    source_port: int = 0
    """0 for protocols without ports, and where a later fragment or a cut packet does not say."""
    destination_port: int = 0


def read_headers(family: Family, data: bytes) -> Headers | None:
    """The headers of a packet; None where even its addresses are not all there."""
    return _read_v4(data) if family is Family.V4 else _read_v6(data)


def _read_v4(data: bytes) -> Headers | None:
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    length = (data[0] & 15) * 4
    is_first = not int.from_bytes(data[6:8], "big") & 0x1FFF
    ports = _ports(data, length, data[9]) if is_first else (0, 0)
    source, destination = ipaddress.IPv4Address(data[12:16]), ipaddress.IPv4Address(data[16:20])
    return Headers(source, destination, data[9], *ports)


def _read_v6(data: bytes) -> Headers | None:
    if len(data) < 40 or data[0] >> 4 != 6:
        return None
    protocol, offset, is_first = data[6], 40, True
    for _ in range(_MOST_EXTENSIONS):
        if protocol not in {_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION}:
            break
        if len(data) < offset + 8:
            is_first = False
            break
        following, length = data[offset], data[offset + 1]
        if protocol == _FRAGMENT:
            is_first = is_first and not int.from_bytes(data[offset + 2 : offset + 4], "big") >> 3
            offset += 8
        else:
            offset += (length + 2) * 4 if protocol == _AUTHENTICATION else (length + 1) * 8
        protocol = following
    ports = _ports(data, offset, protocol) if is_first else (0, 0)
    return Headers(ipaddress.IPv6Address(data[8:24]), ipaddress.IPv6Address(data[24:40]), protocol, *ports)


def _ports(data: bytes, offset: int, protocol: int) -> tuple[int, int]:
    if protocol not in _WITH_PORTS or len(data) < offset + 4:
        return 0, 0
    source, destination = _PORTS.unpack_from(data, offset)
    return source, destination
