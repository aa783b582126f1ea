"""A SPDY/3.1 connection, the server's side: streams that the client opens, over any byte stream. In: bytes; out: streams.

The byte stream is an upgraded HTTP connection, or a WebSocket whose binary messages carry it. As with the libraries that
kubectl and kubelet use, windows are neither kept nor obeyed: the connection below has its own flow control. Each stream
has a bounded queue, and a stream that nobody reads holds up the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from netloom.local.runner.streams import spdy
from netloom.local.runner.streams.spdy import SpdyError
from netloom.local.runner.streams.websocket import WebSocket

MAX_STREAMS = 512
_QUEUE = 16
_PIECE = 32 << 10
_REFUSED_STREAM, _CANCEL, _INVALID_STREAM = 3, 5, 2


class ByteStream(Protocol):
    """What carries the frames."""

    async def read(self) -> bytes:
        """Some bytes; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Send bytes; raises OSError where the connection is gone."""

    async def close(self) -> None:
        """End it."""


class RawBytes:
    """An HTTP connection after the upgrade."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """Some bytes; empty at the end."""
        try:
            return await self._reader.read(_PIECE * 2)
        except OSError:
            return b""

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """End it."""
        self._writer.close()


class WebSocketBytes:
    """A WebSocket whose messages are pieces of the stream (subprotocols ``SPDY/3.1+...``)."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        """The next message that is not empty."""
        while (message := await self._socket.receive()) is not None:
            if message:
                return message
        return b""

    async def write(self, data: bytes) -> None:
        """Send a message."""
        await self._socket.send(data)

    async def close(self) -> None:
        """Say goodbye."""
        await self._socket.close()


class Stream:
    """One stream of the client's."""

    def __init__(self, session: Session, number: int, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self._session = session
        self._number = number
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUE)
        self._ended = False
        self._received_fin = False
        self._sent_fin = False
        self._ignored = False

    async def read(self) -> bytes:
        """The next bytes of the client; empty at the end."""
        if self._ended and self._queue.empty():
            return b""
        data = await self._queue.get()
        if not data:
            self._ended = True
        return data

    async def write(self, data: bytes) -> None:
        """Send bytes; where the client has left or closed the stream, they are dropped."""
        for start in range(0, len(data), _PIECE):
            if not self._sent_fin:
                await self._session.send(spdy.Data(self._number, data[start : start + _PIECE]))

    async def close(self) -> None:
        """Send nothing more."""
        if not self._sent_fin:
            self._sent_fin = True
            await self._session.send(spdy.Data(self._number, b"", fin=True))
        self._session.forget_if_done(self._number)

    async def reset(self) -> None:
        """End both directions at once."""
        self._sent_fin = True
        self.end()
        await self._session.send(spdy.RstStream(self._number, _CANCEL))
        self._session.forget_if_done(self._number)

    @property
    def is_done(self) -> bool:
        """Both directions have ended."""
        return self._sent_fin and self._received_fin

    async def deliver(self, data: bytes) -> None:
        """Bytes of the client came; empty: its end. Waits while the reader is behind."""
        self._received_fin = self._received_fin or not data
        if not self._ended and not self._ignored:
            await self._queue.put(data)

    def ignore(self) -> None:
        """Nobody reads it any more: what came and what will come is dropped."""
        self._ignored = True
        while not self._queue.empty():
            self._queue.get_nowait()

    def end(self) -> None:
        """Nothing more will come, and what came and was not read is lost."""
        self._ended = self._received_fin = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(b"")


class Session:
    """A connection."""

    def __init__(self, carrier: ByteStream) -> None:
        self._carrier = carrier
        self._encoder = spdy.Encoder()
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._new: asyncio.Queue[Stream | None] = asyncio.Queue(MAX_STREAMS + 1)
        self._sending = asyncio.Lock()
        self._gone = False

    async def accept(self) -> Stream | None:
        """The next stream that the client opens; None when it opens no more."""
        return await self._new.get()

    async def run(self) -> None:
        """Read until the connection ends."""
        decoder = spdy.Decoder()
        try:
            while data := await self._carrier.read():
                for frame in decoder.feed(data):
                    await self._take(frame)
        except SpdyError:
            await self.send(spdy.GoAway(self._last, 1))
        finally:
            self._gone = True
            for stream in list(self._streams.values()):
                stream.end()
            self._streams.clear()
            if not self._new.full():
                self._new.put_nowait(None)

    async def close(self) -> None:
        """Say goodbye and end the connection."""
        await self.send(spdy.GoAway(self._last))
        self._gone = True
        await self._carrier.close()

    async def send(self, frame: spdy.Frame) -> None:
        """Send a frame; dropped where the connection is gone."""
        # Headers are compressed in the order of sending, so encoding and sending must not be torn apart.
        async with self._sending:
            if self._gone:
                return
            try:
                await self._carrier.write(self._encoder.encode(frame))
            except OSError:
                self._gone = True

    def forget_if_done(self, number: int) -> None:
        """Drop a stream that has ended both ways."""
        stream = self._streams.get(number)
        if stream is not None and stream.is_done:
            del self._streams[number]

    async def _take(self, frame: spdy.Frame) -> None:
        match frame:
            case spdy.SynStream():
                await self._open(frame)
            case spdy.Data(number, payload, fin):
                await self._data(number, payload, fin)
            case spdy.RstStream(number, _):
                if (stream := self._streams.pop(number, None)) is not None:
                    stream.end()
            case spdy.Ping(number) if number % 2:
                await self.send(frame)
            case spdy.GoAway():
                if not self._new.full():
                    self._new.put_nowait(None)
            case _:
                pass  # settings, windows and further headers change nothing here

    async def _open(self, frame: spdy.SynStream) -> None:
        if len(self._streams) >= MAX_STREAMS or self._new.full() or frame.stream <= self._last:
            await self.send(spdy.RstStream(frame.stream, _REFUSED_STREAM))
            return
        self._last = frame.stream
        stream = self._streams[frame.stream] = Stream(self, frame.stream, frame.headers)
        await self.send(spdy.SynReply(frame.stream))
        self._new.put_nowait(stream)
        if frame.fin:
            await stream.deliver(b"")

    async def _data(self, number: int, payload: bytes, fin: bool) -> None:
        stream = self._streams.get(number)
        if stream is None:
            if payload:
                await self.send(spdy.RstStream(number, _INVALID_STREAM))
            return
        if payload:
            await stream.deliver(payload)
        if fin:
            await stream.deliver(b"")
            self.forget_if_done(number)
