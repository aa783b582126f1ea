"""rtnetlink messages of VXLAN interfaces, bridges, their ports, and forwarding entries. Pure bytes work (linux/if_link.h).

In: values of ``program``. Out: requests, and values read from messages. Not here: sockets (``rtnl``), other links (``rtmsg``).
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Mapping

from netloom.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    Request,
    attr,
    attributes,
    be16,
    nested,
    string,
    text,
    u8,
    u32,
)
from netloom.linux.rtmsg import (
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    mac_bytes,
    read_link,
)
from netloom.program.links import Bridge, BridgePort, Vxlan
from netloom.program.neighbours import ForwardingEntry
from netloom.units import Family

RTM_SETNEIGHTBL = 67

_IFINFO = struct.Struct("=BxHiII")
_NDMSG = struct.Struct("=BxxxiHBB")

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 4, 10, 18
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5

_VXLAN_ID, _VXLAN_GROUP, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PROXY, _VXLAN_RSC = 1, 2, 4, 7, 11, 12
_VXLAN_PORT, _VXLAN_GROUP6, _VXLAN_LOCAL6, _VXLAN_UDP_CSUM, _VXLAN_METADATA = 15, 16, 17, 18, 25

_BR_STP_STATE, _BR_MCAST_SNOOPING = 5, 23

_PORT_LEARNING, _PORT_UNICAST_FLOOD, _PORT_MCAST_FLOOD, _PORT_BCAST_FLOOD = 8, 9, 27, 30
_PORT_ISOLATED, _PORT_LOCKED = 33, 39

_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX, _NDA_MASTER = 1, 2, 8, 9
_NTF_SELF, _NTF_MASTER = 0x02, 0x04
_NUD_PERMANENT, _NUD_NOARP = 0x80, 0x40

_NDTA_NAME, _NDTA_PARMS = 1, 6
_NDTPA_IFINDEX, _NDTPA_PROXY_DELAY = 1, 13
_TABLES = {Family.V4: (socket.AF_INET, "arp_cache"), Family.V6: (socket.AF_INET6, "ndisc_cache")}


# --- VXLAN -----------------------------------------------------------------------------------------------------------


def new_vxlan(vxlan: Vxlan) -> Request:
    """Make the interface; it is down, and without forwarding entries sends nothing anywhere."""
    of_family = _VXLAN_LOCAL if vxlan.local.version == 4 else _VXLAN_LOCAL6
    data = nested(
        _IFLA_INFO_DATA,
        attr(_VXLAN_ID, u32(vxlan.vni)),
        attr(of_family, vxlan.local.packed),
        attr(_VXLAN_PORT, be16(vxlan.port)),
        attr(_VXLAN_LEARNING, u8(0)),
        attr(_VXLAN_UDP_CSUM, u8(0)),
    )
    parts = [
        attr(_IFLA_IFNAME, string(vxlan.name)),
        attr(_IFLA_ADDRESS, mac_bytes(vxlan.mac)),
        attr(_IFLA_MTU, u32(vxlan.mtu)),
        nested(_IFLA_LINKINFO, attr(_IFLA_INFO_KIND, string("vxlan")), data),
    ]
    return _new_link(parts, f"make VXLAN interface {vxlan.name}, VNI {vxlan.vni}, port {vxlan.port}")


def read_vxlan(message: Message) -> Vxlan | None:
    """The VXLAN interface that an RTM_NEWLINK tells of; None for other links, and for one that is not as :func:`new_vxlan` makes it."""
    found = attributes(attributes(message.body, _IFINFO.size).get(_IFLA_LINKINFO, b""))
    if text(found.get(_IFLA_INFO_KIND, b"")) != "vxlan":
        return None
    data = attributes(found.get(_IFLA_INFO_DATA, b""))
    local = data.get(_VXLAN_LOCAL) or data.get(_VXLAN_LOCAL6) or b""
    strange = (_VXLAN_LEARNING, _VXLAN_PROXY, _VXLAN_RSC, _VXLAN_METADATA)
    if len(local) not in (4, 16) or any(_flag(data, kind) for kind in strange):
        return None
    if data.keys() & {_VXLAN_GROUP, _VXLAN_GROUP6}:  # it floods to a group
        return None
    link = read_link(message)
    return Vxlan(
        name=link.name,
        vni=int.from_bytes(data.get(_VXLAN_ID, b""), sys.byteorder),
        local=ipaddress.ip_address(local),
        port=int.from_bytes(data.get(_VXLAN_PORT, b""), "big"),
        mac=link.mac,
        mtu=link.mtu,
    )


# --- bridges and their ports -----------------------------------------------------------------------------------------


def new_bridge(bridge: Bridge) -> Request:
    """Make a bridge; it is down and has no ports."""
    parts = [
        attr(_IFLA_IFNAME, string(bridge.name)),
        attr(_IFLA_ADDRESS, mac_bytes(bridge.mac)),
        attr(_IFLA_MTU, u32(bridge.mtu)),
        nested(_IFLA_LINKINFO, attr(_IFLA_INFO_KIND, string("bridge")), _bridge_data()),
    ]
    return _new_link(parts, f"make bridge {bridge.name}")


def set_bridge(index: int, bridge: Bridge) -> Request:
    """Let a bridge that is there be as :func:`new_bridge` makes it."""
    parts = [
        attr(_IFLA_ADDRESS, mac_bytes(bridge.mac)),
        attr(_IFLA_MTU, u32(bridge.mtu)),
        nested(_IFLA_LINKINFO, attr(_IFLA_INFO_KIND, string("bridge")), _bridge_data()),
    ]
    body = _IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0) + b"".join(parts)
    return Request(RTM_NEWLINK, 0, body, f"set bridge {bridge.name}")


def read_bridge(message: Message) -> Bridge | None:
    """The bridge that an RTM_NEWLINK tells of; None for other links, and for one with spanning tree or snooping."""
    found = attributes(attributes(message.body, _IFINFO.size).get(_IFLA_LINKINFO, b""))
    if text(found.get(_IFLA_INFO_KIND, b"")) != "bridge":
        return None
    data = attributes(found.get(_IFLA_INFO_DATA, b""))
    if _flag(data, _BR_MCAST_SNOOPING) or any(data.get(_BR_STP_STATE, b"")):
        return None
    link = read_link(message)
    return Bridge(name=link.name, mac=link.mac, mtu=link.mtu)


def set_port(index: int, port: BridgePort) -> Request:
    """Let a bridge treat a port of its own so; to be sent after it has become one (``set_link`` with ``master``)."""
    flood = u8(port.flood)
    data = nested(
        _IFLA_INFO_SLAVE_DATA,
        attr(_PORT_ISOLATED, u8(port.isolated)),
        attr(_PORT_LOCKED, u8(port.locked)),
        attr(_PORT_LEARNING, u8(port.learning)),
        attr(_PORT_UNICAST_FLOOD, flood),
        attr(_PORT_MCAST_FLOOD, flood),
        attr(_PORT_BCAST_FLOOD, flood),
    )
    info = nested(_IFLA_LINKINFO, attr(_IFLA_INFO_SLAVE_KIND, string("bridge")), data)
    body = _IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0) + info
    return Request(RTM_NEWLINK, 0, body, f"set bridge port {port.device}")


def read_port(message: Message) -> BridgePort | None:
    """How its bridge treats the interface that an RTM_NEWLINK tells of; None for one that is no port."""
    found = attributes(attributes(message.body, _IFINFO.size).get(_IFLA_LINKINFO, b""))
    if text(found.get(_IFLA_INFO_SLAVE_KIND, b"")) != "bridge":
        return None
    data = attributes(found.get(_IFLA_INFO_SLAVE_DATA, b""))
    floods = (_PORT_UNICAST_FLOOD, _PORT_MCAST_FLOOD, _PORT_BCAST_FLOOD)
    return BridgePort(
        device=read_link(message).name,
        isolated=_flag(data, _PORT_ISOLATED),
        locked=_flag(data, _PORT_LOCKED),
        learning=_flag(data, _PORT_LEARNING),
        flood=any(_flag(data, kind) for kind in floods),
    )


def answer_for_others_at_once(index: int, family: Family, device: str) -> Request:
    """Let an interface with proxy ARP (or NDP) answer without the delay of up to 0.8 s that RFC 4861 section 7.2.8 asks for.

    That delay gives way to the host itself, should it answer, too: here nobody else does.
    """
    number, table = _TABLES[family]
    parameters = nested(_NDTA_PARMS, attr(_NDTPA_IFINDEX, u32(index)), attr(_NDTPA_PROXY_DELAY, bytes(8)))
    body = struct.pack("=Bxxx", number) + attr(_NDTA_NAME, string(table)) + parameters
    return Request(RTM_SETNEIGHTBL, NLM_F_REPLACE, body, f"no delay of proxied answers on {device}")


# --- forwarding entries ----------------------------------------------------------------------------------------------


def new_entry(index: int, entry: ForwardingEntry) -> Request:
    """Put a forwarding entry in force, in place of one for the same MAC."""
    body = _entry(index, entry, _NUD_NOARP if entry.remote is None else _NUD_PERMANENT)
    words = f"forwarding entry {entry.mac} of {entry.device}"
    return Request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body, words)


def delete_entry(index: int, entry: ForwardingEntry) -> Request:
    """Take a forwarding entry away."""
    return Request(
        RTM_DELNEIGH, 0, _entry(index, entry, 0), f"remove forwarding entry {entry.mac} of {entry.device}"
    )


def dump_bridge(bridge: int) -> Request:
    """Ask for the forwarding entries of all ports of a bridge."""
    body = _NDMSG.pack(socket.AF_BRIDGE, 0, 0, 0, 0) + attr(_NDA_MASTER, u32(bridge))
    return Request(RTM_GETNEIGH, 0, body, "list forwarding entries")


def dump_entries(index: int) -> Request:
    """Ask for the forwarding entries of one interface."""
    body = _NDMSG.pack(socket.AF_BRIDGE, 0, 0, 0, 0) + attr(_NDA_IFINDEX, u32(index))
    return Request(RTM_GETNEIGH, 0, body, "list forwarding entries")


def read_entry(message: Message, devices: Mapping[int, str]) -> ForwardingEntry | None:
    """An RTM_NEWNEIGH of a bridge or VXLAN interface; None for what was learnt, and for a bridge's and its ports' own MACs."""
    family, index, state, flags, _ = _NDMSG.unpack_from(message.body)
    if family != socket.AF_BRIDGE:
        return None
    found = attributes(message.body, _NDMSG.size)
    mac, remote = found.get(_NDA_LLADDR), found.get(_NDA_DST)
    device = devices.get(index, f"#{index}")
    if mac is None:
        return None
    if flags & _NTF_SELF and remote is not None and len(remote) in (4, 16):
        return ForwardingEntry(device=device, mac=mac.hex(":"), remote=ipaddress.ip_address(remote))
    is_static = bool(state & _NUD_NOARP)
    return ForwardingEntry(device=device, mac=mac.hex(":")) if is_static and _NDA_MASTER in found else None


def _entry(index: int, entry: ForwardingEntry, state: int) -> bytes:
    flags = _NTF_MASTER if entry.remote is None else _NTF_SELF
    head = _NDMSG.pack(socket.AF_BRIDGE, index, state, flags, 0) + attr(_NDA_LLADDR, mac_bytes(entry.mac))
    return head if entry.remote is None else head + attr(_NDA_DST, entry.remote.packed)


def _bridge_data() -> bytes:
    return nested(_IFLA_INFO_DATA, attr(_BR_STP_STATE, u32(0)), attr(_BR_MCAST_SNOOPING, u8(0)))


def _new_link(parts: list[bytes], operation: str) -> Request:
    body = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + b"".join(parts)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, operation)


def _flag(found: Mapping[int, bytes], kind: int) -> bool:
    return any(found.get(kind, b""))
