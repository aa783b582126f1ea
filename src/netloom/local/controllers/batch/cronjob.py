"""CronJobs: a Job each time that one is due. In: CronJobs, Jobs; out: Jobs made and removed, status, Events.

Rules: batch/v1 CronJob (time zone, concurrencyPolicy, startingDeadlineSeconds, suspend, history limits). When one is due is
schedule.py's; what becomes of its Jobs is job.py's.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec

from netloom.clock import Clock, rfc3339
from netloom.errors import AlreadyExists, InvalidObject, NotFound
from netloom.kube.events import EventRecorder
from netloom.kube.resources import CRON_JOBS, JOBS
from netloom.kube.status import Conflict
from netloom.local.controllers.batch import schedule
from netloom.local.controllers.batch.objects import COMPLETE, CronJob, CronJobStatus, Job, Reference
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import owner_reference, version_of
from netloom.local.controllers.replicas import seconds_of
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

_SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_LATE_S = 0.1
"""A little after it is due, so that it is due then."""
_LOOK_AGAIN_S = 5.0


class CronJobLoop:
    """Moves each CronJob on; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, events: EventRecorder, clock: Clock) -> None:
        self._client = informers.client
        self._events = events
        self._clock = clock
        self.queue: WorkQueue[ObjectKey] = WorkQueue("cronjob", self.sync)
        self._cron_jobs = informers.of(CRON_JOBS, CronJob)
        self._jobs = informers.of(JOBS, Job)
        self._by_owner = self._jobs.index(_owner_of)
        self._by_uid = self._cron_jobs.index(lambda c: (c.uid,))
        self._made: dict[str, int] = {}
        """ResourceVersion of the Job made last, by the CronJob's uid: the cache must show it before another is."""
        self._said: dict[str, int] = {}
        """And of the last status, which says which Jobs are ours."""
        self._cron_jobs.on_change(self._cron_job_changed)
        self._jobs.on_change(self._job_changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring one CronJob a step further; seconds until it is due next."""
        cj = self._cron_jobs.get(key)
        if cj is None:
            return None
        made, said = self._made.get(cj.uid, 0), self._said.get(cj.uid, 0)
        if self._jobs.version < made or self._cron_jobs.version < said:
            return _LOOK_AGAIN_S
        jobs = [*self._by_owner.get(cj.uid, {}).values()]
        status = self._reviewed(cj, jobs)
        wait: float | None = None
        if not cj.is_terminating:
            await self._clean(cj, jobs)
            if not cj.spec.suspend:
                status, wait = await self._begin_when_due(cj, jobs, status)
        if status != cj.status:
            await self._say(cj, status)
        return wait

    def _reviewed(self, cj: CronJob, jobs: Sequence[Job]) -> CronJobStatus:
        """The status without Jobs that have ended or are gone; when the last success was."""
        by_uid = {j.uid: j for j in jobs}
        active, last = [], cj.status.last_successful_time
        for reference in cj.status.active:
            job = by_uid.get(reference.uid)
            if job is None:
                self._tell(cj, "MissingJob", f"Active job went missing: {reference.name}")
            elif job.finished is not None:
                text = f"Saw completed job: {reference.name}, condition: {job.finished.type}"
                self._tell(cj, "SawCompletedJob", text)
            else:
                active.append(reference)
        known = {r.uid for r in cj.status.active}
        for job in jobs:
            if job.uid not in known and job.finished is None:
                text = f"Saw a job that the controller did not create or forgot: {job.metadata.name}"
                self._tell(cj, "UnexpectedJob", text, warning=True)
            done = job.status.completion_time
            if done and job.status.condition(COMPLETE) and seconds_of(done) > seconds_of(last):
                last = done
        return CronJobStatus(tuple(active), cj.status.last_schedule_time, last)

    async def _begin_when_due(
        self, cj: CronJob, jobs: Sequence[Job], status: CronJobStatus
    ) -> tuple[CronJobStatus, float | None]:
        try:
            plan = schedule.read(cj.spec.schedule, cj.spec.time_zone)
        except InvalidObject as error:
            reason = "UnknownTimeZone" if error.field == "spec.timeZone" else "UnparseableSchedule"
            self._tell(cj, reason, error.problem, warning=True)
            return status, None
        now = self._clock.wall()
        following = plan.after(now)
        wait = following - now + _LATE_S if following is not None else None
        due = self._due(cj, plan, now)
        if due is None:
            return status, wait
        deadline = cj.spec.starting_deadline_seconds
        if deadline is not None and due + deadline < now:
            self._tell(
                cj, "MissSchedule", f"Missed scheduled time to start a job: {rfc3339(due)}", warning=True
            )
            return status, wait
        if status.active and cj.spec.concurrency_policy == "Forbid":
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._tell(cj, "JobAlreadyActive", text)
            return status, wait
        if cj.spec.concurrency_policy == "Replace":
            for reference in status.active:
                await self._delete(cj, ObjectKey(cj.metadata.namespace, reference.name), reference.uid)
            status = msgspec.structs.replace(status, active=())
        return await self._create(cj, due, plan, status), wait

    def _due(self, cj: CronJob, plan: schedule.Schedule, now: float) -> float | None:
        """The start that has to be made up for: the last one that was due; None where there is none."""
        since = seconds_of(cj.status.last_schedule_time or cj.metadata.creation_timestamp)
        deadline = cj.spec.starting_deadline_seconds
        if deadline is not None:
            since = max(since, now - deadline)
        due, are_many = plan.latest(since, now)
        if are_many:
            text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self._tell(cj, "TooManyMissedTimes", text, warning=True)
        return due

    async def _create(
        self, cj: CronJob, due: float, plan: schedule.Schedule, status: CronJobStatus
    ) -> CronJobStatus:
        body = job_body(cj, due, plan)
        noted = msgspec.structs.replace(status, last_schedule_time=rfc3339(due))
        try:
            made = await self._client.create(JOBS, body)
        except AlreadyExists:
            return noted  # this start has been made before
        except InvalidObject as error:
            self._tell(cj, "FailedCreate", f"Error creating job: {error.problem}", warning=True)
            raise
        self._made[cj.uid] = version_of(made)
        meta = made["metadata"]
        self._tell(cj, "SuccessfulCreate", f"Created job {meta['name']}")
        reference = Reference(
            JOBS.api_version, JOBS.kind, meta["namespace"], meta["name"], meta["uid"], meta["resourceVersion"]
        )
        return msgspec.structs.replace(noted, active=(*status.active, reference))

    async def _clean(self, cj: CronJob, jobs: Sequence[Job]) -> None:
        """Forget Jobs that have ended, the oldest first, beyond the limits of history."""
        for limit, wanted in (
            (cj.spec.successful_jobs_history_limit, True),
            (cj.spec.failed_jobs_history_limit, False),
        ):
            if limit is None:
                continue
            ended = [j for j in jobs if (end := j.finished) and (end.type == COMPLETE) == wanted]
            ended.sort(key=lambda j: (seconds_of(j.status.start_time), j.metadata.name))
            for job in ended[: max(0, len(ended) - limit)]:
                if not job.is_terminating:
                    await self._delete(cj, job.key, job.uid)

    async def _delete(self, cj: CronJob, key: ObjectKey, uid: str) -> None:
        with contextlib.suppress(NotFound, Conflict):
            await self._client.delete(JOBS, key, preconditions_uid=uid)
            self._tell(cj, "SuccessfulDelete", f"Deleted job {key.name}")

    async def _say(self, cj: CronJob, status: CronJobStatus) -> None:
        body = {"status": msgspec.to_builtins(status)}
        with contextlib.suppress(NotFound):
            written = await self._client.patch(CRON_JOBS, cj.key, body, subresource="status")
            self._said[cj.uid] = version_of(written)

    def _tell(self, cj: CronJob, reason: str, message: str, *, warning: bool = False) -> None:
        self._events.emit(CRON_JOBS, cj.key, cj.uid, reason=reason, message=message, warning=warning)

    def _cron_job_changed(self, old: CronJob | None, new: CronJob | None) -> None:
        if old is not None and (new is None or new.uid != old.uid):
            self._made.pop(old.uid, None)
            self._said.pop(old.uid, None)
        if new is not None:
            self.queue.mark(new.key)

    def _job_changed(self, old: Job | None, new: Job | None) -> None:
        for job in (old, new):
            if job is not None:
                for key in self._by_uid.get(job.controller_uid, {}):
                    self.queue.mark(key)


def _owner_of(job: Job) -> tuple[str, ...]:
    return (job.controller_uid,) if job.controller_uid else ()


def job_body(cj: CronJob, due: float, plan: schedule.Schedule) -> dict[str, Any]:
    """The Job of one start; its name follows from the minute, so that no start is made twice."""
    metadata = cj.spec.job_template.metadata
    at = dt.datetime.fromtimestamp(due, plan.zone).isoformat().replace("+00:00", "Z")
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {
            "namespace": cj.metadata.namespace,
            "name": f"{cj.metadata.name}-{int(due) // 60}",
            "labels": metadata.get("labels") or {},
            "annotations": (metadata.get("annotations") or {}) | {_SCHEDULED: at},
            "ownerReferences": [owner_reference(CRON_JOBS.api_version, CRON_JOBS.kind, cj)],
        },
        "spec": cj.spec.job_template.spec,
    }
