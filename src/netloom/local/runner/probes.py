"""When probes run and what their results come to (core/v1 Probe). In: checks to call; out: verdicts, by callback.

Time is the loop's, so tests own it. Not here: how a check is done (``checks``), and what a verdict leads to (``lifecycle``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from netloom.local.runner.spec import Probe


class Outcome(msgspec.Struct, frozen=True):
    """One run of a check."""

    ok: bool
    detail: str = ""


Check = Callable[[], Awaitable[Outcome]]


class Failed(msgspec.Struct, frozen=True):
    """A liveness or startup probe has failed often enough: the container must be restarted."""

    kind: str
    """``liveness`` or ``startup``."""
    detail: str


class ProbePlan(msgspec.Struct, frozen=True):
    """A probe and how to run it."""

    probe: Probe
    check: Check


class Tally:
    """Counts results in a row against the thresholds."""

    def __init__(self, probe: Probe, *, verdict: bool | None) -> None:
        self._probe = probe
        self._row = 0
        self._last: bool | None = None
        self.verdict = verdict
        """True, False, or None as long as no threshold has been reached."""

    def add(self, ok: bool) -> bool:
        """Take a result; True where the verdict is reached or changes by it."""
        self._row = self._row + 1 if ok is self._last else 1
        self._last = ok
        needed = self._probe.success_threshold if ok else self._probe.failure_threshold
        if self._row < needed or self.verdict is ok:
            return False
        self.verdict = ok
        return True


class Probing:
    """The probes of one life of one container.

    Args:
        startup: gates the others (``startupProbe``); may be None, as may each.
        on_started: called once, when the container counts as started.
        on_ready: called whenever readiness changes; without a readiness probe it is True from the start.
        on_failure: called with every failed check and its kind, for events.
        ready: what the readiness probe said of it before; only another verdict is called.
    """

    def __init__(  # noqa: PLR0913 - values and callbacks of one owner, all by keyword
        self,
        *,
        startup: ProbePlan | None,
        readiness: ProbePlan | None,
        liveness: ProbePlan | None,
        on_started: Callable[[], None],
        on_ready: Callable[[bool], None],
        on_failure: Callable[[str, str], None],
        ready: bool = False,
    ) -> None:
        self._was_ready = ready
        self._startup = startup
        self._readiness = readiness
        self._liveness = liveness
        self._on_started = on_started
        self._on_ready = on_ready
        self._on_failure = on_failure
        self._ends = False

    def only_readiness(self) -> None:
        """The container is to end: what would lead to a restart no longer matters."""
        self._ends = True

    async def run(self) -> Failed:
        """Probe until the container must be restarted; where nothing can lead to that, until cancelled."""
        if self._startup is not None:
            failed = await self._until_verdict("startup", self._startup)
            if failed is not None:
                return failed
        self._on_started()
        async with asyncio.TaskGroup() as group:
            ready = group.create_task(self._follow_readiness(), name="readiness")
            failed = await self._until_dead()
            ready.cancel()
        return failed

    async def _follow_readiness(self) -> None:
        if self._readiness is None:
            self._on_ready(True)
            return
        tally = Tally(self._readiness.probe, verdict=self._was_ready)
        async for outcome in ticks(self._readiness):
            if not outcome.ok:
                self._on_failure("readiness", outcome.detail)
            if tally.add(outcome.ok):
                self._on_ready(tally.verdict is True)

    async def _until_dead(self) -> Failed:
        if self._liveness is not None:
            failed = await self._until_verdict("liveness", self._liveness, verdict=True)
            if failed is not None:
                return failed
        return await _never()

    async def _until_verdict(
        self, kind: str, plan: ProbePlan, *, verdict: bool | None = None
    ) -> Failed | None:
        """Probe until the verdict changes: None where it is success."""
        tally = Tally(plan.probe, verdict=verdict)
        async for outcome in ticks(plan):
            if self._ends:
                return await _never()
            if not outcome.ok:
                self._on_failure(kind, outcome.detail)
            if tally.add(outcome.ok):
                return None if outcome.ok else Failed(kind, outcome.detail)
        return None


async def _never() -> Failed:
    never: asyncio.Future[Failed] = asyncio.get_running_loop().create_future()
    return await never


async def ticks(plan: ProbePlan) -> AsyncIterator[Outcome]:
    """Run the check every ``periodSeconds``, first after ``initialDelaySeconds``; each run gets ``timeoutSeconds``.

    A run that takes longer than the period delays the next one; none is made up for.
    """
    loop = asyncio.get_running_loop()
    if plan.probe.initial_delay_seconds > 0:
        await asyncio.sleep(plan.probe.initial_delay_seconds)
    due = loop.time()
    while True:
        try:
            async with asyncio.timeout(plan.probe.timeout_seconds):
                outcome = await plan.check()
        except TimeoutError:
            outcome = Outcome(False, f"no answer within {plan.probe.timeout_seconds} s")
        yield outcome
        due = max(due + plan.probe.period_seconds, loop.time())
        await asyncio.sleep(due - loop.time())
