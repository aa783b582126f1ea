"""Requests through the gateway on one core, with one route and with 2,000, beside HAProxy as a person would write it, and Envoy with the same routes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import statistics
import time
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import msgspec
from tests.bench import gateway_rivals, rig, rooms
from tests.bench.gateway_rivals import ENVOY, HERE, OURS, STATIC, Routes
from tests.bench.report import Row, quantile

from netloom.clock import SystemClock
from netloom.gateway.engine import Engine
from netloom.gateway.haproxy.told import Settings
from netloom.linux.rtnl import Rtnl
from netloom.model.gateways.plan import Plan

_RUNS = rooms.either(5, 1)
_SECONDS = rooms.either(3, 1)
_CONNECTIONS = 64
_MANY = rooms.either(2000, 20)
_CHANGES = rooms.either(30, 3)
_STORM_S = rooms.either(10, 1)
_STORM_RATE = 167
_NEAR = 0.97
_ENVOY = 3.0
_START_S, _CHANGE_S = 3.0, 0.05


class Seen(msgspec.Struct, frozen=True):
    """What wrk saw, and what that cost the proxy."""

    rate: float
    p99_ms: float
    cpu_us: float


def prepare() -> None:
    """Fetch Envoy, once."""
    gateway_rivals.fetch_envoy()


def run() -> list[Row]:
    """The rows of this benchmark."""
    return asyncio.run(_run())


async def _run() -> list[Row]:
    with Rtnl() as rtnl:
        rtnl.set_up("lo")
    rows: list[Row] = []
    with rooms.scratch() as directory, gateway_rivals.backend(directory):
        for count in (1, _MANY):
            routes = Routes(count)
            async with _ours(directory / f"ours-{count}", routes.plan()) as (engine, start_s):
                with gateway_rivals.static(directory / f"static-{count}", routes) as static:
                    rows += await _compare(f"{count:,} routes" if count > 1 else "one route", engine, static)
                with gateway_rivals.envoy(directory / f"envoy-{count}", routes) as envoy:
                    rows += await _beside_envoy(count, engine, envoy)
                if count > 1:
                    rows.append(
                        Row(
                            bench="gateways",
                            what=f"start with {count:,} routes",
                            ours=start_s,
                            unit="s",
                            most=_START_S,
                        )
                    )
                    rows += await _changes(engine, routes)
                    rows += await _storm(engine, routes)
    return rows


@contextlib.asynccontextmanager
async def _ours(directory: Path, plan: Plan) -> AsyncIterator[tuple[Engine, float]]:
    engine = Engine(directory, (ip_address(HERE),), SystemClock(), settings=Settings(threads=1, spares=32))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(engine.run())
        began = time.perf_counter()
        await engine.apply(plan)
        took = time.perf_counter() - began
        os.sched_setaffinity(engine.pid or 0, {gateway_rivals.proxy_core()})
        try:
            yield engine, took
        finally:
            running.cancel()


async def _compare(what: str, engine: Engine, static: int) -> list[Row]:
    """In turns, so that a drift of the machine meets both."""
    mine: list[Seen] = []
    theirs: list[Seen] = []
    for turn in range(_RUNS + 1):
        pair = [(OURS, engine.pid or 0, mine), (STATIC, static, theirs)]
        for port, pid, found in pair if turn % 2 else reversed(pair):
            seen = await _load(port, pid)
            if turn:  # the first of each warms it up
                found.append(seen)
        if turn:
            rooms.say(
                f"gateways, {what}: {mine[-1].cpu_us:.2f} us a request, by hand {theirs[-1].cpu_us:.2f}"
            )
    cpu, by_hand = _middle(mine, "cpu_us"), _middle(theirs, "cpu_us")
    beside = {"bench": "gateways", "beside_what": "HAProxy by hand"}
    return [
        Row(
            **beside, what=f"{what}: requests that one core can take", ours=1e6 / cpu, unit="/s", beside=1e6 / by_hand,
            ratio=by_hand / cpu, least=_NEAR, on_ratio=True, note="a second over the CPU time of a request",
        ),
        Row(**beside, what=f"{what}: requests", ours=_middle(mine, "rate"), unit="/s", beside=_middle(theirs, "rate"),
            ratio=_middle(mine, "rate") / _middle(theirs, "rate"), note="wrk and the backend share the other core"),
        Row(**beside, what=f"{what}: p99", ours=_middle(mine, "p99_ms"), unit="ms", beside=_middle(theirs, "p99_ms"),
            ratio=_middle(mine, "p99_ms") / _middle(theirs, "p99_ms")),
    ]  # fmt: skip


async def _beside_envoy(count: int, engine: Engine, envoy: int | None) -> list[Row]:
    if envoy is None:
        return []
    mine: list[Seen] = []
    theirs: list[Seen] = []
    for _ in range(max(_RUNS // 2, 1)):
        mine.append(await _load(OURS, engine.pid or 0))
        theirs.append(await _load(ENVOY, envoy))
        rooms.say(f"gateways, {count:,}: {mine[-1].cpu_us:.2f} us a request, Envoy {theirs[-1].cpu_us:.2f}")
    cpu, other = _middle(mine, "cpu_us"), _middle(theirs, "cpu_us")
    beside = {"bench": "gateways", "beside_what": "Envoy"}
    what = f"{count:,} routes" if count > 1 else "one route"
    return [
        Row(**beside, what=f"{what}: requests that one core can take", ours=1e6 / cpu, unit="/s", beside=1e6 / other,
            ratio=other / cpu, least=_ENVOY, on_ratio=True),
        Row(**beside, what=f"{what}: RSS", ours=rig.used(engine.pid or 0).rss_mb, unit="MB", beside=rig.used(envoy).rss_mb),
    ]  # fmt: skip


def _middle(seen: list[Seen], field: str) -> float:
    return statistics.median(getattr(one, field) for one in seen)


async def _load(port: int, pid: int) -> Seen:
    before = rig.used(pid).cpu_s
    process = await asyncio.create_subprocess_exec(
        "taskset", "-c", str(gateway_rivals.other_core()), "wrk", "-t", "1", "-c", str(_CONNECTIONS), "-d", f"{_SECONDS}s", "--latency",
        "-H", f"Host: {Routes.host(0)}", f"http://{HERE}:{port}{Routes.path(0)}/x",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    text = out.decode()
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"port {port}: {text}")
    requests = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    p99 = float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]
    return Seen(rate, p99, (rig.used(pid).cpu_s - before) / requests * 1e6)


async def _changes(engine: Engine, routes: Routes) -> list[Row]:
    """From the change of a plan to its being in force."""
    took: list[float] = []
    fresh: list[float] = []
    for turn in range(_CHANGES):
        plan = routes.plan(more=turn + 1)
        began = time.perf_counter()
        applied = await engine.apply(plan)
        took.append(time.perf_counter() - began)
        if applied.is_reloaded or applied.commands > 2:
            raise RuntimeError(f"one route more: {applied}")
    for turn in range(min(_CHANGES, 10)):
        plan = routes.plan(more=_CHANGES, backends=turn + 1)
        began = time.perf_counter()
        await engine.apply(plan)
        fresh.append(time.perf_counter() - began)
    return [
        Row(bench="gateways", what=f"one route more in force, p99 of {_CHANGES}", ours=quantile(took, 0.99), unit="s", most=_CHANGE_S),
        Row(bench="gateways", what="one route with a new backend in force, p99", ours=quantile(fresh, 0.99), unit="s", most=_CHANGE_S),
    ]  # fmt: skip


async def _storm(engine: Engine, routes: Routes) -> list[Row]:
    """Endpoints come and go, 10,000 in a minute, while requests do."""
    changes, began = 0, time.perf_counter()
    loading = asyncio.get_running_loop().create_task(gateway_rivals.h2load(OURS, _STORM_S))
    while (now := time.perf_counter() - began) < _STORM_S - 0.5:
        if changes < now * _STORM_RATE:
            await engine.apply(routes.plan(turn=changes))
            changes += 1
        else:
            await asyncio.sleep(0.001)
    failed, total = await loading
    note = f"{changes} changes in {_STORM_S} s under {total:,} requests"
    return [
        Row(
            bench="gateways",
            what="failed requests in a storm of endpoints",
            ours=failed,
            unit="requests",
            most=0,
            note=note,
        )
    ]
