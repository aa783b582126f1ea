from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest

from netloom.linux.process import Completed
from netloom.local.runner.container import ContainerLife
from netloom.local.runner.ending import end_containers
from netloom.local.runner.grace import Grace
from netloom.local.runner.hooks import Hooks
from netloom.local.runner.probes import Check, Outcome
from netloom.local.runner.spec import Pod, Probe
from netloom.local.runner.standins.feed import Course, State
from netloom.local.runner.status import ContainerFacts

pytestmark = pytest.mark.looptime


class LoopClock:
    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return asyncio.get_running_loop().time()


class Bench:
    """A container whose stand-in answers at once with what is given; its checks are given too."""

    def __init__(
        self, pod: Pod, restarts: int = 0, former: ContainerFacts | None = None, container: int = 0
    ) -> None:
        self.problems: list[str] = []
        self.healthy = True
        self.announced: list[int] = []
        self.courses: list[Course] = []
        self.events: list[str] = []
        self.ran: list[tuple[float, tuple[str, ...]]] = []
        self.commands: dict[str, tuple[float, int]] = {}
        """Seconds and exit code of commands that hooks run."""
        self.connections_s: float | None = 0.0
        """Seconds that the last connection lives after the container was told to end; None: for ever."""
        self.life = ContainerLife(
            pod=pod,
            container=pod.apps[container],
            restarts=restarts,
            clock=LoopClock(),
            check_of=self.check_of,
            hooks=Hooks(
                container=pod.apps[container],
                address="192.0.2.1",
                run=self.run_in_pod,
                on_failure=lambda reason, message: self.events.append(f"{reason}: {message}"),
            ),
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
        loop = asyncio.get_running_loop()
        course, generation = self.life.course, self.life.generation
        self.courses.append(course)
        loop.call_soon(self.life.hear, State("u-1", "app", generation, problem))
        if course is Course.END and self.connections_s is not None:
            ended = State("u-1", "app", generation, ended=True)
            loop.call_later(self.connections_s, self.life.hear, ended)

    async def run_in_pod(self, argv: tuple[str, ...], timeout_s: float) -> Completed:
        self.ran.append((asyncio.get_running_loop().time(), argv))
        seconds, code = self.commands.get(argv[0], (0.0, 0))
        await asyncio.sleep(seconds)
        return Completed(code, b"", b"")

    async def end(self, grace_s: float) -> float:
        """Have it end; the seconds that took."""
        loop = asyncio.get_running_loop()
        at_once, began, grace = asyncio.Event(), loop.time(), Grace(grace_s)
        at_once.set()
        await self.life.end(grace, at_once)
        grace.close()
        return loop.time() - began

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


def hooked(hook: str, handler: str, more: str = "") -> str:
    return f"containers: [{{name: app, image: a, lifecycle: {{{hook}: {handler}}}{more}}}]"


async def test_it_ends_as_soon_as_its_last_connection_has_gone(pod):
    bench = Bench(pod("containers: [{name: app, image: a}]"))
    bench.connections_s = 3.0
    async with bench.living():
        await asyncio.sleep(1)
        took_s = await bench.end(30)
    assert took_s == pytest.approx(3.1, abs=0.01)
    assert bench.courses == [Course.SERVE, Course.WANE, Course.END]
    end = bench.life.facts.terminated
    assert end is not None
    assert (end.exit_code, end.reason, bench.life.facts.ready) == (0, "Completed", False)


async def test_a_container_that_does_not_end_is_killed_after_the_grace_period(pod):
    bench = Bench(pod("containers: [{name: app, image: a}]"))
    bench.connections_s = None
    async with bench.living():
        await asyncio.sleep(1)
        assert await bench.end(5) == pytest.approx(5)
    assert bench.life.facts.terminated is not None
    assert (bench.life.facts.terminated.exit_code, bench.life.facts.terminated.reason) == (137, "Error")


async def test_the_pre_stop_hook_runs_while_it_serves_and_before_it_is_told_to_end(pod):
    bench = Bench(pod(hooked("preStop", "{exec: {command: [drain, all]}}")))
    bench.commands["drain"] = (4.0, 0)
    async with bench.living():
        await asyncio.sleep(1)
        assert await bench.end(30) == pytest.approx(4, abs=0.01)
    assert bench.ran == [(1.0, ("drain", "all"))]
    assert (bench.courses, bench.events) == ([Course.SERVE, Course.WANE, Course.END], [])


async def test_a_hook_that_takes_longer_than_the_grace_period_leaves_two_seconds(pod):
    bench = Bench(pod(hooked("preStop", "{sleep: {seconds: 100}}")))
    bench.connections_s = None
    async with bench.living():
        await asyncio.sleep(1)
        assert await bench.end(10) == pytest.approx(12)


async def test_a_grace_period_of_none_runs_no_hook(pod):
    bench = Bench(pod(hooked("preStop", "{exec: {command: [drain]}}")))
    async with bench.living():
        await asyncio.sleep(1)
        await bench.end(0)
    assert bench.ran == []


@pytest.mark.parametrize("handler", ["{exec: {command: [drain]}}", "{tcpSocket: {port: 80}}", "{httpGet: {port: nobody}}"])  # fmt: skip
async def test_a_pre_stop_hook_that_fails_is_told_without_its_reason_and_holds_nothing_up(handler: str, pod):
    bench = Bench(pod(hooked("preStop", handler)))
    bench.commands["drain"] = (0.0, 1)
    async with bench.living():
        await asyncio.sleep(1)
        assert await bench.end(30) < 0.1
    assert bench.events == ["FailedPreStopHook: PreStopHook failed"]


async def test_a_grace_period_can_be_shortened_meanwhile(pod):
    bench = Bench(pod(hooked("preStop", "{sleep: {seconds: 100}}")))
    bench.connections_s = None
    loop = asyncio.get_running_loop()
    async with bench.living():
        await asyncio.sleep(1)
        grace, at_once = Grace(200), asyncio.Event()
        at_once.set()
        loop.call_later(5, grace.shorten, 10)
        loop.call_later(6, grace.shorten, 300)
        began = loop.time()
        await bench.life.end(grace, at_once)
        grace.close()
        assert loop.time() - began == pytest.approx(17)


async def test_it_runs_when_its_post_start_hook_is_done(pod):
    bench = Bench(pod(hooked("postStart", "{sleep: {seconds: 5}}")))
    async with bench.living():
        await asyncio.sleep(4)
        assert (bench.life.facts.running_since, bench.life.facts.ready) == (None, False)
        await asyncio.sleep(2)
        assert (bench.life.facts.running_since, bench.life.facts.ready) == (5.0, True)


async def test_a_post_start_hook_that_fails_restarts_it(pod):
    bench = Bench(pod(hooked("postStart", "{exec: {command: [warm]}}")))
    bench.commands["warm"] = (0.0, 1)
    async with bench.living():
        await asyncio.sleep(5)
        assert (bench.life.facts.waiting, bench.life.facts.restarts) == ("PostStartHookError", 1)
        assert bench.events[0] == "FailedPostStartHook: PostStartHook failed"
        bench.commands["warm"] = (0.0, 0)
        await asyncio.sleep(20)
        assert bench.life.facts.ready


LIVE = ", livenessProbe: {tcpSocket: {port: 1}, periodSeconds: 1, terminationGracePeriodSeconds: 3}"


async def test_a_container_that_is_killed_for_a_probe_has_its_pre_stop_hook(pod):
    bench = Bench(pod(hooked("preStop", "{sleep: {seconds: 100}}", LIVE)))
    bench.healthy = False
    async with bench.living():
        await asyncio.sleep(4.5)  # three failures at 0, 1, 2 s, then three seconds for the hook
        assert bench.life.facts.running_since is not None
        await asyncio.sleep(1)
        assert bench.life.facts.restarts == 1


async def test_what_ends_is_not_restarted_but_its_readiness_is_followed(pod):
    spec = hooked("preStop", "{sleep: {seconds: 20}}", LIVE + ", readinessProbe: {tcpSocket: {port: 1}, periodSeconds: 1}")  # fmt: skip
    bench = Bench(pod(spec))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(bench.life.run())
        await asyncio.sleep(1)
        assert bench.life.facts.ready
        ending = group.create_task(bench.end(30))
        await asyncio.sleep(1)
        bench.healthy = False
        await asyncio.sleep(10)
        assert (bench.life.facts.ready, bench.life.facts.restarts, bench.announced) == (False, 0, [0, 0])
        assert await ending == pytest.approx(20, abs=0.01)
        running.cancel()


async def test_what_waits_for_its_restart_ends_at_once_and_stays_ended(pod):
    bench = Bench(pod(SPEC))
    bench.healthy = False
    async with bench.living():
        await asyncio.sleep(6)
        assert bench.life.facts.waiting == "CrashLoopBackOff"
        assert await bench.end(30) == 0
        await asyncio.sleep(100)
    assert bench.life.facts.running_since is None


async def test_sidecars_end_after_the_others_and_the_last_one_first(pod):
    sidecars = "initContainers: [{name: s1, image: a, restartPolicy: Always}, {name: s2, image: a, restartPolicy: Always}]"
    made = pod(sidecars + "\ncontainers: [{name: app, image: a}]")
    benches = [Bench(made, container=number) for number in range(3)]
    told: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    for bench in benches:
        bench.connections_s = 2.0

        def announce(bench: Bench = bench) -> None:
            if bench.life.course is Course.END:
                told[bench.life.container.name] = loop.time()
            bench.announce()

        bench.life._announce = announce
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(bench.life.run()) for bench in benches]
        await asyncio.sleep(1)
        grace = Grace(30)
        await end_containers([bench.life for bench in benches], grace)
        grace.close()
        for task in running:
            task.cancel()
    assert told == {
        "app": pytest.approx(1.1, abs=0.01),
        "s2": pytest.approx(3.1, abs=0.01),
        "s1": pytest.approx(5.1, abs=0.01),
    }


