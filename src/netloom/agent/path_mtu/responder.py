"""Answers other nodes' probes. In: UDP on one port. Out: answers of 26 bytes, to known nodes only and so many a second.

Not here: asking (``questions``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Container

from netloom.agent.path_mtu.packets import ANSWER, ASK_UNCHECKED, decode, encode_answer
from netloom.clock import Clock
from netloom.errors import Unavailable
from netloom.units import Addr, Family, parse_addr

log = logging.getLogger(__name__)

_ANSWERS_S = 2000
"""A second, to all together; a thousand nodes that start at once have their answers within some seconds."""
_AT_ONCE = 64
_REOPEN_S = 5.0
_SO_NO_CHECK = 11
_SOL_UDP, _UDP_NO_CHECK6_TX, _UDP_NO_CHECK6_RX = 17, 101, 102
_FAMILIES = {Family.V4: (socket.AF_INET, "0.0.0.0"), Family.V6: (socket.AF_INET6, "::")}  # noqa: S104 - known nodes only


class Responder:
    """The sockets. ``run()`` until cancelled.

    Args:
        port: UDP, at all addresses of both families. 0: nobody is answered.
        peers: gives the addresses that are answered.
        clock: for the bound.
        open_socket: makes a socket of a family; None: in the process's own namespace.
    """

    def __init__(
        self,
        *,
        port: int,
        peers: Callable[[], Container[Addr]],
        clock: Clock,
        open_socket: Callable[[int, int], socket.socket] = socket.socket,
    ) -> None:
        self._port = port
        self._peers = peers
        self._clock = clock
        self._open_socket = open_socket
        self._left = float(_ANSWERS_S)
        self._filled = clock.monotonic()
        self.opened = asyncio.Event()
        """Set while probes are answered."""

    async def run(self) -> None:
        """Answer; a port that another has is tried again, and the log says so."""
        while self._port:
            try:
                with contextlib.ExitStack() as stack:
                    for family in Family:
                        self._listen(stack, family)
                    self.opened.set()
                    await asyncio.Event().wait()
            except OSError as error:
                self.opened.clear()
                told = Unavailable(
                    f"UDP port {self._port} for probes of paths: {error.strerror}",
                    "set probe_port to another",
                )
                log.warning("%s", told)
                await asyncio.sleep(_REOPEN_S)
        await asyncio.Event().wait()

    def _listen(self, stack: contextlib.ExitStack, family: Family) -> None:
        number, anywhere = _FAMILIES[family]
        try:
            sock = self._open_socket(number, socket.SOCK_DGRAM)
        except OSError:
            if family is Family.V6:  # IPv6 is switched off
                return
            raise
        stack.callback(sock.close)
        sock.setblocking(False)
        if family is Family.V6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(_SOL_UDP, _UDP_NO_CHECK6_RX, 1)
        sock.bind((anywhere, self._port))
        unchecked = stack.enter_context(self._open_socket(number, socket.SOCK_DGRAM))
        unchecked.setblocking(False)
        if family is Family.V4:
            unchecked.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
        else:
            unchecked.setsockopt(_SOL_UDP, _UDP_NO_CHECK6_TX, 1)
        loop = asyncio.get_running_loop()
        loop.add_reader(sock.fileno(), self._read, sock, unchecked)
        stack.callback(loop.remove_reader, sock.fileno())

    def _read(self, sock: socket.socket, unchecked: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                payload, peer = sock.recvfrom(65536)
            except OSError:
                return
            probe, address = decode(payload), parse_addr(peer[0])
            if probe is None or probe.kind == ANSWER or address is None or address not in self._peers():
                continue
            if self._may_answer():
                with contextlib.suppress(OSError):
                    answering = unchecked if probe.kind == ASK_UNCHECKED else sock
                    answering.sendto(encode_answer(probe), peer)

    def _may_answer(self) -> bool:
        now = self._clock.monotonic()
        self._left = min(self._left + (now - self._filled) * _ANSWERS_S, _ANSWERS_S)
        self._filled = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
