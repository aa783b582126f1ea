"""ARP as a speaker needs it (RFC 826, RFC 5227). In: frames; out: what they say, or None. In: an address and a MAC; out: frames. Not here: sockets.

Frames are read as strictly as they can be: whoever is on the segment can send anything.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import msgspec

ETHERTYPE = 0x0806
_HEAD = struct.Struct(">6s6sH")
_BODY = struct.Struct(">HHBBH6s4s6s4s")
_FIXED = (1, 0x0800, 6, 4)
"""Ethernet, IPv4, and the lengths of their addresses."""
_REQUEST, _REPLY = 1, 2
_EVERYBODY = b"\xff" * 6
_NOBODY = bytes(6)


class ArpPacket(msgspec.Struct, frozen=True, gc=False):
    """What one frame says."""

    is_request: bool
    sender_mac: bytes
    sender: IPv4Address
    """0.0.0.0 in a probe: its sender only wants to know whether the address is taken."""
    target: IPv4Address


def read_arp(frame: bytes) -> ArpPacket | None:
    """An untagged Ethernet frame with an ARP request or reply for IPv4, from a station of its own; None for all else."""
    if len(frame) < _HEAD.size + _BODY.size:
        return None
    to, source, ethertype = _HEAD.unpack_from(frame)
    *fixed, operation, sender_mac, sender, _, target = _BODY.unpack_from(frame, _HEAD.size)
    if ethertype != ETHERTYPE or tuple(fixed) != _FIXED or operation not in (_REQUEST, _REPLY):
        return None
    if sender_mac != source or sender_mac[0] & 1 or sender_mac == _NOBODY or (to[0] & 1 and to != _EVERYBODY):
        return None
    return ArpPacket(operation == _REQUEST, sender_mac, IPv4Address(sender), IPv4Address(target))


def reply(to: ArpPacket, address: IPv4Address, mac: bytes) -> bytes:
    """The answer to a request: this MAC has the address."""
    return _frame(to.sender_mac, _REPLY, mac, address, to.sender_mac, to.sender)


def announcements(address: IPv4Address, mac: bytes) -> tuple[bytes, ...]:
    """Everybody's tables are to have this MAC from now on: as a request (RFC 5227 section 3) and, for those that heed only these, as a reply."""
    return (
        _frame(_EVERYBODY, _REQUEST, mac, address, _NOBODY, address),
        _frame(_EVERYBODY, _REPLY, mac, address, _EVERYBODY, address),
    )


def _frame(
    to: bytes, operation: int, mac: bytes, sender: IPv4Address, target_mac: bytes, target: IPv4Address
) -> bytes:
    body = _BODY.pack(*_FIXED, operation, mac, sender.packed, target_mac, target.packed)
    return _HEAD.pack(to, mac, ETHERTYPE) + body
