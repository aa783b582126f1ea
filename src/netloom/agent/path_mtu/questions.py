"""Asks another node's agent with packets of many kinds. In: an address and a size. Out: whether it was answered.

Every packet forbids fragments and ignores what the kernel believes of the path (RFC 8899: what was answered was carried). Not here:
which packets to ask with (``prober``), and what answers mean (``findings``).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from netloom.agent.path_mtu.packets import ANSWER, ASK, ASK_UNCHECKED, decode, encode_probe, payload_of
from netloom.units import Addr, Family, family_of

_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE = 10, 23, 3
_IPV6_DONTFRAG = 62
_SO_NO_CHECK = 11
_SOL_UDP, _UDP_SEGMENT, _UDP_NO_CHECK6_TX, _UDP_NO_CHECK6_RX = 17, 103, 101, 102
_AT_ONCE = 64


class Asker:
    """The sockets that ask. A context manager, to be used inside one event loop.

    Args:
        port: UDP port of the other agents' responders.
        wait_s: how long an answer may take.
        tries: packets that are sent before silence counts.
        open_socket: makes a socket of a family; by default in the process's own namespace.
    """

    def __init__(
        self,
        *,
        port: int,
        wait_s: float = 0.5,
        tries: int = 3,
        open_socket: Callable[[int, int], socket.socket] = socket.socket,
    ) -> None:
        self._port = port
        self._wait_s = wait_s
        self._tries = tries
        self._open_socket = open_socket
        self._sockets: dict[tuple[Family, bool], socket.socket] = {}
        self._waiting: dict[bytes, asyncio.Future[None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets.values():
            loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()

    async def carries(
        self, target: Addr, size: int, *, is_checked: bool = True, parts: int = 1, in_tunnel: bool = False
    ) -> bool:
        """Whether a packet of ``size`` bytes is answered by the agent at ``target``.

        Args:
            target: its address.
            size: of the packet with its IP header; one that is too small for a probe becomes as large as a probe is.
            is_checked: with a UDP checksum, which the kernel leaves to the hardware wherever it may.
            in_tunnel: the answer is to have no checksum: the way back is the business of who is there.
            parts: so many packets of this size, handed to the kernel as one for the hardware to cut; all must be answered.
        """
        payload = payload_of(size, target.version == 6)
        for _ in range(self._tries):
            kind = ASK_UNCHECKED if in_tunnel else ASK
            tokens = [os.urandom(16) for _ in range(parts)]
            whole = [encode_probe(token, payload, kind) for token in tokens]
            if await self._ask_once(target, tokens, whole, is_checked=is_checked):
                return True
        return False

    async def largest(self, target: Addr, least: int, most: int) -> int:
        """The largest packet that is answered, bytes, between two sizes; 0 where not even the smallest is."""
        if await self.carries(target, most):
            return most
        if not await self.carries(target, least):
            return 0
        low, high = least, most  # low is answered, high is not
        while high - low > 1:
            middle = (low + high) // 2
            if await self.carries(target, middle):
                low = middle
            else:
                high = middle
        return low

    async def _ask_once(
        self, target: Addr, tokens: Sequence[bytes], probes: Sequence[bytes], *, is_checked: bool
    ) -> bool:
        loop = asyncio.get_running_loop()
        answers = {token: loop.create_future() for token in tokens}
        self._waiting.update(answers)
        try:
            if not self._send(target, probes, is_checked=is_checked):
                return False
            async with asyncio.timeout(self._wait_s):
                await asyncio.gather(*answers.values())
        except TimeoutError:
            return False
        else:
            return True
        finally:
            for token in tokens:
                self._waiting.pop(token, None)

    def _send(self, target: Addr, probes: Sequence[bytes], *, is_checked: bool) -> bool:
        """False where the kernel would not even send it: too large for the interface, or no way there."""
        cut = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", len(probes[0])))] if len(probes) > 1 else []
        try:
            sock = self._socket(family_of(target), is_checked=is_checked)
            sock.sendmsg(probes, cut, 0, (str(target), self._port))
        except OSError as error:
            # a full queue is no answer of the network; the next try may do
            return error.errno in (errno.EAGAIN, errno.ENOBUFS)
        return True

    def _socket(self, family: Family, *, is_checked: bool) -> socket.socket:
        key = (family, is_checked)
        if key not in self._sockets:
            number = socket.AF_INET if family is Family.V4 else socket.AF_INET6
            sock = self._open_socket(number, socket.SOCK_DGRAM)
            try:
                _prepare(sock, family, is_checked=is_checked)
            except BaseException:
                sock.close()
                raise
            asyncio.get_running_loop().add_reader(sock.fileno(), self._read, sock)
            self._sockets[key] = sock
        return self._sockets[key]

    def _read(self, sock: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                payload = sock.recv(2048)
            except OSError:
                return
            answer = decode(payload)
            if answer is None or answer.kind != ANSWER:
                continue
            waiting = self._waiting.get(answer.token)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)


def _prepare(sock: socket.socket, family: Family, *, is_checked: bool) -> None:
    sock.setblocking(False)
    if family is Family.V4:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
        if not is_checked:
            sock.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
        return
    sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
    sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)
    sock.setsockopt(_SOL_UDP, _UDP_NO_CHECK6_RX, 1)
    if not is_checked:
        sock.setsockopt(_SOL_UDP, _UDP_NO_CHECK6_TX, 1)
