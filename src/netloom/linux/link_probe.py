"""Who has an address on a link: asked by ARP probe or neighbour solicitation. In: an interface and an address. Out: a MAC, or nothing.

For the caller's network namespace. The questions are those of duplicate detection (RFC 5227 section 2.1.1, RFC 4862 section 5.4): they
name no sender, so nobody's table changes by them. Not here: what follows from an answer.
"""

from __future__ import annotations

import select
import socket
import struct
import time

from netloom.linux.libc import kernel_error
from netloom.units import Addr

_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD
_SOL_PACKET = 263
_EVERYBODY = b"\xff" * 6
_NO_MAC = bytes(6)
_ARP = struct.Struct(">HHBBH6s4s6s4s")
_REQUEST = 1
_SOLICITATION, _ADVERTISEMENT = 135, 136
_ICMPV6 = 58
_TARGET_LINK_ADDRESS = 2


def who_has(device: str, index: int, address: Addr, *, wait_s: float, questions: int) -> str:
    """The MAC of the station that says it has an address; empty where none does within ``questions`` times ``wait_s`` seconds.

    Raises:
        KernelError: no right to ask (CAP_NET_RAW), or no such interface.
    """
    protocol = _ETH_P_ARP if address.version == 4 else _ETH_P_IPV6
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol)) as sock:
            sock.bind((device, protocol))
            own: bytes = sock.getsockname()[4]
            if address.version == 6:
                _listen_to_everybody(sock, index)
            question = arp_probe(own, address) if address.version == 4 else solicitation(own, address)
            for _ in range(questions):
                sock.send(question)
                answer = _answer(sock, address, own, wait_s)
                if answer:
                    return answer
    except OSError as error:
        raise kernel_error(f"ask who has {address} on {device}", error.errno or 0) from error
    return ""


def arp_probe(own: bytes, address: Addr) -> bytes:
    """The whole frame."""
    body = _ARP.pack(1, 0x0800, 6, 4, _REQUEST, own, bytes(4), _NO_MAC, address.packed)
    return _EVERYBODY + own + struct.pack(">H", _ETH_P_ARP) + body


def solicitation(own: bytes, address: Addr) -> bytes:
    """The whole frame, from nobody to the solicited-node group (RFC 4291 section 2.7.1)."""
    low = address.packed[-3:]
    group = bytes.fromhex("ff0200000000000000000001ff") + low
    message = struct.pack(">BBHI", _SOLICITATION, 0, 0, 0) + address.packed
    message = message[:2] + struct.pack(">H", _checksum(bytes(16), group, message)) + message[4:]
    header = struct.pack(">IHBB", 6 << 28, len(message), _ICMPV6, 255) + bytes(16) + group
    return b"\x33\x33\xff" + low + own + struct.pack(">H", _ETH_P_IPV6) + header + message


def claimed_by(frame: bytes, address: Addr) -> str:
    """The MAC for which a frame claims an address: any ARP of a sender that has it, or a neighbour advertisement; else empty."""
    if address.version == 4:
        if len(frame) < 14 + _ARP.size or frame[12:14] != struct.pack(">H", _ETH_P_ARP):
            return ""
        *_, sender, said, _, _ = _ARP.unpack_from(frame, 14)
        return sender.hex(":") if said == address.packed else ""
    message = frame[54:]
    if len(message) < 24 or frame[12:14] != struct.pack(">H", _ETH_P_IPV6) or frame[20] != _ICMPV6:
        return ""
    if message[0] != _ADVERTISEMENT or frame[21] != 255 or message[8:24] != address.packed:
        return ""
    options = message[24:]
    has_address = len(options) >= 8 and options[:2] == bytes((_TARGET_LINK_ADDRESS, 1))
    return (options[2:8] if has_address else frame[6:12]).hex(":")


def _answer(sock: socket.socket, address: Addr, own: bytes, wait_s: float) -> str:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    ends = time.monotonic() + wait_s
    while (left := ends - time.monotonic()) > 0 and poll.poll(left * 1000):
        holder = claimed_by(sock.recv(2048), address)
        if holder and holder != own.hex(":"):
            return holder
    return ""


def _listen_to_everybody(sock: socket.socket, index: int) -> None:
    """Advertisements go to all nodes (ff02::1), which an interface without IPv6 addresses may not listen to."""
    packet_add_membership, packet_mr_multicast = 1, 0
    group = struct.pack("=iHH8s", index, packet_mr_multicast, 6, b"\x33\x33\x00\x00\x00\x01\x00\x00")
    sock.setsockopt(_SOL_PACKET, packet_add_membership, group)


def _checksum(source: bytes, target: bytes, message: bytes) -> int:
    """Of an ICMPv6 message (RFC 8200 section 8.1)."""
    data = source + target + struct.pack(">II", len(message), _ICMPV6) + message
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
