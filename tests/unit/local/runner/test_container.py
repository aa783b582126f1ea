from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from netloom.local.runner.container import ContainerLife
from netloom.local.runner.probes import Check, Outcome
from netloom.local.runner.spec import Pod, Probe
from netloom.local.runner.standins.feed import State
from netloom.local.runner.status import ContainerFacts

pytestmark = pytest.mark.looptime


class LoopClock:
    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return asyncio.get_running_loop().time()


class Bench:
    """A container whose stand-in answers at once with what is given; its checks are given too."""

    def __init__(self, pod: Pod, restarts: int = 0, former: ContainerFacts | None = None) -> None:
        self.problems: list[str] = []
        self.healthy = True
        self.announced: list[int] = []
        self.life = ContainerLife(
            pod=pod,
            container=pod.spec.containers[0],
            restarts=restarts,
            clock=LoopClock(),
            check_of=self.check_of,
            announce=self.announce,
            on_change=lambda: None,
            on_failure=lambda kind, detail: None,
            former=former,
        )

    def check_of(self, probe: Probe) -> Check:
        async def check() -> Outcome:
            return Outcome(self.healthy, "" if self.healthy else "sick")

        return check

    def announce(self) -> None:
        self.announced.append(self.life.generation)
        problem = self.problems.pop(0) if self.problems else ""
        state = State("u-1", "app", self.life.generation, problem)
        asyncio.get_running_loop().call_soon(self.life.hear, state)

    @asynccontextmanager
    async def living(self):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.life.run())
            yield task
            task.cancel()


SPEC = "containers: [{name: app, image: a, livenessProbe: {tcpSocket: {port: 1}, periodSeconds: 1}}]"


async def test_it_runs_and_is_ready_as_soon_as_it_listens(pod):
    bench = Bench(pod("containers: [{name: app, image: a}]"))
    async with bench.living():
        await asyncio.sleep(0.001)
        facts = bench.life.facts
        assert (facts.running_since, facts.ready, facts.started, facts.restarts) == (0, True, True, 0)


async def test_it_is_not_ready_while_the_stand_in_process_is_away(pod):
    bench = Bench(pod("containers: [{name: app, image: a}]"))
    async with bench.living():
        await asyncio.sleep(0.001)
        bench.life.lost()
        assert not bench.life.facts.ready
        bench.life.hear(State("u-1", "app", 0))
        assert bench.life.facts.ready
        bench.life.hear(State("u-1", "app", 7, "of another life"))
        assert bench.life.facts.ready


async def test_restarts_wait_longer_and_longer_and_are_counted(pod):
    bench = Bench(pod(SPEC))
    bench.healthy = False
    async with bench.living():
        await asyncio.sleep(100)
    # three failures at 0, 1, 2 s end a life; the pauses are 0, 10, 20, 40 s
    assert bench.life.facts.restarts == 4
    assert bench.life.facts.waiting == "CrashLoopBackOff"
    assert bench.announced == [0, 1, 2, 3, 4]


async def test_a_port_that_is_taken_is_tried_again(pod):
    bench = Bench(pod("containers: [{name: app, image: a}]"))
    bench.problems = ["port 80/TCP: Address already in use"]
    async with bench.living():
        await asyncio.sleep(0.5)
        assert (bench.life.facts.waiting, bench.life.facts.running_since) == ("RunContainerError", None)
        assert "Address already in use" in bench.life.facts.message
        await asyncio.sleep(1)
        assert (bench.life.facts.ready, bench.life.facts.restarts) == (True, 0)


async def test_restart_policy_never_ends_it(pod):
    bench = Bench(pod(SPEC + "\nrestartPolicy: Never"))
    bench.healthy = False
    async with bench.living() as task:
        await asyncio.sleep(10)
        assert task.done()
    assert bench.life.is_over
    assert bench.life.facts.terminated is not None
    assert bench.life.facts.terminated.exit_code == 137


async def test_a_bad_image_name_is_said_and_nothing_runs(pod):
    bench = Bench(pod("containers: [{name: app, image: 'No Image'}]"))
    async with bench.living():
        await asyncio.sleep(1)
    assert (bench.life.facts.waiting, bench.announced) == ("InvalidImageName", [])


PROBED = "containers: [{name: app, image: a, readinessProbe: {tcpSocket: {port: 1}, initialDelaySeconds: 5}}]"
FORMER = ContainerFacts(id="abc", running_since=-60.0, restarts=2, started=True, ready=True)


async def test_what_a_former_runner_left_goes_on_as_it_was(pod):
    bench = Bench(pod(PROBED), restarts=2, former=FORMER)
    seen = []
    bench.life._on_change = lambda: seen.append(bench.life.facts)
    async with bench.living():
        await asyncio.sleep(6)
    assert bench.announced == [2]
    assert all((f.id, f.running_since, f.ready) == ("abc", -60.0, True) for f in [bench.life.facts, *seen])


async def test_what_a_former_runner_left_loses_its_readiness_when_a_probe_says_so(pod):
    bench = Bench(pod(PROBED), restarts=2, former=FORMER)
    bench.healthy = False
    async with bench.living():
        await asyncio.sleep(4)
        assert bench.life.facts.ready
        await asyncio.sleep(60)
        assert not bench.life.facts.ready


async def test_what_a_former_runner_left_and_no_longer_listens_is_begun_again(pod):
    bench = Bench(pod(PROBED), restarts=2, former=FORMER)
    bench.problems = ["port 80/TCP: Address already in use"]
    async with bench.living():
        await asyncio.sleep(0.5)
        assert (bench.life.facts.running_since, bench.life.facts.ready) == (None, False)
        await asyncio.sleep(8)
        assert bench.life.facts.ready
        assert bench.life.facts.id != "abc"
