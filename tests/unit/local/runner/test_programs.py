"""Containers whose image is there: their programs start, end, are restarted, refused and killed as their pod wants it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from netloom.local.runner import backoff
from netloom.local.runner.container import ContainerLife
from netloom.local.runner.grace import Grace
from netloom.local.runner.hooks import Hooks
from netloom.local.runner.probes import Check, Outcome
from netloom.local.runner.role import Launched, Role, is_restarted
from netloom.local.runner.running import ContainerSpec, End, Refused
from netloom.local.runner.spec import Pod, Probe
from netloom.local.runner.status import ContainerFacts

pytestmark = pytest.mark.looptime
SPEC = "containers: [{name: app, image: a}]"


def now() -> float:
    return asyncio.get_running_loop().time()


class LoopClock:
    def monotonic(self) -> float:
        return now()

    def wall(self) -> float:
        return now()


class Program:
    """A program that ends by itself after some time, or when told to; a stubborn one when it is killed."""

    def __init__(self, number: int, *, lasts_s: float, code: int, stubborn: bool) -> None:
        self.spec = ContainerSpec(
            id=f"{number:064x}", pod_uid="u-1", namespace="shop", pod_name="web-1", name="app", image="a"
        )
        self.image_id = "sha256:1"
        self.started = now()
        self.did: list[str] = []
        self._stubborn = stubborn
        self._end: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(lasts_s, self._ends, code)

    def _ends(self, code: int) -> None:
        if not self._end.done():
            reason = "Error" if code else "Completed"
            self._end.set_result(End(exit_code=code, reason=reason, finished=now(), message="said"))

    async def ended(self) -> End:
        return await asyncio.shield(self._end)

    def stop(self) -> None:
        self.did.append("stop")
        if not self._stubborn:
            self._ends(143)

    def kill(self) -> None:
        self.did.append("kill")
        self._ends(137)

    async def remove(self) -> None:
        self.did.append("remove")


class Bench:
    """A container, and the programs that were started for it."""

    def __init__(
        self,
        pod: Pod,
        *,
        role: Role = Role.MAIN,
        lasts_s: float = 1e6,
        code: int = 0,
        stubborn: bool = False,
        refusals: tuple[Refused, ...] = (),
        former: tuple[ContainerFacts, float] | None = None,
    ) -> None:
        self.programs: list[Program] = []
        self.refusals = list(refusals)
        self.events: list[str] = []
        self.healthy = True
        self._more = {"lasts_s": lasts_s, "code": code, "stubborn": stubborn}
        launched = None
        if former is not None:
            launched = self._program(lasts_s=former[1])
        self.life = ContainerLife(
            pod=pod,
            container=pod.spec.containers[0],
            restarts=0,
            role=role,
            clock=LoopClock(),
            launch=self.launch,
            check_of=self.check_of,
            hooks=Hooks(
                container=pod.spec.containers[0],
                address="192.0.2.1",
                run=self.run_in_pod,
                on_failure=lambda reason, message: self.events.append(reason),
            ),
            announce=lambda: None,
            on_change=lambda: None,
            on_failure=lambda kind, detail: None,
            say=lambda reason, message: self.events.append(f"{reason}: {message}"),
            former=former[0] if former is not None else None,
            launched=launched,
        )

    def check_of(self, probe: Probe) -> Check:
        async def check() -> Outcome:
            return Outcome(self.healthy, "" if self.healthy else "sick")

        return check

    async def run_in_pod(self, argv: tuple[str, ...], timeout_s: float) -> None:
        raise AssertionError(argv)

    async def launch(self, generation: int) -> Launched:
        if self.refusals:
            raise self.refusals.pop(0)
        return self._program(**self._more)

    def _program(self, *, lasts_s: float, code: int = 0, stubborn: bool = False) -> Launched:
        self.programs.append(Program(len(self.programs), lasts_s=lasts_s, code=code, stubborn=stubborn))
        return Launched(self.programs[-1], "example/a:1")  # type: ignore[arg-type]

    @asynccontextmanager
    async def living(self):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.life.run())
            yield task
            task.cancel()

    async def end(self, grace_s: float) -> float:
        began, grace, turn = now(), Grace(grace_s), asyncio.Event()
        turn.set()
        await self.life.end(grace, turn)
        grace.close()
        return now() - began


async def test_a_program_is_what_status_shows(pod):
    bench = Bench(pod(SPEC))
    async with bench.living():
        await asyncio.sleep(0.1)
        facts = bench.life.facts
        assert (facts.id, facts.image, facts.image_id) == ("0" * 64, "example/a:1", "sha256:1")
        assert (facts.ready, facts.started, bench.life.is_standin) == (True, True, False)


async def test_a_program_that_ends_is_started_again_later_and_later(pod):
    bench = Bench(pod(SPEC), lasts_s=1, code=3)
    async with bench.living():
        await asyncio.sleep(1.5)
        assert (bench.life.facts.restarts, bench.life.facts.last.exit_code) == (1, 3)
        await asyncio.sleep(1)
        facts = bench.life.facts
        assert (facts.waiting, facts.running_since) == ("CrashLoopBackOff", None)
        assert facts.message == "back-off 10s restarting failed container=app pod=web-1_shop(u-1)"
        assert facts.last.message == "said"
        await asyncio.sleep(10)
    assert [p.did for p in bench.programs] == [["remove"], ["remove"], []]
    assert bench.events == ["BackOff: Back-off restarting failed container app in pod web-1"]


async def test_an_init_container_that_succeeds_is_ready_and_over(pod):
    bench = Bench(pod(SPEC), role=Role.INIT, lasts_s=1)
    async with bench.living() as task:
        await task
    end = bench.life.facts.terminated
    assert (end.exit_code, end.started, end.finished, bench.life.facts.ready) == (0, 0, 1, True)


@pytest.mark.parametrize("reason", ["CreateContainerConfigError", "ErrImageNeverPull"])
async def test_what_refuses_it_is_told_until_it_is_gone(pod, reason):
    bench = Bench(pod(SPEC), refusals=(Refused(reason, "it lacks"), Refused(reason, "it lacks")))
    async with bench.living():
        await asyncio.sleep(9)
        assert (bench.life.facts.waiting, bench.life.facts.message) == (reason, "it lacks")
        await asyncio.sleep(2)  # tried again after 10 s
        assert not bench.programs
        bench.life.nudge()  # and at once when something is new
        await asyncio.sleep(0.1)
        assert bench.life.facts.ready
        assert bench.life.facts.restarts == 0
    assert "Failed: Error:" in bench.events[-1]


async def test_an_image_that_is_not_there_is_pulled_again_later_and_later(pod):
    bench = Bench(
        pod(SPEC), refusals=(Refused("ErrImagePull", "no route"), Refused("ErrImagePull", "no route"))
    )
    async with bench.living():
        await asyncio.sleep(1)
        assert bench.life.facts.waiting == "ErrImagePull"
        await asyncio.sleep(8)
        assert (bench.life.facts.waiting, bench.life.facts.message) == (
            "ImagePullBackOff",
            'Back-off pulling image "a": no route',
        )
        await asyncio.sleep(20)
        assert not bench.programs
        await asyncio.sleep(2)
        assert bench.life.facts.ready


async def test_it_is_asked_to_end_and_then_killed(pod):
    polite, stubborn = Bench(pod(SPEC)), Bench(pod(SPEC), stubborn=True)
    async with polite.living(), stubborn.living():
        await asyncio.sleep(1)
        assert await polite.end(30) == pytest.approx(0.1, abs=0.01)
        assert await stubborn.end(5) == pytest.approx(5, abs=0.01)
    assert [b.programs[0].did for b in (polite, stubborn)] == [["stop"], ["stop", "kill"]]
    assert [b.life.facts.terminated.exit_code for b in (polite, stubborn)] == [143, 137]


async def test_a_program_that_fails_its_probe_has_its_grace_period(pod):
    probe = "livenessProbe: {tcpSocket: {port: 1}, periodSeconds: 1, failureThreshold: 1, terminationGracePeriodSeconds: 7}"
    bench = Bench(pod(f"containers: [{{name: app, image: a, {probe}}}]"), stubborn=True)
    async with bench.living():
        await asyncio.sleep(0.5)
        bench.healthy = False
        await asyncio.sleep(7)
        assert bench.programs[0].did == ["stop"]
        await asyncio.sleep(1)
    assert bench.programs[0].did == ["stop", "kill", "remove"]
    assert bench.life.facts.last.exit_code == 137


async def test_what_a_former_runner_started_goes_on_and_its_end_is_seen(pod):
    facts = ContainerFacts(id="0" * 64, image_id="sha256:1", running_since=-9.0, started=True, ready=True)
    bench = Bench(pod(SPEC), former=(facts, 5.0))
    async with bench.living():
        await asyncio.sleep(4)
        assert (len(bench.programs), bench.life.facts.ready) == (1, True)
        await asyncio.sleep(2)
        assert (len(bench.programs), bench.life.facts.restarts) == (2, 1)
    assert (bench.life.facts.last.started, bench.life.facts.last.finished) == (-9, 5)


@pytest.mark.parametrize(
    ("role", "policy", "code", "again"),
    [
        (Role.MAIN, "Always", 0, True),
        (Role.MAIN, "OnFailure", 0, False),
        (Role.MAIN, "OnFailure", 1, True),
        (Role.MAIN, "Never", 1, False),
        (Role.INIT, "Always", 0, False),
        (Role.INIT, "Always", 1, True),
        (Role.INIT, "Never", 1, False),
        (Role.SIDECAR, "Never", 0, True),
        (Role.EPHEMERAL, "Always", 1, False),
    ],
)
def test_who_is_restarted(role, policy, code, again):
    assert is_restarted(role, policy, code) is again


def test_waits_as_kubelets_write_them():
    assert [backoff.text(s) for s in (10.0, 80.0, 300.0)] == ["10s", "1m20s", "5m0s"]
