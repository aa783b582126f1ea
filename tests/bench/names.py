"""DNS on one core, over 10,000 Services and 50,000 endpoints, by dnsperf on another, beside Knot DNS with the same names."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import subprocess
from pathlib import Path

import msgspec
from tests.bench import name_servers, rooms
from tests.bench.name_servers import Feed, Server
from tests.bench.report import Row, median, quantile

_SECONDS = rooms.either(3, 1)
_RUNS = rooms.either(3, 1)
_RATE = 100_000
_CHANGES = rooms.either(100, 10)
_CHANGES_A_SECOND = 500
_KNOT = "Knot DNS"


class Asked(msgspec.Struct, frozen=True):
    """What dnsperf saw, and what that cost the server."""

    rate: float
    cpu_us: float
    p99_ms: float = 0.0


def run() -> list[Row]:
    """The rows of this benchmark."""
    return asyncio.run(_run())


async def _run() -> list[Row]:
    name_servers.lay()
    rows: list[Row] = []
    with rooms.scratch() as directory:
        files = {}
        for number, (what, lines) in enumerate(name_servers.queries().items()):
            files[what] = directory / f"queries-{number}"
            files[what].write_text("\n".join(lines) + "\n")
        rooms.say("starting our DNS process and Knot DNS")
        async with name_servers.ours(directory) as (ours, feed):
            with name_servers.knot(directory, await asyncio.to_thread(feed.zone)) as knot:
                fed_mb = ours.used().rss_mb
                for what, path in files.items():
                    rows += await _compare(what, path, ours, knot)
                rows += await _half(files, ours, knot)
                rows.append(
                    Row(
                        bench="dns",
                        what="RSS after all of these questions",
                        ours=ours.used().rss_mb,
                        unit="MB",
                        most=150,
                        beside=knot.used().rss_mb,
                        beside_what=_KNOT,
                        note=f"{fed_mb:.0f} MB before the first question",
                    )
                )
            rows += await _changes(files, ours, feed)
    return rows


async def _compare(what: str, path: Path, ours: Server, knot: Server) -> list[Row]:
    """In turns, so that a drift of the machine meets both."""
    await _ask(path, ours)  # the first time that a question comes, its answer is made
    mine, theirs = [], []
    for _ in range(_RUNS):
        mine.append(await _ask(path, ours))
        theirs.append(await _ask(path, knot))
        rooms.say(f"dns, {what}: {mine[-1].rate:,.0f} queries/s, Knot {theirs[-1].rate:,.0f}")
    rate, cpu = median(a.rate for a in mine), median(a.cpu_us for a in mine)
    knot_rate, knot_cpu = median(a.rate for a in theirs), median(a.cpu_us for a in theirs)
    beside = {"bench": "dns", "beside_what": _KNOT}
    return [
        Row(**beside, what=f"{what}: queries", ours=rate, unit="/s", least=_RATE, beside=knot_rate, ratio=rate / knot_rate),
        Row(**beside, what=f"{what}: CPU for each", ours=cpu, unit="us", beside=knot_cpu, ratio=cpu / knot_cpu),
    ]  # fmt: skip


async def _half(files: dict[str, Path], ours: Server, knot: Server) -> list[Row]:
    rows = []
    for what, path in files.items():
        mine = [(await _ask(path, ours, rate=_RATE // 2)).p99_ms for _ in range(_RUNS)]
        theirs = [(await _ask(path, knot, rate=_RATE // 2)).p99_ms for _ in range(_RUNS)]
        rows.append(
            Row(
                bench="dns",
                what=f"{what}: p99 at {_RATE // 2:,} queries/s",
                ours=median(mine),
                unit="ms",
                most=2,
                beside=median(theirs),
                beside_what=_KNOT,
                ratio=median(mine) / median(theirs),
            )
        )
    return rows


async def _changes(files: dict[str, Path], ours: Server, feed: Feed) -> list[Row]:
    seen = [await feed.visible(i * 7919 % name_servers.SERVICES, 1) * 1e3 for i in range(_CHANGES)]
    rows = [
        Row(bench="dns", what="change of one Service until it is answered: median", ours=median(seen), unit="ms", most=10),
        Row(bench="dns", what="change of one Service until it is answered: p99", ours=quantile(seen, 0.99), unit="ms", most=10),
    ]  # fmt: skip
    for what, path in files.items():
        counts: list[int] = []
        async with asyncio.TaskGroup() as tasks:
            changing = tasks.create_task(_change(feed, counts))
            asked = await _ask(path, ours, rate=_RATE // 2)
            changing.cancel()
        name = f"{what}: p99 at {_RATE // 2:,} queries/s during changes"
        note = f"{len(counts) / _SECONDS:.0f} changes a second"
        rows.append(Row(bench="dns", what=name, ours=asked.p99_ms, unit="ms", note=note))
    return rows


async def _change(feed: Feed, counts: list[int]) -> None:
    """So many changes a second, as far as the machine can."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        turn = len(counts)
        await feed.change(turn * 7919 % name_servers.SERVICES, turn // name_servers.SERVICES + 2)
        counts.append(turn)
        due += 1 / _CHANGES_A_SECOND
        await asyncio.sleep(max(0.0, due - loop.time()))


async def _ask(path: Path, server: Server, *, rate: int = 0) -> Asked:
    """dnsperf from the pod's address; at most ``rate`` queries a second, whose latencies are looked at then."""
    words = ["dnsperf", "-s", server.address, "-a", name_servers.POD, "-d", str(path), "-l", str(_SECONDS), "-c", "10", "-q", "150"]  # fmt: skip
    words += ["-v", "-Q", str(rate)] if rate else []
    before = server.used().cpu_s
    said = await asyncio.to_thread(_dnsperf, words)
    cpu = server.used().cpu_s - before
    completed = _number(r"Queries completed:\s+(\d+)", said)
    if completed < 0.95 * _number(r"Queries sent:\s+(\d+)", said):
        raise RuntimeError(f"dnsperf: not all queries were answered: {said[-2000:]}")
    latencies = [float(one) for one in re.findall(r"^> \S+ \S+ \S+ ([\d.]+)$", said, re.MULTILINE)]
    p99 = quantile(latencies, 0.99) * 1e3 if latencies else 0.0
    return Asked(_number(r"Queries per second:\s+([\d.]+)", said), cpu / completed * 1e6, p99)


def _dnsperf(words: list[str]) -> str:
    other = max(os.sched_getaffinity(0))
    pin = functools.partial(os.sched_setaffinity, 0, {other})
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=pin)
    if done.returncode != 0:
        raise RuntimeError(f"dnsperf: {done.stderr.strip()}")
    return done.stdout


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"dnsperf did not say {pattern!r}: {text[-2000:]}")
    return float(found[1])
