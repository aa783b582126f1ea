"""Pods get the number of their PriorityClass; of the classes one at most is the default of the cluster.

Comes in: pods and PriorityClasses that are about to be written, and the classes that are there. Goes out: pods with
``spec.priority`` and ``spec.preemptionPolicy``, or why not. Pure. Source: Kubernetes docs, "Pod Priority and Preemption".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

CLUSTER_CRITICAL, NODE_CRITICAL = "system-cluster-critical", "system-node-critical"
_LOWER = "PreemptLowerPriority"
BUILT_IN: tuple[dict[str, Any], ...] = (
    {
        "metadata": {"name": NODE_CRITICAL},
        "value": 2_000_001_000,
        "description": "Used for system critical pods that must not be moved from their current node.",
    },
    {
        "metadata": {"name": CLUSTER_CRITICAL},
        "value": 2_000_000_000,
        "description": "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    },
)


def admit(pod: dict[str, Any], classes: Iterable[Mapping[str, Any]]) -> str:
    """Set the priority of a pod; why it is refused, or empty."""
    spec = pod["spec"]
    name = spec.get("priorityClassName") or ""
    known = list(classes)
    if name:
        found = next((c for c in known if c["metadata"]["name"] == name), None)
        if found is None:
            return f"no PriorityClass with name {name} was found"
    else:
        marked = [c for c in known if c.get("globalDefault")]
        found = min(marked, key=lambda c: int(c["value"]), default=None)
    value = int(found["value"]) if found is not None else 0
    policy = (found or {}).get("preemptionPolicy") or _LOWER
    if spec.get("priority") is not None and spec["priority"] != value:
        return (
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
            f"priority admission controller computed {value} from the given PriorityClass name"
        )
    if spec.get("preemptionPolicy") is not None and spec["preemptionPolicy"] != policy:
        return (
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
            f"priority admission controller computed {policy} from the given PriorityClass name"
        )
    if found is not None:
        spec["priorityClassName"] = found["metadata"]["name"]
    spec["priority"], spec["preemptionPolicy"] = value, policy
    return ""


def second_default(one: Mapping[str, Any], classes: Iterable[Mapping[str, Any]]) -> str:
    """Why this class may not be the default: another one is. Empty where it may."""
    if not one.get("globalDefault"):
        return ""
    for other in classes:
        if other.get("globalDefault") and other["metadata"]["name"] != one["metadata"]["name"]:
            name = other["metadata"]["name"]
            return f"PriorityClass {name} is already marked as default. Only one default can exist"
    return ""
