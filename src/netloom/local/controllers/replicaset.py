"""ReplicaSets: so many pods as `spec.replicas` says. In: ReplicaSets, Pods; out: pods created, deleted, adopted, status.

No pod is made twice: after a write the loop waits until the cache has seen it (by resourceVersion for creations, pod by pod
for deletions). The decisions are in replicas.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec

from netloom.api.selectors import from_selector
from netloom.clock import Clock
from netloom.errors import NetloomError, NotFound
from netloom.kube.events import EventRecorder
from netloom.kube.resources import PODS, REPLICA_SETS
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Pod, ReplicaSet, owner_reference, status_body, version_of
from netloom.local.controllers.ownership import claim
from netloom.local.controllers.replicas import Failure, next_look, status_of, victims
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

BURST = 500
"""Pods created or deleted in one turn at most."""


_REST_S = 0.02
"""Pods become ready in bursts; a status for each of them would be a write for each of them."""

_BEHIND_S = 0.01
"""How long a change of a pod waits: the slices, which traffic hangs on, are written first."""

LOOK_AGAIN_S = 5.0
"""When to look whether our own writes have come back, should the event that tells it have been lost in a relist."""


class _Expected(msgspec.Struct):
    """Writes of ours that the cache must show before the pods are counted again."""

    version: int = 0
    deleted: dict[ObjectKey, str] = msgspec.field(default_factory=dict)


class ReplicaSetLoop:
    """Keeps the pods of each ReplicaSet; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, events: EventRecorder, clock: Clock) -> None:
        self._client = informers.client
        self._events = events
        self._clock = clock
        self._sets = informers.of(REPLICA_SETS, ReplicaSet)
        self._pods = informers.of(PODS, Pod)
        self._by_owner = self._pods.index(lambda p: (p.controller_uid,) if p.controller_uid else ())
        self._orphans = self._pods.index(lambda p: () if p.controller_uid else (p.metadata.namespace,))
        self._sets_by_uid = self._sets.index(lambda s: (s.uid,))
        self._sets_in = self._sets.index(lambda s: (s.metadata.namespace,))
        self._expected: dict[str, _Expected] = {}
        self.queue: WorkQueue[ObjectKey] = WorkQueue("replicaset", self.sync, rest_s=_REST_S)
        self._sets.on_change(self._set_changed)
        self._pods.on_change(self._pod_changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring one ReplicaSet's pods and status up to date; seconds until it must be looked at again."""
        rs = self._sets.get(key)
        if rs is None:
            return None
        if not self._is_caught_up(rs.uid):
            return LOOK_AGAIN_S
        candidates = [*self._by_owner.get(rs.uid, {}).values()]
        candidates += self._orphans.get(key.namespace, {}).values()
        mine = await claim(
            self._client,
            rs,
            owner_resource=REPLICA_SETS,
            selector=from_selector(rs.spec.selector),
            resource=PODS,
            candidates=[p for p in candidates if not p.is_finished],
        )
        active = [p for p in mine if p.is_active]
        failure: NetloomError | None = None
        if not rs.is_terminating:
            failure = await self._scale(rs, active)
        now = self._clock.wall()
        status = status_of(rs, active, now, _told(rs, active, failure))
        if status != rs.status:
            with contextlib.suppress(NotFound):
                await self._client.patch(REPLICA_SETS, key, status_body(status), subresource="status")
        if failure:
            raise failure
        return next_look(rs, active, now)

    async def _scale(self, rs: ReplicaSet, active: list[Pod]) -> NetloomError | None:
        missing = rs.spec.replicas - len(active)
        if missing > 0:
            return await self._create(rs, min(missing, BURST))
        if missing < 0:
            return await self._delete(rs, victims(active, min(-missing, BURST)))
        return None

    async def _create(self, rs: ReplicaSet, count: int) -> NetloomError | None:
        """Create pods in growing batches, so that a template that is refused fails once, not 500 times."""
        body = pod_body(rs)
        expected = self._expected.setdefault(rs.uid, _Expected())
        batch, left = 1, count
        while left > 0:
            size = min(batch, left)
            results = await asyncio.gather(
                *(self._client.create(PODS, body) for _ in range(size)), return_exceptions=True
            )
            left -= size
            batch *= 2
            failure: NetloomError | None = None
            for result in results:
                if isinstance(result, NetloomError):
                    failure = result
                elif isinstance(result, BaseException):
                    raise result
                else:
                    meta = result["metadata"]
                    expected.version = max(expected.version, version_of(result))
                    self._tell(rs, "SuccessfulCreate", f"Created pod: {meta['name']}")
            if failure is not None:
                self._tell(rs, "FailedCreate", f"Error creating: {failure}", warning=True)
                return failure
        return None

    async def _delete(self, rs: ReplicaSet, pods: list[Pod]) -> NetloomError | None:
        expected = self._expected.setdefault(rs.uid, _Expected())
        expected.deleted.update({p.key: p.uid for p in pods})
        results = await asyncio.gather(
            *(self._client.delete(PODS, p.key, preconditions_uid=p.uid) for p in pods), return_exceptions=True
        )
        failure: NetloomError | None = None
        for pod, result in zip(pods, results, strict=True):
            if result is None:
                self._tell(rs, "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")
                continue
            expected.deleted.pop(pod.key, None)
            if isinstance(result, NotFound):
                continue
            if not isinstance(result, NetloomError):
                raise result
            failure = result
            self._tell(rs, "FailedDelete", f"Error deleting: {failure}", warning=True)
        return failure

    def _is_caught_up(self, uid: str) -> bool:
        """The cache shows all that we wrote; if not, the event that shows it marks the key again."""
        expected = self._expected.get(uid)
        if expected is None:
            return True
        for key, pod_uid in list(expected.deleted.items()):
            pod = self._pods.get(key)
            if pod is None or pod.uid != pod_uid or pod.is_terminating:
                del expected.deleted[key]
        if expected.deleted or self._pods.version < expected.version:
            return False
        del self._expected[uid]
        return True

    def _tell(self, rs: ReplicaSet, reason: str, message: str, *, warning: bool = False) -> None:
        self._events.emit(REPLICA_SETS, rs.key, rs.uid, reason=reason, message=message, warning=warning)

    def _set_changed(self, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        if old is not None and (new is None or new.uid != old.uid):
            self._expected.pop(old.uid, None)
        if new is not None:
            self.queue.mark(new.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            if pod is None:
                continue
            if pod.controller_uid:
                for key in self._sets_by_uid.get(pod.controller_uid, {}):
                    self.queue.mark_soon(key, _BEHIND_S)
            elif pod is new:
                # An orphan: whoever selects it may adopt it.
                for key, rs in self._sets_in.get(pod.metadata.namespace, {}).items():
                    if from_selector(rs.spec.selector).matches(pod.metadata.labels):
                        self.queue.mark(key)


def _told(rs: ReplicaSet, active: list[Pod], failure: NetloomError | None) -> Failure | None:
    if failure is None:
        return None
    return Failure("FailedCreate" if len(active) < rs.spec.replicas else "FailedDelete", failure.problem)


def pod_body(rs: ReplicaSet) -> dict[str, Any]:
    """The pod to create: the template, named after the ReplicaSet and owned by it."""
    metadata = rs.spec.template.get("metadata") or {}
    return {
        "apiVersion": PODS.api_version,
        "kind": PODS.kind,
        "metadata": {
            "namespace": rs.metadata.namespace,
            "generateName": f"{rs.metadata.name}-",
            "labels": metadata.get("labels") or {},
            "annotations": metadata.get("annotations") or {},
            "finalizers": metadata.get("finalizers") or [],
            "ownerReferences": [owner_reference(REPLICA_SETS.api_version, REPLICA_SETS.kind, rs)],
        },
        "spec": rs.spec.template.get("spec") or {},
    }
