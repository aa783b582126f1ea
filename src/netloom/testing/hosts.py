"""A host of a topology: a namespace from which and to which real packets go. In: a descriptor. Out: sockets and replies.

Every server answers "who am I, and whom do I see as the peer", so that a test reads translation off the answer.
Not here: how hosts are connected (``topologies``).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import cast

import msgspec

from netloom.linux import netns
from netloom.units import Addr, Family, Protocol, family_of, parse_addr

TIMEOUT_S = 0.8
"""How long an answer may take; shorter than the first retransmission of TCP, so a lost packet is a failure."""

_AF = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
_KIND = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}
_ANY = {Family.V4: "0.0.0.0", Family.V6: "::"}  # noqa: S104 - inside a namespace of a test


class Reply(msgspec.Struct, frozen=True):
    """Who answered, and the address and port from which that host saw the question come."""

    server: str
    peer: Addr
    peer_port: int


class Host(msgspec.Struct, frozen=True):
    """A host: its name, its network namespace, and its addresses, IPv4 first."""

    name: str
    netns_fd: int
    addresses: tuple[Addr, ...]

    @property
    def address(self) -> Addr:
        """Its first address."""
        return self.addresses[0]

    def address_of(self, family: Family) -> Addr:
        """Its address of a family."""
        return next(a for a in self.addresses if family_of(a) is family)

    def open_socket(self, family: Family = Family.V4, protocol: Protocol = Protocol.TCP) -> socket.socket:
        """A non-blocking socket that lives on this host."""
        sock = netns.open_socket(self.netns_fd, _AF[family], _KIND[protocol])
        sock.setblocking(False)
        return sock

    @contextlib.asynccontextmanager
    async def serve(
        self,
        port: int,
        protocol: Protocol = Protocol.TCP,
        *,
        family: Family = Family.V4,
        address: Addr | None = None,
    ) -> AsyncIterator[int]:
        """Answer on a port (0 lets the kernel choose) with who this host is and whom it sees; gives the port.

        TCP speaks plain lines and HTTP: a request that starts with ``GET`` is answered as one.
        """
        loop = asyncio.get_running_loop()
        sock = self.open_socket(family, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((str(address) if address else _ANY[family], port))
        except BaseException:
            sock.close()
            raise
        bound: int = sock.getsockname()[1]
        if protocol is Protocol.TCP:
            server = await asyncio.start_server(self._answer_stream, sock=sock)
            async with server:
                yield bound
        else:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Echo(self.name), sock=sock)
            try:
                yield bound
            finally:
                transport.close()

    async def _answer_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            asked = await reader.readline()
            body = _words(self.name, writer.get_extra_info("peername"))
            if asked.startswith(b"GET "):
                await reader.readuntil(b"\r\n\r\n")  # closing with bytes unread would reset the connection
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                body = head.encode() + body
            writer.write(body)
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def ask(
        self,
        target: Host | Addr,
        port: int,
        protocol: Protocol = Protocol.TCP,
        *,
        timeout_s: float = TIMEOUT_S,
        source: tuple[Addr, int] | None = None,
    ) -> Reply | None:
        """Ask a server of :meth:`serve`; None where no answer comes in time, or a refusal.

        Args:
            target: an address, or a host (then its first address).
            port: of the server.
            protocol: TCP or UDP.
            timeout_s: how long to wait for everything.
            source: address and port to ask from; the kernel's choice otherwise.
        """
        try:
            return await self.ask_or_raise(target, port, protocol, timeout_s=timeout_s, source=source)
        except (OSError, TimeoutError):
            return None

    async def ask_or_raise(
        self,
        target: Host | Addr,
        port: int,
        protocol: Protocol = Protocol.TCP,
        *,
        timeout_s: float = TIMEOUT_S,
        source: tuple[Addr, int] | None = None,
    ) -> Reply:
        """As :meth:`ask`, telling a refusal (ConnectionRefusedError at once) from silence (TimeoutError)."""
        loop = asyncio.get_running_loop()
        address = target.address if isinstance(target, Host) else target
        with self.open_socket(family_of(address), protocol) as sock:
            if source is not None:
                sock.bind((str(source[0]), source[1]))
            async with asyncio.timeout(timeout_s):
                await loop.sock_connect(sock, (str(address), port))
                await loop.sock_sendall(sock, b"who\n")
                answer = b""
                while not answer.endswith(b"\n"):
                    piece = await loop.sock_recv(sock, 4096)
                    if not piece:
                        raise ConnectionResetError(f"{address}:{port} closed without an answer")
                    answer += piece
        server, peer, peer_port = answer.decode().split()
        seen = parse_addr(peer)
        if seen is None:
            raise ConnectionResetError(
                f"{address}:{port} answered {answer!r}, which is not our server's answer"
            )
        return Reply(server, seen, int(peer_port))

    async def reaches(
        self,
        target: Host | Addr,
        port: int,
        protocol: Protocol = Protocol.TCP,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> bool:
        """True where a server of :meth:`serve` answers there."""
        return await self.ask(target, port, protocol, timeout_s=timeout_s) is not None


class _Echo(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self._name = name
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, since the loop's own class is no subclass of DatagramTransport (Python 3.11).
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(_words(self._name, addr), addr)


def _words(name: str, peer: tuple[str, int]) -> bytes:
    return f"{name} {peer[0]} {peer[1]}\n".encode()
