"""One container of one pod, through all its lives: announced, listening, probed, restarted. Out: its facts, kept current.

A container is a stand-in (``standins``); what "running" means is that its sockets listen. Not here: the sandbox around it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

import msgspec

from netloom.clock import Clock
from netloom.errors import InvalidObject
from netloom.local.runner.images import standin_image_id
from netloom.local.runner.probes import Check, Failed, ProbePlan, Probing
from netloom.local.runner.spec import Container, Pod, Probe
from netloom.local.runner.standins.feed import State
from netloom.local.runner.status import ContainerFacts, Terminated

BACKOFF_S = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
"""Seconds before a restart, by how many there were in a row (CrashLoopBackOff of a kubelet)."""
STEADY_S = 600.0
"""A container that ran this long starts the row anew."""
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
        announce: Callable[[], None],
        on_change: Callable[[], None],
        on_failure: Callable[[str, str], None],
        former: ContainerFacts | None = None,
    ) -> None:
        self.container = container
        self.generation = restarts
        self.facts = former or ContainerFacts(restarts=restarts)
        self._pod = pod
        self._clock = clock
        self._check_of = check_of
        self._announce = announce
        self._on_change = on_change
        self._on_failure = on_failure
        self._heard: asyncio.Event = asyncio.Event()
        self._problem = ""
        self._listening = self._probe_ready = self.facts.ready
        self._row = 0

    @property
    def is_over(self) -> bool:
        """It will not run again."""
        return self.facts.terminated is not None

    def hear(self, state: State) -> None:
        """The stand-in process says how it fares."""
        if state.generation != self.generation:
            return
        self._listening = not state.problem
        self._problem = state.problem
        self._heard.set()
        self._set_ready()

    def lost(self) -> None:
        """The stand-in process went away: nothing listens until it is back."""
        self._listening = False
        self._set_ready()

    async def run(self) -> None:
        """Live until cancelled, or until it is over (``restartPolicy``)."""
        if not await self._image_is_usable():
            return
        while True:
            if not await self._start():
                await self._wait_before_restart("RunContainerError", self._problem)
                continue
            failed = await self._probe()
            if self._end(failed):
                return
            await self._wait_before_restart(
                "CrashLoopBackOff", f"{failed.kind} probe failed: {failed.detail}"
            )

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
        if self.facts.running_since is not None:
            return True
        started = self._check_plan(self.container.startup_probe) is None
        self._set(id=secrets.token_hex(32), running_since=self._clock.wall(), started=started, message="")
        return True

    async def _probe(self) -> Failed:
        probing = Probing(
            startup=None if self.facts.started else self._check_plan(self.container.startup_probe),
            readiness=self._check_plan(self.container.readiness_probe),
            liveness=self._check_plan(self.container.liveness_probe),
            on_started=lambda: self._set(started=True),
            on_ready=self._probed,
            on_failure=self._on_failure,
            ready=self._probe_ready,
        )
        return await probing.run()

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

    def _end(self, failed: Failed) -> bool:
        """Its life ended; True where there will be no other."""
        now = self._clock.wall()
        since = self.facts.running_since or now
        end = Terminated(_KILLED, "Error", since, now, f"{failed.kind} probe failed: {failed.detail}")
        self._row = 0 if now - since >= STEADY_S else self._row + 1
        self._probe_ready = False
        over = self._pod.spec.restart_policy == "Never" and self.container.restart_policy != "Always"
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
