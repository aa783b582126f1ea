"""TCP connections of an address that this node no longer has: ended at once, as nothing else would do it.

Comes in: an address. Goes out: how many were ended. The kernel keeps such connections and sends on with the old address; no
answer finds its way back, and whoever reads waits for many minutes. NETLINK_SOCK_DIAG (linux/sock_diag.h, linux/inet_diag.h).
"""

from __future__ import annotations

import errno
import socket
import struct

from netloom.errors import KernelError
from netloom.linux.netlink import Message, NetlinkSocket, Request
from netloom.units import Addr

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_SOCK_DESTROY = 21
_HEAD = struct.Struct("=BBBBI")
"""inet_diag_req_v2: family, protocol, extensions, padding, states."""
_ID = struct.Struct("=HH16s16sI8s")
"""inet_diag_sockid: ports, addresses, interface, cookie."""
_MESSAGE_ID_OFFSET = 4
_LISTEN = 10
_ALL_BUT_LISTENERS = 0xFFF & ~(1 << _LISTEN)
_AF = {4: socket.AF_INET, 6: socket.AF_INET6}
_GONE = frozenset({errno.ENOENT, errno.ESTALE})


def end_connections_from(address: Addr) -> int:
    """End the connections of this network namespace whose own address this is: whoever has one is told (ECONNABORTED).

    Returns:
        How many there were.

    Raises:
        KernelError: EOPNOTSUPP where the kernel was built without CONFIG_INET_DIAG_DESTROY.
    """
    family, wanted = _AF[address.version], address.packed.ljust(16, b"\0")
    head = _HEAD.pack(family, socket.IPPROTO_TCP, 0, 0, _ALL_BUT_LISTENERS)
    everything = Request(_SOCK_DIAG_BY_FAMILY, 0, head + bytes(_ID.size), "list TCP connections")
    ended = 0
    with NetlinkSocket(_NETLINK_SOCK_DIAG) as diag:
        for message in diag.dump(everything):
            found = _identity(message)
            if _ID.unpack(found)[2] != wanted:
                continue
            try:
                diag.request(Request(_SOCK_DESTROY, 0, head + found, f"end a connection of {address}"))
            except KernelError as error:
                if error.errno not in _GONE:
                    raise
            ended += 1
    return ended


def _identity(message: Message) -> bytes:
    return message.body[_MESSAGE_ID_OFFSET : _MESSAGE_ID_OFFSET + _ID.size]
