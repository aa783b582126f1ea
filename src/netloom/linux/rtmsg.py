"""rtnetlink messages: built from values, read into values. Pure bytes work (linux/rtnetlink.h, if_link.h, neighbour.h).

Not here: sockets and the translation of interface names to numbers, see ``rtnl``.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Mapping

from netloom.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    Request,
    attr,
    attributes,
    nested,
    string,
    text,
    u8,
    u32,
)
from netloom.program.links import Interface, Link, LinkAddress, Veth
from netloom.program.neighbours import Neighbour
from netloom.program.routes import Route, RouteKind, Scope
from netloom.program.sysctl import LinkSetting
from netloom.units import Addr, Family, family_of

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

RTNLGRP_LINK = 1
RTNLGRP_NEIGH = 3
RTNLGRP_IPV4_IFADDR = 5
RTNLGRP_IPV4_ROUTE = 7
RTNLGRP_IPV6_IFADDR = 9
RTNLGRP_IPV4_ROUTE = 7
RTNLGRP_IPV6_ROUTE = 11

_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBi")
_RTMSG = struct.Struct("=BBBBBBBBI")
_NDMSG = struct.Struct("=BxxxiHBB")

_IFF_UP = 1
_IFF_RUNNING = 0x40
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 4, 5, 10, 18
_IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_NET_NS_FD, _IFLA_EXT_MASK, _IFLA_LINK_NETNSID = 20, 26, 28, 29, 37
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_INET6_ADDR_GEN_MODE = 8
_IFLA_INET_CONF = 1
_DEVCONF = {"forwarding": 1, "rp_filter": 8, "arp_ignore": 19}
"""Numbers of IPv4 settings (IPV4_DEVCONF_*, linux/ip.h)."""
_I32 = struct.Struct("=i")
_IN6_ADDR_GEN_MODE_NONE = 1
_VETH_INFO_PEER = 1
_RTEXT_FILTER_SKIP_STATS = 8

_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD, _IFA_F_TENTATIVE, _IFA_F_NOPREFIXROUTE = 0x02, 0x40, 0x200

_RTN_LOCAL = 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_RTA_METRICS, _RTA_TABLE, _RTA_VIA = 8, 15, 18
_RTAX_MTU = 2
_KINDS = frozenset(RouteKind)
_RTNH_F_ONLINK = 4
_RTM_F_CLONED = 0x200
_IP6_RT_PRIO_USER = 1024

_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_PERMANENT, _NUD_NOARP, _NUD_REACHABLE = 0x80, 0x40, 0x02

_AF = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}


def mac_bytes(mac: str) -> bytes:
    """The six bytes of ``aa:bb:cc:dd:ee:ff``."""
    return bytes.fromhex(mac.replace(":", ""))


# --- links -----------------------------------------------------------------------------------------------------------


def new_veth(veth: Veth, peer_netns_fd: int | None) -> Request:
    """Make a pair; the peer is made in its namespace at once, never moved there (a move waits for RCU)."""
    there = [
        attr(_IFLA_IFNAME, string(veth.peer)),
        *_link_settings(veth.peer_mac, veth.mtu),
    ]
    if peer_netns_fd is not None:
        there.append(attr(_IFLA_NET_NS_FD, u32(peer_netns_fd)))
    peer = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + b"".join(there)
    here = [attr(_IFLA_IFNAME, string(veth.name)), *_link_settings(veth.mac, veth.mtu)]
    here.append(_link_info("veth", nested(_IFLA_INFO_DATA, attr(_VETH_INFO_PEER, peer))))
    return _new_link(here, f"make veth {veth.name}")


def new_bridge(name: str) -> Request:
    """Make a bridge."""
    return _new_link([attr(_IFLA_IFNAME, string(name)), _link_info("bridge")], f"make bridge {name}")


def new_link(name: str, kind: str) -> Request:
    """Make an interface of a kind that needs no settings at its start: ``wireguard``, ``dummy``."""
    return _new_link([attr(_IFLA_IFNAME, string(name)), _link_info(kind)], f"make {kind} {name}")


def set_link(index: int, operation: str, *, up: bool | None = None, **changes: bytes) -> Request:
    """Change an interface; ``changes`` are ``mtu``, ``master``, ``address``, ``alias`` as payloads."""
    kinds = {"mtu": _IFLA_MTU, "master": _IFLA_MASTER, "address": _IFLA_ADDRESS, "alias": _IFLA_IFALIAS}
    flags, mask = (_IFF_UP if up else 0, _IFF_UP) if up is not None else (0, 0)
    body = _IFINFO.pack(socket.AF_UNSPEC, 0, index, flags, mask)
    return Request(RTM_NEWLINK, 0, body + b"".join(attr(kinds[k], v) for k, v in changes.items()), operation)


def quieten_link(index: int, name: str) -> Request:
    """Let an interface have no link-local IPv6 address, and so no duplicate detection and no router solicitations.

    To be sent before it is set up. The kernel takes this only for an interface that exists already (Linux 6.18).
    """
    mode = attr(_IFLA_INET6_ADDR_GEN_MODE, u8(_IN6_ADDR_GEN_MODE_NONE))
    body = _IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0) + nested(
        _IFLA_AF_SPEC, nested(socket.AF_INET6, mode)
    )
    return Request(RTM_NEWLINK, 0, body, f"no link-local address on {name}")


def guard_link(index: int, name: str, settings: Iterable[LinkSetting]) -> Request:
    """As :func:`quieten_link`, and with these IPv4 settings, which no file of ``/proc/sys`` has to be written for."""
    mode = attr(_IFLA_INET6_ADDR_GEN_MODE, u8(_IN6_ADDR_GEN_MODE_NONE))
    conf = (attr(_DEVCONF[one.name], _I32.pack(one.value)) for one in settings)
    body = _IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0) + nested(
        _IFLA_AF_SPEC,
        nested(socket.AF_INET, nested(_IFLA_INET_CONF, *conf)),
        nested(socket.AF_INET6, mode),
    )
    return Request(RTM_NEWLINK, 0, body, f"settings of {name}")


def delete_link(index: int, name: str) -> Request:
    """Delete an interface, by number, or by name where the number is 0."""
    body = _IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0)
    return Request(
        RTM_DELLINK, 0, body if index else body + attr(_IFLA_IFNAME, string(name)), f"delete {name}"
    )


def get_link(name: str) -> Request:
    """Ask for one interface by name."""
    mask = attr(_IFLA_EXT_MASK, u32(_RTEXT_FILTER_SKIP_STATS))
    body = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attr(_IFLA_IFNAME, string(name)) + mask
    return Request(RTM_GETLINK, 0, body, f"find interface {name}")


def dump_links() -> Request:
    """Ask for all interfaces."""
    mask = attr(_IFLA_EXT_MASK, u32(_RTEXT_FILTER_SKIP_STATS))
    return Request(RTM_GETLINK, 0, _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + mask, "list interfaces")


def read_link(message: Message) -> Link:
    """An RTM_NEWLINK or RTM_DELLINK."""
    _, _, index, flags, _ = _IFINFO.unpack_from(message.body)
    found = attributes(message.body, _IFINFO.size)
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    kind = text(info.get(_IFLA_INFO_KIND, b""))
    return Link(
        index=index,
        name=text(found.get(_IFLA_IFNAME, b"")),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=_number(found, _IFLA_MTU) or 0,
        up=bool(flags & _IFF_UP),
        running=bool(flags & _IFF_RUNNING),
        kind=kind,
        master=_number(found, _IFLA_MASTER),
        peer_index=_number(found, _IFLA_LINK) if kind == "veth" else None,
        peer_nsid=_number(found, _IFLA_LINK_NETNSID),
        alias=text(found.get(_IFLA_IFALIAS, b"")),
    )


def _new_link(parts: list[bytes], operation: str) -> Request:
    body = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + b"".join(parts)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, operation)


def _link_info(kind: str, data: bytes = b"") -> bytes:
    return nested(_IFLA_LINKINFO, attr(_IFLA_INFO_KIND, string(kind)), data)


def _link_settings(mac: str, mtu: int) -> list[bytes]:
    parts = []
    if mac:
        parts.append(attr(_IFLA_ADDRESS, mac_bytes(mac)))
    if mtu:
        parts.append(attr(_IFLA_MTU, u32(mtu)))
    return parts


# --- addresses -------------------------------------------------------------------------------------------------------


def new_address(index: int, interface: Interface, device: str, *, is_prefix_route: bool = True) -> Request:
    """Put an address on an interface, or renew it. IPv6 without duplicate detection: our store knows who has what.

    Args:
        index: of the interface.
        interface: the address and its prefix.
        device: name of the interface, for words.
        is_prefix_route: whether the rest of the prefix is taken to be on the link.
    """
    flags = _IFA_F_NODAD if interface.version == 6 else 0
    flags |= 0 if is_prefix_route else _IFA_F_NOPREFIXROUTE
    body = _address(index, interface) + (attr(_IFA_FLAGS, u32(flags)) if flags else b"")
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body, f"address {interface} on {device}")


def delete_address(index: int, interface: Interface, device: str) -> Request:
    """Take an address from an interface."""
    return Request(RTM_DELADDR, 0, _address(index, interface), f"remove address {interface} from {device}")


def dump_addresses(index: int = 0) -> Request:
    """Ask for all addresses, or those of one interface."""
    return Request(RTM_GETADDR, 0, _IFADDR.pack(socket.AF_UNSPEC, 0, 0, 0, index), "list addresses")


def read_address(message: Message, devices: Mapping[int, str]) -> LinkAddress:
    """An RTM_NEWADDR. IFA_LOCAL is the own address; IFA_ADDRESS would be the far end's on a point-to-point link."""
    _, prefix, flags, _, index = _IFADDR.unpack_from(message.body)
    found = attributes(message.body, _IFADDR.size)
    address = ipaddress.ip_address(found.get(_IFA_LOCAL) or found[_IFA_ADDRESS])
    all_flags = _number(found, _IFA_FLAGS) or flags
    return LinkAddress(
        device=devices.get(index, f"#{index}"),
        interface=ipaddress.ip_interface(f"{address}/{prefix}"),
        tentative=bool(all_flags & _IFA_F_TENTATIVE),
    )


