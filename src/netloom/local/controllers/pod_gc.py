"""Pods that nobody else would ever remove. In: Pods, Nodes; out: deletions without grace.

Those bound to a node that is no more; those that were to end on a node that is out of service; those that were to end and never had a
node; and the oldest of those that have ended, where there are too many. Source: kube-controller-manager's pod garbage collector.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping

from netloom.clock import Clock, rfc3339
from netloom.errors import NotFound
from netloom.kube.resources import NODES, PODS
from netloom.kube.status import Conflict
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.node_health import OUT_OF_SERVICE
from netloom.local.controllers.objects import Node, Pod
from netloom.local.controllers.replicas import seconds_of
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

MOST_FINISHED = 12_500
"""Pods that have ended and may stay (kube-controller-manager ``--terminated-pod-gc-threshold``)."""
QUARANTINE_S = 5.0
"""For so long a node must be missing: its pods may have been seen before it was."""
_ALL = ObjectKey("", "all")
_STRATEGIC = "application/strategic-merge-patch+json"


def too_many(pods: Iterable[Pod], most: int) -> list[Pod]:
    """The oldest pods that have ended, beyond so many."""
    ended = sorted(
        (p for p in pods if p.is_finished),
        key=lambda p: (seconds_of(p.metadata.creation_timestamp), p.metadata.name),
    )
    return ended[: max(0, len(ended) - most)]


def never_began(pod: Pod) -> bool:
    """It is to end, and no node has it: nobody else would say that it has ended."""
    return pod.is_terminating and not pod.spec.node_name


def is_out_of_service(pod: Pod, nodes: Mapping[ObjectKey, Node]) -> bool:
    """It is to end, on a node that is not ready and of which somebody said that it is out of service."""
    node = nodes.get(ObjectKey("", pod.spec.node_name))
    return (
        pod.is_terminating
        and node is not None
        and not node.is_ready
        and any(t.key == OUT_OF_SERVICE for t in node.spec.taints)
    )


class PodGcLoop:
    """Removes such pods; one turn, for all of them, is :meth:`sync`."""

    def __init__(
        self,
        informers: Informers,
        clock: Clock,
        *,
        most_finished: int = MOST_FINISHED,
        quarantine_s: float = QUARANTINE_S,
    ) -> None:
        self._client = informers.client
        self._clock = clock
        self._most_finished = most_finished
        self._quarantine_s = quarantine_s
        self._nodes = informers.of(NODES, Node)
        self._pods = informers.of(PODS, Pod)
        self._pods_on = self._pods.index(lambda p: (p.spec.node_name,))
        self._missing: dict[str, float] = {}
        self._finished = 0
        self.queue: WorkQueue[ObjectKey] = WorkQueue("pod-gc", self.sync, rest_s=0.1)
        self._nodes.on_change(self._node_changed)
        self._pods.on_change(self._pod_changed)

    async def sync(self, _: ObjectKey) -> float | None:
        """Look at all pods once; seconds until a node has been missing for long enough."""
        pods = list(self._pods.items.values())
        gone, wait_s = self._gone_nodes()
        for pod in pods:
            if pod.spec.node_name in gone:
                await self._remove(pod, "PodGC: node no longer exists")
            elif never_began(pod):
                await self._remove(pod, "")
            elif is_out_of_service(pod, self._nodes.items):
                await self._remove(pod, "PodGC: node is out of service")
        for pod in too_many(pods, self._most_finished):
            await self._remove(pod, "")
        return wait_s

    def _gone_nodes(self) -> tuple[set[str], float | None]:
        """Nodes that pods name and that have been missing for long enough; seconds until the next one has."""
        now = self._clock.monotonic()
        named = {
            str(name)
            for name in self._pods_on
            if name != "" and ObjectKey("", str(name)) not in self._nodes.items
        }
        self._missing = {name: self._missing.get(name, now) for name in named}
        left = {name: since + self._quarantine_s - now for name, since in self._missing.items()}
        waits = [wait for wait in left.values() if wait > 0]
        return {name for name, wait in left.items() if wait <= 0}, min(waits, default=None)

    async def _remove(self, pod: Pod, why: str) -> None:
        with contextlib.suppress(NotFound, Conflict):
            if why and not pod.is_finished:
                await self._client.patch(
                    PODS, pod.key, self._failed(pod, why), content_type=_STRATEGIC, subresource="status"
                )
            await self._client.delete(PODS, pod.key, preconditions_uid=pod.uid, grace_s=0)
        await asyncio.sleep(0)

    def _failed(self, pod: Pod, why: str) -> dict[str, object]:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByPodGC",
            "message": why,
            "lastTransitionTime": rfc3339(self._clock.wall()),
        }
        return {"metadata": {"uid": pod.uid}, "status": {"phase": "Failed", "conditions": [condition]}}

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None or (old is not None and old.spec.taints != new.spec.taints):
            self.queue.mark(_ALL)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        was, now = (p is not None and p.is_finished for p in (old, new))
        self._finished += now - was
        if new is None:
            return
        is_homeless = new.spec.node_name and ObjectKey("", new.spec.node_name) not in self._nodes.items
        is_doomed = never_began(new) or is_out_of_service(new, self._nodes.items)
        if is_homeless or is_doomed or self._finished > self._most_finished:
            self.queue.mark(_ALL)
