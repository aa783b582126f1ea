"""Who may ask: certificates over TLS. And streams of pods, passed on to a node byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import aiohttp
import pytest
from tests.unit.local.apiserver.conftest import SERVICE_CIDR, Api, Listener, listening, pod, serving

from netloom.local import certs
from netloom.local.apiserver.server import ApiServer

AUTHORITY = certs.Authority.create("test", now=time.time())


@asynccontextmanager
async def secure(directory: Path, store, clock) -> AsyncIterator[tuple[ApiServer, str]]:
    """A server on 127.0.0.1 with TLS, and its URL."""
    pair = AUTHORITY.server("kube-apiserver", ["127.0.0.1"])
    for name, data in (
        ("ca.crt", AUTHORITY.pem),
        ("apiserver.crt", pair.certificate),
        ("apiserver.key", pair.key),
    ):
        (directory / name).write_bytes(data)
    sock = socket.create_server(("127.0.0.1", 0))
    server = ApiServer(
        store=store,
        clock=clock,
        service_cidrs=[SERVICE_CIDR],
        runner_socket=lambda node: directory / f"{node}.sock",
    )
    async with serving(server, [Listener(sock, certs.server_context(directory))]):
        yield server, f"https://127.0.0.1:{sock.getsockname()[1]}"


def client_context(directory: Path, *who: str, authority: certs.Authority = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    if who:
        pair = authority.client(who[0], who[1:])
        (directory / "client.pem").write_bytes(pair.certificate + pair.key)
        context.load_cert_chain(directory / "client.pem")
    return context


async def code_of(url: str, context: ssl.SSLContext) -> tuple[int, str]:
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as response:
        return response.status, await response.text()


@pytest.mark.parametrize(
    ("who", "code"),
    [
        (("admin", "system:masters"), 200),
        (("system:node:node-1", "system:nodes"), 403),  # may read itself and its pods, and no namespaces
        (("mallory", "users"), 403),
        (("nobody",), 403),
        ((), 403),  # nobody in particular: system:anonymous
    ],
)
async def test_certificates_decide(short_dir: Path, store, clock, who, code) -> None:
    async with secure(short_dir, store, clock) as (_, url):
        context = client_context(short_dir, *who)
        found, text = await code_of(f"{url}/api/v1/namespaces", context)
        assert found == code
        if code != 200:
            status = json.loads(text)
            assert (status["kind"], status["code"]) == ("Status", code)
        for path in ("/healthz", "/readyz", "/version"):
            assert (await code_of(f"{url}{path}", context))[0] == 200


async def test_a_certificate_of_another_authority_does_not_connect(short_dir: Path, store, clock) -> None:
    other = certs.Authority.create("other", now=time.time())
    async with secure(short_dir, store, clock) as (_, url):
        context = client_context(short_dir, "admin", "system:masters", authority=other)
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await code_of(f"{url}/api/v1/namespaces", context)


class Runner:
    """A node's end: notes request heads, and answers as the test says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heads: list[str] = []
        self.answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\n"
        self.ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, sock=listening(self.path))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self.answer)
        if b" 101 " in self.answer:
            while data := await reader.read(65536):  # an echo
                writer.write(data)
                await writer.drain()
                if data.endswith(b"bye"):
                    break
        writer.close()
        self.ended.set()


async def raw(path: Path, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    return reader, writer


EXEC = b"/api/v1/namespaces/shop/pods/a/exec?command=sh&command=-c&stdin=true&x=%2F%20y"
UPGRADE = b"Host: api\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n"


@pytest.mark.parametrize(("method", "upgrade"), [(b"POST", b"SPDY/3.1"), (b"GET", b"websocket")])
async def test_upgraded_streams_pass_byte_by_byte(api: Api, short_dir: Path, method, upgrade) -> None:
    await api.create("pods", pod("a", nodeName="node-1"))
    async with Runner(short_dir / "node-1.sock") as runner:
        head = method + b" " + EXEC + b" HTTP/1.1\r\n" + UPGRADE.replace(b"SPDY/3.1", upgrade) + b"\r\n"
        reader, writer = await raw(short_dir / "api.sock", head)
        async with asyncio.timeout(5):
            assert await reader.readuntil(b"\r\n\r\n") == runner.answer
            blob = bytes(range(256)) * 4096  # a megabyte of what no HTTP parser would take
            writer.write(blob)
            assert await reader.readexactly(len(blob)) == blob
            writer.write(b"bye")
            assert await reader.read() == b"bye"
        writer.close()
        (seen,) = runner.heads
        assert seen.startswith(
            method.decode() + " /exec/shop/a/main?command=sh&command=-c&stdin=true&x=%2F%20y HTTP/1.1\r\n"
        )
        assert "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n" in seen


async def test_streams_over_tls(short_dir: Path, store, clock) -> None:
    async with secure(short_dir, store, clock) as (_, url), Runner(short_dir / "node-1.sock"):
        context = client_context(short_dir, "admin", "system:masters")
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session:
            pods = f"{url}/api/v1/namespaces/default/pods"
            assert (await session.post(pods, json=pod("a", nodeName="node-1"))).status == 201
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"POST /api/v1/namespaces/default/pods/a/portforward HTTP/1.1\r\n" + UPGRADE + b"\r\n")
        async with asyncio.timeout(5):
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"over tls, bye")
            assert await reader.readexactly(13) == b"over tls, bye"
        writer.close()


