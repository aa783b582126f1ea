"""PodDisruptionBudget and what has a scale, as the loops read them (policy/v1, autoscaling/v1). Not here: any behaviour."""

from __future__ import annotations

import msgspec

from netloom.api.meta import LabelSelector
from netloom.local.controllers.objects import Condition, Loaded


class BudgetSpec(msgspec.Struct, frozen=True, rename="camel"):
    """policy/v1 PodDisruptionBudgetSpec; an empty selector means all pods of the namespace, none at all means none."""

    selector: LabelSelector | None = None
    min_available: int | str | None = None
    max_unavailable: int | str | None = None


class BudgetStatus(msgspec.Struct, frozen=True, rename="camel"):
    """policy/v1 PodDisruptionBudgetStatus."""

    current_healthy: int = 0
    desired_healthy: int = 0
    disruptions_allowed: int = 0
    expected_pods: int = 0
    observed_generation: int = 0
    disrupted_pods: dict[str, str] = {}
    """Name of a pod whose eviction was granted, and when."""
    conditions: tuple[Condition, ...] = ()


class PodDisruptionBudget(Loaded, frozen=True):
    """policy/v1 PodDisruptionBudget."""

    spec: BudgetSpec = BudgetSpec()
    status: BudgetStatus = BudgetStatus()
