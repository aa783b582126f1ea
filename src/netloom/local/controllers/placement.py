"""What a pod and a node say about each other, as structs: taints, tolerations, affinity (core/v1).

Not here: what follows from it (``local/scheduler``).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.api.meta import LabelSelector

NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "PreferNoSchedule", "NoExecute"


class Taint(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 Taint."""

    key: str
    value: str = ""
    effect: str = ""
    time_added: str | None = None
    """Since when, of effect NoExecute."""


class Toleration(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 Toleration; no key with Exists tolerates everything, no effect means every effect."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None
    """Of effect NoExecute: for how long; None: for ever, 0 or less: not at all."""

    def tolerates(self, taint: Taint) -> bool:
        """True where this toleration matches the taint (core/v1 Toleration)."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.operator == "Exists" or (bool(self.key) and self.value == taint.value)


class NodeSelectorRequirement(msgspec.Struct, frozen=True):
    """core/v1 NodeSelectorRequirement: In, NotIn, Exists, DoesNotExist, Gt, Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True where the labels satisfy it; Gt and Lt compare whole numbers, and fail where there is none."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case operator:
                return _compares(operator, value, self.values)


def _compares(operator: str, value: str | None, values: tuple[str, ...]) -> bool:
    try:
        own, bound = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return own > bound if operator == "Gt" else operator == "Lt" and own < bound


class NodeSelectorTerm(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 NodeSelectorTerm: all of it must hold; an empty one matches nothing."""

    match_expressions: tuple[NodeSelectorRequirement, ...] = ()
    match_fields: tuple[NodeSelectorRequirement, ...] = ()


class NodeSelector(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 NodeSelector: any term is enough."""

    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()


class PreferredNode(msgspec.Struct, frozen=True):
    """core/v1 PreferredSchedulingTerm."""

    weight: int = 0
    preference: NodeSelectorTerm = NodeSelectorTerm()


class NodeAffinity(msgspec.Struct, frozen=True):
    """core/v1 NodeAffinity."""

    required: NodeSelector | None = msgspec.field(
        name="requiredDuringSchedulingIgnoredDuringExecution", default=None
    )
    preferred: tuple[PreferredNode, ...] = msgspec.field(
        name="preferredDuringSchedulingIgnoredDuringExecution", default=()
    )


class PodAffinityTerm(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PodAffinityTerm."""

    topology_key: str = ""
    label_selector: LabelSelector | None = None
    namespaces: tuple[str, ...] = ()
    namespace_selector: LabelSelector | None = None
    match_label_keys: tuple[str, ...] = ()
    mismatch_label_keys: tuple[str, ...] = ()


class WeightedPodTerm(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 WeightedPodAffinityTerm."""

    weight: int = 0
    pod_affinity_term: PodAffinityTerm = PodAffinityTerm()


class PodAntiAffinity(msgspec.Struct, frozen=True):
    """core/v1 PodAffinity and PodAntiAffinity, which look the same."""

    required: tuple[PodAffinityTerm, ...] = msgspec.field(
        name="requiredDuringSchedulingIgnoredDuringExecution", default=()
    )
    preferred: tuple[WeightedPodTerm, ...] = msgspec.field(
        name="preferredDuringSchedulingIgnoredDuringExecution", default=()
    )


class Affinity(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 Affinity."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAntiAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class SpreadConstraint(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 TopologySpreadConstraint."""

    topology_key: str = ""
    max_skew: int = 1
    when_unsatisfiable: str = "DoNotSchedule"
    label_selector: LabelSelector | None = None
    min_domains: int | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None
    match_label_keys: tuple[str, ...] = ()


class Resources(msgspec.Struct, frozen=True):
    """core/v1 ResourceRequirements; limits have become requests by default."""

    requests: dict[str, str | int | float] = {}


def term_matches(term: NodeSelectorTerm, *, name: str, labels: Mapping[str, str]) -> bool:
    """True where a node of this name and these labels satisfies the term."""
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": name}
    return all(r.matches(labels) for r in term.match_expressions) and all(
        r.matches(fields) for r in term.match_fields
    )
