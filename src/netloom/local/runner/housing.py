"""Where the containers of one pod live: its volumes, its sandbox with an interface, and what is recorded of them. Made, taken up, left.

In: the pod. Out: kernel objects by way of others. One task at a time calls it. Not here: when it is made, and the containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Sequence

import msgspec

from netloom.errors import NetloomError
from netloom.local.runner import podfiles, sandbox
from netloom.local.runner.addresses import in_order
from netloom.local.runner.cni_client import Attachment, addresses_of
from netloom.local.runner.contents import Contents
from netloom.local.runner.interface import RETRY_S, attach, attachment_of, detach, endless
from netloom.local.runner.records import SandboxRecord
from netloom.local.runner.rootfs import PodView
from netloom.local.runner.runtime_config import runtime_config
from netloom.local.runner.sandbox import Sandbox, SandboxPlan
from netloom.local.runner.spec import Pod
from netloom.local.runner.tools import Tools
from netloom.local.runner.volumes.payload import MountFailed

log = logging.getLogger(__name__)

SLOW_S = 0.5
"""Seconds after which a pod that is still being made shows up as such."""
Former = tuple[SandboxRecord, Sandbox | None]
"""A record that a runner before us left, and its sandbox if that still stands."""


class Housing:
    """The place of one pod.

    Args:
        tools: of the node.
        pod: gives the pod as it is known now.
        ending: set when the pod is to end.
        on_change: called when there is news of it.
        former: what a runner before us left.
    """

    def __init__(
        self,
        *,
        tools: Tools,
        pod: Callable[[], Pod],
        ending: asyncio.Event,
        on_change: Callable[[], None],
        former: Former | None,
    ) -> None:
        self.sandbox: Sandbox | None = None
        self.addresses: tuple[str, ...] = ()
        self.problem = ""
        self.contents = Contents(tools=tools, pod=pod, addresses=lambda: self.addresses)
        self._tools = tools
        self._pod = pod
        self._ending = ending
        self._on_change = on_change
        self._former = former
        self._record: SandboxRecord | None = None
        self._nudged = asyncio.Event()

    @property
    def has_former(self) -> bool:
        """What a runner before us left has not been looked at."""
        return self._former is not None

    def nudge(self) -> None:
        """What was missing may be there now."""
        self._nudged.set()

    def node_moved(self) -> None:
        """The node has other addresses."""
        if self._record is not None and self._record.host_network:
            self.addresses = self._tools.addresses.now

    async def move_in(self) -> None:
        """Get volumes and a sandbox with its interface, or return without where the pod is to end."""
        for wait_s in endless(RETRY_S):
            async with self._tools.starts:
                if self._ending.is_set() or await self._try_to_make():
                    return
            if await self._ends_within(wait_s):
                return

    def adopt(self) -> bool:
        """Go on with the sandbox that a runner before us left; False where it does not stand, or not whole."""
        self.take_former()
        record = self._record
        if self.sandbox is None or record is None or not self.addresses:
            return False
        return record.host_network or bool(record.cni_result)

    def take_former(self) -> None:
        """What a runner before us left is ours to remove."""
        if self._former is None:
            return
        self._record, self.sandbox = self._former
        self._former = None
        if self._record.host_network:
            self.addresses = self._tools.addresses.now
        elif self._record.cni_result:
            self.addresses = in_order(addresses_of(self._record.cni_result), self._tools.addresses.now)

    async def leave(self) -> None:
        """Interface, namespaces, record, in this order; each step bears that its object is gone."""
        self.contents.close_views()
        if self._record is not None:
            netns = self.sandbox.netns_path if self.sandbox is not None else ""
            await detach(self._tools.cni, self._record, netns)
        if self.sandbox is not None:
            await self.sandbox.destroy()
        if self._record is not None:
            self._tools.records.delete(self._record.container_id)
        self.sandbox, self._record = None, None

    async def _try_to_make(self) -> bool:
        """Make it; where that takes long, the pod shows up as being made. False where it failed."""
        slow = asyncio.get_running_loop().call_later(SLOW_S, self._on_change)
        reason = "FailedCreatePodSandBox"
        self._nudged.clear()
        try:
            self.contents.follow()
            await self.contents.volumes.prepare()
            await self._make()
        except NetloomError as error:
            if isinstance(error, MountFailed):
                reason = "FailedMount"
            level = logging.DEBUG if self.problem == str(error) else logging.WARNING
            log.log(level, "sandbox of pod %s: %s", self._pod().key, error)
            self.problem = str(error)
            self._on_change()
            self._tools.events.warn(self._pod(), reason, str(error))
            return False
        finally:
            slow.cancel()
        return True

    async def _make(self) -> None:
        config, pod = self._tools.config, self._pod()
        known = self._tools.addresses.now if pod.spec.host_network else ()
        view = PodView(
            podfiles.kernel_hostname(pod, config.node_name, config.cluster_domain),
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
        self.sandbox, self._record, self.addresses, self.problem = made, record, known, ""

    def _hosts(self, addresses: Sequence[str]) -> str:
        config = self._tools.config
        return podfiles.hosts(
            self._pod(), addresses=addresses, node_name=config.node_name, domain=config.cluster_domain
        )

    def _say_problem(self, problem: str) -> None:
        self.problem = problem

    async def _detach_once(self, attachment: Attachment) -> None:
        """CNI DEL after a failed ADD. Its failure is told, and must not hide the first one."""
        try:
            await self._tools.cni.delete(attachment, "")
        except NetloomError as error:
            log.warning("pod %s: %s", self._pod().key, error)

    async def _ends_within(self, seconds: float) -> bool:
        """Wait so long, or until there is something new; whether the pod is to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                waits = [group.create_task(e.wait()) for e in (self._ending, self._nudged)]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for task in waits:
                    task.cancel()
        return self._ending.is_set()
