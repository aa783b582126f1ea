"""Nodes without a kernel: pods become running, ready and gone as soon as the API says so. For tests of control loops.

In: an open client; out: Node objects and pod statuses, as a kubelet writes them. Not here: networks, containers, probes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from netloom.clock import Clock, rfc3339
from netloom.errors import AlreadyExists, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import NODES, PODS
from netloom.kube.status import Conflict
from netloom.kube.watch import Reflector
from netloom.local.controllers.objects import Pod
from netloom.units import ObjectKey

_STRATEGIC = "application/strategic-merge-patch+json"


class HollowNodes:
    """Some nodes and the pods that are bound to them.

    Name prefixes in ``unready`` and ``holding`` keep pods from becoming ready and from ending; :meth:`look` makes a changed
    mind count.
    """

    def __init__(self, client: KubeClient, names: Sequence[str], clock: Clock) -> None:
        self.unready: set[str] = set()
        """Pods whose name begins with one of these do not become ready."""
        self.holding: set[str] = set()
        """Pods whose name begins with one of these do not end."""
        self.names = tuple(names)
        self._client = client
        self._clock = clock
        self._addresses = iter(f"10.1.{i // 250}.{i % 250 + 1}" for i in range(60000))
        self._given: dict[str, str] = {}
        self._todo: asyncio.Queue[ObjectKey] = asyncio.Queue()
        self._reflector = Reflector(client, PODS, Pod, on_change=lambda key, _: self._todo.put_nowait(key))

    async def register(self) -> None:
        """Create the nodes, Ready."""
        for name in self.names:
            body = {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            }
            with contextlib.suppress(AlreadyExists):
                await self._client.create(NODES, body)
            await self.set_ready(name, ready=True)

    async def set_ready(self, name: str, *, ready: bool) -> None:
        """Write the node's Ready condition."""
        condition = {
            "type": "Ready",
            "status": "True" if ready else "False",
            "reason": "Hollow",
            "message": "",
            "lastHeartbeatTime": rfc3339(self._clock.wall()),
            "lastTransitionTime": rfc3339(self._clock.wall()),
        }
        await self._client.patch(
            NODES,
            ObjectKey("", name),
            {"status": {"conditions": [condition]}},
            content_type=_STRATEGIC,
            subresource="status",
        )

    def look(self) -> None:
        """Look at all pods again."""
        for key in self._reflector.items:
            self._todo.put_nowait(key)

    async def settled(self, version: int) -> None:
        """Wait until everything up to this resourceVersion has been seen and worked on."""
        await self._reflector.reached(version)
        await self._todo.join()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reflector.run())
            while True:
                await self._sync(await self._todo.get())
                self._todo.task_done()

    async def _sync(self, key: ObjectKey) -> None:
        pod = self._reflector.items.get(key)
        if pod is None or pod.spec.node_name not in self.names:
            return
        with contextlib.suppress(NotFound, Conflict):
            if pod.is_terminating:
                if not _begins(key.name, self.holding):
                    await self._client.delete(PODS, key, grace_s=0, preconditions_uid=pod.uid)
                return
            ready = not _begins(key.name, self.unready)
            if pod.is_finished:
                return
            if pod.status.phase == "Running" and pod.is_ready == ready:
                return
            await self._client.patch(
                PODS, key, self._running(pod, ready=ready), content_type=_STRATEGIC, subresource="status"
            )

    def _running(self, pod: Pod, *, ready: bool) -> dict[str, object]:
        address = self._given.setdefault(pod.uid, "") or next(self._addresses)
        self._given[pod.uid] = address
        since = rfc3339(self._clock.wall())
        conditions = [
            {"type": t, "status": "True" if ready else "False", "lastTransitionTime": since}
            for t in ("Ready", "ContainersReady")
        ]
        return {
            "metadata": {"uid": pod.uid},
            "status": {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "startTime": since,
                "conditions": conditions,
            },
        }


def _begins(name: str, prefixes: set[str]) -> bool:
    return any(name.startswith(p) for p in prefixes)
