"""A classic BPF program at a packet socket that lets in questions and claims about some addresses: ARP or neighbour discovery.

Comes in: addresses of one family. Goes out: a filter in the kernel, so that a busy segment costs the reader of the socket nothing. It refuses tagged frames and those
that are for others or our own. Coarse: whoever reads the frames looks closely. Not here: what is answered.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from netloom.errors import KernelError
from netloom.linux.socket_filter import attach, instruction
from netloom.units import Addr, Family

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_JUMP_EQUAL, _JUMP_GREATER = 0x15, 0x25
_RETURN = 0x06
_ALL = 0xFFFF
_EXTRA = 0x1_0000_0000 - 0x1000
"""SKF_AD_OFF of linux/filter.h, as an unsigned number."""
_PACKET_TYPE = _EXTRA + 4
_VLAN_TAG_PRESENT = _EXTRA + 48
"""Linux 3.8."""
_MULTICAST = 2
"""PACKET_MULTICAST; those after it are for others, or our own (linux/if_packet.h)."""
ADDRESSES_LIMIT = 512
"""With more, everybody's questions are let in: the program would become long."""


def let_in(sock: socket.socket, family: Family, addresses: Iterable[Addr]) -> None:
    """From now on let in only what is about these addresses; nothing where there are none.

    Raises:
        KernelError: the kernel refused the program.
    """
    try:
        attach(sock, program(family, addresses))
    except OSError as error:
        text = error.strerror or str(error)
        raise KernelError("attach a filter to a packet socket", error.errno or 0, text) from error


def program(family: Family, addresses: Iterable[Addr]) -> bytes:
    """The instructions (``struct sock_filter``) for untagged Ethernet frames."""
    tails = sorted({int.from_bytes(address.packed[-4:]) for address in addresses})
    code = _only(_LOAD_WORD, _VLAN_TAG_PRESENT, 0)
    code += instruction(_LOAD_WORD, _PACKET_TYPE)
    code += instruction(_JUMP_GREATER, _MULTICAST, no=1) + instruction(_RETURN, 0)
    if family is Family.V4:
        code += _only(_LOAD_HALF, 12, 0x0806) + _only(_LOAD_WORD, 14, 0x0001_0800)
        fields: tuple[int, ...] = (38, 28)  # whom it is about, and who says it (RFC 826)
    else:
        code += _only(_LOAD_HALF, 12, 0x86DD) + _only(_LOAD_BYTE, 20, 58) + _only(_LOAD_BYTE, 54, 135, 136)
        fields = (74,)  # the last word of the target (RFC 4861 section 4.3)
    if len(tails) > ADDRESSES_LIMIT:
        return code + instruction(_RETURN, _ALL)
    for field in fields:
        code += instruction(_LOAD_WORD, field)
        for tail in tails:
            code += instruction(_JUMP_EQUAL, tail, no=1) + instruction(_RETURN, _ALL)
    return code + instruction(_RETURN, 0)


def _only(load: int, offset: int, *values: int) -> bytes:
    """Refuse what has none of these values there."""
    code = instruction(load, offset)
    for left, value in zip(range(len(values), 0, -1), values, strict=True):
        code += instruction(_JUMP_EQUAL, value, yes=left)
    return code + instruction(_RETURN, 0)