def _address(index: int, interface: Interface) -> bytes:
    family = _AF[family_of(interface.ip)]
    packed = interface.ip.packed
    head = _IFADDR.pack(family, interface.network.prefixlen, 0, Scope.UNIVERSE, index)
    return head + attr(_IFA_LOCAL, packed) + attr(_IFA_ADDRESS, packed)


# --- routes ----------------------------------------------------------------------------------------------------------


def new_route(index: int, route: Route) -> Request:
    """Put a route in force, in place of one with the same destination and metric."""
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, _route(index, route), f"route {route}")


def delete_route(index: int, route: Route) -> Request:
    """Take a route away."""
    return Request(RTM_DELROUTE, 0, _route(index, route), f"remove route {route}")


def delete_path(address: Addr) -> Request:
    """Take away what was learnt of the path to an address, which the kernel keeps as a route of its own."""
    bits = address.max_prefixlen
    head = _RTMSG.pack(_AF[family_of(address)], bits, 0, 0, 254, 0, 0, 0, _RTM_F_CLONED)
    return Request(
        RTM_DELROUTE, 0, head + attr(_RTA_DST, address.packed), f"forget the path MTU towards {address}"
    )


def dump_routes(family: Family, protocol: int = 0) -> Request:
    """Ask for the routes of all tables; with a protocol number only for those (strict checking, Linux 5.0)."""
    body = _RTMSG.pack(_AF[family], 0, 0, 0, 0, protocol, 0, 0, 0)
    return Request(RTM_GETROUTE, 0, body, f"list {family.value} routes")


