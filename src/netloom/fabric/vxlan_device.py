"""A VXLAN interface as it should be. In: its values and addresses. Out: the interface up, with these and no others; or KernelError.

Not here: what leads through it (``vxlan``, ``egress``).
"""

from __future__ import annotations

import errno
from collections.abc import Collection

from netloom.errors import KernelError
from netloom.linux import rtmsg, rtmsg_overlay
from netloom.linux.netlink import NETLINK_ROUTE, NetlinkSocket, Request, u32
from netloom.linux.rtnl import Rtnl
from netloom.program.links import Interface, Vxlan
from netloom.program.sysctl import LinkSetting


def bring_up(
    rtnl: Rtnl,
    wanted: Vxlan,
    addresses: Collection[Interface],
    netns_fd: int | None,
    settings: Collection[LinkSetting] = (),
) -> int:
    """The interface as it should be, with these addresses, and up; its number.

    One with another VNI, port or address is replaced. ``settings`` are put in force before it is up.

    Raises:
        KernelError: the kernel refused, has no VXLAN, or another interface has this VNI at this port.
    """
    live = rtnl.find_vxlan(wanted.name)
    if live is None or not _is_same(live, wanted):
        rtnl.delete_link(wanted.name)
        _make(rtnl, wanted)
        live = wanted
    index = rtnl.index(wanted.name)
    link = rtnl.find_link(wanted.name)
    requests: list[Request] = []
    if live.mac != wanted.mac:
        mac = bytes.fromhex(wanted.mac.replace(":", ""))
        requests.append(rtmsg.set_link(index, f"MAC of {wanted.name}", address=mac))
    if live.mtu != wanted.mtu:
        requests.append(rtmsg.set_link(index, f"mtu {wanted.mtu} on {wanted.name}", mtu=u32(wanted.mtu)))
    if link is None or not link.up:
        note = f"netloom vxlan {wanted.vni}, port {wanted.port}".encode()
        requests.append(
            rtmsg.guard_link(index, wanted.name, settings)
            if settings
            else rtmsg.quieten_link(index, wanted.name)
        )
        requests.append(rtmsg.set_link(index, f"set {wanted.name} up", up=True, alias=note))
    present = {a.interface for a in rtnl.addresses(wanted.name)}
    missing = [a for a in addresses if a not in present]
    requests += [rtmsg.new_address(index, a, wanted.name) for a in missing]
    requests += [
        rtmsg.delete_address(index, a, wanted.name)
        for a in present
        if a not in addresses and not a.is_link_local
    ]
    with NetlinkSocket(NETLINK_ROUTE, netns_fd=netns_fd, groups=(rtmsg.RTNLGRP_IPV6_ROUTE,)) as notices:
        rtnl.batch_tolerating_gone(requests)
        rtnl.wait_local([a.ip for a in missing], notices)
    return index


def _make(rtnl: Rtnl, wanted: Vxlan) -> None:
    try:
        rtnl.batch([rtmsg_overlay.new_vxlan(wanted)])
    except KernelError as error:
        if error.errno == errno.EEXIST:
            hint = f"another VXLAN interface of this node has VNI {wanted.vni} at port {wanted.port}; choose another vni or tunnel_port"
            raise KernelError(error.operation, error.errno, "is taken", hint) from error
        if error.errno == errno.EOPNOTSUPP:
            hint = "load the kernel's vxlan module, or choose another fabric"
            raise KernelError(error.operation, error.errno, "this kernel has no VXLAN", hint) from error
        raise


def _is_same(live: Vxlan, wanted: Vxlan) -> bool:
    """But for what can be changed in place."""
    return (live.vni, live.local, live.port) == (wanted.vni, wanted.local, wanted.port)
