"""Sockets of the server: UDP in batches, TCP with limits. Bytes in, bytes out; what they mean is the server's.

Each listening socket is bound to one address, so a reply leaves from the address that was asked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import Counter
from functools import partial
from typing import Any

from netloom.dns.counters import Counters
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.server import QueryServer
from netloom.errors import KernelError

_IP_FREEBIND = 15  # linux/in.h; Python names neither
_IPV6_FREEBIND = 78  # linux/in6.h
_BATCH = 128
"""Datagrams read before the loop may turn to others."""
_DATAGRAM = 4096
_RECEIVE_BUFFER = 4 << 20
IDLE_S = 10.0
"""A connection on which nothing comes for so long is closed (RFC 7766, section 6.2.3)."""
CONNECTIONS_LIMIT = 512
CONNECTIONS_PER_PEER = 64
OPEN_QUERIES_LIMIT = 64
"""Queries of one connection that may wait for their answers; the next is not read before."""


def bind(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """A socket at an address that need not be there yet (IP_FREEBIND), non-blocking; TCP sockets do not listen yet.

    Raises:
        KernelError: the address is taken by another server, or the port is not allowed.
    """
    v6 = ipaddress.ip_address(address).version == 6
    sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        what = f"bind DNS server to {address} port {port} ({kind.name})"
        hint = "stop what listens there, or take another listen address"
        raise KernelError(what, error.errno or 0, error.strerror or str(error), hint) from error
    return sock


class UdpListener:
    """One UDP socket: what is prepared is answered here, the rest by the server."""

    def __init__(
        self, *, sock: socket.socket, prepared: PreparedAnswers, server: QueryServer, counters: Counters
    ) -> None:
        self._sock = sock
        self._prepared = prepared
        self._server = server
        self._counters = counters

    def start(self) -> None:
        """Answer from now on, on the running loop."""
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._readable)

    def close(self) -> None:
        """Stop answering."""
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()

    def _readable(self) -> None:
        recvfrom, sendto, prepared = self._sock.recvfrom, self._sock.sendto, self._prepared.reply
        count = 0
        try:
            for _ in range(_BATCH):
                data, peer = recvfrom(_DATAGRAM)
                count += 1
                reply = prepared(data)
                if reply is not None:
                    try:
                        sendto(reply, peer)
                    except OSError:
                        self._counters.dropped += 1
                else:
                    self._server.handle(data, partial(self._send, peer), stream=False)
        except BlockingIOError:
            pass
        except OSError:
            self._counters.dropped += 1  # an ICMP error of an earlier reply, told at the next read
        finally:
            self._counters.udp_queries += count

    def _send(self, peer: tuple[Any, ...], reply: bytes) -> None:
        try:
            self._sock.sendto(reply, peer)
        except OSError:  # the buffer is full, the peer is gone, or we are closed: UDP may lose
            self._counters.dropped += 1


class TcpListener:
    """One TCP socket and the connections from it."""

    def __init__(
        self, *, sock: socket.socket, server: QueryServer, counters: Counters, idle_s: float = IDLE_S
    ) -> None:
        self._sock = sock
        self._server = server
        self._counters = counters
        self._idle_s = idle_s
        self._connections: set[TcpConnection] = set()
        self._peers: Counter[str] = Counter()
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Answer from now on."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connection, sock=self._sock, backlog=256)

    def close(self) -> None:
        """Stop answering; open connections end."""
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.abort()

    def _connection(self) -> TcpConnection:
        return TcpConnection(owner=self, server=self._server, counters=self._counters, idle_s=self._idle_s)

    def admit(self, connection: TcpConnection, peer: str) -> bool:
        """Whether one more connection of this peer may be."""
        if len(self._connections) >= CONNECTIONS_LIMIT or self._peers[peer] >= CONNECTIONS_PER_PEER:
            self._counters.dropped += 1
            return False
        self._connections.add(connection)
        self._peers[peer] += 1
        return True

    def forget(self, connection: TcpConnection, peer: str) -> None:
        """A connection has ended."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]


class TcpConnection(asyncio.Protocol):
    """Messages with a length before each (RFC 1035, 4.2.2), answered as answers come (RFC 7766, 7)."""

    def __init__(self, *, owner: TcpListener, server: QueryServer, counters: Counters, idle_s: float) -> None:
        self._owner = owner
        self._server = server
        self._counters = counters
        self._idle_s = idle_s
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._buffer = bytearray()
        self._waiting = 0
        self._writable = True
        self._ended = False
        self._working = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  a stream server makes no other
        self._transport = transport
        self._peer = (transport.get_extra_info("peername") or ("",))[0]
        if not self._owner.admit(self, self._peer):
            transport.abort()
            return
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._owner.forget(self, self._peer)

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        self._rest()
        self._buffer += data
        self._work()

    def eof_received(self) -> bool:
        """The client sends no more; it still gets the answers that are open."""
        self._ended = True
        self._work()
        return True

    def pause_writing(self) -> None:
        """The client does not read; then it is not read from either."""
        self._writable = False

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable = True
        self._work()

    def abort(self) -> None:
        """End now."""
        if self._transport is not None:
            self._transport.abort()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._idle_s, self.abort)

    def _work(self) -> None:
        """Hand over every whole message, as far as limits allow; close when the last answer is out."""
        if self._working:
            return  # a reply came at once; the loop below goes on by itself
        self._working = True
        while self._may_take() and len(self._buffer) >= 2:
            size = int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) < size + 2:
                break
            message = bytes(self._buffer[2 : size + 2])
            del self._buffer[: size + 2]
            self._counters.tcp_queries += 1
            self._waiting += 1
            if not self._server.handle(message, self._reply, stream=True):
                self.abort()  # no DNS at all, or an answer: nothing good will follow
                break
        self._working = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._ended and not self._waiting:
            transport.close()
        elif self._may_take():
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _may_take(self) -> bool:
        if self._transport is None or self._transport.is_closing():
            return False
        return self._writable and self._waiting < OPEN_QUERIES_LIMIT

    def _reply(self, reply: bytes) -> None:
        self._waiting -= 1
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(len(reply).to_bytes(2, "big") + reply)
        self._rest()
        self._work()
