"""When to look whether WireGuard is still as it was left. In: its key's file, its process. Out: a moment.

Told by the kernel: a change of the interface, a file that leaves the key's directory, the end of the process's connection.
Not here: what is done about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from netloom.errors import NetloomError
from netloom.linux import rtmsg
from netloom.linux.file_watch import FileWatch
from netloom.linux.netlink import NETLINK_ROUTE, NetlinkSocket
from netloom.program.names import WIREGUARD_LINK


class Watch:
    """What has to be listened to. A context manager; listens from its beginning.

    Raises:
        KernelError: it cannot be listened to.
    """

    def __init__(self, key_file: Path, netns_fd: int | None) -> None:
        with contextlib.ExitStack() as undo:
            self._key_file = key_file
            self._files = undo.enter_context(FileWatch(key_file))
            groups = (rtmsg.RTNLGRP_LINK,)
            self._links = undo.enter_context(NetlinkSocket(NETLINK_ROUTE, netns_fd=netns_fd, groups=groups))
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

        def of_links() -> None:
            try:
                messages = self._links.receive(wait=False)
            except NetloomError:  # so much has changed that some of it was lost
                news.set()
                return
            kinds = (rtmsg.RTM_NEWLINK, rtmsg.RTM_DELLINK)
            if any(m.type in kinds and rtmsg.read_link(m).name == WIREGUARD_LINK for m in messages):
                news.set()

        def of_files() -> None:
            self._files.drain()
            if not self._key_file.exists():
                news.set()

        if not self._key_file.exists():
            return
        watched = {self._files.fd: of_files, self._links.fileno(): of_links}
        if lifeline is not None:
            watched[lifeline.fileno()] = news.set
        for fd, callback in watched.items():
            loop.add_reader(fd, callback)
        try:
            await news.wait()
        finally:
            for fd in watched:
                loop.remove_reader(fd)
