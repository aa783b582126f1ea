"""A pod whose life fails in a way that nobody foresaw is begun anew; the others and the runner go on."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from netloom.clock import SystemClock
from netloom.local.runner import backoff, pods
from netloom.local.runner.pods import Pods, ServicesByNamespace
from netloom.local.runner.spec import Pod


class FakeLife:
    """Fails as often as it is told to."""

    def __init__(self, pod: Pod, failures: int, done: list[str]) -> None:
        self.pod = pod
        self._failures = failures
        self._done = done

    async def run(self) -> None:
        self._done.append("run")
        await asyncio.sleep(0)
        if self._failures:
            raise ExceptionGroup("of a group", [OSError(22, "Invalid argument")])

    async def clear(self) -> None:
        self._done.append("clear")
        raise ValueError("nor can it be cleared")

    async def rest(self, seconds: float) -> None:
        self._done.append(f"rest {seconds:g}")

    def anew(self) -> FakeLife:
        return FakeLife(self.pod, self._failures - 1, self._done)


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def all_pods(told: list[tuple[str, str]]) -> Pods:
    events = SimpleNamespace(warn=lambda _, reason, message: told.append((reason, message)))
    tools = SimpleNamespace(clock=SystemClock(), events=events)
    return Pods(tools=cast(Any, tools), services=ServicesByNamespace())


async def test_a_life_that_fails_is_begun_anew(all_pods: Pods, told: list[tuple[str, str]], pod):
    done: list[str] = []
    await all_pods._live(cast(Any, FakeLife(pod(), 2, done)))
    waits = [f"rest {backoff.seconds(row):g}" for row in (1, 2)]
    assert done == ["run", "clear", waits[0], "run", "clear", waits[1], "run"]
    assert [reason for reason, _ in told] == ["FailedSync"] * 4
    assert "OSError" in told[0][1]
    assert all_pods._lives == {}


async def test_cancellation_ends_a_life(all_pods: Pods, told: list[tuple[str, str]], pod):
    class Lasting(FakeLife):
        async def run(self) -> None:
            await asyncio.Event().wait()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(all_pods._live(cast(Any, Lasting(pod(), 0, []))))
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
    assert told == []


def test_the_first_reason_is_told():
    assert isinstance(pods._first(ExceptionGroup("a", [ExceptionGroup("b", [KeyError()])])), KeyError)
