"""Changes while requests are under way: endpoints, routes, new processes, a HAProxy that is killed. No request is lost."""

from __future__ import annotations

import asyncio
import collections
import itertools
import os
import re
import signal
import time
from pathlib import Path
from typing import Self

import pytest
from tests.contract.gateway_tls import Authority, listener, tls_door
from tests.contract.gateway_world import (
    backend,
    curl,
    engine,
    free_port,
    http_door,
    plan,
    pool,
    rule,
    run,
    source,
)

from netloom.gateway.processes import nobody
from netloom.model.gateways.plan import Host, ListenerTls, Match, Mirror, PathKind, Plan, ValueMatch


def shop(port: int, *pools: object, also: int = 0, rules: int = 0) -> Plan:
    """One host with some rules; ``also`` makes a difference that only a new process can bring."""
    hosts = [Host(f"h{n}.example", (rule("/"),)) for n in range(rules)]
    hosts.append(Host("", (*((rule("/also", fault=500 + also),) if also else ()), rule("/"))))
    return plan([http_door(port, *hosts)], *pools)  # type: ignore[arg-type]


class Load:
    """h2load, some seconds."""

    def __init__(self, port: int, seconds: float, *words: str) -> None:
        self._argv = (
            "timeout", str(seconds + 20), "h2load", "-c", "16", "-t", "1", "-D", str(seconds), "--warm-up-time", "0", *words,
            f"http://127.0.0.1:{port}/",
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(run(*self._argv))
        return self

    async def __aexit__(self, *_: object) -> None:
        code, out, err = await self._task
        self.has_ended = code != 124
        """h2load misses its own end now and then, where connections are closed to be opened anew: then it has said nothing."""
        self.text = (out + err).decode()

    def lost(self) -> dict[str, int]:
        """Requests by what became of them, save those that went well."""
        found = re.search(
            r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
            self.text,
        )
        assert found, self.text
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", self.text)
        assert codes, self.text
        assert int(found[4]) > 200, self.text
        return {
            "failed": int(found[5]), "errored": int(found[6]), "timeout": int(found[7]), "3xx": int(codes[2]), "4xx": int(codes[3]),
            "5xx": int(codes[4]),
        }  # fmt: skip


NOTHING = {"failed": 0, "errored": 0, "timeout": 0, "3xx": 0, "4xx": 0, "5xx": 0}


class Flat(asyncio.Protocol):
    """The quickest backend that Python has."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" * data.count(b"\r\n\r\n"))  # type: ignore[attr-defined]


async def flat() -> tuple[asyncio.Server, int]:
    server = await asyncio.get_running_loop().create_server(Flat, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("way", [("--h1",), ()], ids=["http1", "http2"])
async def test_a_storm_of_endpoints_loses_no_request(way: tuple[str, ...]):
    port = free_port()
    made_flat = [await flat() for _ in range(4)]
    ports = [at for _, at in made_flat]
    async with engine() as made:
        await made.apply(shop(port, pool("shop/web/80", *ports[:2])))
        first = made.pid
        load = Load(port, 3, *way)
        changes = commands = 0
        async with load:
            end = time.monotonic() + 2.5
            while time.monotonic() < end:
                began = time.monotonic()
                chosen = [at for n, at in enumerate(ports) if (changes >> n) & 1] or ports[:1]
                applied = await made.apply(shop(port, pool("shop/web/80", *chosen)))
                commands += applied.commands
                changes += 1
                await asyncio.sleep(max(0.005 - (time.monotonic() - began), 0))
        assert load.lost() == NOTHING, load.text
        assert made.pid == first, "all of it while it ran"
        assert changes > 10
        assert commands > 10
    for server, _ in made_flat:
        server.close()


async def test_new_processes_lose_no_request():
    port, encrypted = free_port(), free_port()
    server, at = await flat()
    tls = ListenerTls((Authority().certificate("any", "any.example"),))

    def both(turn: int) -> Plan:
        clear = shop(port, pool("shop/web/80", at), also=turn)
        door = tls_door(encrypted, listener("any", "", tls, Host("", (rule("/"),))))
        return Plan((*clear.doors, door), clear.pools)

    async with engine() as made:
        await made.apply(both(0))
        pids = {made.pid}
        turns = itertools.count(1)
        for _ in range(3):
            load = Load(port, 3, "--h1")
            async with load, asyncio.TaskGroup() as tasks:
                # h2load gives a request up that it has not sent when the other side says that it goes; curl sends it again
                http2 = [tasks.create_task(many(encrypted)) for _ in range(2)]
                for _ in range(6):
                    assert (await made.apply(both(next(turns)))).is_reloaded
                    pids.add(made.pid)
            assert [one.result() for one in http2] == [{"2 200": 1500}] * 2
            if load.has_ended:
                break
        assert len(pids) == next(turns)
        assert load.lost() == NOTHING, load.text
    server.close()


async def many(port: int) -> dict[str, int]:
    """Status codes of many requests over HTTP/2, one after the other on a connection as long as it lasts."""
    url = f"https://127.0.0.1:{port}/[1-1500]"
    _, out, _ = await run(
        "curl", "-sk", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}\n", url
    )
    return dict(collections.Counter(out.decode().splitlines()))


async def test_new_connections_are_not_refused_while_processes_change():
    port = free_port()
    server, at = await flat()
    async with engine() as made:
        await made.apply(shop(port, pool("shop/web/80", at)))
        done = asyncio.Event()

        async def connect() -> int:
            count = 0
            while not done.is_set():
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n")
                assert (await reader.read()).startswith(b"HTTP/1.1 200")
                writer.close()
                count += 1
            return count

        async with asyncio.TaskGroup() as tasks:
            clients = [tasks.create_task(connect()) for _ in range(4)]
            for turn in range(1, 5):
                await made.apply(shop(port, pool("shop/web/80", at), also=turn))
            done.set()
        assert sum(client.result() for client in clients) > 100
    server.close()


async def test_it_is_back_within_a_second_when_it_is_killed():
    port = free_port()
    server, at = await flat()
    async with backend("a") as other, engine() as made:
        pools = (pool("shop/web/80", at), pool("shop/other/80", other.port))
        await made.apply(shop(port, *pools))
        await made.apply(shop(port, pool("shop/web/80", at, other.port), pools[1], rules=2))
        assert made.pid is not None
        killed = made.pid
        os.kill(killed, signal.SIGKILL)
        began = time.monotonic()
        got = await curl(f"http://127.0.0.1:{port}/", "-H", "Host: h1.example")
        assert time.monotonic() - began < 10, "under a second on a machine that has nothing else to do"
        assert got.status == 200, (
            "a connection that came meanwhile waited; what was changed while it ran is there, too"
        )
        assert made.pid != killed
    server.close()


async def test_what_changes_costs_what_it_must():
    port = free_port()
    server, at = await flat()
    async with engine(spares=2) as made:
        both = (pool("shop/web/80", at), pool("shop/b/80", at))
        await made.apply(shop(port, *both, rules=3))
        assert await made.apply(shop(port, *both, rules=3)) == (await made.apply(shop(port, *both, rules=3)))
        assert (await made.apply(shop(port, *both, rules=4))).commands == 1
        assert (await made.apply(shop(port, *both, rules=3))).commands == 1
        # a new backend takes a spare place, as long as there are any
        for number, wanted in ((1, False), (2, False), (3, True)):
            hosts = [Host(f"new{n}.example", (rule("/", to=f"shop/new{n}/80"),)) for n in range(number)]
            pools = [pool(f"shop/new{n}/80", at) for n in range(number)]
            applied = await made.apply(plan([http_door(port, *hosts)], *pools))
            assert applied.is_reloaded is wanted
            assert [(await curl(f"http://127.0.0.1:{port}/", "-H", f"Host: new{n}.example")).status for n in range(number)] == [200] * number  # fmt: skip
        # one endpoint more than there are slots
        assert (
            await made.apply(plan([http_door(port, *hosts)], *pools[1:], pool("shop/new0/80", *range(1, 10))))
        ).is_reloaded
    server.close()


async def test_what_it_does_not_take_is_left_out_and_told(caplog):
    port = free_port()
    server, at = await flat()
    broken = rule("/", match=Match(path="/broken", headers=()), source=source(name="broken"))
    async with engine() as made:
        bad = rule("/x", match=Match(PathKind.REGEX, "/x(?P<a"), source=source(name="bad"))
        worse = rule(
            "/y",
            match=Match(PathKind.PREFIX, "/y", "", (ValueMatch("a", "[", is_regex=True),)),
            source=source(name="worse"),
        )
        rules = (bad, worse, broken, rule("/"))
        applied = await made.apply(
            plan([http_door(port, Host("shop.example", rules))], pool("shop/web/80", at))
        )
        assert {finding.source.name for finding in applied.findings} == {"bad", "worse"}
        assert not [f for f in applied.findings if "ALERT" in str(f) or "(?P<a" in str(f)], (
            "its words are the log's"
        )
        assert "[ALERT]" in caplog.text
        assert (await curl(f"http://127.0.0.1:{port}/z", "-H", "Host: shop.example")).status == 200
    server.close()


async def test_a_port_that_somebody_has_takes_only_its_door():
    port, taken = free_port(), free_port()
    server, at = await flat()
    somebody = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", taken)
    async with engine() as made:
        doors = [http_door(port, Host("", (rule("/"),))), http_door(taken, Host("", (rule("/"),)))]
        doors[1] = type(doors[1])(
            doors[1].gateway, source("Gateway", "second"), 80, doors[1].transport, doors[1].listeners, taken
        )
        applied = await made.apply(plan(doors, pool("shop/web/80", at)))
        assert [finding.source.name for finding in applied.findings] == ["second"]
        assert str(taken) in applied.findings[0].problem
        assert (await curl(f"http://127.0.0.1:{port}/")).status == 200
    somebody.close()
    server.close()


async def test_numbers_are_told():
    port = free_port()
    server, at = await flat()
    async with engine() as made:
        await made.apply(shop(port, pool("shop/web/80", at)))
        await curl(f"http://127.0.0.1:{port}/", "-H", "Host: shop.example")
        await made.read_counts()
        found = {(s.name, dict(s.labels).get("code", "")): s.value for s in made.samples()}
        assert found["netloom_gateway_responses_total", "2xx"] == 1
        assert found["netloom_gateway_starts_total", ""] == 1
    server.close()


async def test_nobody_else_gets_to_its_sockets_inside():
    port = free_port()
    server, at = await flat()
    async with engine() as made:
        copied = rule("/", mirrors=(Mirror("shop/web/80"),))
        await made.apply(plan([http_door(port, Host("", (copied,)))], pool("shop/web/80", at)))
        inside = made.access_log.parent / "inner"
        first = {one.name for one in inside.iterdir()}
        assert [(one.is_socket(), one.stat().st_mode & 0o777) for one in inside.iterdir()] == [(True, 0o600)]
        assert inside.stat().st_mode & 0o777 == 0o700
        assert f"@netloom-{os.getpid()}-" not in _sockets(), "a name for everybody"
        again = plan([http_door(port, Host("", (rule("/x", fault=500), copied)))], pool("shop/web/80", at))
        assert (await made.apply(again)).is_reloaded
        assert {one.name for one in inside.iterdir()} - first, "each process has its own"
    server.close()


async def test_it_has_no_rights_that_it_does_not_need():
    port = free_port()
    async with engine() as made:
        await made.apply(shop(port))
        for file in (made.access_log.parent).rglob("*"):
            assert file.stat().st_mode & 0o077 == 0 or file.is_dir()
        assert made.access_log.parent.stat().st_mode & 0o767 == 0o700, "a way through it at most"
        if nobody() is not None:
            assert _users(made.pid) == [["65534"] * 4] * 2


def _sockets() -> str:
    return Path("/proc/net/unix").read_text()


def _users(pid: int | None) -> list[list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [line.split()[1:] for line in lines if line.startswith(("Uid", "Gid"))]
