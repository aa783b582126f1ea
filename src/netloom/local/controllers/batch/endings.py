"""How a pod of a Job has ended, and what that means for the Job. Pure.

In: a Job and its pods; out: verdicts. Rules: batch/v1 podFailurePolicy, podReplacementPolicy, backoffLimit, backoffLimitPerIndex.
Not here: counting (tally.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from netloom.local.controllers.batch.objects import (
    FAILURES,
    IGNORED,
    INDEX,
    TRACKING,
    FailureRule,
    Job,
    OnExitCodes,
)
from netloom.local.controllers.objects import ContainerStatus, Pod
from netloom.local.controllers.replicas import seconds_of

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 10.0, 600.0
"""After a failure the next pod waits, each time twice as long (kube-controller-manager)."""


class Verdict(msgspec.Struct, frozen=True):
    """What the failure of a pod means: ``action`` Count, Ignore, FailIndex or FailJob, and for FailJob why."""

    action: str = "Count"
    message: str = ""


def index_of(pod: Pod) -> int | None:
    """The pod's completion index; None where it has none."""
    text = pod.metadata.annotations.get(INDEX, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else None


def is_tracked(pod: Pod) -> bool:
    """The pod is not counted yet."""
    return TRACKING in pod.metadata.finalizers


def has_failed(job: Job, pod: Pod, *, is_ending: bool) -> bool:
    """The pod counts as failed: it has, or it is on its way out and will be replaced without waiting for its end.

    Args:
        job: its Job.
        pod: the pod.
        is_ending: the Job's end is decided, and this pod is not needed any more.
    """
    if pod.is_finished:
        return pod.status.phase == "Failed"
    return pod.is_terminating and (is_ending or not job.replaces_failed_only)


def verdict_on(job: Job, pod: Pod) -> Verdict:
    """What the policy says of a pod that failed; without a policy, and without a rule that matches, it counts."""
    if job.spec.pod_failure_policy is None or pod.status.phase != "Failed":
        return Verdict()
    for number, rule in enumerate(job.spec.pod_failure_policy.rules):
        match = _match(rule, pod)
        if match:
            return Verdict(rule.action, f"{match} matching {rule.action} rule at index {number}")
    return Verdict()


def _match(rule: FailureRule, pod: Pod) -> str:
    if rule.on_exit_codes is not None:
        statuses = (*pod.status.container_statuses, *pod.status.init_container_statuses)
        hit = next((c for c in statuses if _exits(rule.on_exit_codes, c)), None)
        if hit is not None and hit.state.terminated is not None:
            code = hit.state.terminated.exit_code
            return f"Container {hit.name} for pod {pod.key} failed with exit code {code}"
        return ""
    for pattern in rule.on_pod_conditions:
        condition = pod.condition(pattern.type)
        if condition is not None and condition.status == pattern.status:
            return f"Pod {pod.key} has condition {pattern.type}"
    return ""


def _exits(wanted: OnExitCodes, container: ContainerStatus) -> bool:
    """The container failed with one of the codes, or with none of them; success never matches."""
    end = container.state.terminated
    if end is None or end.exit_code == 0 or wanted.container_name not in (None, container.name):
        return False
    return (end.exit_code in wanted.values) == (wanted.operator == "In")


def failures_of_index(job: Job, pod: Pod, verdict: Verdict) -> tuple[int, int]:
    """How often pods of this index have failed, with this one, and how many of the failures were ignored."""
    counted, ignored = _number(pod, FAILURES), _number(pod, IGNORED)
    if verdict.action == "Ignore":
        return counted, ignored + 1
    return counted + 1, ignored


def _number(pod: Pod, annotation: str) -> int:
    text = pod.metadata.annotations.get(annotation, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def ended_at(pod: Pod) -> float:
    """When the pod ended: its last container, or its deletion (seconds since the epoch)."""
    statuses: Iterable[ContainerStatus] = pod.status.container_statuses
    ends = [seconds_of(c.state.terminated.finished_at) for c in statuses if c.state.terminated is not None]
    if any(ends):
        return max(ends)
    ready = pod.condition("Ready")
    return seconds_of(
        pod.metadata.deletion_timestamp
        or (ready.last_transition_time if ready is not None else None)
        or pod.metadata.creation_timestamp
    )


def backoff_s(failures: int, last_at: float, now: float) -> float:
    """Seconds until the next pod may be made, after so many failures in a row, the last of them then."""
    if failures == 0:
        return 0.0
    wait = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 20))
    return max(0.0, last_at + wait - now)


def restarts(pods: Sequence[Pod]) -> int:
    """Restarts of all containers of pods that are not finished (restartPolicy OnFailure)."""
    return sum(
        c.restart_count
        for p in pods
        if p.is_active
        for c in (*p.status.container_statuses, *p.status.init_container_statuses)
    )
