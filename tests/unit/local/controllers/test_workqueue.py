from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from netloom.errors import Unavailable
from netloom.local.controllers.workqueue import WorkQueue


@asynccontextmanager
async def running(queue: WorkQueue[str], workers: int = 3) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(queue.run(workers=workers))
        try:
            yield
        finally:
            task.cancel()


async def test_marks_of_a_waiting_key_are_one_turn():
    turns: list[str] = []

    async def sync(key: str) -> None:
        turns.append(key)

    queue = WorkQueue("test", sync)
    for key in ("a", "b", "a", "a"):
        queue.mark(key)
    await queue.turn()
    await queue.turn()
    assert turns == ["a", "b"]
    assert queue.is_idle


async def test_a_key_is_never_worked_on_twice_at_a_time_and_a_mark_meanwhile_is_not_lost():
    at_once = most = turns = 0
    started, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def sync(_key: str) -> None:
        nonlocal at_once, most, turns
        at_once += 1
        turns += 1
        most = max(most, at_once)
        started.set()
        await go.wait()
        at_once -= 1
        if turns == 2:
            done.set()

    queue = WorkQueue("test", sync)
    async with running(queue):
        queue.mark("a")
        await started.wait()
        queue.mark("a")
        queue.mark("a")
        go.set()
        await asyncio.wait_for(done.wait(), 5)
    assert (most, turns) == (1, 2)


@pytest.mark.looptime
async def test_a_failing_key_comes_back_ever_later_and_others_do_not_notice(caplog):
    loop = asyncio.get_running_loop()
    tries: list[float] = []
    good: list[str] = []
    done = asyncio.Event()

    async def sync(key: str) -> None:
        if key != "bad":
            good.append(key)
            return
        tries.append(loop.time())
        if len(tries) == 6:
            done.set()
            return
        raise Unavailable("no answer") if len(tries) % 2 else ValueError("a fault of ours")

    queue = WorkQueue("test", sync)
    async with running(queue, workers=1):
        queue.mark("bad")
        queue.mark("good")
        await done.wait()
    gaps = [b - a for a, b in itertools.pairwise(tries)]
    assert good == ["good"]
    for i, gap in enumerate(gaps):
        assert 0.5 * 0.01 * 2**i <= gap <= 0.01 * 2**i + 1e-6
    assert "a fault of ours" in caplog.text


@pytest.mark.looptime
async def test_a_turn_may_ask_for_another():
    loop = asyncio.get_running_loop()
    times: list[float] = []
    done = asyncio.Event()

    async def sync(_key: str) -> float | None:
        times.append(loop.time())
        if len(times) == 3:
            done.set()
        return 60.0

    queue = WorkQueue("test", sync)
    async with running(queue):
        queue.mark("a")
        await done.wait()
    assert [round(t - times[0]) for t in times] == [0, 60, 120]


async def test_the_earlier_timer_wins():
    async def sync(_key: str) -> None:
        return None

    queue = WorkQueue("test", sync)
    queue.mark_after("a", 0.01)
    queue.mark_after("a", 1000)
    await asyncio.wait_for(queue.turn(), 5)
    queue.mark_after("a", 1000)
    queue.mark_after("a", 0.01)
    await asyncio.wait_for(queue.turn(), 5)


@pytest.mark.looptime
async def test_a_key_rests_after_its_turn_and_a_burst_is_one_more_turn():
    loop = asyncio.get_running_loop()
    times: list[tuple[str, float]] = []

    async def sync(key: str) -> None:
        times.append((key, loop.time()))

    queue = WorkQueue("test", sync, rest_s=1.0)
    async with running(queue):
        queue.mark("a")
        await asyncio.sleep(0.5)
        for _ in range(10):
            queue.mark("a")
        queue.mark("b")
        assert not queue.is_idle
        await queue.drained()
    began = times[0][1]
    assert [(k, round(t - began, 3)) for k, t in times] == [("a", 0), ("b", 0.5), ("a", 1.0)]


@pytest.mark.looptime
async def test_a_key_rests_as_long_as_its_turn_took():
    loop = asyncio.get_running_loop()
    ends: list[float] = []

    async def sync(_key: str) -> None:
        await asyncio.sleep(3)
        ends.append(loop.time())

    queue = WorkQueue("test", sync, rest_s=0.1)
    async with running(queue):
        queue.mark("a")
        await asyncio.sleep(1)
        queue.mark("a")
        await queue.drained()
    assert round(ends[1] - ends[0], 3) == 6


@pytest.mark.looptime
async def test_a_key_that_may_wait_waits_once():
    loop = asyncio.get_running_loop()
    times: list[tuple[str, float]] = []

    async def sync(key: str) -> None:
        times.append((key, loop.time()))

    queue = WorkQueue("test", sync)
    async with running(queue, workers=1):
        began = loop.time()
        queue.mark_soon("a", 0.5)
        queue.mark("b")
        queue.mark("a")
        queue.mark_soon("a", 9)
        await queue.drained()
    assert [(k, round(t - began, 3)) for k, t in times] == [("b", 0), ("a", 0.5)]
