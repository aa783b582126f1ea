"""The DNS process's end of the feed: what the agent says becomes what is answered.

Comes in: frames (``feed.py``), taken one at a time, so that queries are answered in between. Goes out: calls of Zone and Clients, and an
acknowledgement of each commit and update when it is answered. Until a commit the former records are answered, so an agent may come
and go.
"""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import msgspec

from netloom.dns.clients import Clients
from netloom.dns.counters import Counters
from netloom.dns.feed import Ack, Begin, Commit, Names, Refusal, ToServer, Update
from netloom.dns.frames import FRAME_LIMIT, frame
from netloom.dns.wire import Malformed
from netloom.dns.zone import Zone
from netloom.errors import KernelError

_to_server = msgspec.msgpack.Decoder(ToServer)


class FeedServer:
    """Listens for the agent. The connection that committed last is the one that counts; earlier ones are ended."""

    def __init__(self, *, path: str, zone: Zone, clients: Clients, counters: Counters) -> None:
        self._path = Path(path)
        self._zone = zone
        self._clients = clients
        self._counters = counters
        self._current: _FeedConnection | None = None
        self._connections: set[_FeedConnection] = set()
        self._sock: socket.socket | None = None
        self._listener: asyncio.Server | None = None

    def open(self) -> None:
        """Make the socket; only this user may connect, and nobody before ``start``.

        Raises:
            KernelError: the socket cannot be made.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if self._path.is_socket():
                self._path.unlink()  # of a process that was killed
            sock.bind(str(self._path))
            self._sock = sock
            self._path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        except OSError as error:
            sock.close()
            hint = "the directory must exist, be writable, and the path be shorter than 108 bytes"
            raise KernelError(f"bind DNS feed to {self._path}", error.errno or 0, str(error), hint) from error

    async def start(self) -> None:
        """Accept connections on the socket that ``open`` made."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_unix_server(self._connection, sock=self._sock, backlog=4)

    def close(self) -> None:
        """Stop listening, and take the socket away."""
        if self._listener is not None:
            self._listener.close()
        if self._sock is not None:
            self._sock.close()
            self._path.unlink(missing_ok=True)
        for connection in list(self._connections):
            connection.end()

    def _connection(self) -> _FeedConnection:
        return _FeedConnection(owner=self, zone=self._zone, clients=self._clients, counters=self._counters)

    def opened(self, connection: _FeedConnection) -> None:
        """A connection is there."""
        self._connections.add(connection)

    def committed(self, connection: _FeedConnection) -> None:
        """A connection's whole set is answered now; the connection before it ends."""
        if self._current is not None and self._current is not connection:
            self._current.end()
        self._current = connection

    def closed(self, connection: _FeedConnection) -> None:
        """A connection has ended; its records stay."""
        self._connections.discard(connection)
        if self._current is connection:
            self._current = None


class _FeedConnection(asyncio.Protocol):
    """One agent. A frame is taken at a time, and queries are answered between two of them."""

    def __init__(self, *, owner: FeedServer, zone: Zone, clients: Clients, counters: Counters) -> None:
        self._owner = owner
        self._zone = zone
        self._clients = clients
        self._counters = counters
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._begun: Begin | None = None
        self._gathered: dict[bytes, bytes] = {}
        self._changed: list[bytes] = []
        self._committed = False
        self._scheduled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  a stream server makes no other
        self._transport = transport
        self._owner.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._owner.closed(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._scheduled:
            self._turn()

    def _turn(self) -> None:
        """Take one frame, and come back for the next."""
        self._scheduled = False
        try:
            payload = self._frame()
            if payload is None:
                return
            self._counters.feed_frames += 1
            self._take(_to_server.decode(payload))
        except (Malformed, msgspec.DecodeError) as error:
            self._buffer.clear()
            self._send(Refusal(str(error)))
            self.end()
            return
        if len(self._buffer) > 4:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def end(self) -> None:
        """Send what is open, then close."""
        if self._transport is not None:
            self._transport.close()

    def _frame(self) -> bytes | None:
        """The next whole frame, taken out of the buffer."""
        size = int.from_bytes(self._buffer[:4], "big")
        if size > FRAME_LIMIT:
            raise Malformed(f"frame of {size} bytes is over the limit of {FRAME_LIMIT}")
        if len(self._buffer) < 4 + size or len(self._buffer) < 4 or self._transport is None:
            return None
        payload = bytes(self._buffer[4 : 4 + size])
        del self._buffer[: 4 + size]
        return payload

    def _take(self, message: ToServer) -> None:
        match message:
            case Begin():
                self._begun, self._gathered, self._changed = message, {}, []
            case Names() if self._begun is not None:
                self._gathered.update(message.names)
                differs = self._zone.differs
                self._changed += (name for name, packed in message.names.items() if differs(name, packed))
            case Commit() if self._begun is not None:
                self._commit(message.generation, self._begun)
            case Update() if self._committed and self._begun is None:
                # Pods first: one that is new and asks at once is known when its names are.
                self._clients.update(message.askers, message.leavers)
                self._zone.update(message.generation, message.upserts, message.removals)
                self._send(Ack(message.generation))
            case _:
                raise Malformed(
                    f"{type(message).__name__} frame where no such frame may be; a connection starts with Begin"
                )

    def _commit(self, generation: int, begun: Begin) -> None:
        self._clients.replace(begun.askers, begun.networks)
        self._zone.replace(generation, begun.zones, self._gathered, self._changed)
        self._begun, self._gathered, self._changed = None, {}, []
        self._committed = True
        self._counters.feed_sets += 1
        self._owner.committed(self)
        self._send(Ack(generation))
        self._retire()

    def _retire(self) -> None:
        if self._zone.retire():
            asyncio.get_running_loop().call_soon(self._retire)

    def _send(self, message: Ack | Refusal) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(message))
