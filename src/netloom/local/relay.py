"""DNS between the cluster and the host: the one thing that crosses, besides the API server's socket.

Comes in: sockets that live in the cluster's namespace (bound to the underlay gateway, port 53) and are read by the
supervisor, which lives in the host's. Goes out: the same messages to the host's resolvers. Nothing is parsed here; the
nodes' DNS servers do the thinking, and this is their upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

Upstream = tuple[str, int]
MAX_IN_FLIGHT = 256
MAX_MESSAGE = 65535
TRY_S = 1.5
"""Seconds to wait for one resolver before the next one is asked."""
IDLE_S = 10.0


def host_resolvers(path: Path = Path("/etc/resolv.conf")) -> tuple[Upstream, ...]:
    """The ``nameserver`` lines of resolv.conf(5), at most three as there."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    words = (line.split() for line in lines)
    return tuple((w[1], 53) for w in words if len(w) > 1 and w[0] == "nameserver")[:3]


class DnsRelay:
    """Passes queries on, each over a socket of its own (a fresh source port), and answers back."""

    def __init__(
        self, *, udp: socket.socket, tcp: socket.socket, upstreams: Callable[[], Sequence[Upstream]]
    ) -> None:
        self._udp = udp
        self._tcp = tcp
        self._upstreams = upstreams

    async def run(self) -> None:
        """Until cancelled."""
        self._udp.setblocking(False)
        server = await asyncio.start_server(self._stream, sock=self._tcp, limit=MAX_MESSAGE)
        loop = asyncio.get_running_loop()
        room = asyncio.Semaphore(MAX_IN_FLIGHT)
        async with server, asyncio.TaskGroup() as group:
            while True:
                await room.acquire()
                message, client = await loop.sock_recvfrom(self._udp, MAX_MESSAGE)
                task = group.create_task(self._datagram(message, client), name="dns-relay")
                task.add_done_callback(lambda _: room.release())

    async def _datagram(self, message: bytes, client: Upstream) -> None:
        loop = asyncio.get_running_loop()
        for upstream in self._upstreams():
            family = socket.AF_INET6 if ":" in upstream[0] else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out:
                try:
                    async with asyncio.timeout(TRY_S):
                        await loop.sock_connect(out, upstream)
                        await loop.sock_sendall(out, message)
                        answer = await loop.sock_recv(out, MAX_MESSAGE)
                        while answer[:2] != message[:2]:  # a late answer to something else
                            answer = await loop.sock_recv(out, MAX_MESSAGE)
                except OSError as error:  # TimeoutError is one
                    log.debug("resolver %s does not answer: %s", upstream[0], error)
                    continue
                with contextlib.suppress(OSError):
                    await loop.sock_sendto(self._udp, answer, client)
                return

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            for host, port in self._upstreams():
                try:
                    async with asyncio.timeout(TRY_S):
                        up_reader, up_writer = await asyncio.open_connection(host, port)
                except OSError:
                    continue
                with contextlib.closing(up_writer):
                    await _both_ways((reader, up_writer), (up_reader, writer))
                return


async def _both_ways(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """For a while; what fails ends it."""
    try:
        async with asyncio.timeout(IDLE_S), asyncio.TaskGroup() as group:
            for reader, writer in ways:
                group.create_task(carry(reader, writer))
    except* OSError as errors:  # TimeoutError is one
        log.debug("relay: %s", errors.exceptions)


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes one way until their end, which is passed on; the other way stays open."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(MAX_MESSAGE):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            with contextlib.suppress(
                OSError
            ):  # ENOTCONN, which is no ConnectionError: it was reset meanwhile
                writer.write_eof()
