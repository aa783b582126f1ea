"""Jobs: pods that end, counted once each, and the end of the Job. In: Jobs, Pods; out: pods, finalizers taken off, status.

All decisions are in plan.py and tally.py; this file reads caches and writes, in the order that the counting needs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from netloom.clock import Clock
from netloom.errors import NetloomError, NotFound
from netloom.kube.events import EventRecorder
from netloom.kube.resources import JOBS, PODS
from netloom.kube.status import Conflict
from netloom.local.controllers.batch import endings, plan
from netloom.local.controllers.batch.objects import (
    COMPLETE,
    CONTROLLER,
    FAILED,
    FAILING,
    SUCCEEDING,
    SUSPENDED,
    TRACKING,
    Job,
    JobStatus,
)
from netloom.local.controllers.batch.tally import tally
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Pod, version_of
from netloom.local.controllers.owned import OwnedPods
from netloom.local.controllers.podwrites import LOOK_AGAIN_S, PodWrites
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

_AT_ONCE = 50
_STRATEGIC = "application/strategic-merge-patch+json"


class JobLoop:
    """Moves each Job on; one turn is :meth:`sync`. ``orphans`` lets go of pods whose Job is gone."""

    def __init__(self, informers: Informers, events: EventRecorder, clock: Clock) -> None:
        self._client = informers.client
        self._clock = clock
        self.queue: WorkQueue[ObjectKey] = WorkQueue("job", self.sync, rest_s=0.02)
        self.orphans: WorkQueue[ObjectKey] = WorkQueue("job-orphans", self.sync_orphan)
        self._jobs = informers.of(JOBS, Job)
        self._pods = informers.of(PODS, Pod)
        self._writes = PodWrites(self._client, events, self._pods, JOBS)
        self._owned = OwnedPods(informers, JOBS, Job, self.queue, self._gone)
        self._written: dict[str, int] = {}
        """ResourceVersion of the last status that was written, by uid: counts go on from there."""
        self._pods.on_change(self._pod_changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring one Job a step further; seconds until it must be looked at again."""
        job = self._jobs.get(key)
        if job is None or job.spec.managed_by != CONTROLLER:
            return None
        if not self._writes.is_caught_up(job.uid) or not self._has_seen_status(job):
            return LOOK_AGAIN_S
        pods = await self._owned.claim(job)
        if job.is_terminating:
            await self._let_go(pods)
            return None
        if job.finished is not None:
            await self._let_go(pods)
            return await self._remove_when_due(job)
        return await self._move_on(job, pods)

    async def sync_orphan(self, key: ObjectKey) -> None:
        """Let a pod go whose Job is gone: nobody counts it any more."""
        pod = self._pods.get(key)
        if pod is not None and endings.is_tracked(pod) and not self._owned.has(pod.controller_uid):
            await self._let_go([pod])

    async def _move_on(self, job: Job, pods: list[Pod]) -> float | None:
        now = self._clock.wall()
        was_ending = job.status.condition(SUCCEEDING) or job.status.condition(FAILING)
        view = plan.View(job, pods, tally(job, pods, is_ending=was_ending is not None), now)
        end = plan.decided(view)
        todo = plan.changes(view, end)
        failures = [await self._delete(job, todo, end is not None), await self._create(job, todo)]
        made = 0 if failures[1] is not None else len(todo.create)
        status = plan.status_of(view, end, len(view.active) + made - len(todo.delete))
        if status != job.status:
            await self._say(job, status)
        await self._let_go(view.tally.let_go)
        for failure in failures:
            if failure is not None:
                raise failure
        waits = [w for w in (todo.wait_s, plan.deadline_in(job, now)) if w]
        return min(waits, default=None)

    async def _create(self, job: Job, todo: plan.Changes) -> NetloomError | None:
        return await self._writes.create(job, todo.create) if todo.create else None

    async def _delete(self, job: Job, todo: plan.Changes, counts: bool) -> NetloomError | None:
        """Delete pods. Those that go because the Job has ended count as failed; others are let go first and do not."""
        if not todo.delete:
            return None
        if not counts:
            await self._let_go(todo.delete)
        return await self._writes.delete(job, todo.delete)

    async def _say(self, job: Job, status: JobStatus) -> None:
        try:
            written = await self._client.patch(JOBS, job.key, plan.status_body(status), subresource="status")
        except NotFound:
            return
        self._written[job.uid] = version_of(written)
        self._tell_changes(job, status)

    def _tell_changes(self, job: Job, status: JobStatus) -> None:
        for type_, reason in ((COMPLETE, "Completed"), (FAILED, "")):
            end = status.condition(type_)
            if end is not None and job.status.condition(type_) is None:
                text = "Job completed" if reason else end.message
                self._writes.tell(job, reason or end.reason, text, warning=not reason)
        was, is_ = job.status.condition(SUSPENDED), status.condition(SUSPENDED)
        if is_ is not None and was is None:
            self._writes.tell(job, "Suspended", "Job suspended")
        elif is_ is None and was is not None:
            self._writes.tell(job, "Resumed", "Job resumed")

    async def _let_go(self, pods: Iterable[Pod]) -> None:
        """Take the finalizer off pods that have one."""
        limit = asyncio.Semaphore(_AT_ONCE)
        body = {"$deleteFromPrimitiveList/finalizers": [TRACKING]}

        async def one(pod: Pod) -> None:
            async with limit:
                with contextlib.suppress(NotFound, Conflict):
                    whole = {"metadata": {"uid": pod.uid, **body}}
                    await self._client.patch(PODS, pod.key, whole, content_type=_STRATEGIC)

        async with asyncio.TaskGroup() as group:
            for pod in pods:
                if endings.is_tracked(pod):
                    group.create_task(one(pod))

    async def _remove_when_due(self, job: Job) -> float | None:
        wait = plan.removed_in(job, self._clock.wall())
        if wait == 0:
            with contextlib.suppress(NotFound, Conflict):
                await self._client.delete(JOBS, job.key, propagation="Foreground", preconditions_uid=job.uid)
            return None
        return wait

    def _has_seen_status(self, job: Job) -> bool:
        version = self._written.get(job.uid, 0)
        return self._jobs.version >= version

    def _gone(self, uid: str) -> None:
        self._writes.forget(uid)
        self._written.pop(uid, None)
        for pod in self._owned.with_uid(uid):
            self.orphans.mark(pod.key)

    def _pod_changed(self, _old: Pod | None, new: Pod | None) -> None:
        if new is not None and endings.is_tracked(new) and not self._owned.has(new.controller_uid):
            # Its Job may only not have been seen yet: the list of Jobs is there before any turn is taken.
            self.orphans.mark_soon(new.key, LOOK_AGAIN_S)
