"""Ends of pipes and terminals, without transports: read, write, and stop when the process on the other side has ended."""

from __future__ import annotations

import asyncio
import contextlib
import os

_READ = 32 << 10


class ReadEnd:
    """Reads a descriptor, which it owns."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._finishing = False
        self._waiting: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """The next bytes; empty at the end, which after :meth:`finish` is where nothing more is waiting."""
        while self._fd >= 0:
            try:
                return os.read(self._fd, _READ)
            except BlockingIOError:
                if self._finishing:
                    return b""
                await self._readable()
            except OSError:
                return b""  # EIO: the last process has closed the terminal
        return b""

    def finish(self) -> None:
        """The process has ended: read what is there, and wait for nothing more. Its offspring may hold the other end for ever."""
        self._finishing = True
        _settle(self._waiting)

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        loop.add_reader(self._fd, _settle, self._waiting)
        try:
            await self._waiting
        finally:
            loop.remove_reader(self._fd)
            self._waiting = None


class WriteEnd:
    """Writes a descriptor, which it owns."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd

    async def write(self, data: bytes) -> bool:
        """Write all of it; False where nobody reads any more."""
        view = memoryview(data)
        while view and self._fd >= 0:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await self._writable()
            except OSError:
                return False
        return self._fd >= 0

    def close(self) -> None:
        """Close the descriptor: the reader sees the end."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        loop.add_writer(self._fd, _settle, waiting)
        try:
            await waiting
        finally:
            with contextlib.suppress(ValueError):
                loop.remove_writer(self._fd)


def _settle(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
