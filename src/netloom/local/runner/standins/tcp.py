"""One TCP connection of a stand-in: HTTP/1.1 where the client speaks it, lines of facts where it does not.

In: bytes of the client. Out: answers, and a line in the container's log for each. Bounded: connections, heads, idle time.

How connections end with their container: each HTTP answer says that it is the last one; the client hears the end of the stream
after it and closes first, so that nothing on its way is lost. Connections on which nothing is asked are closed after a moment;
a plain one lives for as long as its client wants, or until the grace period is over (``serving``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from netloom.local.runner import http1
from netloom.local.runner.http1 import BadRequest, Body, Request
from netloom.local.runner.standins import answers
from netloom.local.runner.standins.answers import Address, Identity
from netloom.local.runner.standins.feed import Course
from netloom.local.runner.standins.logbook import Log

IDLE_S = 75.0
"""Seconds of silence after which a connection is closed."""
QUIET_S = 1.0
"""The same where its container ends and HTTP was spoken before: who still wants something asks within that time."""
UNHEARD_S = 5.0
"""The same where its container ends and nothing was said yet."""
LINGER_S = 2.0
"""Seconds that a client has to close after the last answer, before it is closed on our side."""
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
    """What all connections of one container share.

    Args:
        identity: whose they are.
        log: where they write.
        room: where they take their places.
        on_empty: called whenever the last one has gone.
    """

    __slots__ = ("connections", "course", "identity", "log", "on_empty", "room")

    def __init__(
        self, *, identity: Identity, log: Log, room: Room, on_empty: Callable[[], None] = lambda: None
    ) -> None:
        self.identity = identity
        self.log = log
        self.room = room
        self.on_empty = on_empty
        self.course = Course.SERVE
        self.connections: set[Connection] = set()

    def end(self) -> None:
        """Its container ends: no connection that nobody uses is kept."""
        self.course = Course.END
        for connection in list(self.connections):
            connection.hurry()

    def forget(self, connection: Connection) -> None:
        """A connection has gone."""
        self.connections.discard(connection)
        if not self.connections:
            self.on_empty()


class Connection(asyncio.Protocol):
    """Answers one client."""

    __slots__ = ("_active", "_body", "_buffer", "_finished", "_is_http", "_listener", "_local", "_paused", "_peer", "_request", "_timer", "_transport")  # fmt: skip

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._is_http: bool | None = None
        self._request: Request | None = None
        self._body: Body | None = None
        self._paused = False
        self._finished = False
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
        self._listener.connections.add(self)
        self._peer = answers.normal(transport.get_extra_info("peername"))
        self._local = answers.normal(transport.get_extra_info("sockname"))
        self._active = asyncio.get_running_loop().time()
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went."""
        if self._transport is None:
            return
        self._listener.room.leave()
        if self._timer is not None:
            self._timer.cancel()
        if self._is_http is None:
            self._listener.log.write(answers.spoken(self._peer), "connected and said nothing")
        self._transport = None
        self._listener.forget(self)

    def abort(self) -> None:
        """End it at once, whatever is on its way."""
        if self._transport is not None:
            self._transport.abort()

    def hurry(self) -> None:
        """Its container ends: wait no longer than is worth it."""
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._finished:
            return
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
        return self._transport is not None and not self._finished and not self._transport.is_closing()

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
        # What was sent together is answered together: only the last of it can be the last of all.
        leaves = self._listener.course is not Course.SERVE and not self._buffer
        closes = leaves or not request.keeps_alive
        self._write(
            answers.http(
                self._listener.identity,
                request,
                peer=self._peer,
                local=self._local,
                body_bytes=body.size,
                closes=closes,
            )
        )
        self._listener.log.write(
            answers.spoken(self._peer), f'"{request.method} {request.target} {request.version}" 200'
        )
        if closes:
            self._finish()
        return True

    def _finish(self) -> None:
        """Nothing more will be said here.

        Where the container is about to end the client closes first: until then it has not read everything, and what it has not
        read would be lost with the pod.
        """
        if self._transport is None:
            return
        if self._listener.course is Course.SERVE or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._finished = True
        self._transport.write_eof()
        self._active = asyncio.get_running_loop().time()
        self._arm()

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

    def _patience_s(self) -> float:
        """Seconds of silence that are borne."""
        if self._finished:
            return LINGER_S
        if self._listener.course is not Course.END or self._request is not None or self._is_http is False:
            return IDLE_S
        return UNHEARD_S if self._is_http is None else QUIET_S

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._active + self._patience_s(), self._idle)

    def _idle(self) -> None:
        if self._transport is None:
            return
        if self._active + self._patience_s() > asyncio.get_running_loop().time():
            self._arm()
        else:
            self._transport.close()


def speaks_http(start: bytes | bytearray) -> bool | None:
    """Whether a client that begins so speaks HTTP; None where too little has come to tell."""
    head = bytes(start[:_LONGEST_METHOD])
    if any(head.startswith(m) for m in _METHODS):
        return True
    return None if any(m.startswith(head) for m in _METHODS) else False
