from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.runner import http1
from netloom.local.runner.http1 import BadRequest
from netloom.local.runner.streams import websocket as ws
from netloom.local.runner.streams.websocket import Decoder, Frame, Messages, Opcode, WebSocket, WebSocketError

MASK = b"\x37\xfa\x21\x3d"


def test_the_frames_of_the_specification():
    # RFC 6455, 5.7: "Hello" from a server, from a client, and in two pieces
    assert ws.encode(Frame(Opcode.TEXT, b"Hello")).hex() == "810548656c6c6f"
    assert list(Decoder().feed(bytes.fromhex("818537fa213d7f9f4d5158"))) == [Frame(Opcode.TEXT, b"Hello")]
    assert ws.encode(Frame(Opcode.TEXT, b"Hel", fin=False)).hex() == "010348656c"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 100_001])
def test_frames_of_all_sizes(size: int):
    payload = bytes(i % 251 for i in range(size))
    assert list(Decoder().feed(ws.encode(Frame(Opcode.BINARY, payload), MASK))) == [
        Frame(Opcode.BINARY, payload)
    ]


@given(st.lists(st.binary(max_size=200), max_size=6), st.integers(1, 30), st.integers(1, 60))
def test_messages_survive_any_cutting(sent: list[bytes], cut: int, piece: int):
    wire = b""
    for message in sent:
        parts = [message[i : i + piece] for i in range(0, len(message), piece)] or [b""]
        for i, part in enumerate(parts):
            opcode = Opcode.CONTINUATION if i else Opcode.BINARY
            wire += ws.encode(Frame(opcode, part, fin=i == len(parts) - 1), MASK)
    decoder, messages = Decoder(), Messages()
    frames = [f for i in range(0, len(wire), cut) for f in decoder.feed(wire[i : i + cut])]
    got = [message for frame in frames if (message := messages.add(frame)) is not None]
    assert got == sent


@pytest.mark.parametrize(
    "wire",
    [
        ws.encode(Frame(Opcode.BINARY, b"unmasked")),
        b"\xc2\x80" + MASK,  # an extension bit
        b"\x83\x80" + MASK,  # an unknown kind
        ws.encode(Frame(Opcode.PING, b"x", fin=False), MASK),
        struct.pack(">BBQ", 0x82, 0xFF, ws.MAX_MESSAGE + 1) + MASK,
    ],
)
def test_what_a_client_may_not_send(wire: bytes):
    with pytest.raises(WebSocketError):
        list(Decoder().feed(wire))


def test_pieces_out_of_order():
    with pytest.raises(WebSocketError):
        Messages().add(Frame(Opcode.CONTINUATION, b"x"))
    begun = Messages()
    begun.add(Frame(Opcode.BINARY, b"", fin=False))
    with pytest.raises(WebSocketError):
        begun.add(Frame(Opcode.BINARY, b"x"))


def request(*headers: str) -> http1.Request:
    return http1.parse(("GET / HTTP/1.1\r\n" + "\r\n".join(headers)).encode())


def test_the_handshake_of_the_specification():
    asked = request(
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: v4.channel.k8s.io, v5.channel.k8s.io",
    )
    assert ws.is_upgrade(asked)
    answer, chosen = ws.handshake(asked, ("v5.channel.k8s.io", "v4.channel.k8s.io"))
    assert chosen == "v5.channel.k8s.io"
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    with pytest.raises(BadRequest, match="unable to negotiate") as refused:
        ws.handshake(asked, ("other",))
    assert refused.value.status == 403


@asynccontextmanager
async def echoing(directory: Path) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A server of ours that sends messages back, and a client of another make."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer, _ = ws.handshake(http1.parse(await reader.readuntil(http1.END)), ("echo",))
        writer.write(answer)
        socket = WebSocket(reader, writer)
        while (message := await socket.receive()) is not None:
            await socket.send(message)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        ended.set()

    path = str(directory / "ws.sock")
    async with await asyncio.start_unix_server(serve, path):
        session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path))
        async with (
            session,
            session.ws_connect("http://node/", protocols=("echo",), autoping=False) as client,
        ):
            yield client
        await ended.wait()


async def test_a_client_of_another_make(tmp_path: Path):
    async with echoing(tmp_path) as client:
        for message in (b"one", b"", b"x" * 300_000):
            await client.send_bytes(message)
            assert await client.receive_bytes() == message
        await client.ping(b"are you there")
        assert (await client.receive()).type is aiohttp.WSMsgType.PONG
        await client.close()
        assert client.close_code == 1000
