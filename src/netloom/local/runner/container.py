"""One container of one pod, through all its lives: announced, listening, probed, restarted, ended. Out: its facts, kept current.

A container is a stand-in (``standins``); what "running" means is that its sockets listen, and "to end" that they are closed.
Not here: the sandbox around it, and what its hooks do (``hooks``).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

import msgspec

from netloom.clock import Clock
from netloom.errors import InvalidObject
from netloom.local.runner.completion import completion_of
from netloom.local.runner.grace import Grace
from netloom.local.runner.hooks import Hooks
from netloom.local.runner.images import standin_image_id
from netloom.local.runner.probes import Check, Failed, ProbePlan, Probing
from netloom.local.runner.spec import Container, Pod, Probe
from netloom.local.runner.standins.feed import Course, State
from netloom.local.runner.status import ContainerFacts, Terminated

BACKOFF_S = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
"""Seconds before a restart, by how many there were in a row (CrashLoopBackOff of a kubelet)."""
STEADY_S = 600.0
"""A container that ran this long starts the row anew."""
SIGNAL_S = 0.1
"""Seconds from the wish that a container without a preStop hook should end until it hears of it: a container runtime takes as
long, and the nodes take the pod out of Services meanwhile."""
LAST_S = 2.0
"""Seconds that a container gets to end in any case, even where its hook has used up the grace period (as with a kubelet)."""
_KILLED = 137


class ContainerLife:
    """A container while its sandbox stands.

    Args:
        pod: the pod it belongs to.
        container: what it is.
        restarts: restarts before this sandbox.
        former: its facts, where a runner before us left it running: it goes on, as ready as it was, until a probe says else.
        clock: the time, for status.
        check_of: how to run a probe; None where it cannot be run.
        hooks: its lifecycle hooks.
        announce: called when its generation changed, so that the stand-ins hear of it.
        on_change: called when ``facts`` changed.
        on_failure: called with each failed probe's kind and detail.
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
        former: ContainerFacts | None = None,
    ) -> None:
        self.container = container
        self.generation = restarts
        self.course = Course.SERVE
        self.facts = former or ContainerFacts(restarts=restarts)
        self._pod = pod
        self._clock = clock
        self._check_of = check_of
        self._hooks = hooks
        self._announce = announce
        self._on_change = on_change
        self._on_failure = on_failure
        self._heard: asyncio.Event = asyncio.Event()
        self._ended: asyncio.Event = asyncio.Event()
        self._probing: Probing | None = None
        self._problem = ""
        self._completion = completion_of(pod, container)
        self._listening = self._probe_ready = self.facts.ready
        self._row = 0

    @property
    def is_over(self) -> bool:
        """It will not run again."""
        return self.facts.terminated is not None

    @property
    def is_sidecar(self) -> bool:
        """It accompanies the others, and ends after them (an init container with ``restartPolicy: Always``)."""
        return self.container.restart_policy == "Always"

    @property
    def notes(self) -> tuple[str, ...]:
        """What its log should tell of a stand-in."""
        notes = []
        if self.container.command or self.container.args:
            notes.append("command and args are not run: the stand-in only listens and answers")
        if self.container.env or self.container.env_from:
            notes.append("environment variables are there for exec; the stand-in does not read them")
        return tuple(notes)

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

    async def run(self) -> None:
        """Live until cancelled, or until it is over (``restartPolicy``)."""
        if not await self._image_is_usable():
            return
        while True:
            await self._stay_if_ending()
            if not await self._start():
                await self._wait_before_restart("RunContainerError", self._problem)
                continue
            await self._stay_if_ending()
            if not await self._begin():
                why = "the postStart hook failed"
                if self._give_up(why):
                    return
                await self._wait_before_restart("PostStartHookError", why)
                continue
            failed = await self._probe_until_done()
            if failed is not None:
                await self._before_kill(failed)
            await self._stay_if_ending()
            code = self._completion.exit_code if failed is None and self._completion else _KILLED
            why = f"{failed.kind} probe failed: {failed.detail}" if failed else f"ended with exit code {code}"
            if self._give_up(why, code):
                return
            await self._wait_before_restart("CrashLoopBackOff", why)

    async def end(self, grace: Grace, turn: asyncio.Event) -> None:
        """Have it end: the preStop hook, then the signal, then the last connection, each within the grace period.

        Returns when it has ended, or when its time is over and nothing but killing is left. Meanwhile ``run`` must go on, so
        that readiness probes do.

        Args:
            grace: how long it may take.
            turn: set when it may be told to end; sidecars wait for the other containers.
        """
        if self.facts.running_since is None:
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
        in_time = await grace.wait(self._ended.wait(), at_least_s=LAST_S)
        end = (0, "Completed") if in_time else (_KILLED, "Error")
        since = self.facts.running_since or self._clock.wall()
        self._set(
            running_since=None,
            ready=False,
            started=False,
            terminated=Terminated(*end, since, self._clock.wall()),
        )

    async def _stay_if_ending(self) -> None:
        """What ends does not start again: whoever ends it also cancels ``run``."""
        if self.course is not Course.SERVE:
            await asyncio.get_running_loop().create_future()

    def _take(self, course: Course) -> None:
        self.course = course
        self._announce()

    async def _image_is_usable(self) -> bool:
        try:
            standin_image_id(
                self.container.image, subject=f"Pod {self._pod.key}, container {self.container.name}"
            )
        except InvalidObject as error:
            self._set(waiting="InvalidImageName", message=str(error))
            return False
        return True

    async def _start(self) -> bool:
        """Have it listen; False where it cannot."""
        self._heard.clear()
        self._announce()
        await self._heard.wait()
        if self._problem:
            self._probe_ready = False
            self._set(running_since=None)
            return False
        return True

    async def _begin(self) -> bool:
        """It listens: run its hook, after which it counts as running. False where the hook failed, and it with it."""
        if self.facts.running_since is not None:
            return True
        if not await self._hooks.post_start():
            return False
        started = self._check_plan(self.container.startup_probe) is None
        # Without probes it is ready as soon as it runs: said at once, since each status costs every reader a turn.
        ready = started and self._check_plan(self.container.readiness_probe) is None
        self._probe_ready = self._probe_ready or ready
        self._set(
            ready=ready and self._listening,
            id=secrets.token_hex(32),
            running_since=self._clock.wall(),
            started=started,
            message="",
        )
        return True

    async def _probe_until_done(self) -> Failed | None:
        """Probe it until it has to be restarted; None where it has ended by itself before."""
        if self._completion is None:
            return await self._probe()
        now, since = self._clock.wall(), self.facts.running_since
        left_s = self._completion.after_s - (0.0 if since is None else now - since)
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                return await self._probe()
        except TimeoutError:
            return None

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

    async def _before_kill(self, failed: Failed) -> None:
        """A container that is killed for a probe still has its preStop hook; connections it has none to wait for: it hangs."""
        if not self._hooks.has_pre_stop:
            return
        probe = self.container.startup_probe if failed.kind == "startup" else self.container.liveness_probe
        own = probe.termination_grace_period_seconds if probe is not None else None
        grace = Grace(self._pod.spec.termination_grace_period_seconds if own is None else own)
        await self._hooks.pre_stop(grace)
        grace.close()

    def _check_plan(self, probe: Probe | None) -> ProbePlan | None:
        check = self._check_of(probe) if probe is not None else None
        return ProbePlan(probe, check) if probe is not None and check is not None else None

    def _probed(self, ready: bool) -> None:
        self._probe_ready = ready
        self._set_ready()

    def _set_ready(self) -> None:
        ready = self._probe_ready and self._listening and self.facts.running_since is not None
        if ready != self.facts.ready:
            self._set(ready=ready)

    def _give_up(self, why: str, code: int = _KILLED) -> bool:
        """Its life ended with this exit code; True where there will be no other."""
        now = self._clock.wall()
        since = now if self.facts.running_since is None else self.facts.running_since
        end = Terminated(code, "Error" if code else "Completed", since, now, why)
        self._row = 0 if now - since >= STEADY_S else self._row + 1
        self._probe_ready = False
        policy = self._pod.spec.restart_policy
        over = (policy == "Never" or (policy == "OnFailure" and not code)) and not self.is_sidecar
        self._set(
            running_since=None,
            ready=False,
            started=False,
            last=None if over else end,
            terminated=end if over else None,
        )
        if over:
            self._announce()
        return over

    async def _wait_before_restart(self, reason: str, message: str) -> None:
        if reason == "RunContainerError":
            self._row += 1
        wait_s = BACKOFF_S[min(max(self._row - 1, 0), len(BACKOFF_S) - 1)]
        self._set(waiting=reason, message=message)
        if reason == "RunContainerError":
            wait_s = max(
                wait_s, 1.0
            )  # a port that another container of the node holds: it is not free at once
        await asyncio.sleep(wait_s)
        self.generation += 1
        if self.facts.last is not None:
            self._set(restarts=self.facts.restarts + 1)

    def _set(self, **changes: object) -> None:
        self.facts = msgspec.structs.replace(self.facts, **changes)
        self._on_change()
