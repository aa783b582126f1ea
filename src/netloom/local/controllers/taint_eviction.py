"""Pods that must leave their node. In: Nodes with taints of effect NoExecute, Pods with tolerations; out: deletions, when it is time.

A pod goes at once where it does not tolerate a taint, and after ``tolerationSeconds`` where it tolerates it for a while, counted from when the
taint was added. What has ended by itself may stay. Source: core/v1 Toleration, and kube-controller-manager's taint manager.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from netloom.clock import Clock, rfc3339
from netloom.errors import NotFound
from netloom.kube.events import EventRecorder
from netloom.kube.resources import NODES, PODS
from netloom.kube.status import Conflict
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Node, Pod
from netloom.local.controllers.placement import NO_EXECUTE, Taint, Toleration
from netloom.local.controllers.replicas import seconds_of
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

_STRATEGIC = "application/strategic-merge-patch+json"


def due_in(
    taints: Iterable[Taint], tolerations: Iterable[Toleration], now: float, seen: float
) -> float | None:
    """Seconds until the pod has to go, 0 if that is now; None where it may stay for ever.

    Args:
        taints: of its node; those of other effects than NoExecute do not count.
        tolerations: of the pod.
        now: seconds since the epoch.
        seen: since when the pod has been waited for, which counts for taints that do not say when they were added.
    """
    tolerations = tuple(tolerations)
    waits = []
    for taint in taints:
        if taint.effect != NO_EXECUTE:
            continue
        matching = [t for t in tolerations if t.tolerates(taint)]
        if not matching:
            return 0.0
        limits = [t.toleration_seconds for t in matching if t.toleration_seconds is not None]
        if limits:
            since = seconds_of(taint.time_added) or seen
            waits.append(since + max(0, min(limits)) - now)
    return max(0.0, min(waits)) if waits else None


class TaintEvictionLoop:
    """Deletes pods from tainted nodes; one turn, for one pod, is :meth:`sync`."""

    def __init__(self, informers: Informers, events: EventRecorder, clock: Clock) -> None:
        self._client = informers.client
        self._events = events
        self._clock = clock
        self._nodes = informers.of(NODES, Node)
        self._pods = informers.of(PODS, Pod)
        self._pods_on = self._pods.index(lambda p: (p.spec.node_name,))
        self._waiting: dict[str, float] = {}
        """Pods that are to go, and since when that is known."""
        self.queue: WorkQueue[ObjectKey] = WorkQueue("taint-eviction", self.sync)
        self._nodes.on_change(self._node_changed)
        self._pods.on_change(self._pod_changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """Let one pod go if it is time; else seconds until then."""
        pod = self._pods.get(key)
        node = self._nodes.get(ObjectKey("", pod.spec.node_name)) if pod is not None else None
        if pod is None or node is None or not pod.is_active:
            return None
        now = self._clock.wall()
        seen = self._waiting.get(pod.uid, now)
        wait_s = due_in(node.spec.taints, pod.spec.tolerations, now, seen)
        if wait_s is None:
            if self._waiting.pop(pod.uid, None) is not None:
                self._tell(pod, f"Cancelling deletion of Pod {key}")
            return None
        if wait_s > 0:
            self._waiting[pod.uid] = seen
            return wait_s
        self._waiting.pop(pod.uid, None)
        self._tell(pod, f"Marking for deletion Pod {key}")
        await self._evict(pod)
        return None

    async def _evict(self, pod: Pod) -> None:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": rfc3339(self._clock.wall()),
        }
        body = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        with contextlib.suppress(NotFound, Conflict):  # it has gone, or is a namesake
            await self._client.patch(PODS, pod.key, body, content_type=_STRATEGIC, subresource="status")
            await self._client.delete(PODS, pod.key, preconditions_uid=pod.uid)

    def _tell(self, pod: Pod, message: str) -> None:
        self._events.emit(PODS, pod.key, pod.uid, reason="TaintManagerEviction", message=message)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None or _evicting(old) == _evicting(new):
            return
        for key in self._pods_on.get(new.metadata.name, {}):
            self.queue.mark(key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.uid != old.uid):
            self._waiting.pop(old.uid, None)
        if new is None or not new.spec.node_name:
            return
        if old is None or (old.spec.node_name, old.spec.tolerations) != (
            new.spec.node_name,
            new.spec.tolerations,
        ):
            node = self._nodes.get(ObjectKey("", new.spec.node_name))
            if _evicting(node):
                self.queue.mark(new.key)


def _evicting(node: Node | None) -> tuple[Taint, ...]:
    return tuple(t for t in node.spec.taints if t.effect == NO_EXECUTE) if node is not None else ()
