"""A classic BPF program at a datagram socket that lets only a share of some senders' packets in (socket(7), SO_ATTACH_FILTER).

Comes in: addresses with the share of each that may pass. Goes out: a filter in the kernel: what it refuses costs its sender, not
whoever reads the socket. Needs no privilege. Not here: who sends too much.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Mapping

from netloom.errors import KernelError

_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_LOAD_WORD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_RETURN = 0x06
_NETWORK_HEADER = 0x1_0000_0000 - 0x10_0000
"""SKF_NET_OFF of linux/filter.h, as an unsigned number."""
_RANDOM = 0x1_0000_0000 - 0x1000 + 56
"""SKF_AD_OFF + SKF_AD_RANDOM (Linux 3.16)."""
_ALL = 0xFFFF_FFFF
SENDERS_LIMIT = 64
"""Senders in one program; it stays far below the kernel's 4096 instructions."""


def limit_senders(sock: socket.socket, shares: Mapping[bytes, float]) -> None:
    """From now on let in this share (0 to 1) of the packets from each address, and all from others; none: no filter.

    Args:
        sock: a datagram socket of the family that the addresses are of.
        shares: by packed address, at most ``SENDERS_LIMIT``; what is beyond is not limited.

    Raises:
        KernelError: the kernel refused the program.
    """
    try:
        if not shares:
            sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
            return
        attach(sock, program(shares))
    except OSError as error:
        if not shares and error.errno == errno.ENOENT:
            return  # there was no filter
        raise KernelError(
            "limit senders at a socket", error.errno or 0, error.strerror or str(error), ""
        ) from error


def attach(sock: socket.socket, code: bytes) -> None:
    """Let in only what a program (``struct sock_filter``) takes, in the place of what was attached before.

    Raises:
        OSError: the kernel refused the program.
    """
    buffer = ctypes.create_string_buffer(code, len(code))
    count = len(code) // 8
    fprog = struct.pack(
        "@HxxxxxxQ" if ctypes.sizeof(ctypes.c_void_p) == 8 else "@HxxI", count, ctypes.addressof(buffer)
    )
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def program(shares: Mapping[bytes, float]) -> bytes:
    """The instructions (``struct sock_filter``), for addresses of one family."""
    code = bytearray()
    for address, share in list(shares.items())[:SENDERS_LIMIT]:
        words = struct.unpack(f">{len(address) // 4}I", address)
        source = 12 if len(words) == 1 else 8  # where the source lies in an IPv4 and in an IPv6 header
        left = 2 * len(words) + 4
        for index, word in enumerate(words):
            code += instruction(_LOAD_WORD, _NETWORK_HEADER + source + 4 * index)
            left -= 2
            code += instruction(_JUMP_EQUAL, word, no=left)
        code += instruction(_LOAD_WORD, _RANDOM)
        code += instruction(_JUMP_AT_LEAST, min(_ALL, max(1, int(share * _ALL))), no=1)
        code += instruction(_RETURN, 0)
        code += instruction(_RETURN, _ALL)
    code += instruction(_RETURN, _ALL)
    return bytes(code)


def instruction(operation: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """One ``struct sock_filter``; ``yes`` and ``no`` say how many instructions a jump passes over."""
    return struct.pack("=HBBI", operation, yes, no, value)
