"""A tunnel's interface as it should be. In: its MTU and addresses. Out: the interface up, with these and no others; or KernelError.

Not here: making it, which each tunnel does in its own way.
"""

from __future__ import annotations

import errno
from collections.abc import Collection

from netloom.errors import KernelError
from netloom.linux import rtmsg
from netloom.linux.netlink import Request, u32
from netloom.linux.rtnl import Rtnl
from netloom.program.links import Interface


def set_up(rtnl: Rtnl, name: str, mtu: int, addresses: Collection[Interface]) -> None:
    """Change what is not so already. ``mtu`` in bytes.

    Raises:
        KernelError: refused; ENODEV: there is no such interface.
    """
    link = rtnl.find_link(name)
    if link is None:
        raise KernelError(f"set up {name}", errno.ENODEV, "it is gone")
    requests: list[Request] = []
    if link.mtu != mtu:
        requests.append(rtmsg.set_link(link.index, f"mtu {mtu} on {name}", mtu=u32(mtu)))
    if not link.up:
        requests.append(rtmsg.quieten_link(link.index, name))
        requests.append(rtmsg.set_link(link.index, f"set {name} up", up=True))
    present = {a.interface for a in rtnl.addresses(name)}
    requests += [rtmsg.new_address(link.index, a, name) for a in addresses if a not in present]
    requests += [
        rtmsg.delete_address(link.index, a, name)
        for a in present
        if a not in addresses and not a.is_link_local
    ]
    rtnl.batch_tolerating_gone(requests)
