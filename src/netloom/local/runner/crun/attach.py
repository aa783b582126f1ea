"""Joining the standard streams of a container (``kubectl attach``, ``run -it``): conmon's socket and terminal size. In: a client.

Each packet from conmon begins with the stream that it is of; what is sent to it is standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from netloom.errors import Unavailable
from netloom.local.runner.crun.places import Bundle
from netloom.local.runner.streams import remote as statuses
from netloom.local.runner.streams.remote import Remote, Wish

_PACKET = 32 << 10
_STDERR = 3


async def join(bundle: Bundle, remote: Remote, wish: Wish, *, has_stdin: bool, over: asyncio.Event) -> None:
    """Carry bytes both ways until the container has ended or the client has left.

    Raises:
        Unavailable: the container has ended.
    """
    joined = await _connect(bundle)
    try:
        async with asyncio.TaskGroup() as group:
            incoming = group.create_task(remote.run(), name="attach input")
            await remote.ready()
            showing = group.create_task(_show(joined, remote), name="attach output")
            aside = [
                group.create_task(_resize(bundle, remote), name="attach size"),
                group.create_task(
                    _enter(joined, remote, has_stdin=has_stdin and wish.stdin), name="attach stdin"
                ),
            ]
            await asyncio.wait((incoming, showing), return_when=asyncio.FIRST_COMPLETED)
            if showing.done():
                await over.wait()
                await remote.finish(statuses.exited(0))
            for task in (incoming, showing, *aside):
                task.cancel()
    finally:
        joined.close()


async def _connect(bundle: Bundle) -> socket.socket:
    """The socket by a short path: that of a unix socket has 107 bytes at most."""
    joined = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    joined.setblocking(False)
    try:
        directory = os.open(bundle.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            joined.connect(f"/proc/self/fd/{directory}/attach")
        finally:
            os.close(directory)
    except OSError as error:
        joined.close()
        raise Unavailable(f"the container takes no clients: {error.strerror}", "it has ended") from error
    return joined


async def _show(joined: socket.socket, remote: Remote) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while packet := await loop.sock_recv(joined, _PACKET + 1):
            await remote.write(packet[1:], error=packet[0] == _STDERR)


async def _enter(joined: socket.socket, remote: Remote, *, has_stdin: bool) -> None:
    """Input until its end, which conmon sees as the end of our side; what nobody reads is dropped."""
    loop = asyncio.get_running_loop()
    is_open = has_stdin
    while True:
        data = await remote.inbox.stdin.get()
        if not is_open:
            continue
        with contextlib.suppress(OSError):
            if data:
                for start in range(0, len(data), _PACKET):
                    await loop.sock_sendall(joined, data[start : start + _PACKET])
            else:
                joined.shutdown(socket.SHUT_WR)
        is_open = bool(data)


async def _resize(bundle: Bundle, remote: Remote) -> None:
    """Conmon reads sizes from a pipe: kind of message, rows, columns."""
    while True:
        size = await remote.inbox.sizes.get()
        with contextlib.suppress(OSError):
            fd = os.open(bundle.path / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(fd, f"1 {size.height} {size.width}\n".encode())
            finally:
                os.close(fd)
