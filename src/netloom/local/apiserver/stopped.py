"""What is true of a cluster's objects once its processes have ended: nothing runs, so nothing is ready and no pod has an address.

Comes in: the store of a former run. Goes out: the same store without what only running things can say. Whoever waits for
readiness, and whoever programs a node, would otherwise believe words of the dead until each is said anew.
Source: kube-controller-manager's node lifecycle does the same for a node that is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netloom.local.apiserver import kinds
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.store import Store

REASON = "ClusterStopped"

Document = dict[str, Any]


def forget_what_ran(store: Store, now: str) -> int:
    """Correct every object that says that something runs; ``now`` is RFC 3339 time.

    Returns:
        How many objects were corrected.

    Raises:
        StorageError: the store cannot be written.
    """
    rules: tuple[tuple[Kind, Callable[[Document, str], bool]], ...] = (
        (kinds.NODES, _node),
        (kinds.PODS, _pod),
        (kinds.REPLICA_SETS, _workload),
        (kinds.DEPLOYMENTS, _workload),
        (kinds.ENDPOINT_SLICES, _slice),
    )
    corrected = 0
    for kind, rule in rules:
        for record in list(store.scan(kind)):
            document = record.document()
            if rule(document, now):
                store.put(kind, document)
                corrected += 1
    return corrected


def _node(document: Document, now: str) -> bool:
    return _conditions(document, now, ("Ready",), "Unknown")


def _pod(document: Document, now: str) -> bool:
    status = document.get("status") or {}
    if status.get("phase") in {"Succeeded", "Failed"}:
        return False  # it had ended by itself: what it says stays true
    had = [status.pop(field, None) for field in ("podIP", "podIPs")]
    return _conditions(document, now, ("Ready", "ContainersReady"), "False") or any(had)


def _workload(document: Document, now: str) -> bool:
    status = document.get("status") or {}
    had = [status.pop(field, 0) for field in ("readyReplicas", "availableReplicas")]
    return any(had)


def _slice(document: Document, now: str) -> bool:
    """Endpoints that are pods; those that somebody wrote by hand are not ours to judge."""
    changed = False
    for endpoint in document.get("endpoints") or ():
        conditions = endpoint.get("conditions") or {}
        is_pod = (endpoint.get("targetRef") or {}).get("kind") == "Pod"
        if is_pod and (conditions.get("ready") is not False or conditions.get("serving") is not False):
            endpoint["conditions"] = {**conditions, "ready": False, "serving": False}
            changed = True
    if changed:
        meta = document["metadata"]
        meta["generation"] = int(meta.get("generation") or 0) + 1
    return changed


def _conditions(document: Document, now: str, types: tuple[str, ...], status: str) -> bool:
    changed = False
    for condition in (document.get("status") or {}).get("conditions") or ():
        if condition.get("type") in types and condition.get("status") == "True":
            condition.update(status=status, reason=REASON, message="the cluster was stopped")
            condition["lastTransitionTime"] = now
            changed = True
    return changed