def ending(pod, policy: str, code: int) -> Pod:
    made = pod(f"{{restartPolicy: {policy}, containers: [{{name: app, image: a}}]}}")
    notes = {"netloom.io/exit-code": str(code), "netloom.io/run-seconds": "5"}
    return msgspec.structs.replace(made, metadata=msgspec.structs.replace(made.metadata, annotations=notes))


@pytest.mark.parametrize(
    ("policy", "code", "reason"),
    [("Never", 0, "Completed"), ("Never", 3, "Error"), ("OnFailure", 0, "Completed")],
)
async def test_a_stand_in_that_is_to_complete_ends_with_its_code(pod, policy, code, reason):
    bench = Bench(ending(pod, policy, code))
    async with bench.living() as life:
        await asyncio.sleep(4)
        assert bench.life.facts.running_since == 0
        await life
    end = bench.life.facts.terminated
    assert (end.exit_code, end.reason, end.started, end.finished) == (code, reason, 0, 5)


async def test_a_stand_in_that_fails_on_purpose_is_restarted(pod):
    bench = Bench(ending(pod, "OnFailure", 3))
    async with bench.living():
        await asyncio.sleep(30)
    # lives of 5 s; the pauses are 0, 10, 20 s
    assert (bench.life.facts.restarts, bench.life.facts.waiting) == (2, "CrashLoopBackOff")
    assert bench.life.facts.last.exit_code == 3


async def test_a_stand_in_goes_on_to_its_end_after_another_runner_took_it_up(pod):
    former = ContainerFacts(id="c", running_since=-3.0, started=True, ready=True)
    bench = Bench(ending(pod, "Never", 0), former=former)
    async with bench.living() as life:
        await life
        assert asyncio.get_running_loop().time() == pytest.approx(2, abs=0.01)
