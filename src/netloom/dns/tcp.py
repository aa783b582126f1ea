"""DNS over TCP (RFC 7766), with limits. Bytes in, bytes out; what they mean is the server's.

Comes in: a listening socket. Goes out: connections whose messages are answered as answers come, several at a time.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter

from netloom.dns.clients import Client, Clients
from netloom.dns.counters import Counters
from netloom.dns.server import IDLE_S, QueryServer

CONNECTIONS_LIMIT = 512
CONNECTIONS_PER_PEER = 64
OPEN_QUERIES_LIMIT = 64
"""Queries of one connection that may wait for their answers; the next is not read before."""
_AT_ONCE = 8
"""Queries of one connection that are answered before others have their turn."""


class TcpListener:
    """One TCP socket and the connections from it."""

    def __init__(
        self,
        *,
        sock: socket.socket,
        server: QueryServer,
        clients: Clients,
        counters: Counters,
        idle_s: float = IDLE_S,
    ) -> None:
        self._sock = sock
        self._server = server
        self._clients = clients
        self._counters = counters
        self._idle_s = idle_s
        self._connections: set[TcpConnection] = set()
        self._peers: Counter[str] = Counter()
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Answer from now on."""
        loop = asyncio.get_running_loop()
        # A copy, for the loop closes what it listens at, and the socket itself may be another's, too.
        self._listener = await loop.create_server(self._connection, sock=self._sock.dup(), backlog=256)

    def close(self) -> None:
        """Stop answering; open connections end."""
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.abort()

    def _connection(self) -> TcpConnection:
        return TcpConnection(owner=self, server=self._server, counters=self._counters, idle_s=self._idle_s)

    def admit(self, connection: TcpConnection, peer: str) -> Client | None:
        """The client at the other end; None where this connection may not be."""
        client = self._clients.at(_packed(peer))
        if client is None:
            self._counters.strangers += 1
            return None
        if len(self._connections) >= CONNECTIONS_LIMIT or self._peers[peer] >= CONNECTIONS_PER_PEER:
            self._counters.dropped += 1
            return None
        self._connections.add(connection)
        self._peers[peer] += 1
        return client

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
        self._client: Client | None = None
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
        self._client = self._owner.admit(self, self._peer) if self._peer else None
        if self._client is None:
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
        """Hand over whole messages, as far as limits allow; close when the last answer is out."""
        if self._working:
            return  # a reply came at once; the loop below goes on by itself
        self._working = True
        taken = 0
        while self._may_take() and taken < _AT_ONCE and (message := self._message()) is not None:
            taken += 1
            if not self._take(message):
                self.abort()  # no DNS at all, or an answer: nothing good will follow
                break
        self._working = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if taken == _AT_ONCE:
            transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._work)
        elif self._ended and not self._waiting:
            transport.close()
        elif self._may_take():
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _message(self) -> bytes | None:
        """The next whole message, taken out of the buffer."""
        size = int.from_bytes(self._buffer[:2], "big")
        if len(self._buffer) < 2 or len(self._buffer) < size + 2:
            return None
        message = bytes(self._buffer[2 : size + 2])
        del self._buffer[: size + 2]
        return message

    def _take(self, message: bytes) -> bool:
        assert self._client is not None  # noqa: S101  who is not admitted is not read
        self._counters.tcp_queries += 1
        self._waiting += 1
        reply = self._server.ready(message, self._client)
        if reply is not None:
            self._reply(reply)
            return True
        return self._server.handle(message, self._client, self._reply, stream=True)

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


def _packed(address: str) -> bytes:
    text = address.partition("%")[0]  # the zone of a link-local address
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
