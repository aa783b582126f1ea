"""DaemonSets: pods for nodes, revisions and status. In: DaemonSets, Nodes, Pods, revisions; out: writes.

All decisions are in plan.py and nodes.py; this file reads caches and writes.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict

import msgspec

from netloom.clock import Clock
from netloom.errors import NotFound
from netloom.kube.events import EventRecorder
from netloom.kube.resources import DAEMON_SETS, NODES, PODS
from netloom.local.controllers.daemon import plan
from netloom.local.controllers.daemon.nodes import belonging, node_of, pod_body
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Node, Pod
from netloom.local.controllers.owned import OwnedPods
from netloom.local.controllers.podwrites import LOOK_AGAIN_S, PodWrites
from netloom.local.controllers.revisions import POD_HASH, Revisions
from netloom.local.controllers.workloads import DaemonSet
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

_AGAIN_S = (1.0, 900.0)
"""A pod that ended by itself is made anew after a while, each time twice as long, at most 15 minutes."""


class DaemonSetLoop:
    """Moves each DaemonSet on; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, events: EventRecorder, clock: Clock) -> None:
        self._client = informers.client
        self._clock = clock
        self.queue: WorkQueue[ObjectKey] = WorkQueue("daemonset", self.sync)
        self._sets = informers.of(DAEMON_SETS, DaemonSet)
        self._nodes = informers.of(NODES, Node)
        self._writes = PodWrites(self._client, events, informers.of(PODS, Pod), DAEMON_SETS)
        self._owned = OwnedPods(informers, DAEMON_SETS, DaemonSet, self.queue, self._forget)
        self._revisions = Revisions(informers, DAEMON_SETS, POD_HASH)
        self._ended: dict[tuple[str, str], tuple[int, float]] = {}
        """How often the pod of a DaemonSet on a node ended by itself, and until when it is left so (monotonic)."""
        self._nodes.on_change(self._node_changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring one DaemonSet a step further; seconds until it must be looked at again."""
        ds = self._sets.get(key)
        if ds is None:
            return None
        if not self._writes.is_caught_up(ds.uid):
            return LOOK_AGAIN_S
        pods = await self._owned.claim(ds)
        revisions = await self._revisions.of(ds)
        if ds.is_terminating:
            return None
        update, collisions = await self._revisions.current(ds, revisions)
        view = self._view(ds, pods, update.metadata.labels.get(POD_HASH, ""))
        status = plan.status_of(view, collisions)
        if status != ds.status:
            body = {"status": msgspec.to_builtins(status)}
            with contextlib.suppress(NotFound):
                await self._client.patch(DAEMON_SETS, ds.key, body, subresource="status")
        wait = await self._take(view)
        hashes = {p.metadata.labels.get(POD_HASH) for p in pods}
        live = {r.metadata.name for r in revisions if r.metadata.labels.get(POD_HASH) in hashes}
        await self._revisions.forget(ds, [*revisions, update], live | {update.metadata.name})
        waits = [w for w in (wait, plan.next_look(view)) if w is not None]
        return min(waits, default=None)

    def _view(self, ds: DaemonSet, pods: list[Pod], hash_: str) -> plan.View:
        by_node: defaultdict[str, list[Pod]] = defaultdict(list)
        for pod in pods:
            by_node[node_of(pod)].append(pod)
        nodes = {n.metadata.name: belonging(ds, n) for n in self._nodes.items.values()}
        return plan.View(ds, dict(sorted(nodes.items())), by_node, hash_, self._clock.wall())

    async def _take(self, view: plan.View) -> float | None:
        """What has to be done now; seconds until a pod that ended is to be replaced."""
        changes = plan.manage(view)
        if not changes.create and not changes.delete and view.ds.spec.update_strategy.type == "RollingUpdate":
            rolled = plan.roll(view)
            changes.create, changes.delete = rolled.create, rolled.delete
        now_due, wait = self._due(view.ds, changes.finished)
        for pod in now_due:
            how = pod.status.phase.lower()
            text = f"Found {how} daemon pod {pod.key} on node {pod.spec.node_name}, will try to "
            text += "kill it" if how == "failed" else "delete it"
            self._writes.tell(view.ds, f"{pod.status.phase}DaemonPod", text, warning=how == "failed")
        doomed = list({p.uid: p for p in [*changes.delete, *now_due]}.values())
        failures = [
            await self._writes.create(view.ds, [pod_body(view.ds, n, view.hash) for n in changes.create]),
            await self._writes.delete(view.ds, doomed),
        ]
        for failure in failures:
            if failure is not None:
                raise failure
        return wait

    def _due(self, ds: DaemonSet, finished: list[Pod]) -> tuple[list[Pod], float | None]:
        """Of the pods that ended by themselves those to replace now, and seconds until the next one is."""
        due, waits, now = [], [], self._clock.monotonic()
        for pod in finished:
            key = (ds.uid, pod.spec.node_name)
            count, until = self._ended.get(key, (0, 0.0))
            if now < until:
                waits.append(until - now)
                continue
            first, longest = _AGAIN_S
            self._ended[key] = (count + 1, now + min(longest, first * 2.0 ** min(count, 20)))
            due.append(pod)
        return due, min(waits, default=None)

    def _forget(self, uid: str) -> None:
        self._writes.forget(uid)
        for key in [k for k in self._ended if k[0] == uid]:
            del self._ended[key]

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        """Nodes say every few seconds that they live; only what decides about pods counts."""
        if old is None or new is None or _matters(old) != _matters(new):
            for key in self._sets.items:
                self.queue.mark(key)


def _matters(node: Node) -> tuple[object, ...]:
    return node.uid, node.metadata.labels, node.spec.taints, node.spec.unschedulable
