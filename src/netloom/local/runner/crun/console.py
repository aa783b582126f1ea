"""The terminal of a command beside a container: crun makes it inside and hands its other end over a socket. In: a directory.

So nobody carries bytes in between, sizes are set where they count, and crun has nothing to do but to wait for the exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from netloom.errors import Unavailable
from netloom.linux.process import Process

_WAIT_S = 30.0
_NAME = 4096


class Console:
    """A socket that a terminal comes over. A context manager.

    Args:
        directory: of the container; its path may be longer than a socket's may be, so it is named by a descriptor.
        name: of the socket in it.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._path = directory / name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.bind(self.path)
        self._socket.listen(1)

    @property
    def path(self) -> str:
        """The socket's path for a process that has ``directory`` by the same number."""
        return f"/proc/self/fd/{self.directory}/{self._path.name}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        os.close(self.directory)
        self._path.unlink(missing_ok=True)

    async def terminal(self, crun: Process) -> int:
        """The descriptor of our end, which is the caller's to close.

        Raises:
            Unavailable: crun ended, or did not hand it over in time.
        """
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WAIT_S), asyncio.TaskGroup() as group:
                accepting = group.create_task(loop.sock_accept(self._socket), name="terminal")
                ending = group.create_task(crun.wait(), name="crun exec")
                await asyncio.wait((accepting, ending), return_when=asyncio.FIRST_COMPLETED)
                ending.cancel()
                if accepting.done():
                    return await _received(accepting.result()[0])
                accepting.cancel()
        raise Unavailable("crun gave no terminal to the command", "has the container ended?")


async def _received(connection: socket.socket) -> int:
    """The descriptor that comes with the one message of a connection."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    with connection:
        connection.setblocking(False)
        loop.add_reader(connection, came.set)
        try:
            await came.wait()
        finally:
            loop.remove_reader(connection)
        _, descriptors, _, _ = socket.recv_fds(connection, _NAME, 1)
    if not descriptors:
        raise Unavailable("crun gave no terminal to the command", "has the container ended?")
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]
