"""A small HTTP/1.1 server for pages that are short and made at once: health and metrics.

Comes in: a listening socket and a function from request to response. Goes out: answers. Made for an open port: heads are limited in
size and time, bodies are not read, connections and what waits to be written are bounded, and a client that stalls is cut off.
Not here: TLS, bodies of requests, and any page.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Self

import msgspec

log = logging.getLogger(__name__)

HEAD_LIMIT = 8192
"""Bytes of request line and headers together."""
HEAD_S = 5.0
"""How long a client may take for a head once it has begun, and for its first."""
IDLE_S = 60.0
"""How long a connection may rest between requests."""
WRITE_S = 10.0
"""How long a client may take to read an answer."""
LINGER_S = 2.0
"""How long we wait for the client's end of a connection that we have ended."""
CONNECTIONS_LIMIT = 64
"""Of one listening socket at the same time."""

_END = b"\r\n\r\n"


class Request(msgspec.Struct, frozen=True):
    """The part of a request that pages depend on."""

    method: str
    path: str
    """Without the query."""


class Response(msgspec.Struct, frozen=True):
    """An answer."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def json(
        cls, status: HTTPStatus, body: msgspec.Struct, headers: tuple[tuple[str, str], ...] = ()
    ) -> Self:
        """A document; browsers are told to take it for nothing else."""
        return cls(
            status,
            "application/json",
            msgspec.json.encode(body),
            (("X-Content-Type-Options", "nosniff"), *headers),
        )

    @classmethod
    def text(cls, status: HTTPStatus, body: str) -> Self:
        """Some words."""
        return cls(status, "text/plain; charset=utf-8", body.encode())


Handler = Callable[[Request], Response]


class HttpListener:
    """One listening socket and its connections.

    Args:
        sock: bound and listening; owned from now on.
        handler: answers GET and HEAD; must not block.
        limit: how many connections at the same time; more are closed at once.
    """

    def __init__(self, *, sock: socket.socket, handler: Handler, limit: int = CONNECTIONS_LIMIT) -> None:
        self._sock = sock
        self._handler = handler
        self._limit = limit
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Answer from now on, on the running loop."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=self._sock, backlog=128)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._sock.getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening; open connections end."""
        if self._server is not None:
            self._server.close()
        self._sock.close()
        for connection in list(self._connections):
            connection.abort()

    def admit(self, connection: _Connection) -> bool:
        """Whether one more connection may be."""
        if len(self._connections) >= self._limit:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: _Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)

    def answer(self, request: Request) -> Response:
        """What the handler says; a defect of a page is an answer, too."""
        if request.method not in ("GET", "HEAD"):
            refused = Response.text(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD\n")
            return msgspec.structs.replace(refused, headers=(("Allow", "GET, HEAD"),))
        try:
            return self._handler(request)
        except Exception:
            log.exception("no answer to %s %s", request.method, request.path)
            return Response.text(HTTPStatus.INTERNAL_SERVER_ERROR, "a defect of this server; see its log\n")


class _Connection(asyncio.Protocol):
    """Requests one after the other; whatever is odd gets its answer and the end."""

    def __init__(self, owner: HttpListener) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._writing = False
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream server makes no other
        self._transport = transport
        if not self._owner.admit(self):
            transport.abort()
            return
        transport.set_write_buffer_limits(high=0)  # so that we hear when everything is out
        self._wait(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._owner.forget(self)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return  # we have said our last word, and only wait for the client's end
        if not self._buffer:
            self._wait(HEAD_S)
        self._buffer += data
        self._work()

    def pause_writing(self) -> None:
        self._writing = True

    def resume_writing(self) -> None:
        self._writing = False
        if self._transport is None:
            return
        self._transport.resume_reading()
        self._wait(LINGER_S if self._ended else IDLE_S)
        self._work()

    def abort(self) -> None:
        """End now."""
        if self._transport is not None:
            self._transport.abort()

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _work(self) -> None:
        """Answer every whole head, as long as the client reads what it asked for."""
        while not self._ended and not self._writing:
            size = self._buffer.find(_END, 0, HEAD_LIMIT)
            if size < 0:
                if len(self._buffer) >= HEAD_LIMIT:
                    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                    self._answer(None, Response.text(status, "a head has 8 KiB\n"), last=True)
                return
            head = bytes(self._buffer[:size])
            del self._buffer[: size + len(_END)]
            read = _read(head)
            if read is None:
                bad = Response.text(HTTPStatus.BAD_REQUEST, "not HTTP/1.1\n")
                self._answer(None, bad, last=True)
            else:
                request, last = read
                self._answer(request, self._owner.answer(request), last=last)

    def _answer(self, request: Request | None, response: Response, *, last: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        lines = [
            f"HTTP/1.1 {response.status.value} {response.status.phrase}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body)}",
            *(f"{name}: {value}" for name, value in response.headers),
        ]
        if last:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        transport.write(head if request is not None and request.method == "HEAD" else head + response.body)
        if last:
            # not closed at once: bytes that we have not read would turn the end into a reset, and the answer may be lost with it
            self._ended = True
            transport.write_eof()
        if self._writing:
            if not last:
                transport.pause_reading()
            self._wait(WRITE_S)
        else:
            self._wait(LINGER_S if last else IDLE_S)


def _read(head: bytes) -> tuple[Request, bool] | None:
    """A request, and whether it is the last of its connection; None where it is no HTTP."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1") or not words[1].startswith("/"):
        return None
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            return None
        headers[name.lower()] = value.strip().lower()
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    last = words[2] == "HTTP/1.0" or "close" in headers.get("connection", "") or has_body
    return Request(words[0], words[1].partition("?")[0]), last
