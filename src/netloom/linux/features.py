"""Kernel features as values: what netloom needs, how to see whether it is there, and how to go on where it is not.

In: nothing. Out: True or False, or :class:`netloom.errors.Unsupported`. A probe tries the thing itself, in a network
namespace that vanishes with it; the version says from which kernel on a failing probe is a defect and no excuse.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable

import msgspec

from netloom.errors import KernelError, NetloomError, Unsupported
from netloom.linux import netlink, netns, process, sysctl
from netloom.linux.netns import Namespaces
from netloom.linux.rtnl import Rtnl

_IPCTNL_MSG_CT_GET = (1 << 8) | 1
_FLAT_MAP = b"""
table ip probe {
    map data {
        typeof numgen random mod 65535 . ip daddr . ip protocol . th dport : ip daddr . th dport
        elements = { 0 . 192.0.2.1 . tcp . 80 : 192.0.2.2 . 8080 }
    }
    chain c {
        dnat ip to numgen random mod 1 . ip daddr . ip protocol . th dport map @data
    }
}
"""


class Feature(msgspec.Struct, frozen=True):
    """Something that a kernel has or lacks; ``minimum`` is the first release that always has it, ``hint`` how to go on."""

    name: str
    minimum: tuple[int, int]
    probe: Callable[[], Awaitable[bool]]
    hint: str

    async def require(self) -> None:
        """Pass where it is there.

        Raises:
            Unsupported: it is not; names the feature, the kernel and what to do.
        """
        if not await self.probe():
            wanted = ".".join(map(str, self.minimum))
            raise Unsupported(
                f"this kernel ({os.uname().release}) lacks {self.name} (Linux {wanted})", self.hint
            )

    def is_expected(self, release: str | None = None) -> bool:
        """True where this kernel is new enough that the feature must be there, if it was not configured out."""
        return kernel_version(release or os.uname().release) >= self.minimum


def kernel_version(release: str) -> tuple[int, int]:
    """Major and minor number of a release such as ``6.1.0-18-amd64``; (0, 0) for what is none."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


async def _has_user_namespaces() -> bool:
    done = await process.run(["unshare", "--user", "--map-root-user", "--net", "true"])
    return done.returncode == 0


async def _has_veth() -> bool:
    def make(rtnl: Rtnl) -> None:
        rtnl.add_veth("probe0", peer="probe1")

    return _works_in_rtnl(make)


async def _has_bridge() -> bool:
    def make(rtnl: Rtnl) -> None:
        rtnl.add_bridge("probe0")

    return _works_in_rtnl(make)


def _works_in_rtnl(make: Callable[[Rtnl], None]) -> bool:
    try:
        fd = netns.new_netns()
    except KernelError:
        return False
    try:
        with Rtnl(fd) as rtnl:
            make(rtnl)
    except KernelError:
        return False
    finally:
        os.close(fd)
    return True


async def _has_flat_maps() -> bool:
    fd = netns.new_netns()
    try:
        done = await process.run(["nft", "-f", "-"], input=_FLAT_MAP, ns=Namespaces(net=fd))
    except NetloomError:
        return False
    finally:
        os.close(fd)
    return done.returncode == 0


async def _has_conntrack() -> bool:
    fd = netns.new_netns()
    try:
        with netlink.NetlinkSocket(netlink.NETLINK_NETFILTER, netns_fd=fd) as sock:
            sock.dump(netlink.Request(_IPCTNL_MSG_CT_GET, 0, b"\0\0\0\0", "list flows"))
    except (NetloomError, OSError):
        return False
    finally:
        os.close(fd)
    return True


async def _has_ipv6() -> bool:
    return sysctl.read("net/ipv6/conf/all/forwarding") is not None


USER_NAMESPACES = Feature(
    "user namespaces for this user",
    (3, 8),
    _has_user_namespaces,
    "run as root, or allow them: sysctl -w kernel.unprivileged_userns_clone=1 (Debian), "
    "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), user.max_user_namespaces above 0",
)
VETH = Feature("veth interfaces", (2, 6), _has_veth, "load the module: modprobe veth")
BRIDGE = Feature("bridges", (2, 6), _has_bridge, "load the module: modprobe bridge")
NFT_FLAT_MAPS = Feature(
    "nftables maps with a random number in the key (or there is no nft program)",
    (5, 10),
    _has_flat_maps,
    "install the package nftables, and load the modules: modprobe -a nf_tables nft_numgen nft_nat",
)
CONNTRACK_NETLINK = Feature(
    "access to connection tracking", (2, 6), _has_conntrack, "load the module: modprobe nf_conntrack_netlink"
)
IPV6 = Feature("IPv6", (2, 6), _has_ipv6, "boot without ipv6.disable=1, or use IPv4 ranges only")

ALL = (USER_NAMESPACES, VETH, BRIDGE, NFT_FLAT_MAPS, CONNTRACK_NETLINK, IPV6)
