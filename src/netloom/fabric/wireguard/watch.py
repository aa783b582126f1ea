"""When to look whether WireGuard is still as it was left. In: its key's file, its process. Out: a moment.

Told by the kernel: a change of the interface, a route of the guard or a table of nftables that is deleted, a file that leaves the key's
directory, the end of the process's connection.
Not here: what is done about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from netloom.errors import NetloomError
from netloom.linux import rtmsg
from netloom.linux.file_watch import FileWatch
from netloom.linux.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Message, NetlinkSocket
from netloom.program.names import GUARD_ROUTE_PROTOCOL, WIREGUARD_LINK

_NFNLGRP_NFTABLES = 7
_DELTABLE = 10 << 8 | 2
"""NFT_MSG_DELTABLE of the subsystem nf_tables (linux/netfilter/nf_tables.h)."""
_PROTOCOL = 5
"""Where ``struct rtmsg`` has the route's protocol number."""


class Watch:
    """What has to be listened to. A context manager; listens from its beginning.

    Raises:
        KernelError: it cannot be listened to.
    """

    def __init__(self, key_file: Path, netns_fd: int | None) -> None:
        with contextlib.ExitStack() as undo:
            self._key_file = key_file
            self._files = undo.enter_context(FileWatch(key_file))
            groups = (rtmsg.RTNLGRP_LINK, rtmsg.RTNLGRP_IPV4_ROUTE, rtmsg.RTNLGRP_IPV6_ROUTE)
            self._links = undo.enter_context(NetlinkSocket(NETLINK_ROUTE, netns_fd=netns_fd, groups=groups))
            self._tables = undo.enter_context(
                NetlinkSocket(NETLINK_NETFILTER, netns_fd=netns_fd, groups=(_NFNLGRP_NFTABLES,))
            )
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    async def wait(self, lifeline: socket.socket | None) -> None:
        """Return when a look is worth it.

        Args:
            lifeline: a connection that ends with the process.
        """
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def of(notices: NetlinkSocket) -> None:
            try:
                if any(map(_matters, notices.receive(wait=False))):
                    news.set()
            except NetloomError:  # so much has changed that some of it was lost
                news.set()

        def of_files() -> None:
            self._files.drain()
            if not self._key_file.exists():
                news.set()

        if not self._key_file.exists():
            return
        watched: dict[int, Callable[[], None]] = {
            self._files.fd: of_files,
            self._links.fileno(): lambda: of(self._links),
            self._tables.fileno(): lambda: of(self._tables),
        }
        if lifeline is not None:
            watched[lifeline.fileno()] = news.set
        for fd, callback in watched.items():
            loop.add_reader(fd, callback)
        try:
            await news.wait()
        finally:
            for fd in watched:
                loop.remove_reader(fd)


def _matters(message: Message) -> bool:
    if message.type in (rtmsg.RTM_NEWLINK, rtmsg.RTM_DELLINK):
        return rtmsg.read_link(message).name == WIREGUARD_LINK
    if message.type == rtmsg.RTM_DELROUTE:
        return len(message.body) > _PROTOCOL and message.body[_PROTOCOL] == GUARD_ROUTE_PROTOCOL
    return message.type == _DELTABLE
