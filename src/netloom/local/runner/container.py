"""One container of one pod, through all its lives: started, probed, restarted, ended. Out: its facts, kept current.

What plays it is decided at each start (``launch``): a program of its image (``running.Running``), or a stand-in, where "running"
means that its sockets listen, and "to end" that they are closed. Not here: the sandbox around it, what its hooks do (``hooks``),
and in which order the containers of a pod run (``crew``).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable

import msgspec

from netloom.clock import Clock
from netloom.local.runner import backoff, ending_of
from netloom.local.runner.completion import Completion, completion_of
from netloom.local.runner.grace import Grace
from netloom.local.runner.hooks import Hooks
from netloom.local.runner.probes import Check, Failed, ProbePlan, Probing
from netloom.local.runner.role import Launch, Launched, Role, check_name, is_restarted
from netloom.local.runner.running import End, Refused, Running
from netloom.local.runner.spec import Container, Pod, Probe
from netloom.local.runner.standins.feed import Course, State
from netloom.local.runner.status import ContainerFacts

SIGNAL_S = 0.1
"""Seconds from the wish that a container without a preStop hook should end until it hears of it: a container runtime takes as
long, and the nodes take the pod out of Services meanwhile."""
_TERMINATED = 143
"""128 and SIGTERM."""
LAST_S = 2.0
"""Seconds that a container gets to end in any case, even where its hook has used up the grace period (as with a kubelet)."""


class ContainerLife:
    """A container while its sandbox stands.

    Args:
        pod: the pod it belongs to.
        container: what it is.
        restarts: restarts before this sandbox.
        former: its facts, where a runner before us left it running: it goes on, as ready as it was, until a probe says else.
        launched: what plays it, where ``former`` runs a program.
        role: what it is to its pod.
        clock: the time, for status.
        launch: starts what plays it; None: a stand-in does.
        check_of: how to run a probe; None where it cannot be run.
        hooks: its lifecycle hooks.
        announce: called when its generation changed, so that the stand-ins hear of it.
        on_change: called when ``facts`` changed.
        on_failure: called with each failed probe's kind and detail.
        say: called with reason and message of a warning.
    """

    def __init__(  # noqa: PLR0913 - values and callbacks of one owner, all by keyword
        self,
        *,
        pod: Pod,
        container: Container,
        restarts: int,
        clock: Clock,
        check_of: Callable[[Probe], Check | None],
        hooks: Hooks,
        announce: Callable[[], None],
        on_change: Callable[[], None],
        on_failure: Callable[[str, str], None],
        role: Role | None = None,
        launch: Launch | None = None,
        say: Callable[[str, str], None] = lambda reason, message: None,
        former: ContainerFacts | None = None,
        launched: Launched | None = None,
    ) -> None:
        self.container = container
        self.role = role or (Role.SIDECAR if container.restart_policy == "Always" else Role.MAIN)
        self.generation = restarts
        self.course = Course.SERVE
        self.facts = former or ContainerFacts(restarts=restarts)
        self.up = asyncio.Event()
        """It runs, and its startup probe has succeeded."""
        self.is_standin = former is not None and launched is None
        self._launched = launched
        self._former = former is not None
        self._pod = pod
        self._clock = clock
        self._launch = launch or self._no_images
        self._check_of = check_of
        self._hooks = hooks
        self._announce = announce
        self._on_change = on_change
        self._on_failure = on_failure
        self._say = say
        self._heard: asyncio.Event = asyncio.Event()
        self._ended: asyncio.Event = asyncio.Event()
        self._nudged: asyncio.Event = asyncio.Event()
        self._probing: Probing | None = None
        self._problem = ""
        self._completion = Completion(0.0, 0) if self.role is Role.INIT else completion_of(pod, container)
        self._listening = self._probe_ready = self.facts.ready
        self._row = 0

    @property
    def is_over(self) -> bool:
        """It will not run again."""
        return self.facts.terminated is not None

    @property
    def is_sidecar(self) -> bool:
        """It accompanies the others, and ends after them."""
        return self.role is Role.SIDECAR

    @property
    def running(self) -> Running | None:
        """The program that plays it now; None where it is a stand-in, or does not run."""
        return self._launched.running if self._launched is not None else None

    def hear(self, state: State) -> None:
        """The stand-in process says how it fares."""
        if state.generation != self.generation:
            return
        self._listening = not state.problem
        self._problem = state.problem
        self._heard.set()
        if state.ended:
            self._ended.set()
        self._set_ready()

    def lost(self) -> None:
        """The stand-in process went away: nothing listens until it is back."""
        self._listening = False
        if self.course is Course.END:
            self._ended.set()
        self._set_ready()

    def nudge(self) -> None:
        """What it waited for may be there now."""
        self._nudged.set()

    async def run(self) -> None:
        """Live until cancelled, or until it is over (``restartPolicy``)."""
        while True:
            await self._stay_if_ending()
            try:
                await self._start()
            except Refused as error:
                await self._wait_refused(error)
                continue
            await self._stay_if_ending()
            reason = "CrashLoopBackOff"
            if await self._begin():
                end = await self._live()
            else:
                reason = "PostStartHookError"
                end = await self._killed("the postStart hook failed", Grace(LAST_S))
            await self._stay_if_ending()
            if self._give_up(end):
                return
            await self._remove()
            await self._wait_before_restart(reason, end.message)

    async def end(self, grace: Grace, turn: asyncio.Event) -> None:
        """Have it end: the preStop hook, then the signal, then the last connection, each within the grace period.

        Returns when it has ended, or when its time is over and it was killed. Meanwhile ``run`` must go on, so that readiness
        probes do.

        Args:
            grace: how long it may take.
            turn: set when it may be told to end; sidecars wait for the other containers.
        """
        if self.is_over or (self.facts.running_since is None and self._launched is None):
            self._take(Course.END)
            return
        if self._probing is not None:
            self._probing.only_readiness()
        self._take(Course.WANE)
        if self._hooks.has_pre_stop:
            await self._hooks.pre_stop(grace)
        else:
            await grace.wait(asyncio.sleep(SIGNAL_S))
        await grace.wait(turn.wait())
        self._ended.clear()
        self._take(Course.END)
        end = await self._stopped(grace)
        self._set(
            running_since=None,
            ready=False,
            started=False,
            terminated=ending_of.terminated(end, self.facts.running_since),
        )

    async def _stay_if_ending(self) -> None:
        """What ends does not start again: whoever ends it also cancels ``run``."""
        if self.course is not Course.SERVE:
            await asyncio.get_running_loop().create_future()

    def _take(self, course: Course) -> None:
        self.course = course
        self._announce()

    async def _no_images(self, generation: int) -> None:
        """A stand-in plays everything that has the name of an image."""
        check_name(self.container.image)

    async def _start(self) -> None:
        """Have its program run, or its stand-in listen.

        Raises:
            Refused: it cannot.
        """
        if self._launched is None and not self._former:  # else a runner before us started it
            self._launched = await self._launch(self.generation)
            self.is_standin = self._launched is None
        self._former = False
        if self._launched is not None:
            return
        self._heard.clear()
        self._announce()
        await self._heard.wait()
        if self._problem:
            raise Refused("RunContainerError", self._problem)

    async def _begin(self) -> bool:
        """It runs: do its hook, after which it counts as running. False where the hook failed, and it with it."""
        if self.facts.running_since is not None:
            self._note_up()
            return True
        if not await self._hooks.post_start():
            return False
        started = self._check_plan(self.container.startup_probe) is None
        # Without probes it is ready as soon as it runs: said at once, since each status costs every reader a turn.
        ready = started and self._check_plan(self.container.readiness_probe) is None
        self._probe_ready = self._probe_ready or ready
        launched = self._launched
        self._set(
            ready=ready and self._serves,
            id=launched.running.spec.id if launched is not None else secrets.token_hex(32),
            image=launched.image if launched is not None else "",
            image_id=launched.running.image_id if launched is not None else "",
            running_since=launched.running.started if launched is not None else self._clock.wall(),
            started=started,
            message="",
        )
        return True

    @property
    def _serves(self) -> bool:
        return self._listening or self._launched is not None

    async def _live(self) -> End:
        """Probe it until it ends, or has to."""
        if self._launched is None and self._completion is None:
            return await self._kill_for(await self._probe())
        async with asyncio.TaskGroup() as group:
            own = group.create_task(self._own_end(), name="end of a container")
            probing = group.create_task(self._probe(), name="probes of a container")
            await asyncio.wait((own, probing), return_when=asyncio.FIRST_COMPLETED)
            end = own.result() if own.done() else None
            failed = probing.result() if end is None else None
            own.cancel()
            probing.cancel()
        if end is None and failed is not None:
            end = await self._kill_for(failed)
        return end or ending_of.killed(self._clock.wall())

    async def _own_end(self) -> End:
        """Wait until it ends by itself."""
        if self._launched is not None:
            return await self._launched.running.ended()
        assert self._completion is not None  # noqa: S101 - as _live has seen
        since = self.facts.running_since
        now = self._clock.wall()
        await asyncio.sleep(max(0.0, self._completion.after_s - (0.0 if since is None else now - since)))
        return ending_of.completed(self._clock.wall(), self._completion.exit_code)

    async def _probe(self) -> Failed:
        self._probing = Probing(
            startup=None if self.facts.started else self._check_plan(self.container.startup_probe),
            readiness=self._check_plan(self.container.readiness_probe),
            liveness=self._check_plan(self.container.liveness_probe),
            on_started=lambda: self._set(started=True),
            on_ready=self._probed,
            on_failure=self._on_failure,
            ready=self._probe_ready,
        )
        try:
            return await self._probing.run()
        finally:
            self._probing = None

    async def _kill_for(self, failed: Failed) -> End:
        """A container that is killed for a probe has its preStop hook and its grace period; a stand-in hangs, and has nothing to end."""
        probe = self.container.startup_probe if failed.kind == "startup" else self.container.liveness_probe
        own = probe.termination_grace_period_seconds if probe is not None else None
        grace = Grace(self._pod.spec.termination_grace_period_seconds if own is None else own)
        if self._hooks.has_pre_stop:
            await self._hooks.pre_stop(grace)
        return await self._killed(f"{failed.kind} probe failed: {failed.detail}", grace)

    async def _killed(self, why: str, grace: Grace) -> End:
        """Stop what plays it, for this reason."""
        try:
            if self._launched is None:
                return ending_of.killed(self._clock.wall(), why)
            return await self._stopped(grace)
        finally:
            grace.close()

    async def _stopped(self, grace: Grace) -> End:
        """Tell it to end, and kill it when its time is over."""
        if self._launched is None:
            in_time = await grace.wait(self._ended.wait(), at_least_s=LAST_S)
            now = self._clock.wall()
            # what had something to finish has not: as a program that SIGTERM ends
            code = 0 if self._completion is None else _TERMINATED
            return ending_of.completed(now, code) if in_time else ending_of.killed(now)
        running = self._launched.running
        running.stop()
        if not await grace.wait(running.ended(), at_least_s=LAST_S):
            running.kill()
        return await running.ended()

    async def _remove(self) -> None:
        launched, self._launched = self._launched, None
        if launched is not None:
            await launched.running.remove()

    def _check_plan(self, probe: Probe | None) -> ProbePlan | None:
        check = self._check_of(probe) if probe is not None else None
        return ProbePlan(probe, check) if probe is not None and check is not None else None

    def _probed(self, ready: bool) -> None:
        self._probe_ready = ready
        self._set_ready()

    def _set_ready(self) -> None:
        ready = self._probe_ready and self._serves and self.facts.running_since is not None
        if ready != self.facts.ready:
            self._set(ready=ready)

    def _give_up(self, end: End) -> bool:
        """Its life ended; True where there will be no other."""
        terminated = ending_of.terminated(end, self.facts.running_since)
        lived_s = terminated.finished - terminated.started
        self._row = 0 if lived_s >= backoff.STEADY_S else self._row + 1
        self._probe_ready = False
        over = not is_restarted(self.role, self._pod.spec.restart_policy, end.exit_code)
        self._set(
            running_since=None,
            ready=over and self.role is Role.INIT and not end.exit_code,
            started=False,
            last=self.facts.last if over else terminated,
            terminated=terminated if over else None,
        )
        if over:
            self._announce()
        return over

    async def _wait_refused(self, refused: Refused) -> None:
        """It did not start: say why, and wait until it may be tried again."""
        self._probe_ready = False
        self._set(running_since=None, waiting=refused.reason, message=str(refused))
        if not self.is_standin or refused.reason != "RunContainerError":  # a port that is soon free
            backoff.tell(refused, self.container.image, self._say)
        self._row += 1
        self._nudged.clear()
        for reason, message, seconds in backoff.after_refusal(refused, self.container.image, self._row):
            self._set(waiting=reason, message=message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._nudged.wait()
                    break
        self._next()

    async def _wait_before_restart(self, reason: str, why: str) -> None:
        wait_s = backoff.seconds(self._row - 1)
        if wait_s and reason == "CrashLoopBackOff":
            name = self.container.name
            why = backoff.restarting(wait_s, name, self._pod)
            self._say("BackOff", f"Back-off restarting failed container {name} in pod {self._pod.key.name}")
        self._set(waiting=reason, message=why)
        await asyncio.sleep(wait_s)
        self._next()

    def _next(self) -> None:
        """Another life begins."""
        self.generation += 1
        if self.facts.last is not None and self.facts.waiting in {"CrashLoopBackOff", "PostStartHookError"}:
            self._set(restarts=self.facts.restarts + 1)

    def _set(self, **changes: object) -> None:
        self.facts = msgspec.structs.replace(self.facts, **changes)
        self._note_up()
        self._on_change()

    def _note_up(self) -> None:
        is_up = self.facts.started and self.facts.running_since is not None
        self.up.set() if is_up else self.up.clear()
