"""A HAProxy that outlives its engine serves on, and the next engine takes over from it with no connection refused or cut."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from tests.contract.gateway_world import HERE, backend, curl, free_port, http_door, plan, pool, rule

from netloom.clock import SystemClock
from netloom.gateway.engine import Engine
from netloom.linux import inherited
from netloom.model.gateways.plan import Host

ANY = Host("", (rule("/"),))


@pytest.fixture
def directory():
    path = Path(tempfile.mkdtemp(prefix="nl-gw-"))
    yield path
    for left in inherited.find("haproxy", path):
        left.kill(signal.SIGKILL)
        left.close()
    shutil.rmtree(path)


class Life:
    """An engine for as long as the block lasts."""

    def __init__(self, directory: Path) -> None:
        self.engine = Engine(directory, (HERE,), SystemClock(), outlives=True)

    async def __aenter__(self) -> Engine:
        self._running = asyncio.ensure_future(self.engine.run())
        return self.engine

    async def __aexit__(self, *exc: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)


async def ended(directory: Path, pid: int | None) -> None:
    for one in inherited.find("haproxy", directory):
        if one.pid == pid:
            await asyncio.wait_for(one.wait(), 10)
        one.close()


async def ask(port: int) -> int:
    return (await curl(f"http://127.0.0.1:{port}/")).status


async def test_it_serves_on_and_is_followed_without_a_gap(directory):
    port = free_port()
    async with backend("web") as web:
        wanted = plan([http_door(port, ANY)], pool("shop/web/80", web.port))
        async with Life(directory) as engine:
            await engine.apply(wanted)
            first = engine.pid
            assert await ask(port) == 200
        assert await ask(port) == 200
        assert [one.pid for one in inherited.find("haproxy", directory)] == [first]
        # a connection that was open before stays open
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        writer.write(request)
        assert b" 200 " in await reader.readline()
        stop, failures = asyncio.Event(), []

        async def load() -> None:
            while not stop.is_set():
                if (status := await ask(port)) != 200:
                    failures.append(status)

        loading = asyncio.ensure_future(load())
        async with Life(directory) as engine:
            await engine.apply(wanted)
            assert engine.pid != first
            for _ in range(5):
                assert await ask(port) == 200
            stop.set()
            await loading
            assert failures == []
            writer.close()
            await writer.wait_closed()
            await ended(directory, first)
            # a door that goes takes its socket along, whoever opened it
            last = engine.pid
            await engine.apply(plan([]))
            await ended(directory, last)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
