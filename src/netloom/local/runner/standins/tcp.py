"""One TCP connection of a stand-in: HTTP/1.1 where the client speaks it, lines of facts where it does not.

In: bytes of the client. Out: answers, and a line in the container's log for each. Bounded: connections, heads, idle time.
"""

from __future__ import annotations

import asyncio
from typing import cast

from netloom.local.runner import http1
from netloom.local.runner.http1 import BadRequest, Body, Request
from netloom.local.runner.standins import answers
from netloom.local.runner.standins.answers import Address, Identity
from netloom.local.runner.standins.logbook import Log

IDLE_S = 75.0
"""Seconds of silence after which a connection is closed."""
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"PATCH ", b"OPTIONS ", b"TRACE ", b"CONNECT ")
_LONGEST_METHOD = max(len(m) for m in _METHODS)


class Room:
    """How many connections there may be at once, over all pods of the node."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def enter(self) -> bool:
        """Take a place; False where none is left."""
        if self._left <= 0:
            return False
        self._left -= 1
        return True

    def leave(self) -> None:
        """Give the place back."""
        self._left += 1


class Listener:
    """What all connections of one container share."""

    __slots__ = ("connections", "identity", "log", "room")

    def __init__(self, *, identity: Identity, log: Log, room: Room) -> None:
        self.identity = identity
        self.log = log
        self.room = room
        self.connections: set[asyncio.Transport] = set()


class Connection(asyncio.Protocol):
    """Answers one client."""

    __slots__ = ("_active", "_body", "_buffer", "_is_http", "_listener", "_local", "_paused", "_peer", "_request", "_timer", "_transport")  # fmt: skip

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._is_http: bool | None = None
        self._request: Request | None = None
        self._body: Body | None = None
        self._paused = False
        self._peer: Address = ("?", 0)
        self._local: Address = ("?", 0)
        self._active = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        transport = cast("asyncio.Transport", transport)
        if not self._listener.room.enter():
            self._listener.log.write("refused a connection: too many are open on this node")
            transport.abort()
            return
        self._transport = transport
        self._listener.connections.add(transport)
        self._peer = answers.normal(transport.get_extra_info("peername"))
        self._local = answers.normal(transport.get_extra_info("sockname"))
        self._arm(IDLE_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went."""
        if self._transport is None:
            return
        self._listener.connections.discard(self._transport)
        self._listener.room.leave()
        if self._timer is not None:
            self._timer.cancel()
        if self._is_http is None:
            self._listener.log.write(answers.spoken(self._peer), "connected and said nothing")
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._active = asyncio.get_running_loop().time()
        self._buffer += data
        self._turn()

    def eof_received(self) -> bool:
        """The client will say nothing more; what it said so far is answered, then the connection closes."""
        if not self._is_http and self._buffer:
            self._plain()
        return False

    def pause_writing(self) -> None:
        """The client reads too slowly: read no more of it."""
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._paused = False
        if self._transport is not None:
            self._transport.resume_reading()
        self._turn()

    def _turn(self) -> None:
        if self._is_http is None:
            self._is_http = speaks_http(self._buffer)
        if self._is_http is False:
            self._plain()
        elif self._is_http:
            try:
                while self._buffer and not self._paused and self._open and self._one_request():
                    pass
            except BadRequest as error:
                self._refuse(error)

    @property
    def _open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def _one_request(self) -> bool:
        """Read on in the present request, and answer it when it is whole; False where more bytes are needed."""
        if self._request is None and not self._read_head():
            return False
        request, body = self._request, self._body
        if request is None or body is None:
            return False
        body.feed(self._buffer)
        if not body.done:
            return False
        self._request = self._body = None
        self._write(
            answers.http(
                self._listener.identity, request, peer=self._peer, local=self._local, body_bytes=body.size
            )
        )
        self._listener.log.write(
            answers.spoken(self._peer), f'"{request.method} {request.target} {request.version}" 200'
        )
        if not request.keeps_alive and self._transport is not None:
            self._transport.close()
        return True

    def _read_head(self) -> bool:
        end = self._buffer.find(http1.END)
        if end < 0:
            if len(self._buffer) > http1.MAX_HEAD:
                raise BadRequest(f"the head is longer than {http1.MAX_HEAD} bytes", 431)
            return False
        request = http1.parse(bytes(self._buffer[:end]))
        del self._buffer[: end + len(http1.END)]
        self._request, self._body = request, Body(request)
        if "100-continue" in request.tokens("expect") and not self._body.done:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._body.done:
            return True
        return bool(self._buffer)

    def _refuse(self, error: BadRequest) -> None:
        body = f"{error.problem}\n".encode()
        head = {"Content-Type": "text/plain", "Content-Length": str(len(body)), "Connection": "close"}
        self._write(http1.response_head(error.status, head) + body)
        self._listener.log.write(answers.spoken(self._peer), str(error.status), error.problem)
        self._buffer.clear()
        if self._transport is not None:
            self._transport.close()

    def _plain(self) -> None:
        said = bytes(self._buffer[:256])
        self._buffer.clear()
        self._is_http = False
        if not said:
            return
        self._write(answers.line(self._listener.identity, peer=self._peer, local=self._local, said=said))
        self._listener.log.write(answers.spoken(self._peer), "said", repr(said[:80]))

    def _write(self, data: bytes) -> None:
        if self._open and self._transport is not None:
            self._transport.write(data)

    def _arm(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._active = self._active or loop.time()
        self._timer = loop.call_later(seconds, self._idle)

    def _idle(self) -> None:
        if self._transport is None:
            return
        left = self._active + IDLE_S - asyncio.get_running_loop().time()
        if left > 0:
            self._arm(left)
        else:
            self._transport.close()


def speaks_http(start: bytes | bytearray) -> bool | None:
    """Whether a client that begins so speaks HTTP; None where too little has come to tell."""
    head = bytes(start[:_LONGEST_METHOD])
    if any(head.startswith(m) for m in _METHODS):
        return True
    return None if any(m.startswith(head) for m in _METHODS) else False
