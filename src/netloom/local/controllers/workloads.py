"""The kinds that run pods in other ways than ReplicaSets do, as their control loops read them (apps/v1, core/v1).

Templates of pods and claims stay plain dicts, as everywhere here. Not here: Jobs (batch), volumes (storage), any behaviour.
"""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.api.selectors import Selector, from_labels
from netloom.local.controllers.objects import Loaded, Owning, ReplicaSetStatus, Templated, TemplateSpec


class ReplicationControllerSpec(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ReplicationControllerSpec."""

    replicas: int = 1
    min_ready_seconds: int = 0
    selector: dict[str, str] = {}
    template: dict[str, Any] | None = None


class ReplicationController(Owning, frozen=True):
    """core/v1 ReplicationController: a ReplicaSet whose selector is a map; their statuses have the same fields."""

    spec: ReplicationControllerSpec = ReplicationControllerSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()

    @property
    def selector(self) -> Selector:
        """``spec.selector``."""
        return from_labels(self.spec.selector)


class ControllerRevision(Loaded, frozen=True):
    """apps/v1 ControllerRevision: one state of a template, kept to go back to."""

    revision: int = 0
    data: dict[str, Any] | None = None


class Ordinals(msgspec.Struct, frozen=True):
    """apps/v1 StatefulSetOrdinals."""

    start: int = 0


class Retention(msgspec.Struct, frozen=True, rename="camel"):
    """apps/v1 StatefulSetPersistentVolumeClaimRetentionPolicy: Retain or Delete."""

    when_deleted: str = "Retain"
    when_scaled: str = "Retain"


class StatefulRolling(msgspec.Struct, frozen=True, rename="camel"):
    """apps/v1 RollingUpdateStatefulSetStrategy."""

    partition: int = 0
    max_unavailable: int | str | None = None


class StatefulStrategy(msgspec.Struct, frozen=True, rename="camel"):
    """apps/v1 StatefulSetUpdateStrategy: RollingUpdate or OnDelete."""

    type: str = "RollingUpdate"
    rolling_update: StatefulRolling | None = None


class StatefulSetSpec(TemplateSpec, frozen=True, rename="camel"):
    """apps/v1 StatefulSetSpec."""

    replicas: int = 1
    volume_claim_templates: tuple[dict[str, Any], ...] = ()
    service_name: str = ""
    pod_management_policy: str = "OrderedReady"
    update_strategy: StatefulStrategy = StatefulStrategy()
    revision_history_limit: int = 10
    persistent_volume_claim_retention_policy: Retention = Retention()
    ordinals: Ordinals = Ordinals()


class StatefulSetStatus(msgspec.Struct, frozen=True, rename="camel"):
    """apps/v1 StatefulSetStatus."""

    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    current_replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    collision_count: int | None = None


class StatefulSet(Templated, frozen=True):
    """apps/v1 StatefulSet."""

    spec: StatefulSetSpec = StatefulSetSpec()
    status: StatefulSetStatus = StatefulSetStatus()

    @property
    def is_ordered(self) -> bool:
        """One pod after the other (``spec.podManagementPolicy``)."""
        return self.spec.pod_management_policy != "Parallel"

    @property
    def partition(self) -> int:
        """Pods below it, counted from the first, keep the current revision."""
        rolling = self.spec.update_strategy.rolling_update
        return rolling.partition if rolling is not None else 0


class DaemonRolling(msgspec.Struct, frozen=True, rename="camel"):
    """apps/v1 RollingUpdateDaemonSet; numbers or percentages of the nodes that should have a pod."""

    max_unavailable: int | str = 1
    max_surge: int | str = 0


class DaemonStrategy(msgspec.Struct, frozen=True, rename="camel"):
    """apps/v1 DaemonSetUpdateStrategy: RollingUpdate or OnDelete."""

    type: str = "RollingUpdate"
    rolling_update: DaemonRolling | None = None


class DaemonSetSpec(TemplateSpec, frozen=True, rename="camel"):
    """apps/v1 DaemonSetSpec."""

    update_strategy: DaemonStrategy = DaemonStrategy()
    revision_history_limit: int = 10


class DaemonSetStatus(msgspec.Struct, frozen=True, rename="camel"):
    """apps/v1 DaemonSetStatus."""

    current_number_scheduled: int = 0
    number_misscheduled: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0
    observed_generation: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    number_unavailable: int = 0
    collision_count: int | None = None


class DaemonSet(Templated, frozen=True):
    """apps/v1 DaemonSet."""

    spec: DaemonSetSpec = DaemonSetSpec()
    status: DaemonSetStatus = DaemonSetStatus()
