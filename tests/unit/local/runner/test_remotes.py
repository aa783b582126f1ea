from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from netloom.errors import Unavailable
from netloom.local.runner.streams import remote as statuses
from netloom.local.runner.streams import spdy
from netloom.local.runner.streams import websocket as ws
from netloom.local.runner.streams.channels import V4, V5, ChannelRemote
from netloom.local.runner.streams.remote import Remote, Size, Wish
from netloom.local.runner.streams.spdy_remote import SpdyRemote
from netloom.local.runner.streams.spdy_session import MAX_STREAMS, Session, Stream
from netloom.local.runner.streams.websocket import Frame, Opcode, WebSocket

EVERYTHING = Wish(stdin=True, stdout=True, stderr=True)


class Wire:
    """What carries frames: the test is the other side."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = bytearray()
        self.closed = False

    async def read(self) -> bytes:
        return await self.incoming.get()

    async def write(self, data: bytes) -> None:
        self.sent += data

    async def close(self) -> None:
        self.closed = True


class SpdyClient:
    """A client's end of a session."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._encoder = spdy.Encoder()
        self._decoder = spdy.Decoder()

    def say(self, *frames: spdy.Frame) -> None:
        for frame in frames:
            self.wire.incoming.put_nowait(self._encoder.encode(frame))

    def heard(self) -> list[spdy.Frame]:
        data = bytes(self.wire.sent)
        self.wire.sent.clear()
        return list(self._decoder.feed(data))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def client(wire: Wire) -> SpdyClient:
    return SpdyClient(wire)


async def test_streams_carry_data_both_ways_and_close_by_halves(wire: Wire, client: SpdyClient):
    session = Session(wire)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(session.run())
        client.say(
            spdy.SynStream(1, {"streamtype": "data"}), spdy.Data(1, b"abc"), spdy.Data(1, b"", fin=True)
        )
        stream = await session.accept()
        assert isinstance(stream, Stream)
        assert stream.headers == {"streamtype": "data"}
        assert [await stream.read(), await stream.read(), await stream.read()] == [b"abc", b"", b""]
        await stream.write(b"x" * 70_000)
        await stream.close()
        reply, *data = client.heard()
        assert reply == spdy.SynReply(1)
        assert b"".join(d.payload for d in data if isinstance(d, spdy.Data)) == b"x" * 70_000
        assert data[-1] == spdy.Data(1, b"", fin=True)
        running.cancel()


async def test_pings_are_answered_and_what_belongs_to_nobody_is_reset(wire: Wire, client: SpdyClient):
    session = Session(wire)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(session.run())
        client.say(spdy.Ping(7), spdy.Ping(8), spdy.Settings(), spdy.Data(9, b"lost"))
        await settle()
        assert client.heard() == [spdy.Ping(7), spdy.RstStream(9, 2)]
        running.cancel()


async def test_streams_are_bounded_but_ended_ones_make_room(wire: Wire, client: SpdyClient):
    session = Session(wire)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(session.run())
        for number in range(1, 2 * MAX_STREAMS, 2):
            client.say(spdy.SynStream(number, {}, fin=True))
            stream = await session.accept()
            assert stream is not None
            await stream.close()
        client.heard()
        kept = []
        for number in range(2 * MAX_STREAMS + 1, 4 * MAX_STREAMS + 1, 2):
            client.say(spdy.SynStream(number, {}))
            kept.append(await session.accept())
        client.heard()
        client.say(spdy.SynStream(4 * MAX_STREAMS + 1, {}))
        await settle()
        assert client.heard() == [spdy.RstStream(4 * MAX_STREAMS + 1, 3)]
        running.cancel()


async def test_the_end_of_the_connection_ends_all_streams(wire: Wire, client: SpdyClient):
    session = Session(wire)
    async with asyncio.TaskGroup() as group:
        group.create_task(session.run())
        client.say(spdy.SynStream(1, {}))
        stream = await session.accept()
        assert stream is not None
        wire.incoming.put_nowait(b"")
        assert await stream.read() == b""
        assert await session.accept() is None


async def test_nonsense_is_answered_by_goaway(wire: Wire, client: SpdyClient):
    session = Session(wire)
    wire.incoming.put_nowait(b"GET / HTTP/1.1\r\n\r\n" * 3)
    wire.incoming.put_nowait(b"\x80\x02" + bytes(20))
    wire.incoming.put_nowait(b"")
    async with asyncio.timeout(5):
        await session.run()
    assert client.heard()[-1] == spdy.GoAway(0, 1)


