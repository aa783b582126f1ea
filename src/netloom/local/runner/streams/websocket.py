"""WebSocket, the server's side (RFC 6455): handshake, frames, messages. In: an upgrade request and a connection; out: messages.

No extensions. Not here: what the messages mean (``channels``, ``spdy_session``).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import enum
import hashlib
import struct
from collections.abc import Iterator, Sequence

import msgspec

from netloom.errors import NetloomError
from netloom.local.runner.http1 import BadRequest, Request, response_head

MAX_MESSAGE = 4 << 20
"""Largest message taken from a client, in bytes."""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_READ = 64 << 10


class Opcode(enum.IntEnum):
    """RFC 6455, 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class WebSocketError(NetloomError):
    """The client broke the protocol; ``code`` is the close code (RFC 6455, 7.4.1)."""

    def __init__(self, problem: str, code: int = 1002) -> None:
        super().__init__(problem)
        self.code = code


class Frame(msgspec.Struct, frozen=True):
    """One frame."""

    opcode: Opcode
    payload: bytes
    fin: bool = True


def encode(frame: Frame, mask: bytes = b"") -> bytes:
    """A frame as it is sent; clients give a mask of four bytes, servers none (5.3)."""
    size = len(frame.payload)
    first = (0x80 if frame.fin else 0) | frame.opcode
    masked = 0x80 if mask else 0
    if size < 126:
        head = struct.pack(">BB", first, masked | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", first, masked | 126, size)
    else:
        head = struct.pack(">BBQ", first, masked | 127, size)
    return head + mask + (_masked(frame.payload, mask) if mask else frame.payload)


class Decoder:
    """Bytes of a client to frames; what is left over waits for the next call."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now.

        Raises:
            WebSocketError: not what a client may send, or too large.
        """
        self._rest += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        if len(self._rest) < 2:
            return None
        first, second = self._rest[0], self._rest[1]
        if first & 0x70:
            raise WebSocketError("a frame uses an extension that was not agreed on")
        if not second & 0x80:
            raise WebSocketError("a client's frame is not masked")
        size, start = second & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(self._rest) < 2 + width:
                return None
            size, start = int.from_bytes(self._rest[2 : 2 + width], "big"), 2 + width
        if size > MAX_MESSAGE:
            raise WebSocketError(f"a frame of {size} bytes is larger than {MAX_MESSAGE}", 1009)
        end = start + 4 + size
        if len(self._rest) < end:
            return None
        mask = bytes(self._rest[start : start + 4])
        payload = _masked(bytes(self._rest[start + 4 : end]), mask)
        del self._rest[:end]
        try:
            opcode = Opcode(first & 0x0F)
        except ValueError:
            raise WebSocketError(f"frames of kind {first & 0x0F} are not known") from None
        if opcode >= Opcode.CLOSE and (size > 125 or not first & 0x80):
            raise WebSocketError("a control frame is too large or in pieces")
        return Frame(opcode, payload, bool(first & 0x80))


class Messages:
    """Frames to whole messages; control frames may come between the pieces of one (5.4)."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, frame: Frame) -> bytes | None:
        """The message that this data frame completes, or None.

        Raises:
            WebSocketError: a piece without a beginning, a beginning within a message, or too large.
        """
        if (frame.opcode is Opcode.CONTINUATION) != bool(self._pieces):
            raise WebSocketError("the pieces of a message are out of order")
        # An empty first piece still is a beginning: the list tells, not the size.
        self._pieces.append(frame.payload)
        self._size += len(frame.payload)
        if self._size > MAX_MESSAGE:
            raise WebSocketError(f"a message is larger than {MAX_MESSAGE} bytes", 1009)
        if not frame.fin:
            return None
        message = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        return message


def is_upgrade(request: Request) -> bool:
    """The client asks for a WebSocket."""
    return "websocket" in request.tokens("upgrade") and "upgrade" in request.tokens("connection")


def handshake(request: Request, offered: Sequence[str]) -> tuple[bytes, str]:
    """Our answer to an upgrade request, and the subprotocol chosen: the first of ours that the client knows.

    Raises:
        BadRequest: the client offers none of these, or its request is incomplete.
    """
    key = request.headers.get("sec-websocket-key", "")
    if request.headers.get("sec-websocket-version") != "13" or not key:
        raise BadRequest("this is no WebSocket request of version 13")
    asked = request.words("sec-websocket-protocol")
    chosen = next((p for p in offered if p in asked), None)
    if chosen is None:
        raise BadRequest(f"unable to negotiate protocol: client supports {list(asked)}, server supports {list(offered)}", 403)  # fmt: skip
    accept = base64.b64encode(hashlib.sha1(key.encode("latin-1") + _GUID).digest()).decode()  # noqa: S324 - RFC 6455, 4.2.2
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": accept,
        "Sec-WebSocket-Protocol": chosen,
    }
    return response_head(101, headers), chosen


class WebSocket:
    """A connection after the handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder()
        self._messages = Messages()
        self._ready: list[bytes] = []
        self._closed = False
        self._answered = asyncio.Event()

    async def receive(self) -> bytes | None:
        """The next message, of whichever kind; None when the connection has ended. Pings are answered on the way."""
        try:
            while not self._ready:
                data = await self._reader.read(_READ)
                if not data:
                    return None
                for frame in self._decoder.feed(data):
                    if not self._take(frame):
                        return None
        except WebSocketError as error:
            await self.close(error.code, error.problem)
            return None
        except OSError:
            return None
        return self._ready.pop(0)

    async def send(self, payload: bytes) -> None:
        """Send a binary message.

        Raises:
            OSError: the connection is gone.
        """
        if self._closed:
            raise ConnectionResetError("the WebSocket is closed")
        self._writer.write(encode(Frame(Opcode.BINARY, payload)))
        await self._writer.drain()

    async def answered(self) -> None:
        """Ask the client whether it reads, and return when it has said so or has left; somebody else is in ``receive`` meanwhile.

        Raises:
            OSError: the connection is gone.
        """
        self._writer.write(encode(Frame(Opcode.PING, b"")))
        await self._writer.drain()
        await self._answered.wait()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye; nothing is sent after that."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            payload = struct.pack(">H", code) + reason.encode()[:100]
            self._writer.write(encode(Frame(Opcode.CLOSE, payload)))
            await self._writer.drain()

    def _take(self, frame: Frame) -> bool:
        """Handle a frame; False where it ends the connection."""
        if frame.opcode is Opcode.CLOSE:
            self._answered.set()
            if not self._closed:
                self._closed = True
                self._writer.write(encode(Frame(Opcode.CLOSE, frame.payload[:2])))
            return False
        if frame.opcode is Opcode.PING:
            if not self._closed:
                self._writer.write(encode(Frame(Opcode.PONG, frame.payload)))
        elif frame.opcode is Opcode.PONG:
            self._answered.set()
        elif (message := self._messages.add(frame)) is not None:
            self._ready.append(message)
        return True


def _masked(payload: bytes, mask: bytes) -> bytes:
    # One big number is XORed at once: a loop over bytes would cost more than all the rest.
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
