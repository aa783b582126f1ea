"""Decisions about a ReplicaSet's pods: which go first, how many are there, which conditions. Pure.

Rules: apps/v1 ReplicaSet, and the order in which kube-controller-manager deletes. Not here: writing (replicaset.py).
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from netloom.clock import rfc3339
from netloom.local.controllers.objects import Condition, Pod, ReplicaSet, ReplicaSetStatus
from netloom.local.controllers.workloads import ReplicationController

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def seconds_of(text: str | None) -> float:
    """A metav1.Time as seconds since the epoch; 0 where it is absent or cannot be read."""
    try:
        return dt.datetime.fromisoformat(text).timestamp() if text else 0.0
    except ValueError:
        return 0.0


def victims(pods: Sequence[Pod], count: int) -> list[Pod]:
    """The pods to delete, first of all those whose end costs least.

    Order: unscheduled; pending, unknown, running; not ready; lower deletion cost; where more of them share a node;
    ready for the shorter time; more restarts; younger.
    """
    crowd = Counter(p.spec.node_name for p in pods)

    def rank(pod: Pod) -> tuple[Any, ...]:
        ready = pod.condition("Ready") if pod.is_ready else None
        return (
            bool(pod.spec.node_name),
            _PHASES.get(pod.status.phase, 1),
            ready is not None,
            deletion_cost(pod),
            -crowd[pod.spec.node_name],
            -seconds_of(ready.last_transition_time) if ready else 0.0,
            -max((c.restart_count for c in pod.status.container_statuses), default=0),
            -seconds_of(pod.metadata.creation_timestamp),
            pod.metadata.name,
        )

    return sorted(pods, key=rank)[: max(count, 0)]


def deletion_cost(pod: Pod) -> int:
    """Annotation ``controller.kubernetes.io/pod-deletion-cost``, -2^31 to 2^31-1; 0 where it is none."""
    text = pod.metadata.annotations.get(DELETION_COST, "0")
    try:
        cost = int(text)
    except ValueError:
        return 0
    return cost if -(2**31) <= cost < 2**31 else 0


def available_in(pod: Pod, min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the pod counts as available, 0 if it does; None while it is not ready."""
    ready = pod.condition("Ready")
    if ready is None or ready.status != "True":
        return None
    if min_ready_seconds == 0:
        return 0.0
    since = seconds_of(ready.last_transition_time)
    return max(0.0, since + min_ready_seconds - now) if since else float(min_ready_seconds)


class Failure(msgspec.Struct, frozen=True):
    """Why the pods could not be made as many as wanted; ``reason`` is FailedCreate or FailedDelete."""

    reason: str
    message: str


def status_of(
    rs: ReplicaSet | ReplicationController, pods: Sequence[Pod], now: float, failure: Failure | None = None
) -> ReplicaSetStatus:
    """The status that follows from the active pods.

    Args:
        rs: the ReplicaSet.
        pods: its active pods.
        now: seconds since the epoch.
        failure: of this turn; None if all went well.
    """
    labels = ((rs.spec.template or {}).get("metadata") or {}).get("labels") or {}
    waits = [available_in(p, rs.spec.min_ready_seconds, now) for p in pods]
    return ReplicaSetStatus(
        replicas=len(pods),
        fully_labeled_replicas=sum(labels.items() <= p.metadata.labels.items() for p in pods),
        ready_replicas=sum(w is not None for w in waits),
        available_replicas=sum(w == 0 for w in waits),
        observed_generation=rs.metadata.generation,
        conditions=_conditions(rs, now, failure),
    )


def _conditions(
    rs: ReplicaSet | ReplicationController, now: float, failure: Failure | None
) -> tuple[Condition, ...]:
    others = tuple(c for c in rs.status.conditions if c.type != "ReplicaFailure")
    if failure is None:
        return others
    known = next((c for c in rs.status.conditions if c.type == "ReplicaFailure"), None)
    since = known.last_transition_time if known else rfc3339(now)
    failed = Condition(
        type="ReplicaFailure",
        status="True",
        reason="FailedCreate",
        message=failure.message,
        last_transition_time=since,
    )
    return (*others, failed)


def next_look(rs: ReplicaSet | ReplicationController, pods: Sequence[Pod], now: float) -> float | None:
    """Seconds until the next ready pod becomes available (``spec.minReadySeconds``); None if none will by itself."""
    waits = (available_in(p, rs.spec.min_ready_seconds, now) for p in pods)
    return min((w for w in waits if w), default=None)
