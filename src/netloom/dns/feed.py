"""How record sets come from the agent: frames over a unix socket, each with the agent's generation number.

Comes in (FeedClient, in the agent): a snapshot of the names and the deltas after it. Goes out (FeedServer, in the DNS
process): calls of Zone. A connection begins with a whole set: ``Begin``, any number of ``Names``, ``Commit``; until the commit
the former records are answered, so an agent may come and go. Then ``Update`` frames follow. Each commit and update is
acknowledged when it is answered.
"""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from netloom.dns.counters import Counters
from netloom.dns.wire import Malformed, encode_name
from netloom.dns.zone import Zone
from netloom.errors import KernelError, Unavailable
from netloom.model.names.records import NamesDelta, NamesState, RecordSets

FRAME_LIMIT = 8 << 20
"""Bytes of one frame at most."""
_CHUNK = 500
"""Names in one frame of a whole set: between two of them, queries are answered."""
_RETRY_S = 0.02
_RETRY_LIMIT_S = 1.0


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """A whole set follows."""

    zones: tuple[str, ...]


class Names(msgspec.Struct, frozen=True, tag="names"):
    """Some names of the whole set."""

    names: dict[str, RecordSets]


class Commit(msgspec.Struct, frozen=True, tag="commit"):
    """The whole set is complete, and is this generation."""

    generation: int


class Update(msgspec.Struct, frozen=True, tag="update"):
    """What changed up to this generation."""

    generation: int
    upserts: dict[str, RecordSets]
    removals: tuple[str, ...]


class Ack(msgspec.Struct, frozen=True, tag="ack"):
    """This generation is answered now."""

    generation: int


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """A frame was wrong; the connection ends."""

    problem: str


_ToServer = Begin | Names | Commit | Update
_encoder = msgspec.msgpack.Encoder()
_to_server = msgspec.msgpack.Decoder(_ToServer)
_to_client: msgspec.msgpack.Decoder[Ack | Refusal] = msgspec.msgpack.Decoder(Ack | Refusal)


def _frame(message: msgspec.Struct) -> bytes:
    payload = _encoder.encode(message)
    return len(payload).to_bytes(4, "big") + payload


class FeedServer:
    """Listens for the agent. The connection that committed last is the one that counts; earlier ones are ended."""

    def __init__(self, *, path: str, zone: Zone, counters: Counters) -> None:
        self._path = Path(path)
        self._zone = zone
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
        return _FeedConnection(owner=self, zone=self._zone, counters=self._counters)

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
    def __init__(self, *, owner: FeedServer, zone: Zone, counters: Counters) -> None:
        self._owner = owner
        self._zone = zone
        self._counters = counters
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._zones: tuple[str, ...] | None = None
        self._gathered: dict[bytes, RecordSets] = {}
        self._committed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  a stream server makes no other
        self._transport = transport
        self._owner.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._owner.closed(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            for payload in self._frames():
                self._counters.feed_frames += 1
                self._take(_to_server.decode(payload))
        except (Malformed, msgspec.DecodeError) as error:
            self._send(Refusal(str(error)))
            self.end()

    def end(self) -> None:
        """Send what is open, then close."""
        if self._transport is not None:
            self._transport.close()

    def _frames(self) -> Iterator[bytes]:
        at = 0
        try:
            while len(self._buffer) >= at + 4 and self._transport is not None:
                size = int.from_bytes(self._buffer[at : at + 4], "big")
                if size > FRAME_LIMIT:
                    raise Malformed(f"frame of {size} bytes is over the limit of {FRAME_LIMIT}")
                if len(self._buffer) < at + 4 + size:
                    return
                payload = bytes(self._buffer[at + 4 : at + 4 + size])
                at += 4 + size
                yield payload
        finally:
            del self._buffer[:at]

    def _take(self, message: _ToServer) -> None:
        match message:
            case Begin():
                self._zones, self._gathered = message.zones, {}
            case Names() if self._zones is not None:
                self._gathered.update((encode_name(name), sets) for name, sets in message.names.items())
            case Commit() if self._zones is not None:
                self._zone.replace(message.generation, self._zones, self._gathered)
                self._zones, self._gathered = None, {}
                self._committed = True
                self._counters.feed_sets += 1
                self._owner.committed(self)
                self._send(Ack(message.generation))
            case Update() if self._committed and self._zones is None:
                self._zone.update(message.generation, message.upserts, message.removals)
                self._send(Ack(message.generation))
            case _:
                raise Malformed(
                    f"{type(message).__name__} frame where no such frame may be; a connection starts with Begin"
                )

    def _send(self, message: Ack | Refusal) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_frame(message))