def read_route(message: Message, devices: Mapping[int, str]) -> Route | None:
    """An RTM_NEWROUTE; None for what is no plain route of ours (local, broadcast, multipath, cached)."""
    family, prefix, _, _, table, protocol, scope, kind, flags = _RTMSG.unpack_from(message.body)
    found = attributes(message.body, _RTMSG.size)
    if kind not in _KINDS or flags & _RTM_F_CLONED:
        return None
    is_unicast = kind == RouteKind.UNICAST
    if is_unicast and _RTA_OIF not in found:
        return None
    size = 4 if family == socket.AF_INET else 16
    base = ipaddress.ip_address(found.get(_RTA_DST, bytes(size)))
    metric = _number(found, _RTA_PRIORITY) or 0
    index = _number(found, _RTA_OIF) or 0
    return Route(
        destination=ipaddress.ip_network(f"{base}/{prefix}"),
        # IPv6 says "lo" of a route to nobody
        device=devices.get(index, f"#{index}") if is_unicast else "",
        # RTA_VIA has the family before the address (struct rtvia)
        via=_addr(found.get(_RTA_GATEWAY) or found.get(_RTA_VIA, b"")[2:] or None),
        scope=Scope(scope) if scope in {0, 253, 254} else Scope.UNIVERSE,
        source=_addr(found.get(_RTA_PREFSRC)),
        protocol=protocol,
        onlink=bool(flags & _RTNH_F_ONLINK),
        metric=0 if family == socket.AF_INET6 and metric == _IP6_RT_PRIO_USER else metric,
        table=_number(found, _RTA_TABLE) or table,
        kind=RouteKind(kind),
        mtu=_number(attributes(found.get(_RTA_METRICS, b"")), _RTAX_MTU) or 0,
    )


