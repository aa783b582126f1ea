"""ReplicaSets and ReplicationControllers: so many pods as `spec.replicas` says. In: them, Pods; out: pods, status.

No pod is made twice (podwrites.py). The decisions are in replicas.py.
"""

from __future__ import annotations

import contextlib
from typing import Generic, TypeVar

from netloom.clock import Clock
from netloom.errors import NetloomError, NotFound
from netloom.kube.events import EventRecorder
from netloom.kube.resources import PODS, Resource
from netloom.local.controllers.informers import Informer, Informers
from netloom.local.controllers.objects import Pod, ReplicaSet, status_body
from netloom.local.controllers.owned import OwnedPods
from netloom.local.controllers.podwrites import LOOK_AGAIN_S, PodWrites, pod_from
from netloom.local.controllers.replicas import Failure, next_look, status_of, victims
from netloom.local.controllers.workloads import ReplicationController
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

_REST_S = 0.02
"""Pods become ready in bursts; a status for each of them would be a write for each of them."""

T = TypeVar("T", ReplicaSet, ReplicationController)


class ReplicasLoop(Generic[T]):
    """Keeps the pods of each object of a kind; one turn is :meth:`sync`."""

    def __init__(
        self, informers: Informers, resource: Resource, type_: type[T], events: EventRecorder, clock: Clock
    ) -> None:
        self._client = informers.client
        self._clock = clock
        self._resource = resource
        self.queue: WorkQueue[ObjectKey] = WorkQueue(resource.kind.lower(), self.sync, rest_s=_REST_S)
        self._sets: Informer[T] = informers.of(resource, type_)
        self._writes = PodWrites(self._client, events, informers.of(PODS, Pod), resource)
        self._owned: OwnedPods[T] = OwnedPods(informers, resource, type_, self.queue, self._writes.forget)

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring one object's pods and status up to date; seconds until it must be looked at again."""
        rs = self._sets.get(key)
        if rs is None:
            return None
        if not self._writes.is_caught_up(rs.uid):
            return LOOK_AGAIN_S
        mine = await self._owned.claim(rs, lambda p: not p.is_finished)
        active = [p for p in mine if p.is_active]
        failure: NetloomError | None = None
        if not rs.is_terminating:
            failure = await self._scale(rs, active)
        now = self._clock.wall()
        status = status_of(rs, active, now, _told(rs, active, failure))
        if status != rs.status:
            with contextlib.suppress(NotFound):
                await self._client.patch(self._resource, key, status_body(status), subresource="status")
        if failure:
            raise failure
        return next_look(rs, active, now)

    async def _scale(self, rs: T, active: list[Pod]) -> NetloomError | None:
        missing = rs.spec.replicas - len(active)
        if missing > 0:
            body = pod_from(rs.spec.template or {}, rs, self._resource)
            return await self._writes.create(rs, [body] * missing)
        if missing < 0:
            return await self._writes.delete(rs, victims(active, -missing))
        return None


def _told(
    rs: ReplicaSet | ReplicationController, active: list[Pod], failure: NetloomError | None
) -> Failure | None:
    if failure is None:
        return None
    return Failure("FailedCreate" if len(active) < rs.spec.replicas else "FailedDelete", failure.problem)
