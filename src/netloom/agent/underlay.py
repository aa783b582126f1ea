"""How this node is connected, read from the kernel, and the news that it has changed.

Comes in: the node's own addresses, the kernel's announcements. Goes out: an :class:`Underlay`; a call when another look is worth it.
Not here: what follows (``own_node``), and who is told (``node_notes``).
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Iterable

from netloom.errors import KernelError
from netloom.linux import rtmsg
from netloom.linux.netlink import NETLINK_ROUTE, Message, NetlinkSocket
from netloom.linux.rtnl import Rtnl
from netloom.model.routes.ways import DEFAULT_MTU, Segment, Underlay
from netloom.program.names import is_own_link
from netloom.units import Addr

log = logging.getLogger(__name__)

_GROUPS = (rtmsg.RTNLGRP_LINK, rtmsg.RTNLGRP_IPV4_IFADDR, rtmsg.RTNLGRP_IPV6_IFADDR)
_SETTLE_S = 0.03
"""Changes of interfaces come in heaps."""


def look(addresses: Iterable[Addr]) -> Underlay:
    """The networks of this node's interfaces but our own, and the MTU of the one with the node's address; 1500 where none has it.

    Raises:
        KernelError: the kernel cannot be asked.
    """
    wanted = set(addresses)
    with Rtnl() as rtnl:
        there = rtnl.addresses()
        carriers = {a.device for a in there if a.interface.ip in wanted}
        mtu = min((link.mtu for link in rtnl.links() if link.name in carriers), default=DEFAULT_MTU)
    segments = {
        Segment(a.device, a.interface)
        for a in there
        if a.device != "lo" and not is_own_link(a.device) and not a.interface.is_link_local
    }
    return Underlay(tuple(sorted(segments, key=lambda s: (s.device, s.interface.version, s.interface))), mtu)


class UnderlayWatch:
    """Calls ``on_change`` soon after addresses or interfaces of this node that are not our own have changed.

    Args:
        on_change: must not block for long and must not fail.
        netns_fd: the node's network namespace; None for the caller's own.
    """

    def __init__(self, on_change: Callable[[], None], *, netns_fd: int | None = None) -> None:
        self._on_change = on_change
        self._netns_fd = netns_fd
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            KernelError: the kernel does not announce changes.
        """
        loop = asyncio.get_running_loop()
        with NetlinkSocket(NETLINK_ROUTE, netns_fd=self._netns_fd, groups=_GROUPS) as announced:
            loop.add_reader(announced.fileno(), self._read, announced)
            try:
                self._news.set()  # what changed before we listened
                while True:
                    await self._news.wait()
                    await asyncio.sleep(_SETTLE_S)
                    self._news.clear()
                    self._on_change()
            finally:
                loop.remove_reader(announced.fileno())

    def _read(self, announced: NetlinkSocket) -> None:
        try:
            messages = announced.receive(wait=False)
        except KernelError as error:
            if error.errno != errno.ENOBUFS:  # so much has changed that some of it was lost: look
                log.warning("changes of interfaces: %s", error)
            self._news.set()
            return
        if any(map(_matters, messages)):
            self._news.set()


def _matters(message: Message) -> bool:
    if message.type not in (rtmsg.RTM_NEWLINK, rtmsg.RTM_DELLINK):
        return True
    return not is_own_link(rtmsg.read_link(message).name)
