"""What others take from the fabric is put back: interfaces, routes, neighbours. In: the kernel's announcements. Out: the fabric started anew.

Starting it anew compares the kernel with what should be and touches only what differs, so an announcement too many costs a look. Not
here: which changes are the node's own (``underlay``), and the tables of nftables (``dataplane/nftables/audit``).
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from netloom.errors import KernelError
from netloom.fabric.egress.apply import EgressPaths
from netloom.fabric.measured import MeasuredFabric
from netloom.linux import rtmsg
from netloom.linux.netlink import NETLINK_ROUTE, Message, NetlinkSocket
from netloom.linux.rtmsg_notices import gone_far_end, gone_neighbour, has_come_up
from netloom.metrics import Sample, counter
from netloom.model.state import NetworkState
from netloom.program.names import EGRESS_LINK, EGRESS_ROUTE_PROTOCOL, FABRIC_LINK_PREFIX, POD_LINK_PREFIX

log = logging.getLogger(__name__)

_GROUPS = (rtmsg.RTNLGRP_LINK, rtmsg.RTNLGRP_NEIGH, rtmsg.RTNLGRP_IPV4_ROUTE, rtmsg.RTNLGRP_IPV6_ROUTE)
_SETTLE_S = 0.05
_REST_S = 1.0
"""Who takes away again and again is answered once a second."""


class Owner(Protocol):
    """Who uses the fabric."""

    def still(self) -> AbstractAsyncContextManager[NetworkState | None]:
        """While this is held the fabric is the holder's; gives what is in force, None where that is not known."""


class FabricWatch:
    """Keeps what a fabric has put into the kernel. ``run()`` until cancelled.

    Args:
        fabric: the node's.
        owner: gives who uses it; None until there is one.
        ways_out: the node's, too.
        netns_fd: the node's network namespace; None for the caller's own.
    """

    def __init__(
        self,
        *,
        fabric: MeasuredFabric,
        owner: Callable[[], Owner | None],
        ways_out: EgressPaths | None = None,
        netns_fd: int | None = None,
    ) -> None:
        self._fabric = fabric
        self._owner = owner
        self._ways_out = ways_out
        self._netns_fd = netns_fd
        self._news = asyncio.Event()
        self._looks = 0
        self.looked = asyncio.Condition()
        """Notified after each look."""

    def samples(self) -> Iterator[Sample]:
        """For the page of metrics."""
        yield counter(
            "netloom_fabric_looks_total",
            "How often the fabric was compared with the kernel because something of it was seen to go.",
            self._looks,
        )

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            KernelError: the kernel does not announce changes.
        """
        loop = asyncio.get_running_loop()
        with NetlinkSocket(NETLINK_ROUTE, netns_fd=self._netns_fd, groups=_GROUPS) as announced:
            loop.add_reader(announced.fileno(), self._read, announced)
            try:
                async for _ in self._turns():
                    await self._look()
            finally:
                loop.remove_reader(announced.fileno())

    async def _turns(self) -> AsyncIterator[None]:
        while True:
            await self._news.wait()
            await asyncio.sleep(_SETTLE_S)
            self._news.clear()
            yield
            await asyncio.sleep(_REST_S)

    def _read(self, announced: NetlinkSocket) -> None:
        try:
            messages = announced.receive(wait=False)
        except KernelError as error:
            if error.errno != errno.ENOBUFS:  # so much has changed that some of it was lost: look
                log.warning("changes of the fabric: %s", error)
            self._news.set()
            return
        if any(is_loss(message, self._fabric) for message in messages):
            self._news.set()

    async def _look(self) -> None:
        owner = self._owner()
        if owner is None:
            return
        self._looks += 1
        try:
            async with owner.still() as state:
                if state is not None:
                    await self._fabric.again()
                    if self._ways_out is not None:
                        await self._ways_out.again()
        except KernelError as error:
            log.warning("the fabric could not be put right, the next change tries again: %s", error)
        async with self.looked:
            self.looked.notify_all()


def is_loss(message: Message, fabric: MeasuredFabric) -> bool:
    """Whether something of a fabric may have gone: an interface of its, or one set down or changed; a route to a peer; a neighbour.

    So may all routes of an interface that was down meanwhile.
    """
    if message.type in (rtmsg.RTM_NEWLINK, rtmsg.RTM_DELLINK):
        name = rtmsg.read_link(message).name
        if name.startswith(FABRIC_LINK_PREFIX) or name == EGRESS_LINK:
            return True
        return has_come_up(message) and not name.startswith(POD_LINK_PREFIX)
    if message.type == rtmsg.RTM_DELROUTE:
        route = rtmsg.read_route(message, {})
        return route is not None and (
            route.destination in fabric.destinations or route.protocol == EGRESS_ROUTE_PROTOCOL
        )
    address = gone_neighbour(message) or gone_far_end(message)
    return address is not None and fabric.is_next_hop(address)