async def test_exec_streams_over_spdy(wire: Wire, client: SpdyClient):
    remote = SpdyRemote(Session(wire), EVERYTHING)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(remote.run())
        for number, kind in enumerate(("error", "stdin", "stdout", "stderr")):
            client.say(spdy.SynStream(2 * number + 1, {"streamtype": kind}))
        await remote.ready()
        client.heard()
        client.say(spdy.Data(3, b"in"), spdy.Data(3, b"", fin=True))
        assert [await remote.inbox.stdin.get(), await remote.inbox.stdin.get()] == [b"in", b""]
        await remote.write(b"out")
        await remote.write(b"err", error=True)
        await remote.finish(statuses.exited(3))
        heard = client.heard()
        assert heard[:2] == [spdy.Data(5, b"out"), spdy.Data(7, b"err")]
        status = next(f for f in heard if isinstance(f, spdy.Data) and f.stream == 1)
        assert json.loads(status.payload)["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
        assert isinstance(heard[-1], spdy.GoAway)
        assert wire.closed
        running.cancel()


@pytest.mark.looptime
async def test_a_client_that_does_not_open_its_streams(wire: Wire, client: SpdyClient):
    remote = SpdyRemote(Session(wire), Wish(stdout=True, tty=True))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(remote.run())
        client.say(spdy.SynStream(1, {"streamtype": "stdout"}))
        with pytest.raises(Unavailable, match=r"\['error', 'resize'\]"):
            await remote.ready()
        running.cancel()


class Pipe:
    """Just enough of a StreamReader and StreamWriter."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.sent = bytearray()

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None:
        pass

    def say(self, payload: bytes, opcode: Opcode = Opcode.BINARY) -> None:
        self.reader.feed_data(ws.encode(Frame(opcode, payload), b"\1\2\3\4"))

    def heard(self) -> Iterator[bytes]:
        data = bytes(self.sent)
        self.sent.clear()
        while data:
            size = data[1]
            assert size < 126
            yield data[2 : 2 + size] if data[0] == 0x82 else {0x88: b"close", 0x89: b"ping"}[data[0]]
            data = data[2 + size :]


def channels(pipe: Pipe, wish: Wish, protocol: str = V4) -> Remote:
    return ChannelRemote(WebSocket(pipe.reader, pipe), wish, protocol)  # type: ignore[arg-type] # a pipe is what it needs


async def test_exec_channels_over_websocket():
    pipe = Pipe()
    remote = channels(pipe, EVERYTHING)
    async with asyncio.TaskGroup() as group:
        group.create_task(remote.run())
        pipe.say(b"", Opcode.PONG)
        await remote.ready()
        assert list(pipe.heard()) == [b"ping", b"\x01"], (
            "an empty message on stdout says that the connection stands"
        )
        pipe.say(b"\x00in")
        pipe.say(b'\x04{"Width":80,"Height":24}')
        pipe.say(b"\x04nonsense")
        pipe.say(b"\xff\x00")
        assert [await remote.inbox.stdin.get(), await remote.inbox.stdin.get()] == [b"in", b""]
        assert await remote.inbox.sizes.get() == Size(80, 24)
        assert remote.inbox.sizes.empty()
        await remote.write(b"out")
        await remote.write(b"err", error=True)
        await remote.finish(b"{}")
        assert list(pipe.heard()) == [b"\x01out", b"\x02err", b"\x03{}", b"close"]
        pipe.reader.feed_eof()
        await remote.inbox.gone.wait()


@pytest.mark.parametrize("says", [Opcode.PONG, Opcode.CLOSE])
async def test_nothing_is_sent_before_the_client_reads(says: Opcode):
    pipe = Pipe()
    remote = channels(pipe, EVERYTHING, V5)
    async with asyncio.TaskGroup() as group:
        group.create_task(remote.run())
        starting = group.create_task(remote.ready())
        await settle()
        assert not starting.done()
        assert list(pipe.heard()) == [b"ping"]
        pipe.say(b"", says)
        await starting
        pipe.reader.feed_eof()
        await remote.inbox.gone.wait()


def test_statuses():
    assert json.loads(statuses.exited(0))["status"] == "Success"
    assert json.loads(statuses.exited(-9))["details"]["causes"][0]["message"] == "137"
    assert json.loads(statuses.failed("why"))["message"] == "why"