def _route(index: int, route: Route) -> bytes:
    network = route.destination
    flags = _RTNH_F_ONLINK if route.onlink else 0
    table = route.table if route.table < 256 else 0
    scope = route.scope if route.family is Family.V4 else Scope.UNIVERSE
    head = _RTMSG.pack(
        _AF[route.family], network.prefixlen, 0, 0, table, route.protocol, scope, route.kind, flags
    )
    parts = [attr(_RTA_OIF, u32(index))] if index else []
    if network.prefixlen:
        parts.append(attr(_RTA_DST, network.network_address.packed))
    if route.via is not None and family_of(route.via) is route.family:
        parts.append(attr(_RTA_GATEWAY, route.via.packed))
    elif route.via is not None:
        parts.append(attr(_RTA_VIA, struct.pack("=H", _AF[family_of(route.via)]) + route.via.packed))
    if route.source is not None:
        parts.append(attr(_RTA_PREFSRC, route.source.packed))
    if route.metric:
        parts.append(attr(_RTA_PRIORITY, u32(route.metric)))
    if not table:
        parts.append(attr(_RTA_TABLE, u32(route.table)))
    if route.mtu:
        parts.append(nested(_RTA_METRICS, attr(_RTAX_MTU, u32(route.mtu))))
    return head + b"".join(parts)


# --- neighbours ------------------------------------------------------------------------------------------------------


def new_neighbour(index: int, neighbour: Neighbour) -> Request:
    """Put a neighbour entry in force, in place of one for the same address."""
    state = _NUD_PERMANENT if neighbour.permanent else _NUD_REACHABLE
    body = _neighbour(index, neighbour.address, state) + attr(_NDA_LLADDR, mac_bytes(neighbour.mac))
    words = f"neighbour {neighbour.address} on {neighbour.device}"
    return Request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body, words)


def delete_neighbour(index: int, address: Addr, device: str) -> Request:
    """Take a neighbour entry away."""
    body = _neighbour(index, address, 0)
    return Request(RTM_DELNEIGH, 0, body, f"remove neighbour {address} from {device}")


def dump_neighbours() -> Request:
    """Ask for all neighbour entries."""
    return Request(RTM_GETNEIGH, 0, _NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0), "list neighbours")


def read_neighbour(message: Message, devices: Mapping[int, str]) -> Neighbour | None:
    """An RTM_NEWNEIGH; None for entries without a MAC (unresolved, multicast)."""
    family, index, state, _, _ = _NDMSG.unpack_from(message.body)
    found = attributes(message.body, _NDMSG.size)
    address = _addr(found.get(_NDA_DST))
    if family not in {socket.AF_INET, socket.AF_INET6} or address is None or _NDA_LLADDR not in found:
        return None
    if state & _NUD_NOARP:
        return None
    return Neighbour(
        device=devices.get(index, f"#{index}"),
        address=address,
        mac=found[_NDA_LLADDR].hex(":"),
        permanent=bool(state & _NUD_PERMANENT),
    )


def _neighbour(index: int, address: Addr, state: int) -> bytes:
    return _NDMSG.pack(_AF[family_of(address)], index, state, 0, 0) + attr(_NDA_DST, address.packed)


def _number(found: Mapping[int, bytes], kind: int) -> int | None:
    payload = found.get(kind)
    return struct.unpack("=I", payload)[0] if payload is not None and len(payload) == 4 else None


def _addr(packed: bytes | None) -> Addr | None:
    return None if packed is None else ipaddress.ip_address(packed)


def became_local(message: Message) -> Addr | None:
    """The address that this notice of a route makes the namespace's own; None for other notices.

    The kernel does that for an IPv6 address some time after it was added; packets to it are dropped until then.
    """
    if message.type != RTM_NEWROUTE or len(message.body) < 12 or message.body[7] != _RTN_LOCAL:
        return None
    packed = attributes(message.body, 12).get(_RTA_DST, b"")
    return ipaddress.ip_address(packed) if len(packed) in (4, 16) else None
