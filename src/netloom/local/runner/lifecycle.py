"""One pod on this node from its first sight to its end: sandbox, interface, containers, status, teardown.

In: the pod as the API has it, what the stand-ins say, the end of the sandbox. Out: kernel objects by way of others, status.
One task owns all of it. Not here: how each thing is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Sequence

import msgspec

from netloom.clock import rfc3339
from netloom.errors import NetloomError, NotFound
from netloom.kube.resources import PODS
from netloom.kube.status import Conflict
from netloom.linux.process import Completed
from netloom.local.runner import checks, podfiles, ports, sandbox
from netloom.local.runner.addresses import in_order
from netloom.local.runner.cni_client import Attachment, addresses_of
from netloom.local.runner.container import ContainerLife
from netloom.local.runner.ending import end_containers
from netloom.local.runner.grace import Grace
from netloom.local.runner.hooks import Hooks
from netloom.local.runner.interface import RETRY_S, attach, attachment_of, detach, endless, insist
from netloom.local.runner.probes import Check
from netloom.local.runner.records import SandboxRecord
from netloom.local.runner.reporter import Reporter
from netloom.local.runner.rootfs import PodView
from netloom.local.runner.runtime_config import runtime_config
from netloom.local.runner.sandbox import Sandbox, SandboxPlan
from netloom.local.runner.spec import Container, Pod, Probe
from netloom.local.runner.standins.feed import App, StandInPod, State
from netloom.local.runner.status import ContainerFacts, PodFacts, adopted
from netloom.local.runner.tools import Tools

log = logging.getLogger(__name__)

SLOW_S = 0.5
"""Seconds after which a pod that is still being made shows up as such."""


class PodLife:
    """A pod.

    Args:
        pod: as first seen.
        tools: of the node.
        former: a record that a runner before us left, and its sandbox if that still stands.
    """

    def __init__(
        self, pod: Pod, *, tools: Tools, former: tuple[SandboxRecord, Sandbox | None] | None = None
    ) -> None:
        self.pod = pod
        self.sandbox: Sandbox | None = None
        self.addresses: tuple[str, ...] = ()
        self._tools = tools
        self._former = former
        self._record: SandboxRecord | None = None
        self._containers: dict[str, ContainerLife] = {}
        self._restarts = {c.name: c.restart_count for c in pod.status.container_statuses}
        self._adopted: dict[str, ContainerFacts] = {}
        self._start_time = pod.status.start_time or rfc3339(tools.clock.wall())
        self._problem = ""
        self._ending = asyncio.Event()
        self._gone = asyncio.Event()
        self._grace: Grace | None = None
        self._reporter = Reporter(
            client=tools.client, clock=tools.clock, pod=lambda: self.pod, facts=self.facts
        )

    def update(self, pod: Pod | None) -> None:
        """The API has it like this now; None: it is gone from there."""
        if pod is None:
            self._gone.set()
            self._ending.set()
            return
        self.pod = pod
        if pod.is_terminating:
            self._ending.set()
            if self._grace is not None:
                self._grace.shorten(pod.grace_s)
        self._reporter.mark()

    def node_moved(self) -> None:
        """The node has other addresses."""
        if self._record is not None and self._record.host_network:
            self.addresses = self._tools.addresses.now
        self._reporter.mark()

    def hear(self, state: State) -> None:
        """The stand-in process says how a container fares."""
        if (container := self._containers.get(state.container)) is not None:
            container.hear(state)

    def standins_lost(self) -> None:
        """The stand-in process went away."""
        for container in self._containers.values():
            container.lost()

    def announce(self) -> None:
        """Tell the stand-ins what to listen on now: at the start, after restarts, when Services changed."""
        if self.sandbox is None or not self._containers:
            return
        listens = ports.listens(self.pod, self._tools.services(self.pod.metadata.namespace))
        apps = tuple(
            App(
                name,
                life.container.image,
                life.generation,
                listens.get(name, ()),
                life.notes,
                life.course,
            )
            for name, life in self._containers.items()
            if not life.is_over
        )
        meta = self.pod.metadata
        self._tools.standins.serve(
            StandInPod(
                self.pod.uid,
                meta.namespace,
                meta.name,
                self._tools.config.node_name,
                self.sandbox.netns_path,
                apps,
            )
        )

    def facts(self) -> PodFacts:
        """How it fares now, for its status."""
        return PodFacts(
            start_time=self._start_time,
            host_ips=self._tools.addresses.now,
            ips=self.addresses,
            has_sandbox=self.sandbox is not None,
            containers={name: life.facts for name, life in self._containers.items()},
            problem=self._problem,
        )

    async def run(self) -> None:
        """Live until the pod is gone from the API and nothing of it is left here."""
        if self.pod.is_terminating:
            self._ending.set()
        async with asyncio.TaskGroup() as group:
            reporting = group.create_task(self._reporter.run(), name=f"status {self.pod.key}")
            while not self._ending.is_set() or self._former is not None:
                if self.pod.is_over:
                    await self._ending.wait()
                    break
                await self._start()
                if self.sandbox is not None:
                    await self._live(self.sandbox)
                if not self._ending.is_set():
                    await self._teardown()
            reporting.cancel()
        self._take_former()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._report_end(), name=f"last status {self.pod.key}")
            group.create_task(self._teardown(), name=f"teardown {self.pod.key}")
        if not self._gone.is_set():
            await self._confirm_deletion()

    async def _live(self, sandbox: Sandbox) -> None:
        """Run the containers until the pod ends or its sandbox does."""
        self._containers = {c.name: self._container(c, sandbox) for c in self.pod.apps}
        # Its containers run in a moment, and then all of it is said at once: each status costs every reader of slices a turn.
        slow = asyncio.get_running_loop().call_later(SLOW_S, self._reporter.mark)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(life.run(), name=f"container {name}")
                for name, life in self._containers.items()
            ]
            ended = group.create_task(sandbox.ended(), name="sandbox")
            ending = group.create_task(self._ending.wait(), name="ending")
            await asyncio.wait((ended, ending), return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                self._tools.events.warn(
                    self.pod, "SandboxChanged", "the pod's sandbox ended and is made anew"
                )
            elif not self._gone.is_set():
                await self._end_containers(ended)
            slow.cancel()
            for task in (*tasks, ended, ending):
                task.cancel()

    async def _end_containers(self, sandbox_ended: asyncio.Task[None]) -> None:
        """Let them end in their own way until the grace period, the pod's place in the API or its sandbox is over."""
        self._grace = Grace(self.pod.grace_s)
        try:
            async with asyncio.TaskGroup() as group:
                gone = group.create_task(self._gone.wait(), name="gone")
                ends = group.create_task(
                    end_containers(tuple(self._containers.values()), self._grace), name="end"
                )
                await asyncio.wait((ends, gone, sandbox_ended), return_when=asyncio.FIRST_COMPLETED)
                gone.cancel()
                ends.cancel()
        finally:
            self._grace.close()

    def _container(self, container: Container, sandbox: Sandbox) -> ContainerLife:
        async def run(argv: tuple[str, ...], timeout_s: float) -> Completed:
            return await sandbox.run(argv, timeout_s=timeout_s)

        def check_of(probe: Probe) -> Check | None:
            return checks.check_of(probe, container, address, run)

        address = next(iter(self.addresses), "")

        def warn(reason: str, message: str) -> None:
            self._tools.events.warn(self.pod, reason, message, container=container.name)

        def failed(kind: str, detail: str) -> None:
            warn("Unhealthy", f"{kind} probe of {container.name} failed: {detail}")

        return ContainerLife(
            pod=self.pod,
            container=container,
            restarts=self._restarts.get(container.name, 0),
            clock=self._tools.clock,
            check_of=check_of,
            hooks=Hooks(container=container, address=address, run=run, on_failure=warn),
            announce=self.announce,
            on_change=self._reporter.mark,
            on_failure=failed,
            former=self._adopted.pop(container.name, None),
        )

    async def _start(self) -> None:
        """Get a sandbox with its interface, or return without one where the pod is to end."""
        if self._former is not None and await self._adopt():
            return
        for wait_s in endless(RETRY_S):
            async with self._tools.starts:
                if self._ending.is_set() or await self._try_to_make():
                    return
            if await self._ends_within(wait_s):
                return

    async def _try_to_make(self) -> bool:
        """Make the sandbox; where that takes long, the pod shows up as being made. False where it failed."""
        slow = asyncio.get_running_loop().call_later(SLOW_S, self._reporter.mark)
        try:
            await self._make()
        except NetloomError as error:
            self._problem = str(error)
            self._reporter.mark()
            self._tools.events.warn(self.pod, "FailedCreatePodSandBox", str(error))
            log.warning("sandbox of pod %s: %s", self.pod.key, error)
            return False
        finally:
            slow.cancel()
        return True

    async def _make(self) -> None:
        config, pod = self._tools.config, self.pod
        known = self._tools.addresses.now if pod.spec.host_network else ()
        view = PodView(
            podfiles.hostname(pod, config.node_name),
            podfiles.resolv_conf(pod, self._tools.dns),
            self._hosts(known),
            config.hidden_dirs,
        )
        record = SandboxRecord(
            uid=pod.uid,
            namespace=pod.metadata.namespace,
            name=pod.metadata.name,
            container_id=secrets.token_hex(32),
            host_network=pod.spec.host_network,
            runtime_config={} if pod.spec.host_network else runtime_config(pod),
        )
        async with contextlib.AsyncExitStack() as undo:
            made = await sandbox.make(SandboxPlan(view, pod.spec.host_network))
            undo.push_async_callback(made.destroy)
            record = msgspec.structs.replace(record, pid=made.pid, start_ticks=made.start_ticks)
            self._tools.records.put(record)
            undo.callback(self._tools.records.delete, record.container_id)
            if not pod.spec.host_network:
                attachment = attachment_of(record, made.netns_path)
                undo.push_async_callback(self._detach_once, attachment)
                result = await attach(
                    self._tools.cni, attachment, on_wait=self._say_problem, give_up=self._ending.is_set
                )
                known = in_order(result.addresses, self._tools.addresses.now)
                record = msgspec.structs.replace(record, cni_result=result.raw)
                self._tools.records.put(record)
                await made.write_hosts(self._hosts(known))
            undo.pop_all()
        self.sandbox, self._record, self.addresses, self._problem = made, record, known, ""

    def _hosts(self, addresses: Sequence[str]) -> str:
        config = self._tools.config
        return podfiles.hosts(
            self.pod, addresses=addresses, node_name=config.node_name, domain=config.cluster_domain
        )

    def _say_problem(self, problem: str) -> None:
        self._problem = problem

    async def _detach_once(self, attachment: Attachment) -> None:
        """CNI DEL after a failed ADD. Its failure is told, and must not hide the first one."""
        try:
            await self._tools.cni.delete(attachment, "")
        except NetloomError as error:
            log.warning("pod %s: %s", self.pod.key, error)

    async def _adopt(self) -> bool:
        """Go on with the sandbox that a runner before us left; otherwise clean up after it."""
        self._take_former()
        if self.sandbox is not None and self._record is not None and self._is_whole(self._record):
            self._adopted = {
                old.name: facts
                for old in self.pod.status.container_statuses
                if (facts := adopted(old)) is not None
            }
            return True
        if self.pod.status.phase == "Running":
            self._restarts = {name: count + 1 for name, count in self._restarts.items()}
        await self._teardown()
        return False

    def _is_whole(self, record: SandboxRecord) -> bool:
        return bool(self.addresses) and (record.host_network or bool(record.cni_result))

    def _take_former(self) -> None:
        if self._former is None:
            return
        self._record, self.sandbox = self._former
        self._former = None
        if self._record.host_network:
            self.addresses = self._tools.addresses.now
        elif self._record.cni_result:
            self.addresses = in_order(addresses_of(self._record.cni_result), self._tools.addresses.now)

    async def _report_end(self) -> None:
        """The last status: containers that have ended. The object goes next, so that it is said once or not at all."""
        if self._containers and not self._gone.is_set():
            with contextlib.suppress(NetloomError):
                await self._reporter.send()

    async def _teardown(self) -> None:
        """Stand-ins, interface, namespaces, record, in this order; each step bears that its object is gone."""
        self._tools.standins.drop(self.pod.uid)
        if not self._ending.is_set():
            self._restarts |= {name: life.facts.restarts + 1 for name, life in self._containers.items()}
            self._containers = {}
        if self._record is not None:
            netns = self.sandbox.netns_path if self.sandbox is not None else ""
            await detach(self._tools.cni, self._record, netns)
        if self.sandbox is not None:
            await self.sandbox.destroy()
        if self._record is not None:
            self._tools.records.delete(self._record.container_id)
        self.sandbox, self._record, self.addresses = None, None, ()

    async def _confirm_deletion(self) -> None:
        """Let the API delete the object: nothing of the pod is left here."""
        await insist(self._delete_object, what=f"deletion of pod {self.pod.key}")

    async def _delete_object(self) -> None:
        if self._gone.is_set():
            return
        # another pod may have the name by now (Conflict)
        with contextlib.suppress(NotFound, Conflict):
            await self._tools.client.delete(PODS, self.pod.key, grace_s=0, preconditions_uid=self.pod.uid)

    async def _ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        return self._ending.is_set()
