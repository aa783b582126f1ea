"""The small HTTP server over real sockets: what is answered, and what is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from http import HTTPStatus

import pytest

from netloom.agent.servers import http
from netloom.agent.servers.http import HttpListener, Request, Response


class WatchedListener(HttpListener):
    """Tells when nobody is connected any more."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.left = asyncio.Event()

    def forget(self, connection) -> None:
        super().forget(connection)
        self.left.set()

    async def is_left(self) -> None:
        async with asyncio.timeout(10):
            await self.left.wait()


@contextlib.asynccontextmanager
async def listening(handler=None, **options):
    def usual(request: Request) -> Response:
        return Response.text(HTTPStatus.OK, f"{request.method} {request.path}")

    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    listener = WatchedListener(sock=sock, handler=handler or usual, **options)
    await listener.start()
    try:
        yield listener
    finally:
        listener.close()


@contextlib.asynccontextmanager
async def client(listener):
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(listener, text: str) -> bytes:
    """Everything that is answered until the end."""
    async with client(listener) as (reader, writer), asyncio.timeout(10):
        writer.write(text.encode("latin-1"))
        return await reader.read()


async def test_a_connection_serves_requests_one_after_the_other():
    async with listening() as listener, client(listener) as (reader, writer):
        writer.write(b"GET /a?x=1 HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\n")
        first = await reader.readuntil(b"GET /a")
        assert first.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: 6\r\n" in first
        assert b"Connection" not in first
        writer.write(b"Connection: close\r\n\r\n")
        rest = await reader.read()
        assert rest.endswith(b"Connection: close\r\n\r\nGET /b")


async def test_head_has_no_body_and_an_old_client_gets_the_end():
    async with listening() as listener:
        answer = await ask(listener, "HEAD / HTTP/1.0\r\n\r\n")
    assert b"Content-Length: 6\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/2\r\n\r\n", 400),
        ("GET x HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nbad\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 405),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 405),
        ("DELETE / HTTP/1.0\r\n\r\n", 405),
        (f"GET / HTTP/1.1\r\nX: {'x' * http.HEAD_LIMIT}", 431),
        (f"GET / HTTP/1.1\r\n{'A: 1' * 100_000}\r\n\r\n", 431),
    ],
)
async def test_what_is_odd_gets_its_answer_and_the_end(text, status):
    async with listening() as listener:
        answer = await ask(listener, text)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Connection: close" in answer


async def test_a_page_that_fails_is_an_answer_and_the_server_goes_on(caplog):
    def fails(request: Request) -> Response:
        raise RuntimeError(request.path)

    async with listening(fails) as listener:
        for _ in range(2):
            answer = await ask(listener, "GET /x HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 500 ")
    assert "no answer to GET /x" in caplog.text


@pytest.mark.parametrize(
    "said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\n\r\n"], ids=["nothing", "half", "one"]
)
async def test_a_client_that_stalls_is_cut_off(said, monkeypatch):
    monkeypatch.setattr(http, "HEAD_S", 0.05)
    monkeypatch.setattr(http, "IDLE_S", 0.05)
    async with listening() as listener, client(listener) as (reader, writer), asyncio.timeout(10):
        writer.write(said)
        with contextlib.suppress(ConnectionResetError):
            await reader.read()


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch):
    monkeypatch.setattr(http, "WRITE_S", 0.1)
    big = Response.text(HTTPStatus.OK, "x" * (32 << 20))
    async with (
        listening(lambda _: big) as listener,
        client(listener) as (reader, writer),
        asyncio.timeout(30),
    ):
        reader._limit = 1  # the stream pauses at twice that
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * 3)
        await listener.is_left()


async def test_a_client_that_reads_gets_everything():
    big = Response.text(HTTPStatus.OK, "x" * (8 << 20))
    async with listening(lambda _: big) as listener:
        answer = await ask(listener, "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert len(answer) > 16 << 20


async def test_connections_are_bounded_and_room_is_used_again():
    async with listening(limit=1) as listener:
        async with client(listener) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await reader.readuntil(b"GET /")
            with contextlib.suppress(ConnectionResetError):
                assert await ask(listener, "GET / HTTP/1.1\r\n\r\n") == b""
            listener.left.clear()
        await listener.is_left()
        assert await ask(listener, "GET / HTTP/1.0\r\n\r\n")


async def test_closing_ends_connections_and_frees_the_port():
    async with listening() as listener, client(listener) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"GET /")
        port = listener.port
        listener.close()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        socket.create_server(("127.0.0.1", port)).close()  # nobody holds it any more
