from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from netloom.clock import SystemClock
from netloom.local.runner.standins import answers, feed
from netloom.local.runner.standins.answers import Identity
from netloom.local.runner.standins.feed import App, Course, Listen, StandInPod, State
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
    async with await StandInServer(clock=SystemClock()).listen(path):
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


GET = b"GET / HTTP/1.1\r\n\r\n"


@pytest.fixture
def port() -> int:
    with socket.create_server(("", 0)) as sock:
        return int(sock.getsockname()[1])


class Served:
    """One pod of stand-ins in this very network namespace."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.ended = asyncio.Event()
        self.apps = Apps(clock=SystemClock(), on_end=self._on_end)

    def _on_end(self, state: State) -> None:
        assert state == State("u", "app", 0, ended=True)
        self.ended.set()

    async def take(self, course: Course) -> State:
        listens = (Listen(self.port, required=True), Listen(self.port, "UDP", required=True))
        app = App("app", "a", 0, listens, course=course)
        (state,) = await self.apps.serve(
            StandInPod("u", "shop", "web-1", "node-1", "/proc/self/ns/net", (app,))
        )
        return state

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


async def heard(reader: asyncio.StreamReader) -> str:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    await reader.readexactly(int(head.split("Content-Length: ")[1].split("\r\n")[0]))
    return head.split("Connection: ")[1].split("\r\n")[0]


@asynccontextmanager
async def standing(port: int) -> AsyncIterator[Served]:
    served = Served(port)
    assert await served.take(Course.SERVE) == State("u", "app", 0)
    async with asyncio.timeout(20):
        yield served
    served.apps.drop("u")
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_what_wanes_serves_and_asks_clients_to_come_back_elsewhere(port: int):
    async with standing(port) as served:
        reader, writer = await served.connect()
        writer.write(GET)
        assert await heard(reader) == "keep-alive"
        assert await served.take(Course.WANE) == State("u", "app", 0)
        writer.write(GET + GET + GET)
        assert [await heard(reader) for _ in range(3)] == ["keep-alive", "keep-alive", "close"]
        assert await reader.read() == b""
        await hang_up(writer)
        reader, writer = await served.connect()
        writer.write(GET)
        assert await heard(reader) == "close"
        await hang_up(writer)


async def test_what_has_no_connection_ends_at_once_and_refuses_new_ones(port: int):
    async with standing(port) as served:
        assert (await served.take(Course.END)).ended
        with pytest.raises(ConnectionRefusedError):
            await served.connect()


async def test_connections_that_the_kernel_has_made_are_served_to_their_end(port: int):
    """They wait in the backlog when the listening socket is closed, which would reset them."""
    async with standing(port) as served:
        with socket.socket() as client:
            client.connect(("127.0.0.1", port))  # while the loop does not run, nobody accepts it
            client.sendall(GET)
            assert not (await served.take(Course.END)).ended
            client.setblocking(False)
            got = await asyncio.get_running_loop().sock_recv(client, 10000)
            assert b"Connection: close" in got
        await served.ended.wait()


async def test_it_ends_when_its_client_has_read_the_last_answer_and_closed(port: int):
    async with standing(port) as served:
        reader, writer = await served.connect()
        writer.write(GET)
        await heard(reader)
        assert not (await served.take(Course.END)).ended
        writer.write(GET)
        assert await heard(reader) == "close"
        assert await reader.read() == b""
        assert not served.ended.is_set(), "the client has not closed"
        await hang_up(writer)
        await served.ended.wait()


async def test_a_plain_connection_lives_for_as_long_as_its_client_wants(port: int):
    async with standing(port) as served:
        reader, writer = await served.connect()
        writer.write(b"hello\n")
        await reader.readline()
        await served.take(Course.END)
        writer.write(b"still there?\n")
        assert b"still there?" in await reader.readline()
        assert not served.ended.is_set()
        await hang_up(writer)
        await served.ended.wait()


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("said", "seconds"), [(GET, 1.0), (b"", 5.0), (b"hello\n", 75.0), (b"PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", 75.0)]
)  # fmt: skip
async def test_silence_is_borne_for_as_long_as_it_is_worth_it(said: bytes, seconds: float):
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours:
        theirs.setblocking(False)
        listener = Listener(identity=WEB, log=Log(FixedClock()), room=Room(1))
        transport, connection = await loop.connect_accepted_socket(lambda: Connection(listener), theirs)
        connection.data_received(said)
        began = loop.time()
        listener.end()
        gone = asyncio.Event()
        listener.on_empty = gone.set
        await gone.wait()
        assert loop.time() - began == pytest.approx(seconds)
        assert transport.is_closing()


async def test_the_runner_hears_of_an_end_that_takes_its_time(tmp_path: Path, port: int):
    async with process(tmp_path) as (reader, writer), asyncio.timeout(20):
        app = App("app", "a", 0, (Listen(port, required=True),))
        pod = StandInPod("u", "shop", "web-1", "node-1", "/proc/self/ns/net", (app,))
        ending = msgspec.structs.replace(pod, apps=(msgspec.structs.replace(app, course=Course.END),))
        for message in (feed.Keep(()), feed.Serve(pod)):
            writer.write(feed.frame(message))
        assert await feed.read_from_standins(reader) == State("u", "app", 0)
        client_reader, client = await asyncio.open_connection("127.0.0.1", port)
        client.write(b"hello\n")
        await client_reader.readline()
        writer.write(feed.frame(feed.Serve(ending)))
        assert await feed.read_from_standins(reader) == State("u", "app", 0)
        await hang_up(client)
        assert await feed.read_from_standins(reader) == State("u", "app", 0, ended=True)
        writer.write(feed.frame(feed.Drop("u")))


async def test_a_protocol_that_the_kernel_lacks_keeps_no_container_from_running(port: int):
    async with standing(port) as served:
        app = App("app", "a", 1, (Listen(port, "SCTP", required=True),))
        pod = StandInPod("u", "shop", "web-1", "node-1", "/proc/self/ns/net", (app,))
        assert await served.apps.serve(pod) == (State("u", "app", 1),)
        log = served.apps.log("u", "app")
        assert log is not None
        told = log.lines()[-1].text
        assert told.startswith((f"listening on port {port}/SCTP", f"cannot listen on port {port}/SCTP"))
