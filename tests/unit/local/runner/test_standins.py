from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from netloom.clock import SystemClock
from netloom.local.runner.standins import answers, feed
from netloom.local.runner.standins.answers import Identity
from netloom.local.runner.standins.logbook import MAX_LINES, Log
from netloom.local.runner.standins.process import StandInServer
from netloom.local.runner.standins.serving import Apps
from netloom.local.runner.standins.tcp import Connection, Listener, Room, speaks_http
from netloom.local.runner.standins.udp import Datagrams

WEB = Identity("web-1", "shop", "node-1", "app", "example.org/web:1")


class FixedClock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


@asynccontextmanager
async def serving(places: int = 10) -> AsyncIterator[tuple[Listener, int]]:
    listener = Listener(identity=WEB, log=Log(FixedClock()), room=Room(places))
    server = await asyncio.get_running_loop().create_server(lambda: Connection(listener), "127.0.0.1", 0)
    async with server:
        yield listener, server.sockets[0].getsockname()[1]
    for transport in list(listener.connections):
        transport.abort()
    await asyncio.sleep(0)  # the loop closes what was aborted in its next turn
    await asyncio.sleep(0)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def ask(port: int, *sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in sent:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        return await reader.read()
    finally:
        await hang_up(writer)


async def test_http_clients_get_text():
    async with serving() as (listener, port):
        got = await ask(port, b"GET /cart?x=1 HTTP/1.1\r\nHost: cart\r\nConnection: close\r\n\r\n")
    head, _, body = got.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert "hostname: web-1\n" in body
    assert "peer: 127.0.0.1:" in body
    assert "request: GET /cart?x=1\n" in body
    assert "header host: cart\n" in body
    assert [line.text.split(" ", 1)[1] for line in listener.log.lines()] == ['"GET /cart?x=1 HTTP/1.1" 200']


async def test_http_clients_that_ask_for_json_get_json():
    async with serving() as (_, port):
        wish = (
            b"POST /x HTTP/1.1\r\nAccept: application/json\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
        )
        got = await ask(port, wish, b"hello")
    facts = json.loads(got.partition(b"\r\n\r\n")[2])
    assert (facts["pod"], facts["method"], facts["bodyBytes"]) == ("web-1", "POST", 5)
    assert facts["peer"].startswith("127.0.0.1:")


async def test_a_connection_carries_many_requests_also_in_one_piece():
    async with serving() as (_, port):
        got = await ask(port, b"GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n", b"\r\n")
    assert got.count(b"HTTP/1.1 200 OK") == 3
    assert got.count(b"hostname: web-1") == 2, "HEAD has no body"


async def test_a_client_that_waits_for_100_gets_it():
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await hang_up(writer)


async def test_a_broken_request_is_refused_and_the_connection_ends():
    async with serving() as (_, port):
        assert (await ask(port, b"GET / nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 Bad Request")
        assert (await ask(port, b"GET / HTTP/1.1\r\nX: " + b"y" * 40000)).startswith(b"HTTP/1.1 431 ")


async def test_plain_clients_get_a_line_of_the_same_facts():
    async with serving() as (listener, port):
        got = await ask(port, b"PING\r\n")
    facts = json.loads(got)
    assert (facts["pod"], facts["namespace"], facts["node"], facts["said"]) == (
        "web-1",
        "shop",
        "node-1",
        "PING",
    )
    assert facts["peer"].startswith("127.0.0.1:")
    assert "said b'PING" in listener.log.lines()[0].text


async def test_beyond_the_limit_connections_are_refused():
    async with serving(places=1) as (listener, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        with suppress(OSError):
            assert await ask(port, b"GET / HTTP/1.1\r\n\r\n") == b""
        await hang_up(writer)
        assert any("too many" in line.text for line in listener.log.lines())


@pytest.mark.looptime
async def test_silence_ends_a_connection():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours:
        theirs.setblocking(False)
        listener = Listener(identity=WEB, log=Log(FixedClock()), room=Room(1))
        transport, _ = await loop.connect_accepted_socket(lambda: Connection(listener), theirs)
        await asyncio.sleep(74)
        assert not transport.is_closing()
        await asyncio.sleep(2)
        assert transport.is_closing()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("start", "verdict"), [(b"", None), (b"GE", None), (b"GET /", True), (b"OPTIONS", None), (b"GETX", False), (b"\x16\x03", False)]
)  # fmt: skip
def test_telling_http_from_the_rest(start: bytes, verdict: bool | None):
    assert speaks_http(start) is verdict


async def test_datagrams_are_answered():
    loop = asyncio.get_running_loop()
    listener = Listener(identity=WEB, log=Log(FixedClock()), room=Room(1))
    transport, _ = await loop.create_datagram_endpoint(lambda: Datagrams(listener), ("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(transport.get_extra_info("sockname"))
        await loop.sock_sendall(client, b"hi")
        got = await loop.sock_recv(client, 1000)
    transport.close()
    facts = json.loads(got)
    assert (facts["pod"], facts["said"]) == ("web-1", "hi")
    assert facts["peer"].startswith("127.0.0.1:")


def test_addresses_are_those_of_the_family_that_was_spoken():
    assert answers.normal(("::ffff:192.0.2.7", 80, 0, 0)) == ("192.0.2.7", 80)
    assert answers.spoken(answers.normal(("2001:db8::1", 80, 0, 0))) == "[2001:db8::1]:80"


async def test_logs_are_bounded_and_can_be_followed():
    clock = FixedClock()
    book = Log(clock)
    for i in range(MAX_LINES + 5):
        clock.now += 1
        book.write("line", str(i))
    assert [x.text for x in book.lines(tail=2)] == [f"line {MAX_LINES + 3}", f"line {MAX_LINES + 4}"]
    assert len(book.lines()) == MAX_LINES
    assert [x.text for x in book.lines(since=clock.now)] == [f"line {MAX_LINES + 4}"]
    seen = book.count
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(book.more(seen))
        await asyncio.sleep(0)
        assert not waiting.done()
        book.write("new")
    assert [x.text for x in book.lines(after=seen)] == ["new"]


@asynccontextmanager
async def process(tmp_path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    path = str(tmp_path / "standins.sock")
    async with await StandInServer(apps=Apps(clock=SystemClock())).listen(path):
        reader, writer = await asyncio.open_unix_connection(path)
        yield reader, writer
        await hang_up(writer)


async def test_a_container_that_is_not_there_has_no_log(tmp_path: Path):
    async with process(tmp_path) as (reader, writer):
        writer.write(feed.frame(feed.ReadLog(uid="u", container="app")))
        answer = await feed.read_from_standins(reader)
    assert answer == feed.LogLines(last=True, problem="container app has no log")


async def test_a_sandbox_that_is_gone_is_a_problem_of_the_container(tmp_path: Path):
    app = feed.App("app", "example.org/web:1", 0, (feed.Listen(8080, required=True),))
    pod = feed.StandInPod("u", "shop", "web-1", "node-1", str(tmp_path / "gone"), (app,))
    async with process(tmp_path) as (reader, writer):
        writer.write(feed.frame(feed.Serve(pod)))
        state = await feed.read_from_standins(reader)
    assert isinstance(state, feed.State)
    assert (state.uid, state.container) == ("u", "app")
    assert "gone" in state.problem
