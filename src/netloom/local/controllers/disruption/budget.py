"""How many pods of a budget may go now. Pure.

Comes in: a PodDisruptionBudget, its pods, what the owners of the pods want. Goes out: its status. Source: policy/v1, and
kube-controller-manager's disruption controller.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from netloom.local.controllers.disruption.objects import BudgetStatus, PodDisruptionBudget
from netloom.local.controllers.objects import Condition, Pod
from netloom.local.controllers.replicas import seconds_of

DISRUPTED_S = 120.0
"""For so long a pod whose eviction was granted is expected to go; then it counts again."""
ALLOWED = "DisruptionAllowed"


class Unknown(msgspec.Struct, frozen=True):
    """Why nobody can say how many pods there ought to be."""

    message: str


def status_of(
    budget: PodDisruptionBudget, pods: Iterable[Pod], wanted: int | Unknown, *, now: float, now_text: str
) -> BudgetStatus:
    """The status that follows.

    Args:
        budget: as it is.
        pods: all pods that it selects.
        wanted: how many pods their owners want together.
        now: seconds since the epoch.
        now_text: the same as RFC 3339.
    """
    live = [p for p in pods if p.is_active]
    disrupted = _still_expected(budget.status.disrupted_pods, {p.metadata.name: p for p in pods}, now)
    if isinstance(wanted, Unknown):
        expected, desired, healthy, allowed = len(live), 0, _healthy(live, disrupted), 0
        reason, message = "SyncFailed", wanted.message
    else:
        expected, desired = counts(budget, len(live), wanted)
        healthy = _healthy(live, disrupted)
        allowed = max(0, healthy - desired) if expected > 0 else 0
        reason, message = ("SufficientPods", "") if allowed > 0 else ("InsufficientPods", "")
    return BudgetStatus(
        current_healthy=healthy,
        desired_healthy=desired,
        disruptions_allowed=allowed,
        expected_pods=expected,
        observed_generation=budget.metadata.generation,
        disrupted_pods=disrupted,
        conditions=_conditions(budget, reason, message, now_text, is_allowed=allowed > 0),
    )


def needs_owners(budget: PodDisruptionBudget) -> bool:
    """What the pods' owners want counts; with a plain number of pods that must stay it does not."""
    return not isinstance(budget.spec.min_available, int)


def counts(budget: PodDisruptionBudget, there: int, wanted: int) -> tuple[int, int]:
    """How many pods are expected, and how many of them must be healthy. Percentages are rounded up."""
    spec = budget.spec
    if spec.max_unavailable is not None:
        unavailable = scaled(spec.max_unavailable, wanted)
        return wanted, max(0, wanted - unavailable)
    if isinstance(spec.min_available, int):
        return there, spec.min_available
    if spec.min_available is not None:
        return wanted, scaled(spec.min_available, wanted)
    return wanted, max(0, wanted)


def scaled(value: int | str, total: int) -> int:
    """A number, or a percentage of a total, rounded up; what is neither is nothing."""
    if isinstance(value, int):
        return value
    digits = value.removesuffix("%")
    return math.ceil(int(digits) * total / 100) if digits.isdecimal() and value.endswith("%") else 0


def _healthy(live: Iterable[Pod], disrupted: Mapping[str, str]) -> int:
    return sum(p.is_ready and p.metadata.name not in disrupted for p in live)


def _still_expected(granted: Mapping[str, str], pods: Mapping[str, Pod], now: float) -> dict[str, str]:
    """Pods whose eviction was granted, which are there still and not on their way out, and may well go."""
    return {
        name: since
        for name, since in granted.items()
        if name in pods and not pods[name].is_terminating and now - seconds_of(since) < DISRUPTED_S
    }


def next_look(status: BudgetStatus, now: float) -> float | None:
    """Seconds until a pod whose eviction was granted counts again; None where there is none."""
    waits = [seconds_of(since) + DISRUPTED_S - now for since in status.disrupted_pods.values()]
    return max(0.1, min(waits)) if waits else None


def _conditions(
    budget: PodDisruptionBudget, reason: str, message: str, now_text: str, *, is_allowed: bool
) -> tuple[Condition, ...]:
    others = tuple(c for c in budget.status.conditions if c.type != ALLOWED)
    known = next((c for c in budget.status.conditions if c.type == ALLOWED), None)
    status = "True" if is_allowed else "False"
    since = known.last_transition_time if known and known.status == status else now_text
    return (*others, Condition(ALLOWED, status, reason, message, since))
