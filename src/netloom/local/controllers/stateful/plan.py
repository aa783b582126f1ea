"""What a StatefulSet needs next: which pod to make, end or put right, and its status. Pure.

In: the StatefulSet, its pods, the name of the revision wanted; out: steps in order, and counts. Rules: apps/v1 StatefulSet
(podManagementPolicy, updateStrategy with partition and maxUnavailable, minReadySeconds, ordinals). Not here: writing (loop.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from netloom.local.controllers.objects import Pod
from netloom.local.controllers.replicas import available_in
from netloom.local.controllers.revisions import POD_HASH
from netloom.local.controllers.rollout import resolved
from netloom.local.controllers.stateful.identity import missing_labels, ordinal_of
from netloom.local.controllers.workloads import StatefulSet, StatefulSetStatus


class Step(msgspec.Struct, frozen=True):
    """One thing to do for the pod with this number; ``recreate`` deletes one that has finished, to be made anew."""

    verb: Literal["create", "delete", "recreate", "label"]
    ordinal: int
    pod: Pod | None = None


class Row(msgspec.Struct, frozen=True):
    """The pods by their numbers: those that should be there, and those beyond, highest number first."""

    wanted: range
    there: Mapping[int, Pod]
    beyond: Sequence[tuple[int, Pod]]


def row_of(s: StatefulSet, pods: Sequence[Pod]) -> Row:
    """The pods in their places."""
    numbered = {n: p for p in pods if (n := ordinal_of(s, p)) is not None}
    start = s.spec.ordinals.start
    wanted = range(start, start + s.spec.replicas)
    beyond = sorted(
        ((n, p) for n, p in numbered.items() if n not in wanted), reverse=True, key=lambda x: x[0]
    )
    return Row(wanted, {n: p for n, p in numbered.items() if n in wanted}, beyond)


def steps(s: StatefulSet, row: Row, update: str, now: float) -> list[Step]:
    """What to do now; with OrderedReady at most one thing, and nothing while a pod before it is not available.

    Args:
        s: the StatefulSet.
        row: its pods.
        update: name of the revision of its template.
        now: seconds since the epoch.
    """
    todo: list[Step] = []
    for step, is_last in (*_fill(s, row, now), *_leave(s, row, now)):
        if step is not None:
            todo.append(step)
        if is_last and s.is_ordered:
            return todo
    if s.spec.update_strategy.type == "RollingUpdate" and not any(t.verb == "recreate" for t in todo):
        todo += _roll(s, row, update, now)
    return todo


def revision_for(s: StatefulSet, ordinal: int, current: str, update: str) -> str:
    """The revision that a new pod with this number gets: below the partition the current one."""
    is_kept = s.spec.update_strategy.type == "RollingUpdate" and ordinal - s.spec.ordinals.start < s.partition
    return current if is_kept else update


def is_healthy(s: StatefulSet, pod: Pod, now: float) -> bool:
    """Running, not on its way out, and ready for ``spec.minReadySeconds``."""
    return pod.is_active and available_in(pod, s.spec.min_ready_seconds, now) == 0


def _fill(s: StatefulSet, row: Row, now: float) -> Iterator[tuple[Step | None, bool]]:
    """From the first pod up: a step or none, and whether an ordered set has to wait there."""
    for ordinal in row.wanted:
        pod = row.there.get(ordinal)
        if pod is None:
            yield Step("create", ordinal), True
        elif pod.is_terminating:
            yield None, True
        elif pod.is_finished:
            yield Step("recreate", ordinal, pod), True
        else:
            lacks = missing_labels(s, ordinal, pod)
            yield Step("label", ordinal, pod) if lacks else None, not is_healthy(s, pod, now)


def _leave(s: StatefulSet, row: Row, now: float) -> Iterator[tuple[Step | None, bool]]:
    """From the last pod down: those beyond ``spec.replicas`` go; the first that is ill goes even while others wait for it."""
    is_ill_before = any(not is_healthy(s, p, now) for p in row.there.values())
    ill = (
        None if is_ill_before else min((n for n, p in row.beyond if not is_healthy(s, p, now)), default=None)
    )
    for ordinal, pod in row.beyond:
        if pod.is_terminating or (s.is_ordered and not is_healthy(s, pod, now) and ordinal != ill):
            yield None, True
        else:
            yield Step("delete", ordinal, pod), True


def _roll(s: StatefulSet, row: Row, update: str, now: float) -> list[Step]:
    """Pods of other revisions go, from the last one down to the partition, as many as may be missing at a time."""
    targets = [n for n in reversed(row.wanted) if n - row.wanted.start >= s.partition]
    rolling = s.spec.update_strategy.rolling_update
    if rolling is None or rolling.max_unavailable is None:
        for ordinal in targets:
            pod = row.there.get(ordinal)
            if pod is not None and _is_outdated(pod, update):
                return [Step("delete", ordinal, pod)]
            if pod is None or not is_healthy(s, pod, now):
                return []
        return []
    most = max(1, resolved(rolling.max_unavailable, s.spec.replicas, up=True))
    missing = sum(n not in row.there or not is_healthy(s, row.there[n], now) for n in row.wanted)
    outdated = [n for n in targets if n in row.there and _is_outdated(row.there[n], update)]
    return [Step("delete", n, row.there[n]) for n in outdated[: max(0, most - missing)]]


def _is_outdated(pod: Pod, update: str) -> bool:
    return pod.metadata.labels.get(POD_HASH) != update and not pod.is_terminating


def status_of(
    s: StatefulSet, row: Row, current: str, update: str, collisions: int | None, now: float
) -> StatefulSetStatus:
    """The status that follows from the pods; a rolling update that is complete makes the wanted revision the current one."""
    pods = [*row.there.values(), *(p for _, p in row.beyond)]
    ready = [p for p in pods if p.is_ready and not p.is_finished]
    alive = [p for p in pods if not p.is_terminating]
    counts = StatefulSetStatus(
        observed_generation=s.metadata.generation,
        replicas=len(pods),
        ready_replicas=len(ready),
        available_replicas=sum(available_in(p, s.spec.min_ready_seconds, now) == 0 for p in ready),
        current_replicas=sum(p.metadata.labels.get(POD_HASH) == current for p in alive),
        updated_replicas=sum(p.metadata.labels.get(POD_HASH) == update for p in alive),
        current_revision=current,
        update_revision=update,
        collision_count=collisions,
    )
    wish = s.spec.replicas
    is_rolling = s.spec.update_strategy.type == "RollingUpdate"
    if is_rolling and counts.updated_replicas == counts.ready_replicas == counts.replicas == wish:
        return msgspec.structs.replace(counts, current_revision=update, current_replicas=wish)
    return counts


def next_look(s: StatefulSet, pods: Sequence[Pod], now: float) -> float | None:
    """Seconds until the next ready pod becomes available; None if none will by itself."""
    waits = (available_in(p, s.spec.min_ready_seconds, now) for p in pods)
    return min((w for w in waits if w), default=None)
