"""What travels in a datagram. Pure. In: bytes. Out: bytes.

A datagram is one IP packet, complete; or a piece of one: four bytes (0xF1, number of the packet, number of the piece, pieces in all),
and behind the first of these the ``struct virtio_net_hdr`` that the kernel had before the packet. So a TCP packet of 64 KiB, and one
whose checksum is still to be filled in, get to the other kernel as they are.

Not here: sockets (``forward``).
"""

from __future__ import annotations

import struct

PIECE = 0xF1
"""First byte of a piece; of a whole packet it is 0x4. or 0x6. (IP version)."""
PIECE_BYTES = 4
MOST_PIECES = 255

VIRTIO = struct.Struct("=BBHHHH")
"""flags, gso_type, hdr_len, gso_size, csum_start, csum_offset (linux/virtio_net.h)."""
VIRTIO_BYTES = VIRTIO.size
NEEDS_CHECKSUM = 1
WHOLE = bytes(VIRTIO_BYTES)
"""Before a packet that is complete."""

_DONT_FRAGMENT = 0x40
_QUOTED = 548
"""Of the packet that was too long, so that the whole message has at most 576 bytes (RFC 1812 section 4.3.2.3)."""
_QUOTED_V6 = 1232
_MIN_MTU_V6 = 1280
_ICMPV6 = 58
_ICMP_QUESTIONS = (8, 13)


def ends(packet: memoryview) -> tuple[bytes, bytes] | None:
    """Source and target of an IP packet; None where it is none."""
    if len(packet) < 20:
        return None
    version = packet[0] >> 4
    if version == 4:
        return bytes(packet[12:16]), bytes(packet[16:20])
    if version == 6 and len(packet) >= 40:
        return bytes(packet[8:24]), bytes(packet[24:40])
    return None


def checksum(data: bytes | memoryview) -> int:
    """The Internet checksum's sum (RFC 1071), not yet inverted: 65535 divides 65536 with the remainder 1."""
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    folded = number % 0xFFFF
    return folded or (0xFFFF if number else 0)


def fill_checksum(packet: memoryview, start: int, offset: int) -> bool:
    """Do what the kernel left to the device: the sum from ``start`` on goes to ``offset`` behind it; False where that is outside."""
    at = start + offset
    if at + 2 > len(packet):
        return False
    found = checksum(packet[start:]) ^ 0xFFFF
    packet[at : at + 2] = (found or 0xFFFF).to_bytes(2, "big")
    return True


def may_be_cut(packet: memoryview) -> bool:
    """Whether a router may fragment it (IPv4 without DF)."""
    return packet[0] >> 4 == 4 and not packet[6] & _DONT_FRAGMENT


def too_big(packet: memoryview, mtu: int) -> bytes:
    """The message to a sender that only ``mtu`` bytes pass (RFC 1191 section 4, RFC 4443 section 3.2); empty where none may be sent.

    It comes from the address that the packet was for: the kernel would take it from no address of its own, and to nobody else
    does the way lead through the tunnel.
    """
    if packet[0] >> 4 == 4:
        # nobody is told of a later fragment, or of a message of this very kind
        header = (packet[0] & 15) * 4
        if packet[6] & 0x1F or packet[7] or (packet[9] == 1 and packet[header] not in _ICMP_QUESTIONS):
            return b""
        body = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + bytes(packet[:_QUOTED])
        body = body[:2] + _inverted(body) + body[4:]
        own, target = bytes(packet[16:20]), bytes(packet[12:16])
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0xC0, 20 + len(body), 0, 0, 64, 1, 0, own, target)
        return head[:10] + _inverted(head) + head[12:] + body
    if packet[6] == _ICMPV6 and packet[40] < 128:
        return b""
    own, target = bytes(packet[24:40]), bytes(packet[8:24])
    body = struct.pack("!BBHI", 2, 0, 0, max(mtu, _MIN_MTU_V6)) + bytes(packet[:_QUOTED_V6])
    pseudo = own + target + struct.pack("!II", len(body), _ICMPV6)
    body = body[:2] + _inverted(pseudo + body) + body[4:]
    return struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, 64) + own + target + body


def _inverted(data: bytes) -> bytes:
    return (checksum(data) ^ 0xFFFF).to_bytes(2, "big")
