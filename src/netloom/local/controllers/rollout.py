"""How a Deployment moves from old pods to new ones: sizes of its ReplicaSets, history, status. Pure.

In: a Deployment and its ReplicaSets as they are; out: sizes and statuses as they should be next. Rules: apps/v1 Deployment
(strategy, revisionHistoryLimit, progressDeadlineSeconds) and what `kubectl rollout` reads. Not here: writing (deployment.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from netloom.clock import rfc3339
from netloom.local.controllers.objects import Condition, Deployment, DeploymentStatus, ReplicaSet
from netloom.local.controllers.replicas import seconds_of

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"
_OURS = {
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
}
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes, so that no hash spells a word."""

AVAILABLE, PROGRESSING, REPLICA_FAILURE = "Available", "Progressing", "ReplicaFailure"
COMPLETE, UPDATED, TIMED_OUT = "NewReplicaSetAvailable", "ReplicaSetUpdated", "ProgressDeadlineExceeded"
PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"


def template_hash(template: dict[str, Any], collisions: int | None) -> str:
    """Ten characters that name a template; another number of collisions gives another name."""
    text = msgspec.json.encode([template, collisions or 0], order="deterministic")
    number = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
    return "".join(_SAFE[number // len(_SAFE) ** i % len(_SAFE)] for i in range(10))


def same_template(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Equal but for the hash label that ReplicaSets add."""
    return without_hash(one) == without_hash(other)


def without_hash(template: dict[str, Any]) -> dict[str, Any]:
    """The template as the Deployment has it."""
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH_LABEL}
    return template | {"metadata": {k: v for k, v in metadata.items() if v}}


def by_age(sets: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """Oldest first."""
    return sorted(sets, key=lambda s: (seconds_of(s.metadata.creation_timestamp), s.metadata.name))


def current(d: Deployment, sets: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """The ReplicaSet of the Deployment's template; the oldest, should there be several."""
    return next((s for s in by_age(sets) if same_template(s.spec.template, d.spec.template)), None)


def revision_of(rs: ReplicaSet) -> int:
    """Annotation ``deployment.kubernetes.io/revision``; 0 where it is absent."""
    text = rs.metadata.annotations.get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def resolved(value: int | str, total: int, *, up: bool) -> int:
    """A number, or a percentage of ``total`` rounded up or down (IntOrString)."""
    if isinstance(value, int):
        return value
    if value.isdecimal():
        return int(value)
    percent = value.removesuffix("%")
    if not percent.isdecimal():
        return 0
    product = total * int(percent)
    return -(-product // 100) if up else product // 100


def max_surge(d: Deployment) -> int:
    """Pods above ``spec.replicas`` during a rolling update (rounded up)."""
    return _fenceposts(d)[0] if d.spec.strategy.type == "RollingUpdate" else 0


def max_unavailable(d: Deployment) -> int:
    """Pods that may be missing during a rolling update (rounded down)."""
    if d.spec.strategy.type != "RollingUpdate" or d.spec.replicas == 0:
        return 0
    return min(_fenceposts(d)[1], d.spec.replicas)


def _fenceposts(d: Deployment) -> tuple[int, int]:
    rolling = d.spec.strategy.rolling_update
    surge = resolved(rolling.max_surge if rolling else "25%", d.spec.replicas, up=True)
    unavailable = resolved(rolling.max_unavailable if rolling else "25%", d.spec.replicas, up=False)
    # Both nothing would mean that nothing can ever move; the percentages were merely too small.
    return surge, 1 if surge == 0 and unavailable == 0 else unavailable


def size_of_new(d: Deployment, sets: Sequence[ReplicaSet], new_size: int) -> int:
    """Size of the new ReplicaSet next, when it has ``new_size`` pods now and ``sets`` are all of them."""
    if d.spec.strategy.type != "RollingUpdate" or new_size > d.spec.replicas:
        return d.spec.replicas
    room = d.spec.replicas + max_surge(d) - sum(s.spec.replicas for s in sets)
    return new_size + max(0, min(room, d.spec.replicas - new_size))


def sizes_of_old(d: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> dict[str, int]:
    """Sizes of the old ReplicaSets next in a rolling update, by uid; only those that change.

    Pods that are not available go first; then as many as leave enough available ones.
    """
    sets = [*old, *([new] if new else [])]
    least = d.spec.replicas - max_unavailable(d)
    new_missing = new.spec.replicas - new.status.available_replicas if new else 0
    budget = sum(s.spec.replicas for s in sets) - least - new_missing
    if budget <= 0:
        return {}
    sizes = {s.uid: s.spec.replicas for s in old}
    for rs in by_age(old):
        sick = min(budget, max(0, rs.spec.replicas - rs.status.available_replicas))
        sizes[rs.uid] -= sick
        budget -= sick
    spare = sum(s.status.available_replicas for s in sets) - least
    for rs in by_age(old):
        step = min(sizes[rs.uid], max(spare, 0))
        sizes[rs.uid] -= step
        spare -= step
    return {s.uid: sizes[s.uid] for s in old if sizes[s.uid] != s.spec.replicas}


def is_scaling(d: Deployment, sets: Sequence[ReplicaSet]) -> bool:
    """``spec.replicas`` changed since the ReplicaSets were sized (their annotation ``desired-replicas``)."""
    return any(
        s.spec.replicas > 0
        and s.metadata.annotations.get(DESIRED, str(d.spec.replicas)) != str(d.spec.replicas)
        for s in sets
    )


def scaled(d: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> dict[str, int]:
    """Sizes after a change of ``spec.replicas``, by uid: one active set takes it all, several share in proportion."""
    sets = [*old, *([new] if new else [])]
    active = [s for s in by_age(sets) if s.spec.replicas > 0]
    if len(active) <= 1:
        sole = active[0] if active else (new or next(reversed(by_age(old)), None))
        return {sole.uid: d.spec.replicas} if sole else {}
    if new is not None and _is_saturated(d, new):
        return {s.uid: 0 for s in old if s.spec.replicas > 0}
    if d.spec.strategy.type != "RollingUpdate":
        return {}
    allowed = d.spec.replicas + max_surge(d) if d.spec.replicas > 0 else 0
    change = allowed - sum(s.spec.replicas for s in active)
    # Bigger sets first; among equals the newer grow first and the older shrink first.
    order = sorted(reversed(active) if change > 0 else active, key=lambda s: -s.spec.replicas)
    sizes, given = {}, 0
    for rs in order:
        share = _share(d, rs, change, given)
        given += share
        sizes[rs.uid] = rs.spec.replicas + share
    left = change - given
    for rs in order:
        # What rounding left over: all of it to the biggest, or as far as it goes from each.
        share = max(left, -sizes[rs.uid])
        sizes[rs.uid] += share
        left -= share
    return sizes


def _is_saturated(d: Deployment, rs: ReplicaSet) -> bool:
    wish = d.spec.replicas
    noted = rs.metadata.annotations.get(DESIRED) == str(wish)
    return noted and rs.spec.replicas == wish == rs.status.available_replicas


def _share(d: Deployment, rs: ReplicaSet, change: int, given: int) -> int:
    left = change - given
    if left == 0:
        return 0
    noted = rs.metadata.annotations.get(MAX, "")
    before = int(noted) if noted.isdecimal() and int(noted) > 0 else d.status.replicas
    most = d.spec.replicas + max_surge(d) if d.spec.replicas else 0
    fraction = (round_half_up(rs.spec.replicas * most, before) if before else most) - rs.spec.replicas
    return min(max(fraction, 0), left) if change > 0 else max(min(fraction, 0), left)


def round_half_up(numerator: int, denominator: int) -> int:
    """The nearest whole number of a quotient of numbers that are not negative."""
    return (2 * numerator + denominator) // (2 * denominator)


def forgettable(d: Deployment, old: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """Old ReplicaSets beyond ``spec.revisionHistoryLimit`` that are empty: lowest revision first."""
    alive = [s for s in old if not s.is_terminating]
    excess = len(alive) - d.spec.revision_history_limit
    ordered = sorted(alive, key=lambda s: (revision_of(s), seconds_of(s.metadata.creation_timestamp)))
    return [
        s
        for s in ordered[: max(excess, 0)]
        if s.spec.replicas == 0
        and s.status.replicas == 0
        and s.metadata.generation <= s.status.observed_generation
    ]


def annotations_of_set(d: Deployment, there: dict[str, str], revision: int) -> dict[str, str]:
    """Annotations of the current ReplicaSet: the Deployment's own, its revision, and the revisions it was before."""
    own = {k: v for k, v in d.metadata.annotations.items() if k not in _OURS}
    result = there | own
    before = there.get(REVISION, "")
    if before.isdecimal() and int(before) < revision:
        result[REVISION_HISTORY] = ",".join(filter(None, (there.get(REVISION_HISTORY, ""), before)))
    if not before.isdecimal() or int(before) < revision:
        result[REVISION] = str(revision)
    return result


def size_annotations(d: Deployment) -> dict[str, str]:
    """What a ReplicaSet notes when it is sized, so that a later change of ``spec.replicas`` is seen."""
    return {DESIRED: str(d.spec.replicas), MAX: str(d.spec.replicas + max_surge(d))}


def status_of(
    d: Deployment, new: ReplicaSet | None, sets: Sequence[ReplicaSet], now: float, *, rolling: bool = True
) -> DeploymentStatus:
    """The status that follows from the ReplicaSets; ``rolling`` False (paused, scaling) leaves Progressing as it is."""
    total = sum(s.status.replicas for s in sets)
    available = sum(s.status.available_replicas for s in sets)
    status = DeploymentStatus(
        observed_generation=d.metadata.generation,
        replicas=total,
        updated_replicas=new.status.replicas if new else 0,
        ready_replicas=sum(s.status.ready_replicas for s in sets),
        available_replicas=available,
        unavailable_replicas=max(0, sum(s.spec.replicas for s in sets) - available),
        conditions=d.status.conditions,
        collision_count=d.status.collision_count,
    )
    enough = available >= d.spec.replicas - max_unavailable(d)
    status = with_condition(
        status,
        AVAILABLE,
        "True" if enough else "False",
        "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        now,
    )
    if rolling:
        status = _with_progress(d, new, status, now)
    return _with_failure(status, sets, new)


def _with_progress(
    d: Deployment, new: ReplicaSet | None, status: DeploymentStatus, now: float
) -> DeploymentStatus:
    known = condition_of(d.status, PROGRESSING)
    was_complete = (
        status.replicas == status.updated_replicas and known is not None and known.reason == COMPLETE
    )
    if was_complete:
        return status
    subject = f'ReplicaSet "{new.metadata.name}"' if new else f'Deployment "{d.metadata.name}"'
    if is_complete(d, status):
        return with_condition(
            status, PROGRESSING, "True", COMPLETE, f"{subject} has successfully progressed.", now
        )
    if _has_moved(d.status, status):
        # lastUpdateTime is what the deadline is counted from, so it moves with every step.
        return with_condition(
            status, PROGRESSING, "True", UPDATED, f"{subject} is progressing.", now, touch=True
        )
    if deadline_in(d, now) == 0:
        return with_condition(
            status, PROGRESSING, "False", TIMED_OUT, f"{subject} has timed out progressing.", now
        )
    return status


def _with_failure(
    status: DeploymentStatus, sets: Sequence[ReplicaSet], new: ReplicaSet | None
) -> DeploymentStatus:
    """A ReplicaSet that cannot make its pods shows in the Deployment; the newest one's word counts."""
    order = [*([new] if new else []), *reversed(by_age(sets))]
    failed = next((c for s in order for c in s.status.conditions if c.type == REPLICA_FAILURE), None)
    others = tuple(c for c in status.conditions if c.type != REPLICA_FAILURE)
    return msgspec.structs.replace(status, conditions=(*others, failed) if failed else others)


def is_complete(d: Deployment, status: DeploymentStatus) -> bool:
    """All pods are new, and available (what `kubectl rollout status` waits for)."""
    wish = d.spec.replicas
    return status.updated_replicas == status.replicas == status.available_replicas == wish


def _has_moved(before: DeploymentStatus, after: DeploymentStatus) -> bool:
    return (
        after.updated_replicas > before.updated_replicas
        or after.replicas - after.updated_replicas < before.replicas - before.updated_replicas
        or after.ready_replicas > before.ready_replicas
        or after.available_replicas > before.available_replicas
    )


def deadline_in(d: Deployment, now: float) -> float | None:
    """Seconds until the rollout counts as stuck, 0 if it does; None where no deadline runs."""
    known = condition_of(d.status, PROGRESSING)
    if known is None or known.reason == COMPLETE or d.spec.paused:
        return None
    if known.reason == TIMED_OUT:
        return 0.0
    since = seconds_of(known.last_update_time or known.last_transition_time)
    return max(0.0, since + d.spec.progress_deadline_seconds - now)


def condition_of(status: DeploymentStatus, type_: str) -> Condition | None:
    """The condition of this type."""
    return next((c for c in status.conditions if c.type == type_), None)


def with_condition(  # noqa: PLR0913 - the parts of a condition
    status: DeploymentStatus,
    type_: str,
    value: str,
    reason: str,
    message: str,
    now: float,
    *,
    touch: bool = False,
) -> DeploymentStatus:
    """The status with this condition; an equal one stays untouched unless ``touch``."""
    known = condition_of(status, type_)
    if known is not None and (known.status, known.reason) == (value, reason) and not touch:
        return status
    same_value = known is not None and known.status == value
    fresh = Condition(
        type=type_,
        status=value,
        reason=reason,
        message=message,
        last_update_time=rfc3339(now),
        last_transition_time=known.last_transition_time if known is not None and same_value else rfc3339(now),
    )
    others = tuple(c for c in status.conditions if c.type != type_)
    return msgspec.structs.replace(status, conditions=(*others, fresh))
