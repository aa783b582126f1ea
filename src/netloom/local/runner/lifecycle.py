"""One pod on this node from its first sight to its end: a place to live, containers, status, removal.

In: the pod as the API has it, what the stand-ins say, the end of the sandbox. Out: what others do when told, status. One task owns
all of it. Not here: how each thing is done (``housing``, ``crew``, ``reporter``).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Mapping

from netloom.clock import rfc3339
from netloom.errors import NetloomError, NotFound
from netloom.kube.resources import PODS
from netloom.kube.status import Conflict
from netloom.local.runner import ports
from netloom.local.runner.container import ContainerLife
from netloom.local.runner.crew import Crew
from netloom.local.runner.grace import Grace
from netloom.local.runner.housing import SLOW_S, Former, Housing
from netloom.local.runner.interface import insist
from netloom.local.runner.reporter import Reporter
from netloom.local.runner.running import Running
from netloom.local.runner.sandbox import Sandbox
from netloom.local.runner.spec import Pod
from netloom.local.runner.standins.feed import StandInPod, State
from netloom.local.runner.status import ContainerFacts, PodFacts, adopted
from netloom.local.runner.tools import Tools

_DEADLINE = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")


class PodLife:
    """A pod.

    Args:
        pod: as first seen.
        tools: of the node.
        former: a record that a runner before us left, and its sandbox if that still stands.
    """

    def __init__(self, pod: Pod, *, tools: Tools, former: Former | None = None) -> None:
        self.pod = pod
        self.crew: Crew | None = None
        self._tools = tools
        self._ending = asyncio.Event()
        self._gone = asyncio.Event()
        self._limited = asyncio.Event()
        self._restarts = {c.name: c.restart_count for c in pod.status.of_containers}
        self._former_facts: dict[str, ContainerFacts] = {}
        self._found: Mapping[str, Running] = {}
        self._start_time = pod.status.start_time or rfc3339(tools.clock.wall())
        self._failed: tuple[str, str] | None = None
        self._over = False
        self._grace: Grace | None = None
        self._reporter = Reporter(
            client=tools.client, clock=tools.clock, pod=lambda: self.pod, facts=self.facts
        )
        self.housing = Housing(
            tools=tools,
            pod=lambda: self.pod,
            ending=self._ending,
            on_change=self._reporter.mark,
            former=former,
        )

    @property
    def sandbox(self) -> Sandbox | None:
        """Its sandbox, while it stands."""
        return self.housing.sandbox

    @property
    def addresses(self) -> tuple[str, ...]:
        """The pod's."""
        return self.housing.addresses

    def life(self, name: str) -> ContainerLife | None:
        """The life of one of its containers."""
        return self.crew.lives.get(name) if self.crew is not None else None

    def update(self, pod: Pod | None) -> None:
        """The API has it like this now; None: it is gone from there."""
        if pod is None:
            self._gone.set()
            self._ending.set()
            return
        changed = pod.metadata.labels != self.pod.metadata.labels
        changed |= pod.metadata.annotations != self.pod.metadata.annotations
        added = pod.spec.ephemeral_containers != self.pod.spec.ephemeral_containers
        self.pod = pod
        if pod.spec.active_deadline_seconds is not None:
            self._limited.set()
        if pod.is_terminating:
            self._ending.set()
            if self._grace is not None:
                self._grace.shorten(pod.grace_s)
        if changed:
            self.housing.contents.volumes.mark()
        if added and self.crew is not None:
            self.housing.contents.follow()
            self.crew.add_ephemeral()
        if self.crew is not None or not pod.is_over:
            self._reporter.mark()

    def refreshed(self) -> None:
        """A ConfigMap or Secret that the pod refers to has changed."""
        self.housing.contents.volumes.mark()
        self.housing.nudge()
        if self.crew is not None:
            self.crew.nudge()

    def node_moved(self) -> None:
        """The node has other addresses."""
        self.housing.node_moved()
        self._reporter.mark()

    def hear(self, state: State) -> None:
        """The stand-in process says how a container fares."""
        if (container := self.life(state.container)) is not None:
            container.hear(state)

    def standins_lost(self) -> None:
        """The stand-in process went away."""
        for container in self.crew.lives.values() if self.crew is not None else ():
            if container.is_standin:
                container.lost()

    def announce(self) -> None:
        """Tell the stand-ins what to listen on now: at the start, after restarts, when Services changed."""
        if self.sandbox is None or self.crew is None:
            return
        listens = ports.listens(self.pod, self._tools.services(self.pod.metadata.namespace))
        meta, node = self.pod.metadata, self._tools.config.node_name
        apps = self.crew.apps(listens)
        if apps or any(life.is_standin for life in self.crew.lives.values()):
            self._tools.standins.serve(
                StandInPod(self.pod.uid, meta.namespace, meta.name, node, self.sandbox.netns_path, apps)
            )

    def facts(self) -> PodFacts:
        """How it fares now, for its status."""
        lives = self.crew.lives if self.crew is not None else {}
        return PodFacts(
            start_time=self._start_time,
            host_ips=self._tools.addresses.now,
            ips=self.addresses,
            has_sandbox=self.sandbox is not None,
            containers={name: life.facts for name, life in lives.items()},
            problem=self.housing.problem,
            failed=self._failed,
        )

    async def run(self) -> None:
        """Live until the pod is gone from the API and nothing of it is left here."""
        if self.pod.is_terminating:
            self._ending.set()
        if self.pod.spec.active_deadline_seconds is not None:
            self._limited.set()
        async with asyncio.TaskGroup() as group:
            reporting = group.create_task(self._reporter.run(), name=f"status {self.pod.key}")
            while not self._ending.is_set() or self.housing.has_former:
                if self.pod.is_over or self._over:
                    await self._ending.wait()
                    break
                if not (self.housing.has_former and await self._adopt()):
                    await self.housing.move_in()
                if self.housing.sandbox is not None:
                    await self._live(self.housing.sandbox)
                if not self._ending.is_set():
                    await self._leave()
            reporting.cancel()
        self.housing.take_former()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._report_end(), name=f"last status {self.pod.key}")
            group.create_task(self._remove(), name=f"teardown {self.pod.key}")
        if not self._gone.is_set():
            await self._confirm_deletion()

    async def clear(self) -> None:
        """Remove what is left here of a life that failed."""
        self.crew = None
        await self._remove()

    async def rest(self, seconds: float) -> None:
        """Wait so long, or until the pod is to end where that was not so before."""
        if self._ending.is_set():
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    def anew(self) -> PodLife:
        """Another life of the same pod."""
        life = PodLife(self.pod, tools=self._tools)
        if self._gone.is_set():
            life.update(None)
        return life

    async def _live(self, sandbox: Sandbox) -> None:
        """Run the containers until the pod ends, its sandbox does, or none of them will run again."""
        self.housing.contents.follow()
        self.crew = crew = Crew(
            pod=lambda: self.pod,
            tools=self._tools,
            housing=self.housing,
            sandbox=sandbox,
            restarts=self._restarts,
            former=self._former_facts,
            found=self._found,
            announce=self.announce,
            on_change=self._reporter.mark,
        )
        self._former_facts, self._found = {}, {}
        # Its containers run in a moment, and then all of it is said at once: each status costs every reader of slices a turn.
        slow = asyncio.get_running_loop().call_later(SLOW_S, self._reporter.mark)
        async with asyncio.TaskGroup() as group:
            crewing = group.create_task(crew.run(), name=f"containers {self.pod.key}")
            ended = group.create_task(sandbox.ended(), name="sandbox")
            others = [
                group.create_task(self._ending.wait(), name="ending"),
                group.create_task(self._deadline(), name="deadline"),
            ]
            volumes = group.create_task(self.housing.contents.volumes.run(), name="volumes")
            await asyncio.wait((crewing, ended, *others), return_when=asyncio.FIRST_COMPLETED)
            if self._ending.is_set() or self._failed is not None:
                if not self._gone.is_set():
                    await self._end_containers(crew, ended)
            elif not crewing.done():
                self._tools.events.warn(
                    self.pod, "SandboxChanged", "the pod's sandbox ended and is made anew"
                )
            self._over = crewing.done() or self._failed is not None
            slow.cancel()
            for task in (crewing, ended, volumes, *others):
                task.cancel()

    async def _deadline(self) -> None:
        """Wait until the pod has been active for too long (``activeDeadlineSeconds``)."""
        await self._limited.wait()
        limit = self.pod.spec.active_deadline_seconds or 0
        began = dt.datetime.fromisoformat(self._start_time).timestamp()
        await asyncio.sleep(max(0.0, began + limit - self._tools.clock.wall()))
        self._failed = _DEADLINE

    async def _end_containers(self, crew: Crew, sandbox_ended: asyncio.Task[None]) -> None:
        """Let them end in their own way until the grace period, the pod's place in the API or its sandbox is over."""
        self._grace = Grace(self.pod.grace_s)
        try:
            async with asyncio.TaskGroup() as group:
                gone = group.create_task(self._gone.wait(), name="gone")
                ends = group.create_task(crew.end(self._grace), name="end")
                await asyncio.wait((ends, gone, sandbox_ended), return_when=asyncio.FIRST_COMPLETED)
                gone.cancel()
                ends.cancel()
        finally:
            self._grace.close()

    async def _adopt(self) -> bool:
        """Go on with what a runner before us left; otherwise clean up after it."""
        whole = self.housing.adopt()
        self._found = await self._tools.runtime.adopt(self.pod.uid)
        if whole:
            self.housing.contents.volumes.take_up()
            facts = {old.name: adopted(old) for old in self.pod.status.of_containers}
            self._former_facts = {name: fact for name, fact in facts.items() if fact is not None}
            return True
        if self.pod.status.phase == "Running":
            self._restarts = {name: count + 1 for name, count in self._restarts.items()}
        await self._leave()
        return False

    async def _report_end(self) -> None:
        """The last status: containers that have ended. The object goes next, so that it is said once or not at all."""
        if self.crew is not None and not self._gone.is_set():
            with contextlib.suppress(NetloomError):
                await self._reporter.send()

    async def _leave(self) -> None:
        """The sandbox goes, the pod stays: to be begun anew, or as one that is over, whose logs are kept."""
        if self._over:
            self.announce()
        else:
            self._tools.standins.drop(self.pod.uid)
        running = [life.running for life in self.crew.lives.values()] if self.crew is not None else []
        for program in (*running, *self._found.values()):
            if program is not None:
                await program.remove()
        self._found = {}
        await self.housing.leave()
        if self.crew is None:
            return
        if not self._over:
            self._restarts |= {name: life.facts.restarts + 1 for name, life in self.crew.lives.items()}
            self.housing.addresses = ()
            self.crew = None
        self._reporter.mark()

    async def _remove(self) -> None:
        """Everything goes; each step bears that its object is gone."""
        self._tools.standins.drop(self.pod.uid)
        await self._tools.runtime.forget(self.pod.uid)
        await self.housing.leave()
        await self.housing.contents.remove()

    async def _confirm_deletion(self) -> None:
        """Let the API delete the object: nothing of the pod is left here."""
        await insist(self._delete_object, what=f"deletion of pod {self.pod.key}")

    async def _delete_object(self) -> None:
        if self._gone.is_set():
            return
        # another pod may have the name by now (Conflict)
        with contextlib.suppress(NotFound, Conflict):
            await self._tools.client.delete(PODS, self.pod.key, grace_s=0, preconditions_uid=self.pod.uid)
