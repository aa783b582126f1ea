"""Neighbour discovery as a speaker needs it (RFC 4861). In: frames; out: what they say, or None. In: an address and a MAC; out: frames. Not here: sockets.

Frames are read as strictly as they can be (section 7.1): whoever is on the segment can send anything.
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import msgspec

ETHERTYPE = 0x86DD
_HEAD = struct.Struct(">6s6sH")
_IP = struct.Struct(">IHBB16s16s")
_MESSAGE = struct.Struct(">BBHI16s")
_ICMPV6 = 58
_HOP_LIMIT = 255
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOURCE_LINK, _TARGET_LINK = 1, 2
_SOLICITED, _OVERRIDE = 1 << 30, 1 << 29
_NOBODY = IPv6Address("::")
_ALL_NODES = IPv6Address("ff02::1")
_SOLICITED_NODE = int(IPv6Address("ff02::1:ff00:0"))
_LOW = (1 << 24) - 1


class NeighbourMessage(msgspec.Struct, frozen=True, gc=False):
    """What one frame says."""

    is_solicitation: bool
    source: IPv6Address
    """Of a solicitation: who asks; ``::`` where it only wants to know whether the address is taken (RFC 4862)."""
    mac: bytes
    """Of a solicitation: whom to answer. Of an advertisement: who is said to have the target."""
    target: IPv6Address


def solicited_group(address: IPv6Address) -> IPv6Address:
    """Where solicitations for an address go (RFC 4291 section 2.7.1)."""
    return IPv6Address(_SOLICITED_NODE | (int(address) & _LOW))


class _Message(msgspec.Struct, frozen=True, gc=False):
    """An ICMPv6 message that is meant for a neighbour, not read yet."""

    mac: bytes
    source: IPv6Address
    destination: IPv6Address
    text: bytes


def read_ndp(frame: bytes) -> NeighbourMessage | None:
    """An untagged Ethernet frame with a sound neighbour solicitation or advertisement; None for all else."""
    message = _unpack(frame)
    if message is None:
        return None
    kind, code, _, flags, target = _MESSAGE.unpack_from(message.text)
    options = _options(message.text[_MESSAGE.size :])
    about = IPv6Address(target)
    if code or options is None or about.is_multicast:
        return None
    if kind == _SOLICITATION:
        is_probe = message.source == _NOBODY
        if is_probe and (_SOURCE_LINK in options or message.destination != solicited_group(about)):
            return None
        return NeighbourMessage(True, message.source, options.get(_SOURCE_LINK, message.mac), about)
    to_all = message.destination.is_multicast
    if kind != _ADVERTISEMENT or message.source == _NOBODY or (to_all and flags & _SOLICITED):
        return None
    return NeighbourMessage(False, message.source, options.get(_TARGET_LINK, message.mac), about)


def _unpack(frame: bytes) -> _Message | None:
    """From a neighbour (hop limit 255), with the right checksum; what lies behind the message is padding."""
    start = _HEAD.size + _IP.size
    if len(frame) < start + _MESSAGE.size:
        return None
    _, mac, ethertype = _HEAD.unpack_from(frame)
    first, length, next_header, hops, source, to = _IP.unpack_from(frame, _HEAD.size)
    if (ethertype, first >> 28, next_header, hops) != (ETHERTYPE, 6, _ICMPV6, _HOP_LIMIT):
        return None
    text = frame[start : start + length]
    if (
        not _MESSAGE.size <= length == len(text)
        or mac[0] & 1
        or source[0] == 0xFF
        or checksum(source, to, text)
    ):
        return None
    return _Message(mac, IPv6Address(source), IPv6Address(to), text)


def answer(to: NeighbourMessage, mac: bytes) -> bytes:
    """The answer to a solicitation: this MAC has its target. Who asks without an address is answered by the way of all nodes (section 7.2.4)."""
    if to.source == _NOBODY:
        return _advertisement(_all_nodes_mac(), _ALL_NODES, to.target, mac, _OVERRIDE)
    return _advertisement(to.mac, to.source, to.target, mac, _SOLICITED | _OVERRIDE)


def announcement(address: IPv6Address, mac: bytes) -> bytes:
    """Everybody's tables are to have this MAC from now on (section 7.2.6)."""
    return _advertisement(_all_nodes_mac(), _ALL_NODES, address, mac, _OVERRIDE)


def _advertisement(to_mac: bytes, to: IPv6Address, address: IPv6Address, mac: bytes, flags: int) -> bytes:
    """Its sender is the address itself: no other of the interface need be there, and filters of switches see what they look for."""
    message = _MESSAGE.pack(_ADVERTISEMENT, 0, 0, flags, address.packed) + bytes((_TARGET_LINK, 1)) + mac
    number = checksum(address.packed, to.packed, message)
    message = message[:2] + struct.pack(">H", number) + message[4:]
    header = _IP.pack(6 << 28, len(message), _ICMPV6, _HOP_LIMIT, address.packed, to.packed)
    return _HEAD.pack(to_mac, mac, ETHERTYPE) + header + message


def _options(text: bytes) -> dict[int, bytes] | None:
    """By type, what they hold, where it is a MAC; None where one has no length or is cut off."""
    found: dict[int, bytes] = {}
    while text:
        if len(text) < 2 or text[1] == 0 or len(text) < 8 * text[1]:
            return None
        kind, size = text[0], 8 * text[1]
        if kind in (_SOURCE_LINK, _TARGET_LINK):
            mac = text[2:8]
            if size != 8 or mac[0] & 1 or not any(mac):
                return None
            found.setdefault(kind, mac)
        text = text[size:]
    return found


def _all_nodes_mac() -> bytes:
    return b"\x33\x33" + _ALL_NODES.packed[-4:]


def checksum(source: bytes, target: bytes, message: bytes) -> int:
    """Of an ICMPv6 message (RFC 8200 section 8.1); 0 for one that has the right one in it."""
    data = source + target + struct.pack(">II", len(message), _ICMPV6) + message
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
