"""Port-forward: the client's connections, carried to ports inside a pod. In: a SPDY session; out: bytes both ways.

For each connection the client opens two streams with the same ``requestid``: one for errors, one for data (protocol
``portforward.k8s.io``). We connect from inside the pod to its localhost, as a kubelet does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from netloom.errors import NetloomError
from netloom.linux import netns
from netloom.local.runner.streams.spdy_session import Session, Stream

PROTOCOL = "portforward.k8s.io"
MAX_WAITING = 128
"""Halves of pairs that wait for the other half."""
_CONNECT_S = 10.0
_PIECE = 64 << 10
_HOSTS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def serve_portforward(session: Session, netns_fd: int, pod: str) -> None:
    """Serve until the client leaves.

    Args:
        session: a fresh session.
        netns_fd: the pod's network namespace.
        pod: named in errors.
    """
    waiting: dict[str, Stream] = {}
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(session.run(), name="port-forward")
        while (stream := await session.accept()) is not None:
            request = stream.headers.get("requestid", "")
            other = waiting.pop(request, None)
            if other is None and len(waiting) < MAX_WAITING:
                waiting[request] = stream
                continue
            pair = {s.headers.get("streamtype", ""): s for s in (stream, other) if s is not None}
            if set(pair) != {"data", "error"}:
                for half in pair.values():
                    await half.reset()
                continue
            forward = _forward(pair["data"], pair["error"], netns_fd, pod)
            group.create_task(forward, name=f"port-forward {request}")
        await asyncio.wait((reading,))


async def connect(netns_fd: int, port: int) -> socket.socket:
    """A connection to a port of the pod's localhost, IPv4 first.

    Raises:
        OSError: nobody listens on it.
        KernelError: the namespace cannot be entered.
    """
    loop = asyncio.get_running_loop()
    refused: OSError | None = None
    for family, host in _HOSTS:
        try:
            made = await netns.run_in_async(netns_fd, lambda f=family: socket.socket(f, socket.SOCK_STREAM))  # type: ignore[misc]
        except OSError as error:
            refused = refused or error
            continue
        made.setblocking(False)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await loop.sock_connect(made, (host, port))
        except OSError as error:
            made.close()
            refused = refused or error
        else:
            return made
    raise refused or OSError("no address family")


async def _forward(data: Stream, errors: Stream, netns_fd: int, pod: str) -> None:
    """One connection of the client."""
    text = data.headers.get("port", "")
    try:
        port = int(text)
        made = await connect(netns_fd, port)
    except (OSError, ValueError, NetloomError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        await errors.write(f"port {text} of pod {pod}: {reason}".encode())
        await errors.close()
        await data.reset()
        return
    errors.ignore()
    with made:
        await _carry(data, made)
    await data.close()
    data.ignore()
    await errors.close()


async def _carry(data: Stream, made: socket.socket) -> None:
    """Carry bytes both ways until the pod's side has ended; the client's end is passed on as such."""
    loop = asyncio.get_running_loop()

    async def up() -> None:
        with contextlib.suppress(OSError):
            while piece := await data.read():
                await loop.sock_sendall(made, piece)
            made.shutdown(socket.SHUT_WR)

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(up(), name="port-forward up")
        with contextlib.suppress(OSError):
            while piece := await loop.sock_recv(made, _PIECE):
                await data.write(piece)
        sending.cancel()
