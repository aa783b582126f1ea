"""Nodes that are not heard any more. In: Nodes, their Leases, Pods; out: conditions, taints, and pods that are not ready.

A runner renews its Lease as long as it lives; one that has not for the grace period is taken for dead: its node is ``Unknown``, its pods
leave the endpoints of Services, and taints keep new pods away and let the others be evicted (``taint_eviction.py``). Only time in
which this loop itself was awake counts: a machine that was frozen has no dead nodes. What it means is in ``node_health.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec

from netloom.clock import Clock, rfc3339
from netloom.errors import NotFound
from netloom.kube.events import EventRecorder
from netloom.kube.resources import LEASES, NODES, PODS
from netloom.kube.status import Conflict
from netloom.kube.watch import Reflector
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.node_health import (
    of_silence,
    ready_status,
    wanted_taints,
    with_conditions,
)
from netloom.local.controllers.objects import Condition, Loaded, Node, Pod
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

NAMESPACE = "kube-node-lease"
STARTUP = 6
"""How many times the grace period a node has that was never heard (kube-controller-manager ``--node-startup-grace-period``)."""
_TICKS = 10
"""In a grace period."""
_SETTLE_S = 2.0
"""For so long a node may say that it is not ready before taints are written; the scheduler goes by its word at once."""
_STRATEGIC = "application/strategic-merge-patch+json"


class _LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    renew_time: str = ""


class Lease(Loaded, frozen=True):
    """coordination.k8s.io/v1 Lease of a node."""

    spec: _LeaseSpec = _LeaseSpec()


class NodeLifecycleLoop:
    """Judges nodes; one turn is :meth:`sync`.

    Args:
        informers: shared caches.
        events: as ``node-controller``.
        clock: the time.
        grace_s: for how long nothing may be heard of a node.
    """

    def __init__(self, informers: Informers, events: EventRecorder, clock: Clock, *, grace_s: float) -> None:
        self._client = informers.client
        self._events = events
        self._clock = clock
        self._grace_s = grace_s
        self._nodes = informers.of(NODES, Node)
        self._pods_on = informers.of(PODS, Pod).index(lambda p: (p.spec.node_name,))
        self._leases = Reflector(self._client, LEASES, Lease, on_change=self._renewed, namespace=NAMESPACE)
        self._awake_s = 0.0
        self._heard: dict[str, float] = {}
        """When a node was heard last, in seconds that this loop was awake."""
        self._unready: dict[str, float] = {}
        """Since when a node is not ready, likewise."""
        self.queue: WorkQueue[ObjectKey] = WorkQueue("node-lifecycle", self.sync)
        self._nodes.on_change(self._changed)

    async def run(self) -> None:
        """Follow the Leases, and look at all nodes again and again, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leases.run(), name="node leases")
            await self._leases.synced.wait()
            while True:
                await self._tick(self._grace_s / _TICKS)

    async def _tick(self, length_s: float) -> None:
        began = self._clock.monotonic()
        await asyncio.sleep(length_s)
        self._awake_s += min(self._clock.monotonic() - began, 2 * length_s)
        for key, node in self._nodes.items.items():
            if ready_status(node) != "True" or self._is_silent(node):
                self.queue.mark(key)

    async def sync(self, key: ObjectKey) -> None:
        """Judge one node."""
        node = self._nodes.get(key)
        if node is None or node.is_terminating:
            return
        now = self._clock.wall()
        if is_silent := self._is_silent(node):
            changed = of_silence(node, now)
            if changed:
                was_ready = ready_status(node) == "True"
                await self._say(key, changed)
                node = with_conditions(node, changed)
                if was_ready:
                    text = f"Node {key.name} status is now: NodeNotReady"
                    self._events.emit(NODES, key, node.uid, reason="NodeNotReady", message=text)
            await self._unready_pods(key.name, now)
        if not is_silent and ready_status(node) != "True" and not self._is_settled(node):
            return
        wanted = wanted_taints(node, evicts=self._somebody_lives(), now=now)
        if wanted != node.spec.taints:
            await self._taint(node, wanted)

    def _is_silent(self, node: Node) -> bool:
        name = node.metadata.name
        heard = self._heard.setdefault(name, self._awake_s)
        is_known = ObjectKey(NAMESPACE, name) in self._leases.items
        return self._awake_s - heard >= self._grace_s * (1 if is_known else STARTUP)

    def _is_settled(self, node: Node) -> bool:
        """It says by itself that it is not ready, and not since just now; what a former run left says nothing."""
        since = self._unready.setdefault(node.metadata.name, self._awake_s)
        return ready_status(node) == "False" and self._awake_s - since >= _SETTLE_S

    def _somebody_lives(self) -> bool:
        return any(n.is_ready and not self._is_silent(n) for n in self._nodes.items.values())

    async def _say(self, key: ObjectKey, conditions: tuple[Condition, ...]) -> None:
        texts: list[dict[str, Any]] = msgspec.to_builtins(conditions)
        body = {"status": {"conditions": [{k: v for k, v in t.items() if v} for t in texts]}}
        await self._client.patch(NODES, key, body, content_type=_STRATEGIC, subresource="status")

    async def _unready_pods(self, name: str, now: float) -> None:
        """What ran there is not ready: nobody could say otherwise."""
        condition = {
            "type": "Ready",
            "status": "False",
            "reason": "NodeNotReady",
            "lastTransitionTime": rfc3339(now),
        }
        for pod in list(self._pods_on.get(name, {}).values()):
            if not pod.is_ready:
                continue
            body = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
            with contextlib.suppress(NotFound, Conflict):
                await self._client.patch(PODS, pod.key, body, content_type=_STRATEGIC, subresource="status")
                self._events.emit(
                    PODS, pod.key, pod.uid, reason="NodeNotReady", message="Node is not ready", warning=True
                )

    async def _taint(self, node: Node, taints: Any) -> None:  # noqa: ANN401 - what msgspec makes of it
        texts: list[dict[str, Any]] = msgspec.to_builtins(taints)
        body = {
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": [{k: v for k, v in t.items() if v} for t in texts] or None},
        }
        with contextlib.suppress(NotFound, Conflict):  # it changed meanwhile, and is looked at again
            await self._client.patch(NODES, node.key, body)

    def _renewed(self, key: ObjectKey, lease: Lease | None) -> None:
        if lease is None:
            return
        self._heard[key.name] = self._awake_s
        node = self._nodes.get(ObjectKey("", key.name))
        if node is not None and ready_status(node) != "True":
            self.queue.mark(node.key)

    def _changed(self, old: Node | None, new: Node | None) -> None:
        if new is None or (old is not None and new.uid != old.uid):
            for seen in (self._heard, self._unready):
                seen.pop(old.metadata.name if old else "", None)
        if new is None:
            return
        if ready_status(new) == "True":
            self._unready.pop(new.metadata.name, None)
        self.queue.mark(new.key)
