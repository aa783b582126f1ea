"""One UDP port of a stand-in: each datagram is answered by one line of facts."""

from __future__ import annotations

import asyncio
from typing import cast

from netloom.local.runner.standins import answers
from netloom.local.runner.standins.answers import Address
from netloom.local.runner.standins.tcp import Listener


class Datagrams(asyncio.DatagramProtocol):
    """Answers all clients of one port."""

    __slots__ = ("_full", "_listener", "_local", "_transport")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.DatagramTransport | None = None
        self._local: Address = ("?", 0)
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        self._transport = cast("asyncio.DatagramTransport", transport)
        self._local = answers.normal(transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A client said something."""
        if self._transport is None or self._full:
            return  # UDP may lose datagrams, and memory must not grow
        peer = answers.normal(addr)
        self._transport.sendto(
            answers.line(self._listener.identity, peer=peer, local=self._local, said=data), addr
        )
        self._listener.log.write(
            answers.spoken(peer), f"sent {len(data)} bytes by UDP to port {self._local[1]}"
        )

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self._full = True

    def resume_writing(self) -> None:
        """It has room again."""
        self._full = False

    def error_received(self, exc: Exception) -> None:
        """An answer could not be delivered (ICMP): clients may go before they hear it."""