async def test_a_client_that_leaves_ends_the_stream_at_the_node(api: Api, short_dir: Path) -> None:
    await api.create("pods", pod("a", nodeName="node-1"))
    async with Runner(short_dir / "node-1.sock") as runner:
        reader, writer = await raw(
            short_dir / "api.sock",
            b"POST /api/v1/namespaces/shop/pods/a/attach HTTP/1.1\r\n" + UPGRADE + b"\r\n",
        )
        async with asyncio.timeout(5):
            await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await runner.ended.wait()
    assert runner.heads[0].startswith("POST /attach/shop/a/main HTTP/1.1")


async def test_stopping_ends_streams(short_dir: Path, store, clock) -> None:
    server = ApiServer(
        store=store,
        clock=clock,
        service_cidrs=[SERVICE_CIDR],
        runner_socket=lambda n: short_dir / f"{n}.sock",
    )
    async with Runner(short_dir / "node-1.sock") as runner, asyncio.timeout(8):
        async with serving(server, [Listener(listening(short_dir / "s"))]):
            connector = aiohttp.UnixConnector(str(short_dir / "s"))
            async with aiohttp.ClientSession(connector=connector) as session:
                url = "http://api/api/v1/namespaces/default/pods"
                assert (await session.post(url, json=pod("a", nodeName="node-1"))).status == 201
            reader, writer = await raw(
                short_dir / "s",
                b"POST /api/v1/namespaces/default/pods/a/attach HTTP/1.1\r\n" + UPGRADE + b"\r\n",
            )
            await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b""
        await runner.ended.wait()
        writer.close()


async def test_a_nodes_refusal_is_told(api: Api, short_dir: Path) -> None:
    await api.create("pods", pod("a", nodeName="node-1"))
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
    (await api("POST", "pods/a/exec", None, **headers)).refused(500, "InternalError")  # nobody there
    async with Runner(short_dir / "node-1.sock") as runner:
        runner.answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\nno container"
        status = (await api("POST", "pods/a/exec", None, **headers)).refused(404, "NotFound")
        assert status["message"] == "no container"
        runner.answer = b""
        (await api("POST", "pods/a/exec", None, **headers)).refused(500, "InternalError")


async def test_which_pods_can_be_streamed(api: Api) -> None:
    await api.create("pods", pod("new"))
    status = (await api("GET", "pods/new/log")).refused(400, "BadRequest")
    assert status["message"] == "pod new does not have a host assigned"
    await api.create("pods", pod("a", nodeName="node-1"))
    assert (
        "not valid for pod"
        in (await api("GET", "pods/a/log?container=x")).refused(400, "BadRequest")["message"]
    )
    (await api("POST", "pods/a/exec")).refused(400, "BadRequest")
    (await api("GET", "pods/none/log")).refused(404, "NotFound")
    (await api("DELETE", "pods/a/log")).refused(405, "MethodNotAllowed")


async def test_logs_stream(api: Api, short_dir: Path) -> None:
    body = pod("a", nodeName="node-1")
    body["spec"]["containers"].append({"name": "side", "image": "example.org/side"})
    body["metadata"]["annotations"] = {"kubectl.kubernetes.io/default-container": "side"}
    await api.create("pods", body)
    async with Runner(short_dir / "node-1.sock") as runner:
        runner.answer = (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n"
        )
        reply = await api("GET", "pods/a/log?follow=true&tailLines=2")
        assert (reply.code, reply.text) == (200, "one\ntwo\n")
        assert runner.heads[0].startswith("GET /containerLogs/shop/a/side?follow=true&tailLines=2 HTTP/1.1")
        runner.answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 7\r\n\r\nwaiting"
        assert (await api("GET", "pods/a/log?container=main")).refused(400, "BadRequest")[
            "message"
        ] == "waiting"
