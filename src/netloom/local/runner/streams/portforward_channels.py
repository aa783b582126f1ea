"""Port-forward over plain WebSocket messages, as the official clients other than kubectl ask for it. In: a WebSocket; out: bytes both ways.

The first byte of a message is its channel: of the n-th port asked for, 2n carries data and 2n + 1 what went wrong. Both begin with a
message that holds the port, two bytes, the lower first (kubelet, ``portforward/websocket.go``). Not here: SPDY (``portforward.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from netloom.errors import NetloomError
from netloom.local.runner.http1 import BadRequest, Request
from netloom.local.runner.streams.portforward import connect
from netloom.local.runner.streams.websocket import WebSocket

PROTOCOLS = ("v4.channel.k8s.io",)
MAX_PORTS = 32
_PIECE = 64 << 10
_WAITING = 64
"""Messages of a client that wait for a port which does not read."""


def ports_of(request: Request) -> tuple[int, ...]:
    """The ports that a request names (``ports``, once or several times, with commas between them).

    Raises:
        BadRequest: none, too many, or something that is no port.
    """
    words = [word for text in request.query.get("ports", ()) for word in text.split(",")]
    if not words:
        raise BadRequest("ports: is not set; name at least one port")
    if len(words) > MAX_PORTS:
        raise BadRequest(f"ports: {len(words)} are more than {MAX_PORTS}")
    for word in words:
        if not (word.isascii() and word.isdigit() and 0 < int(word) < 65536):
            raise BadRequest(f"ports: {word!r} is no port between 1 and 65535")
    return tuple(map(int, words))


async def serve_channels(client: WebSocket, ports: tuple[int, ...], netns_fd: int, pod: str) -> None:
    """Serve until the client leaves, or all of the pod's sides have ended.

    Args:
        client: after the handshake.
        ports: of the pod, in the order of their channels.
        netns_fd: the pod's network namespace.
        pod: named in errors.
    """
    inboxes = tuple(asyncio.Queue[bytes](_WAITING) for _ in ports)
    with contextlib.suppress(OSError):
        for number, port in enumerate(ports):
            told = port.to_bytes(2, "little")
            await client.send(bytes([2 * number]) + told)
            await client.send(bytes([2 * number + 1]) + told)
    async with asyncio.TaskGroup() as group:
        forwards = [
            group.create_task(_forward(client, number, port, inboxes[number], netns_fd, pod))
            for number, port in enumerate(ports)
        ]
        reading = group.create_task(_read(client, inboxes), name="port-forward input")
        waiting = asyncio.gather(*forwards)
        await asyncio.wait((reading, waiting), return_when=asyncio.FIRST_COMPLETED)
        await client.close()
        reading.cancel()
        waiting.cancel()


async def _read(client: WebSocket, inboxes: tuple[asyncio.Queue[bytes], ...]) -> None:
    while (message := await client.receive()) is not None:
        number, is_error = divmod(message[0], 2) if message else (0, 1)
        if not is_error and number < len(inboxes):
            await inboxes[number].put(message[1:])


async def _forward(
    client: WebSocket, number: int, port: int, inbox: asyncio.Queue[bytes], netns_fd: int, pod: str
) -> None:
    try:
        made = await connect(netns_fd, port)
    except (OSError, NetloomError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        with contextlib.suppress(OSError):
            await client.send(bytes([2 * number + 1]) + f"port {port} of pod {pod}: {reason}".encode())
        return
    with made:
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(_up(made, inbox), name=f"port-forward {port} up")
            with contextlib.suppress(OSError):
                while piece := await asyncio.get_running_loop().sock_recv(made, _PIECE):
                    await client.send(bytes([2 * number]) + piece)
            sending.cancel()


async def _up(made: socket.socket, inbox: asyncio.Queue[bytes]) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while True:
            await loop.sock_sendall(made, await inbox.get())
