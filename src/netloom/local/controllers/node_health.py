"""What a node's silence, or its own word, means: conditions and taints. Pure.

Comes in: a Node, for how long nothing was heard of it. Goes out: conditions that are no longer true, and the taints that follow.
Source: kube-controller-manager's node lifecycle controller, and Taint based Evictions.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netloom.clock import rfc3339
from netloom.local.controllers.objects import Condition, Node
from netloom.local.controllers.placement import NO_EXECUTE, NO_SCHEDULE, Taint

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_BY_CONDITION = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_BY_CONDITION.values()})
_JUDGED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_SILENT = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
_NEVER = ("NodeStatusNeverUpdated", "Kubelet never posted node status.")


def ready_status(node: Node) -> str:
    """``True``, ``False`` or ``Unknown``; a node that has said nothing yet is unknown."""
    return next((c.status for c in node.status.conditions if c.type == "Ready"), "Unknown")


def of_silence(node: Node, now: float) -> tuple[Condition, ...]:
    """The conditions of a node that is not heard, those alone that say something else so far."""
    known = {c.type: c for c in node.status.conditions}
    found = []
    for type_ in _JUDGED:
        condition = known.get(type_)
        if condition is not None and (condition.status, condition.reason) in (
            ("Unknown", _SILENT[0]),
            ("Unknown", _NEVER[0]),
        ):
            continue
        reason, message = _SILENT if condition is not None else _NEVER
        found.append(Condition(type_, "Unknown", reason, message, rfc3339(now)))
    return tuple(found)


def wanted_taints(node: Node, *, evicts: bool, now: float) -> tuple[Taint, ...]:
    """All taints of a node: those of others as they are, ours as its conditions are; one that stays keeps its time.

    Args:
        node: as it is now.
        evicts: whether pods that do not tolerate its state are to leave it; never where no node is ready, for then it is more likely
            that nobody is heard than that nobody lives.
        now: seconds since the epoch.
    """
    others = [t for t in node.spec.taints if t.key not in _OURS]
    known = {(t.key, t.effect): t for t in node.spec.taints}
    found = []
    for key, effect in _wanted(node, evicts=evicts):
        time_added = rfc3339(now) if effect == NO_EXECUTE else None
        found.append(known.get((key, effect)) or Taint(key, "", effect, time_added))
    order = {(t.key, t.effect): index for index, t in enumerate(node.spec.taints)}
    return tuple(sorted([*others, *found], key=lambda t: order.get((t.key, t.effect), len(order))))


def implied_taints(node: Node) -> tuple[Taint, ...]:
    """Taints of a node as it is, also those that nobody has written yet: what keeps pods away from it."""
    known = {(t.key, t.effect) for t in node.spec.taints}
    implied = (Taint(key, "", effect) for key, effect in _wanted(node, evicts=False))
    return (*node.spec.taints, *(t for t in implied if (t.key, t.effect) not in known))


def _wanted(node: Node, *, evicts: bool) -> Iterable[tuple[str, str]]:
    if node.spec.unschedulable:
        yield UNSCHEDULABLE, NO_SCHEDULE
    ready = ready_status(node)
    if ready != "True":
        key = UNREACHABLE if ready == "Unknown" else NOT_READY
        yield key, NO_SCHEDULE
        if evicts:
            yield key, NO_EXECUTE
    for condition in node.status.conditions:
        if condition.status == "True" and condition.type in _BY_CONDITION:
            yield _BY_CONDITION[condition.type], NO_SCHEDULE


def with_conditions(node: Node, changed: Iterable[Condition]) -> Node:
    """The node as it is once these conditions have been written."""
    new = {c.type: c for c in changed}
    kept = tuple(c for c in node.status.conditions if c.type not in new)
    status = msgspec.structs.replace(node.status, conditions=(*kept, *new.values()))
    return msgspec.structs.replace(node, status=status)
