"""exec and attach over WebSocket: the first byte of each message is a channel (subprotocols v4 and v5.channel.k8s.io).

0 stdin, 1 stdout, 2 stderr, 3 status, 4 terminal size; version 5 adds 255: the client closes the channel that follows.
"""

from __future__ import annotations

import asyncio
import contextlib

from netloom.local.runner.streams.remote import Inbox, Wish
from netloom.local.runner.streams.websocket import WebSocket

V5 = "v5.channel.k8s.io"
V4 = "v4.channel.k8s.io"
PROTOCOLS = (V5, V4)

_PATIENCE_S = 1.0
"""Seconds for a client to answer a ping; one that answers none gets its output all the same."""

STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


class ChannelRemote:
    """A client that speaks one of these subprotocols."""

    def __init__(self, socket: WebSocket, wish: Wish, protocol: str) -> None:
        self.inbox = Inbox()
        self._is_told = protocol == V4
        self._socket = socket
        self._wish = wish

    async def ready(self) -> None:
        """Return when the client reads: output that comes before some of them have made their streams is lost to them.

        Clients of version 4 are told that their connection stands, by an empty message on the first channel that they read.
        """
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await self._socket.answered()
        if self._is_told:
            await self._stands()

    async def _stands(self) -> None:
        first = STDOUT if self._wish.stdout else STDERR if self._wish.stderr else STATUS
        await self._send(first, b"")

    async def run(self) -> None:
        """Sort what comes."""
        while (message := await self._socket.receive()) is not None:
            if not message:
                continue
            channel, payload = message[0], message[1:]
            if channel == STDIN and self._wish.stdin and payload:
                await self.inbox.stdin.put(payload)
            elif channel == RESIZE:
                self.inbox.resize(payload)
            elif channel == CLOSE and payload[:1] == bytes([STDIN]):
                await self.inbox.stdin.put(b"")
        self.inbox.gone.set()

    async def write(self, data: bytes, *, error: bool = False) -> None:
        """Send output."""
        await self._send(STDERR if error else STDOUT, data)

    async def finish(self, status: bytes) -> None:
        """Send the Status and close."""
        await self._send(STATUS, status)
        await self._socket.close()

    async def _send(self, channel: int, data: bytes) -> None:
        with contextlib.suppress(OSError):
            await self._socket.send(bytes([channel]) + data)
