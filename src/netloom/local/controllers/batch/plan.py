"""What a Job needs next: pods to make and to end, whether it is decided, its status. Pure.

In: the Job, its pods, what has ended (tally.py); out: changes and a status. Rules: batch/v1 Job. Not here: writing (job.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from netloom.clock import rfc3339
from netloom.kube.resources import JOBS
from netloom.local.controllers.batch import endings, indexes
from netloom.local.controllers.batch.objects import (
    COMPLETE,
    FAILED,
    FAILING,
    FAILURES,
    IGNORED,
    INDEX,
    SUCCEEDING,
    SUSPENDED,
    TRACKING,
    Job,
    JobStatus,
)
from netloom.local.controllers.batch.tally import Tally
from netloom.local.controllers.objects import Condition, Pod
from netloom.local.controllers.podwrites import pod_from
from netloom.local.controllers.replicas import seconds_of, victims


class View(msgspec.Struct, frozen=True):
    """All that a plan looks at; ``now`` is seconds since the epoch."""

    job: Job
    pods: Sequence[Pod]
    tally: Tally
    now: float

    @property
    def active(self) -> list[Pod]:
        """Pods that run or will."""
        return [p for p in self.pods if p.is_active]

    @property
    def terminating(self) -> list[Pod]:
        """Pods on their way out that have not ended."""
        return [p for p in self.pods if p.is_terminating and not p.is_finished]


class Changes(msgspec.Struct):
    """Pods to make, pods to delete, and seconds until there may be more to make."""

    create: list[dict[str, Any]] = msgspec.field(default_factory=list)
    delete: list[Pod] = msgspec.field(default_factory=list)
    wait_s: float | None = None


def decided(view: View) -> Condition | None:
    """How the Job ends, as a condition SuccessCriteriaMet or FailureTarget; None where that is open."""
    job, tally = view.job, view.tally
    known = job.status.condition(SUCCEEDING) or job.status.condition(FAILING)
    if known is not None or job.spec.suspend:
        return known
    if tally.fatal:
        return _end(FAILING, "PodFailurePolicy", tally.fatal)
    if _is_past_backoff(view):
        return _end(FAILING, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if deadline_in(job, view.now) == 0:
        return _end(FAILING, "DeadlineExceeded", "Job was active longer than specified deadline")
    return _decided_by_index(view) if job.is_indexed else _decided_by_count(view)


def _end(type_: str, reason: str, message: str) -> Condition:
    return Condition(type=type_, status="True", reason=reason, message=message)


def _reached() -> Condition:
    return _end(SUCCEEDING, "CompletionsReached", "Reached expected number of succeeded pods")


def _is_past_backoff(view: View) -> bool:
    spec = view.job.spec
    if view.tally.failures > spec.backoff_limit:
        return True
    if (spec.template.get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    count = endings.restarts(view.pods)
    return count > 0 if spec.backoff_limit == 0 else count >= spec.backoff_limit


def _decided_by_count(view: View) -> Condition | None:
    done, wish = view.tally.successes(view.job), view.job.spec.completions
    if wish is None:
        return _reached() if done and not view.active else None
    return _reached() if done >= wish and not view.active else None


def _decided_by_index(view: View) -> Condition | None:
    spec, tally = view.job.spec, view.tally
    wish = spec.completions or 0
    if spec.max_failed_indexes is not None and len(tally.failed_indexes) > spec.max_failed_indexes:
        text = "Job has exceeded the specified maximal number of failed indexes"
        return _end(FAILING, "MaxFailedIndexesExceeded", text)
    if tally.failed_indexes and len(tally.completed | tally.failed_indexes) >= wish:
        return _end(FAILING, "FailedIndexes", "Job has failed indexes")
    for number, rule in enumerate(spec.success_policy.rules if spec.success_policy else ()):
        named = None if rule.succeeded_indexes is None else indexes.read(rule.succeeded_indexes, wish)
        hits = tally.completed if named is None else tally.completed & named
        least = rule.succeeded_count if rule.succeeded_count is not None else len(named or ())
        if least and len(hits) >= least:
            return _end(SUCCEEDING, "SuccessPolicy", f"Matched rules at index {number}")
    return _reached() if len(tally.completed) >= wish and not view.active else None


def deadline_in(job: Job, now: float) -> float | None:
    """Seconds until ``spec.activeDeadlineSeconds`` is over, 0 if it is; None where none runs."""
    limit, began = job.spec.active_deadline_seconds, seconds_of(job.status.start_time)
    if limit is None or not began or job.spec.suspend:
        return None
    return max(0.0, began + limit - now)


def changes(view: View, end: Condition | None) -> Changes:
    """Pods to make and to end now."""
    job, active = view.job, view.active
    if end is not None or job.spec.suspend:
        return Changes(delete=active)
    if job.is_indexed:
        return _by_index(view)
    wish = job.spec.completions
    done = view.tally.successes(job)
    if wish is None:
        wanted = len(active) if done else job.spec.parallelism
    else:
        wanted = max(0, min(job.spec.parallelism, wish - done))
    if len(active) > min(wanted, job.spec.parallelism):
        return Changes(delete=victims(active, len(active) - min(wanted, job.spec.parallelism)))
    missing = wanted - len(active) - _in_the_way(view)
    if missing <= 0:
        return Changes()
    wait = _backoff(view)
    if wait > 0:
        return Changes(wait_s=wait)
    return Changes(create=[pod_body(job, None, None)] * missing)


def _in_the_way(view: View) -> int:
    """Pods on their way out whose end is waited for."""
    return len(view.terminating) if view.job.replaces_failed_only else 0


def _backoff(view: View) -> float:
    """Seconds that the failures since the last success keep the next pod back."""
    row, last = 0, 0.0
    ended = [p for p in view.pods if p.is_finished or endings.has_failed(view.job, p, is_ending=False)]
    for pod in sorted(ended, key=endings.ended_at, reverse=True):
        if pod.status.phase == "Succeeded":
            break
        last = last or endings.ended_at(pod)
        row += endings.verdict_on(view.job, pod).action != "Ignore"
    return endings.backoff_s(row, last, view.now)


def _by_index(view: View) -> Changes:
    """Indexes run once each: the lowest that are open and have no pod come next; a second pod of an index goes."""
    job, tally = view.job, view.tally
    wish = job.spec.completions or 0
    done = tally.completed | tally.failed_indexes
    running: dict[int, Pod] = {}
    surplus = []
    for pod in sorted(view.active, key=lambda p: (not p.is_ready, p.metadata.creation_timestamp or "")):
        index = endings.index_of(pod)
        if index is None or index >= wish or index in done or index in running:
            surplus.append(pod)
        else:
            running[index] = pod
    wanted = max(0, min(job.spec.parallelism, wish - len(done)))
    if len(running) > wanted:
        surplus += victims(list(running.values()), len(running) - wanted)
    if surplus:
        return Changes(delete=surplus)
    busy = set(running) | (
        {endings.index_of(p) for p in view.terminating} if job.replaces_failed_only else set()
    )
    free = [i for i in range(wish) if i not in done and i not in busy]
    missing = wanted - len(running) - _in_the_way(view)
    last = {endings.index_of(p): p for p in tally.held}
    waits: list[float] = []
    bodies: list[dict[str, Any]] = []
    common = _backoff(view) if job.spec.backoff_limit_per_index is None else 0.0
    for index in free:
        if len(bodies) >= missing:
            break
        wait = max(common, _backoff_of(view, last.get(index)))
        if wait > 0:
            waits.append(wait)
        else:
            bodies.append(pod_body(job, index, last.get(index)))
    return Changes(create=bodies, wait_s=min(waits, default=None))


def _backoff_of(view: View, last: Pod | None) -> float:
    if last is None:
        return 0.0
    counted, _ = endings.failures_of_index(view.job, last, endings.verdict_on(view.job, last))
    return endings.backoff_s(counted, endings.ended_at(last), view.now)


def pod_body(job: Job, index: int | None, former: Pod | None) -> dict[str, Any]:
    """The pod to make; ``former`` is the failed one of its index, where those are counted."""
    body = pod_from(job.spec.template, job, JOBS)
    metadata = body["metadata"]
    metadata["finalizers"] = [*metadata["finalizers"], TRACKING]
    if index is None:
        return body
    counted, ignored = 0, 0
    if former is not None:
        counted, ignored = endings.failures_of_index(job, former, endings.verdict_on(job, former))
    notes = {INDEX: str(index)}
    if job.spec.backoff_limit_per_index is not None:
        notes |= {FAILURES: str(counted)} | ({IGNORED: str(ignored)} if ignored else {})
    metadata["annotations"] = metadata["annotations"] | notes
    metadata["labels"] = metadata["labels"] | {INDEX: str(index)}
    metadata["generateName"] = f"{job.metadata.name}-{index}-"
    spec = dict(body["spec"])
    spec.setdefault("hostname", f"{job.metadata.name}-{index}")
    for field in ("initContainers", "containers"):
        if spec.get(field):
            spec[field] = [_told_index(c) for c in spec[field]]
    return body | {"spec": spec}


def _told_index(container: dict[str, Any]) -> dict[str, Any]:
    env = container.get("env") or []
    if any(e.get("name") == "JOB_COMPLETION_INDEX" for e in env):
        return container
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    return container | {"env": [*env, {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}]}


def status_of(view: View, end: Condition | None, active: int) -> JobStatus:
    """The status that follows; the last condition comes when no pod is left and all are counted."""
    job, tally, old = view.job, view.tally, view.job.status
    conditions = _with_suspension(job, view.now)
    start = None if job.spec.suspend else old.start_time or rfc3339(view.now)
    completion = old.completion_time
    if end is not None and old.condition(end.type) is None:
        conditions = _put(conditions, end, view.now)
    is_empty = not (view.active or view.terminating or tally.uncounted.succeeded or tally.uncounted.failed)
    if end is not None and is_empty:
        type_ = COMPLETE if end.type == SUCCEEDING else FAILED
        conditions = _put(conditions, _end(type_, end.reason, end.message), view.now)
        completion = rfc3339(view.now) if type_ == COMPLETE else None
    return JobStatus(
        conditions=conditions,
        start_time=start,
        completion_time=completion,
        active=active,
        ready=sum(p.is_ready for p in view.active) if active else 0,
        terminating=len(view.terminating),
        succeeded=tally.succeeded,
        failed=tally.failed,
        completed_indexes=indexes.written(tally.completed),
        failed_indexes=_failed_indexes(job, tally),
        uncounted_terminated_pods=tally.uncounted,
    )


def _failed_indexes(job: Job, tally: Tally) -> str | None:
    return None if job.spec.backoff_limit_per_index is None else indexes.written(tally.failed_indexes)


def _with_suspension(job: Job, now: float) -> tuple[Condition, ...]:
    known = next((c for c in job.status.conditions if c.type == SUSPENDED), None)
    if job.spec.suspend and (known is None or known.status != "True"):
        return _put(job.status.conditions, _end(SUSPENDED, "JobSuspended", "Job suspended"), now)
    if not job.spec.suspend and known is not None and known.status == "True":
        resumed = Condition(type=SUSPENDED, status="False", reason="JobResumed", message="Job resumed")
        return _put(job.status.conditions, resumed, now)
    return job.status.conditions


def _put(conditions: Sequence[Condition], one: Condition, now: float) -> tuple[Condition, ...]:
    stamped = msgspec.structs.replace(one, last_transition_time=rfc3339(now))
    return (*(c for c in conditions if c.type != one.type), stamped)


def status_body(status: JobStatus) -> dict[str, Any]:
    """A status as the body of a merge patch: null takes away what is no more."""
    body: dict[str, Any] = msgspec.to_builtins(status)
    body["conditions"] = [
        {k: v for k, v in c.items() if v not in ("", None)} | {"lastProbeTime": c["lastTransitionTime"]}
        for c in body["conditions"]
    ]
    body["completedIndexes"] = body["completedIndexes"] or None
    body["uncountedTerminatedPods"] = {
        k: v or None for k, v in (body["uncountedTerminatedPods"] or {}).items()
    }
    return {"status": body}


def removed_in(job: Job, now: float) -> float | None:
    """Seconds until a finished Job is deleted (``spec.ttlSecondsAfterFinished``), 0 if it is due; None where it stays."""
    end, ttl = job.finished, job.spec.ttl_seconds_after_finished
    if end is None or ttl is None:
        return None
    return max(0.0, seconds_of(end.last_transition_time) + ttl - now)
