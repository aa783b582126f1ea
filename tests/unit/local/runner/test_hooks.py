from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from netloom.errors import NotFound
from netloom.linux.process import Completed
from netloom.local import certs
from netloom.local.runner.grace import Grace
from netloom.local.runner.hooks import Hooks
from netloom.local.runner.spec import Pod

HOST = "127.0.0.1"


@pytest.fixture
def server_tls(tmp_path: Path) -> ssl.SSLContext:
    """A server that nobody has reason to trust."""
    pair = certs.Authority.create("test", now=time.time()).server("hooked", ["hooked.example"])
    (tmp_path / "pair.pem").write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    return context


class Bench:
    """The hooks of a container, and what they did."""

    def __init__(self, pod: Pod, address: str = HOST) -> None:
        self.events: list[str] = []
        self.hooks = Hooks(
            container=pod.spec.containers[0],
            address=address,
            run=self.run_in_pod,
            on_failure=lambda reason, message: self.events.append(reason),
        )

    async def run_in_pod(self, argv: tuple[str, ...], timeout_s: float) -> Completed:
        raise NotFound("no such program")

    async def pre_stop(self, grace_s: float = 30) -> list[str]:
        grace = Grace(grace_s)
        await self.hooks.pre_stop(grace)
        grace.close()
        return self.events


@asynccontextmanager
async def answering(
    answer: bytes, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(4096))
        writer.write(answer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, HOST, 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1], asked


def hooked(get: str, ports: str = "[]") -> str:
    return (
        f"containers: [{{name: app, image: a, ports: {ports}, lifecycle: {{preStop: {{httpGet: {get}}}}}}}]"
    )


@pytest.mark.parametrize("code", [200, 404, 500])
async def test_any_answer_is_one(code: int, pod):
    async with answering(f"HTTP/1.1 {code} Word\r\n\r\n".encode()) as (port, asked):
        get = f"{{port: {port}, path: '/drain?by=hook', httpHeaders: [{{name: X-A, value: b}}]}}"
        assert await Bench(pod(hooked(get))).pre_stop() == []
    assert asked[0].startswith(b"GET /drain?by=hook HTTP/1.1\r\n")
    assert b"user-agent: kube-lifecycle/" in asked[0]
    assert b"x-a: b\r\n" in asked[0]


async def test_the_host_that_is_given_is_asked_and_not_the_pod(pod):
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (port, asked):
        get = f"{{host: {HOST}, port: web}}"
        ports = f"[{{name: web, containerPort: {port}}}]"
        assert await Bench(pod(hooked(get, ports)), "192.0.2.7").pre_stop() == []
    assert len(asked) == 1


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n"])
async def test_no_http_answer_is_a_failure(answer: bytes, pod):
    async with answering(answer) as (port, _):
        assert await Bench(pod(hooked(f"{{port: {port}}}"))).pre_stop() == ["FailedPreStopHook"]


async def test_nobody_there_is_a_failure(pod):
    async with answering(b"") as (port, _):
        pass
    assert await Bench(pod(hooked(f"{{port: {port}}}"))).pre_stop() == ["FailedPreStopHook"]


async def test_https_asks_without_knowing_the_server_and_falls_back_to_http(pod, server_tls: ssl.SSLContext):
    for tls in (server_tls, None):
        async with answering(b"HTTP/1.1 200 OK\r\n\r\n", tls) as (port, asked):
            assert await Bench(pod(hooked(f"{{port: {port}, scheme: HTTPS}}"))).pre_stop() == []
            assert asked[-1].startswith(b"GET / HTTP/1.1\r\n")


async def test_a_program_that_the_host_lacks_counts_as_done(pod):
    spec = "containers: [{name: app, image: a, lifecycle: {preStop: {exec: {command: [nginx, -s, quit]}}}}]"
    assert await Bench(pod(spec)).pre_stop() == []


@pytest.mark.looptime
async def test_the_grace_period_bounds_it(pod):
    spec = "containers: [{name: app, image: a, lifecycle: {preStop: {sleep: {seconds: 100}}}}]"
    loop = asyncio.get_running_loop()
    assert await Bench(pod(spec)).pre_stop(7) == []
    assert loop.time() == pytest.approx(7)
