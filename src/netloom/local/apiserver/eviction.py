"""Eviction: a deletion that PodDisruptionBudgets may refuse. In: a pod, an Eviction; out: the pod deleted, or 429 that names the budget.

A budget that grants an eviction is written before the pod is touched: one less is allowed, and the pod's name stands in it until the disruption
controller has seen it go. Source: policy/v1 Eviction and PodDisruptionBudgetStatus. Not here: how many may go (controllers/disruption).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.api.meta import LabelSelector
from netloom.api.selectors import from_selector
from netloom.local.apiserver import kinds, status
from netloom.local.apiserver.deletion import Deletions
from netloom.local.apiserver.history import Record
from netloom.local.apiserver.objects import Objects
from netloom.local.apiserver.queries import DeleteOptions
from netloom.local.apiserver.status import ApiError

_CAUSE = "DisruptionBudget"
_VIOLATED = "Cannot evict pod as it would violate the pod's disruption budget."
_MOST_DISRUPTED = 2000
_AGAIN_S = 10
_SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."

Document = dict[str, Any]


def evict(objects: Objects, deletions: Deletions, live: Record, options: DeleteOptions) -> None:
    """Delete a pod if its budget allows it.

    Raises:
        ApiError: 409 for a precondition, 429 where the budget does not allow it, 500 where the pod has several.
        StorageError: it could not be written.
    """
    document = live.document()
    if not _is_free(live, document):
        budgets = [b for b in objects.store.scan(kinds.POD_DISRUPTION_BUDGETS) if _covers(b, document)]
        if len(budgets) > 1:
            raise ApiError(500, "InternalError", f"Internal error occurred: {_SEVERAL}")
        if budgets:
            _ask(objects, budgets[0], document, options)
    deletions.check(live, options)
    if not options.dry_run:
        live = objects.rewrite(live, _marked(document, objects.now()))
        options = msgspec.structs.replace(options, version="")
    deletions.delete(live, options)


def _is_free(live: Record, pod: Document) -> bool:
    """Nobody counts on it: it has ended, has not begun, or is to end anyway."""
    return live.deleting or (pod.get("status") or {}).get("phase") in {"Pending", "Succeeded", "Failed"}


def _covers(budget: Record, pod: Document) -> bool:
    metadata = pod["metadata"]
    if budget.namespace != metadata["namespace"]:
        return False
    selector = (budget.document().get("spec") or {}).get("selector")
    if selector is None:
        return False  # none at all means no pod
    try:
        compiled = from_selector(msgspec.convert(selector, LabelSelector))
    except msgspec.ValidationError:
        return False
    return compiled.matches(metadata.get("labels") or {})


def _ask(objects: Objects, budget: Record, pod: Document, options: DeleteOptions) -> None:
    """Take one disruption of what the budget allows; a pod that is not ready may need none."""
    document = budget.document()
    spec, said = document.get("spec") or {}, document.get("status") or {}
    if not _is_ready(pod):
        if spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
            return
        desired = said.get("desiredHealthy", 0)
        if desired > 0 and said.get("currentHealthy", 0) >= desired:
            return
    _check(budget, document, said)
    if options.dry_run:
        return
    allowed = said["disruptionsAllowed"] - 1
    disrupted = {**(said.get("disruptedPods") or {}), pod["metadata"]["name"]: objects.now()}
    document["status"] = {**said, "disruptionsAllowed": allowed, "disruptedPods": disrupted}
    objects.rewrite(budget, document)


def _check(budget: Record, document: Document, said: Mapping[str, Any]) -> None:
    if said.get("observedGeneration", 0) < document["metadata"].get("generation", 0):
        why = f"The disruption budget {budget.name} is still being processed by the server."
        raise _too_many(why, _AGAIN_S)
    allowed = said.get("disruptionsAllowed", 0)
    if allowed < 0:
        raise status.forbidden(budget.kind, budget.name, "pdb disruptions allowed is negative")
    if len(said.get("disruptedPods") or {}) > _MOST_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise status.forbidden(budget.kind, budget.name, why)
    if allowed == 0:
        needs, has = said.get("desiredHealthy", 0), said.get("currentHealthy", 0)
        raise _too_many(
            f"The disruption budget {budget.name} needs {needs} healthy pods and has {has} currently", 0
        )


def _too_many(why: str, again_s: int) -> ApiError:
    details: dict[str, Any] = {"causes": [{"reason": _CAUSE, "message": why}]}
    if again_s:
        details["retryAfterSeconds"] = again_s
    return ApiError(429, "TooManyRequests", _VIOLATED, details)


def _is_ready(pod: Document) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _marked(pod: Document, now: str) -> Document:
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": now,
    }
    said = pod.get("status") or {}
    others = [c for c in said.get("conditions") or () if c.get("type") != condition["type"]]
    return {**pod, "status": {**said, "conditions": [*others, condition]}}
