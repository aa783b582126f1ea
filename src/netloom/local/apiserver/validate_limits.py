"""Rules for what limits, ranks and scales pods: budgets, quotas, limit ranges, priorities, runtimes, autoscalers. Pure.

Comes in: a document with defaults, and the one it replaces. Goes out: FieldErrors. Source: API references of policy/v1,
core/v1, scheduling.k8s.io/v1, node.k8s.io/v1 and autoscaling/v2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netloom.api import quantity
from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import (
    duplicate,
    forbidden,
    invalid,
    items,
    mapping,
    not_supported,
    required,
)
from netloom.local.apiserver.validate_names import Errors
from netloom.local.apiserver.validate_objects import quantities
from netloom.local.apiserver.validate_workloads import share

HIGHEST_USER_PRIORITY = 1_000_000_000
SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_LIMIT_TYPES = ("Container", "PersistentVolumeClaim", "Pod")
_SCOPES = (
    *("BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating"),
    *("PriorityClass", "Terminating", "VolumeAttributesClass"),
)

Document = Mapping[str, Any]


def pod_disruption_budget(document: Document) -> Errors:
    """A policy/v1 PodDisruptionBudget."""
    spec = mapping(document.get("spec"))
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        yield invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for field in ("minAvailable", "maxUnavailable"):
        yield from share(f"spec.{field}", spec.get(field), most=100)
    yield from names.label_selector("spec.selector", spec.get("selector"))
    policy = spec.get("unhealthyPodEvictionPolicy")
    yield from names.one_of("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))


def resource_quota(document: Document, old: Document | None) -> Errors:
    """A core/v1 ResourceQuota."""
    spec = mapping(document.get("spec"))
    yield from quantities("spec.hard", spec.get("hard"))
    for number, scope in enumerate(items(spec.get("scopes"))):
        if scope not in _SCOPES:
            yield not_supported(f"spec.scopes[{number}]", scope, _SCOPES)
    for number, item in enumerate(items(mapping(spec.get("scopeSelector")).get("matchExpressions"))):
        path, asked = f"spec.scopeSelector.matchExpressions[{number}]", mapping(item)
        yield from names.one_of(f"{path}.scopeName", asked.get("scopeName"), _SCOPES, needed=True)
        operators = ("DoesNotExist", "Exists", "In", "NotIn")
        yield from names.one_of(f"{path}.operator", asked.get("operator"), operators, needed=True)
        if (asked.get("operator") in ("In", "NotIn")) is not bool(asked.get("values")):
            yield invalid(f"{path}.values", asked.get("values"), "values go with the operators In and NotIn")
    if old is not None and (spec.get("scopes") or []) != (mapping(old.get("spec")).get("scopes") or []):
        yield invalid("spec.scopes", spec.get("scopes"), "field is immutable")


def limit_range(document: Document) -> Errors:
    """A core/v1 LimitRange."""
    seen: set[object] = set()
    for number, item in enumerate(items(mapping(document.get("spec")).get("limits"))):
        limit, path = mapping(item), f"spec.limits[{number}]"
        kind = limit.get("type")
        if not kind:
            yield required(f"{path}.type")
        elif kind not in _LIMIT_TYPES and (problem := names.qualified_name_problem(str(kind))):
            yield invalid(f"{path}.type", kind, problem)
        if kind in seen:
            yield duplicate(f"{path}.type", kind)
        seen.add(kind)
        for field in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            yield from quantities(f"{path}.{field}", limit.get(field))
            if kind == "Pod" and field.startswith("default") and limit.get(field):
                yield forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'")
        yield from _ordered(path, limit)


_ORDER = (("min", "max"), ("min", "defaultRequest"), ("min", "default"), ("defaultRequest", "default"),
          ("defaultRequest", "max"), ("default", "max"))  # fmt: skip


def _ordered(path: str, limit: Document) -> Errors:
    for low, high in _ORDER:
        above = mapping(limit.get(high))
        for name, text in mapping(limit.get(low)).items():
            less, more = quantity.parse(text), quantity.parse(above.get(name, ""))
            if less is not None and more is not None and less > more:
                why = f"{low} value {text} is greater than {high} value {above[name]}"
                yield invalid(f"{path}.{low}[{name}]", text, why)


def priority_class(document: Document, old: Document | None) -> Errors:
    """A scheduling.k8s.io/v1 PriorityClass."""
    name, value = str(mapping(document.get("metadata")).get("name", "")), document.get("value")
    if name.startswith("system-"):
        if SYSTEM_PRIORITIES.get(name) != value:
            yield forbidden(
                "metadata.name", "priority class names with 'system-' prefix are reserved for system use only"
            )
    elif isinstance(value, int) and value > HIGHEST_USER_PRIORITY:
        why = f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"
        yield forbidden("value", why)
    policies = ("Never", "PreemptLowerPriority")
    yield from names.one_of("preemptionPolicy", document.get("preemptionPolicy"), policies)
    if old is not None:
        if value != old.get("value"):
            yield forbidden("value", "may not be changed in an update.")
        if document.get("preemptionPolicy") != old.get("preemptionPolicy"):
            yield invalid("preemptionPolicy", document.get("preemptionPolicy"), "field is immutable")


def runtime_class(document: Document, old: Document | None) -> Errors:
    """A node.k8s.io/v1 RuntimeClass."""
    yield from names.named("handler", document.get("handler"), names.label_problem)
    yield from quantities("overhead.podFixed", mapping(document.get("overhead")).get("podFixed"))
    yield from names.labels(
        "scheduling.nodeSelector", mapping(document.get("scheduling")).get("nodeSelector")
    )
    if old is not None and document.get("handler") != old.get("handler"):
        yield invalid("handler", document.get("handler"), "field is immutable")


def horizontal_pod_autoscaler(document: Document) -> Errors:
    """An autoscaling/v2 HorizontalPodAutoscaler."""
    spec = mapping(document.get("spec"))
    least, most = spec.get("minReplicas"), spec.get("maxReplicas")
    yield from names.at_least("spec.minReplicas", least, 1)
    if not isinstance(most, int) or most < 1:
        yield invalid("spec.maxReplicas", most or 0, "must be greater than 0")
    elif isinstance(least, int) and most < least:
        yield invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    target = mapping(spec.get("scaleTargetRef"))
    for field in ("kind", "name"):
        if not target.get(field):
            yield required(f"spec.scaleTargetRef.{field}")
