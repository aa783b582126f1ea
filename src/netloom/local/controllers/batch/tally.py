"""Counting a Job's pods that have ended, each once, whatever dies between two writes. Pure.

A pod has a finalizer until it is counted: its uid is noted in ``status.uncountedTerminatedPods`` first, then the finalizer goes,
and when no pod with that uid has one any more the counter grows. In: a Job and its pods; out: a tally, and the pods to let go.
Rules: batch/v1 JobStatus. Not here: what follows from the counts (plan.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from netloom.local.controllers.batch import endings, indexes
from netloom.local.controllers.batch.objects import FAILURES, Job, Uncounted
from netloom.local.controllers.objects import Pod


class Tally(msgspec.Struct, frozen=True):
    """What has ended."""

    succeeded: int
    failed: int
    """Counted for good."""
    uncounted: Uncounted
    completed: frozenset[int]
    """Indexes."""
    failed_indexes: frozenset[int]
    fatal: str
    """Why the policy ends the Job; empty where it does not."""
    let_go: tuple[Pod, ...]
    """Pods whose finalizer may go when this tally is written."""
    held: tuple[Pod, ...]
    """The last failed pod of each index that has to be tried again: it tells the next one how often that was."""

    def successes(self, job: Job) -> int:
        """All of them, noted or counted."""
        return len(self.completed) if job.is_indexed else self.succeeded + len(self.uncounted.succeeded)

    @property
    def failures(self) -> int:
        """All of them, noted or counted."""
        return self.failed + len(self.uncounted.failed)


def tally(job: Job, pods: Sequence[Pod], *, is_ending: bool) -> Tally:
    """Count what has ended.

    Args:
        job: the Job.
        pods: all of its pods.
        is_ending: its end is decided: pods that are still there are not needed any more.
    """
    tracked = {p.uid: p for p in pods if endings.is_tracked(p)}
    known = job.status.uncounted_terminated_pods or Uncounted()
    succeeded = [u for u in known.succeeded if u in tracked]
    failed = [u for u in known.failed if u in tracked]
    # indexes that a smaller spec.completions has taken away do not count any more
    completed = set(indexes.read(job.status.completed_indexes, job.spec.completions or indexes.MOST))
    lost = set(indexes.read(job.status.failed_indexes))
    fatal, over = "", {*succeeded, *failed}
    for pod in sorted(tracked.values(), key=endings.ended_at):
        if pod.uid in over:
            continue
        index = endings.index_of(pod)
        if pod.status.phase == "Succeeded":
            over.add(pod.uid)
            if not job.is_indexed:
                succeeded.append(pod.uid)
            elif index is not None and index < (job.spec.completions or 0) and index not in lost:
                completed.add(index)
        elif endings.has_failed(job, pod, is_ending=is_ending):
            over.add(pod.uid)
            verdict = endings.verdict_on(job, pod)
            if verdict.action == "FailJob":
                fatal = fatal or verdict.message
            if verdict.action != "Ignore":
                failed.append(pod.uid)
            if index is not None and index not in completed and _is_last_try(job, pod, verdict):
                lost.add(index)
    settled = len(known.succeeded) - len([u for u in known.succeeded if u in tracked])
    held = () if is_ending or fatal else _held(job, pods, completed | lost)
    return Tally(
        succeeded=len(completed) if job.is_indexed else job.status.succeeded + settled,
        failed=job.status.failed + len([u for u in known.failed if u not in tracked]),
        uncounted=Uncounted(tuple(succeeded), tuple(failed)),
        completed=frozenset(completed),
        failed_indexes=frozenset(lost),
        fatal=fatal,
        let_go=tuple(p for u, p in tracked.items() if u in over and p not in held),
        held=held,
    )


def _is_last_try(job: Job, pod: Pod, verdict: endings.Verdict) -> bool:
    limit = job.spec.backoff_limit_per_index
    if limit is None:
        return False
    return verdict.action == "FailIndex" or endings.failures_of_index(job, pod, verdict)[0] > limit


def _held(job: Job, pods: Sequence[Pod], done: set[int]) -> tuple[Pod, ...]:
    """The newest failed pod of each open index that nobody has replaced yet."""
    if job.spec.backoff_limit_per_index is None:
        return ()
    newest: dict[int, Pod] = {}
    for pod in pods:
        index = endings.index_of(pod)
        if index is None or index in done:
            continue
        other = newest.get(index)
        if other is None or _rank(job, pod) > _rank(job, other):
            newest[index] = pod
    return tuple(p for p in newest.values() if endings.has_failed(job, p, is_ending=False))


def _rank(job: Job, pod: Pod) -> tuple[int, bool, str]:
    """Later tries are greater; of one try the pod that still runs."""
    text = pod.metadata.annotations.get(FAILURES, "0")
    count = int(text) if text.isdecimal() else 0
    runs = not endings.has_failed(job, pod, is_ending=False)
    return count, runs, pod.metadata.creation_timestamp or ""
