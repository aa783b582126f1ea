from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from netloom.local.runner.probes import Failed, Outcome, ProbePlan, Probing, Tally
from netloom.local.runner.spec import Probe

pytestmark = pytest.mark.looptime


class Scripted:
    """A check whose results are given, each at the loop's time; the last one is for ever."""

    def __init__(self, *results: bool | float) -> None:
        self._results = list(results)
        self.times: list[float] = []

    async def __call__(self) -> Outcome:
        self.times.append(asyncio.get_running_loop().time())
        result = self._results.pop(0) if len(self._results) > 1 else self._results[0]
        if not isinstance(result, bool):
            await asyncio.sleep(result)
            return Outcome(True)
        return Outcome(result, "" if result else "refused")


class Seen:
    def __init__(self) -> None:
        self.events: list[tuple[float, str]] = []

    def add(self, event: str) -> None:
        self.events.append((asyncio.get_running_loop().time(), event))


def probing(seen: Seen, **plans: ProbePlan) -> Probing:
    return Probing(
        startup=plans.get("startup"),
        readiness=plans.get("readiness"),
        liveness=plans.get("liveness"),
        on_started=lambda: seen.add("started"),
        on_ready=lambda ready: seen.add("ready" if ready else "unready"),
        on_failure=lambda kind, detail: None,
    )


async def run_for(seconds: float, probes: Probing) -> Failed | None:
    try:
        async with asyncio.timeout(seconds):
            return await probes.run()
    except TimeoutError:
        return None


async def test_without_probes_a_container_is_started_and_ready_at_once():
    seen = Seen()
    assert await run_for(100, probing(seen)) is None
    assert seen.events == [(0, "started"), (0, "ready")]


async def test_readiness_follows_the_probe():
    seen, check = Seen(), Scripted(False, True, False, False, False, True)
    probe = Probe(initial_delay_seconds=2, period_seconds=5)
    await run_for(40, probing(seen, readiness=ProbePlan(probe, check)))
    assert check.times[:4] == [2, 7, 12, 17]
    assert seen.events == [(0, "started"), (7, "ready"), (22, "unready"), (27, "ready")]


async def test_success_in_a_row_may_be_asked_for():
    seen, check = Seen(), Scripted(True, False, True, True)
    probe = Probe(period_seconds=1, success_threshold=2)
    await run_for(10, probing(seen, readiness=ProbePlan(probe, check)))
    assert seen.events == [(0, "started"), (3, "ready")]


async def test_liveness_that_fails_often_enough_ends_the_life():
    seen, check = Seen(), Scripted(True, False, False, True, False, False, False)
    probe = Probe(period_seconds=10)
    assert await run_for(1000, probing(seen, liveness=ProbePlan(probe, check))) == Failed(
        "liveness", "refused"
    )
    assert asyncio.get_running_loop().time() == 60


async def test_startup_holds_the_others_back():
    seen, live = Seen(), Scripted(True)
    plans = {
        "startup": ProbePlan(Probe(period_seconds=1), Scripted(False, False, True)),
        "liveness": ProbePlan(Probe(period_seconds=1), live),
    }
    await run_for(5, probing(seen, **plans))
    assert seen.events == [(2, "started"), (2, "ready")]
    assert live.times[0] == 2


async def test_startup_that_fails_often_enough_ends_the_life():
    seen = Seen()
    plan = ProbePlan(Probe(period_seconds=1, failure_threshold=2), Scripted(False))
    assert await run_for(100, probing(seen, startup=plan)) == Failed("startup", "refused")
    assert seen.events == []


async def test_a_check_that_does_not_answer_fails_and_delays_the_next():
    seen, check = Seen(), Scripted(30.0, True)
    probe = Probe(period_seconds=2, timeout_seconds=3, failure_threshold=1)
    await run_for(6, probing(seen, readiness=ProbePlan(probe, check)))
    assert check.times == [0, 3, 5]
    assert seen.events == [(0, "started"), (3, "ready")]


def tallies() -> Iterator[tuple[bool, bool]]:
    yield from [(False, False), (False, False), (False, True), (True, True), (True, False)]


async def test_a_tally_counts_rows():
    tally = Tally(Probe(), verdict=None)
    assert [tally.add(ok) for ok, _ in tallies()] == [changed for _, changed in tallies()]
