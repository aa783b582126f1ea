from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from netloom.errors import NotFound, Unavailable
from netloom.linux.process import Completed
from netloom.local.runner import checks
from netloom.local.runner.spec import Container, Exec, Grpc, HttpGet, HttpHeader, Port, Probe, TcpSocket

HOST = "127.0.0.1"


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(EOFError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, HOST, 0) as server:
        yield server.sockets[0].getsockname()[1], asked


@pytest.mark.parametrize(("code", "ok"), [(200, True), (302, True), (399, True), (404, False), (503, False)])
async def test_http_succeeds_from_200_to_399(code: int, ok: bool):
    async with answering(f"HTTP/1.1 {code} Word\r\n\r\n".encode()) as (port, asked):
        get = HttpGet(port, "healthz", http_headers=(HttpHeader("Host", "web"), HttpHeader("X-A", "b")))
        outcome = await checks.http_check(get, HOST, port)
    assert outcome.ok is ok
    assert asked[0].startswith(b"GET /healthz HTTP/1.1\r\n")
    assert b"host: web\r\n" in asked[0]
    assert b"x-a: b\r\n" in asked[0]


async def test_http_that_is_no_http_fails():
    async with answering(b"SSH-2.0\r\n") as (port, _):
        assert not (await checks.http_check(HttpGet(port), HOST, port)).ok


async def test_tcp_succeeds_where_somebody_listens():
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        assert (await checks.tcp_check(HOST, port)).ok
    refused = await checks.tcp_check(HOST, port)
    assert not refused.ok
    assert f"dial tcp {HOST}:{port}" in refused.detail


async def test_exec_succeeds_with_exit_code_0_or_where_the_host_lacks_the_program():
    async def run(argv: tuple[str, ...], timeout_s: float) -> Completed:
        if argv[0] == "gone":
            raise NotFound("no such program")
        if argv[0] == "slow":
            raise Unavailable("did not end")
        return Completed(int(argv[0]), b"said so", b"")

    assert (await checks.exec_check(("0",), run, 1)).ok
    assert (await checks.exec_check(("gone",), run, 1)).ok
    assert (await checks.exec_check(("127",), run, 1)).ok, "a shell that does not find one"
    assert not (await checks.exec_check(("gone",), run, 1, is_standin=False)).ok
    assert not (await checks.exec_check(("127",), run, 1, is_standin=False)).ok
    assert (await checks.exec_check(("2",), run, 1)) == checks.Outcome(False, "said so")
    assert not (await checks.exec_check(("slow",), run, 1)).ok


async def test_which_check_a_probe_means():
    async def run(argv: tuple[str, ...], timeout_s: float) -> Completed:
        return Completed(0, b"", b"")

    def check(probe: Probe) -> checks.Check | None:
        return checks.check_of(probe, container, HOST, run)

    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        container = Container("app", ports=(Port(port, "http"),))
        tcp_like = (
            Probe(tcp_socket=TcpSocket("http")),
            Probe(grpc=Grpc(port)),
            Probe(http_get=HttpGet("http", scheme="HTTPS")),
        )
        for probe in tcp_like:
            made = check(probe)
            assert made is not None
            assert (await made()).ok
    command = check(Probe(exec=Exec(("true",))))
    assert command is not None
    assert (await command()).ok
    assert check(Probe(http_get=HttpGet("unknown"))) is None
    assert check(Probe()) is None