class FeedClient:
    """The agent's end. Deltas that wait are merged, so what is held is never more than one record set for each name.

    Args:
        path: the DNS process's socket.
        snapshot: the names as they are now and their generation; called at each connect, from ``run``. They must be complete:
            start ``run`` only when the agent has seen the whole cluster, for what is missing will be denied.
    """

    def __init__(self, *, path: str, snapshot: Callable[[], tuple[int, NamesState]]) -> None:
        self._path = path
        self._snapshot = snapshot
        self._upserts: dict[str, RecordSets] = {}
        self._removals: set[str] = set()
        self._latest = 0
        self._news = asyncio.Event()
        self._ack_waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.connected = False
        """A whole set has been acknowledged on the connection that is open now."""
        self.acknowledged = 0
        """The generation that the DNS process answers, as far as it said so."""

    def offer(self, generation: int, delta: NamesDelta) -> None:
        """Hand over what changed. Generations grow; an empty delta only moves the generation."""
        self._latest = generation
        for name in delta.removals:
            self._upserts.pop(name, None)
            self._removals.add(name)
        for name, sets in delta.upserts.items():
            self._removals.discard(name)
            self._upserts[name] = sets
        self._news.set()

    async def in_force(self, generation: int) -> None:
        """Return when the DNS process answers this generation or a later one."""
        if self.acknowledged >= generation:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ack_waiters.append((generation, waiter))
        try:
            await waiter
        finally:
            self._ack_waiters = [w for w in self._ack_waiters if w[1] is not waiter]

    async def run(self) -> None:
        """Keep the DNS process fed until cancelled, through its restarts."""
        retry_s = _RETRY_S
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError:
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, _RETRY_LIMIT_S)
                continue
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._read_acks(reader), name="dns-feed-acks")
                    await self._write(
                        writer
                    )  # not a task: a failure of the other one then ends this wait properly
            except* (OSError, Unavailable, asyncio.IncompleteReadError, msgspec.DecodeError):
                pass  # the connection ended; the next one begins with a whole set
            finally:
                retry_s = _RETRY_S if self.connected else min(retry_s * 2, _RETRY_LIMIT_S)
                self.connected = False
                self.acknowledged = 0  # whoever comes next has heard nothing yet
                writer.transport.abort()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # Python 3.11: a TaskGroup whose child fails while it is cancelled raises the failure alone
                raise asyncio.CancelledError
            await asyncio.sleep(retry_s)

    async def _write(self, writer: asyncio.StreamWriter) -> None:
        generation, state = self._take_snapshot()
        writer.write(_frame(Begin(state.zones)))
        names = iter(state.names.items())
        while chunk := dict(islice(names, _CHUNK)):
            writer.write(_frame(Names(chunk)))
            await writer.drain()
        writer.write(_frame(Commit(generation)))
        await writer.drain()
        while True:
            await self._news.wait()
            self._news.clear()
            update = Update(self._latest, self._upserts, tuple(self._removals))
            self._upserts, self._removals = {}, set()
            writer.write(_frame(update))
            await writer.drain()

    def _take_snapshot(self) -> tuple[int, NamesState]:
        """The whole set; what was offered before is in it."""
        self._upserts, self._removals = {}, set()
        self._news.clear()
        generation, state = self._snapshot()
        self._latest = max(self._latest, generation)
        return generation, state

    async def _read_acks(self, reader: asyncio.StreamReader) -> None:
        while True:
            size = int.from_bytes(await reader.readexactly(4), "big")
            message = _to_client.decode(await reader.readexactly(min(size, FRAME_LIMIT)))
            if isinstance(message, Refusal):
                raise Unavailable(
                    f"DNS process refused the names: {message.problem}", "restart agent and DNS together"
                )
            self.connected = True
            self.acknowledged = max(self.acknowledged, message.generation)
            for generation, waiter in self._ack_waiters:
                if generation <= self.acknowledged and not waiter.done():
                    waiter.set_result(None)
