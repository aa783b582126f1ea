"""What announcements of rtnetlink say, where the messages of dumps do not do. Pure bytes work. In: messages. Out: values, or None."""

from __future__ import annotations

import ipaddress
import socket
import struct

from netloom.linux.netlink import Message, attributes
from netloom.linux.rtmsg import RTM_DELNEIGH, RTM_NEWLINK
from netloom.units import Addr

_IFINFO = struct.Struct("=8xII")
"""Of struct ifinfomsg: the flags, and which of them have changed."""
_IFF_UP = 1
_NDMSG_BYTES = 12
_NDA_DST = 1
_FAMILIES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}


def has_come_up(message: Message) -> bool:
    """Whether an interface has been set up that was down: the kernel tells of none of the IPv4 routes that went when it was set down."""
    if message.type != RTM_NEWLINK or len(message.body) < _IFINFO.size:
        return False
    flags, changed = _IFINFO.unpack_from(message.body)
    return bool(flags & changed & _IFF_UP)


def gone_neighbour(message: Message) -> Addr | None:
    """The address that a neighbour which has gone was of; None for other announcements.

    The kernel no longer tells its MAC, nor that it was permanent: it lets an entry fail before it takes it away.
    """
    if message.type != RTM_DELNEIGH or len(message.body) < _NDMSG_BYTES:
        return None
    packed = attributes(message.body, _NDMSG_BYTES).get(_NDA_DST, b"")
    return ipaddress.ip_address(packed) if _FAMILIES.get(message.body[0]) == len(packed) else None


def gone_far_end(message: Message) -> Addr | None:
    """The far end of a VXLAN interface that a forwarding entry which has gone led to; None for other announcements."""
    if message.type != RTM_DELNEIGH or len(message.body) < _NDMSG_BYTES:
        return None
    packed = attributes(message.body, _NDMSG_BYTES).get(_NDA_DST, b"")
    is_far_end = message.body[0] == socket.AF_BRIDGE and len(packed) in _FAMILIES.values()
    return ipaddress.ip_address(packed) if is_far_end else None
