"""Keeps the status of PodDisruptionBudgets. In: budgets, Pods, and what has a scale; out: status, by which evictions are granted.

The decision is in ``budget.py``. What an owner wants is asked of it; owners are of the kinds that Kubernetes itself has.
"""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from netloom.api.selectors import from_selector
from netloom.clock import Clock, rfc3339
from netloom.errors import NetloomError, NotFound
from netloom.kube.events import EventRecorder
from netloom.kube.resources import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    Resource,
)
from netloom.kube.status import Conflict
from netloom.local.controllers.disruption.budget import Unknown, needs_owners, next_look, status_of
from netloom.local.controllers.disruption.objects import BudgetStatus, PodDisruptionBudget
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Owner, Pod
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

_SCALES = {r.kind: r for r in (DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS)}
_AGAIN_S = 5.0
"""When to look again where an owner could not be asked; owners are not watched."""


class DisruptionLoop:
    """Counts for each budget; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, events: EventRecorder, clock: Clock) -> None:
        self._client = informers.client
        self._events = events
        self._clock = clock
        self._budgets = informers.of(POD_DISRUPTION_BUDGETS, PodDisruptionBudget)
        self._pods = informers.of(PODS, Pod)
        self._pods_in = self._pods.index(lambda p: (p.metadata.namespace,))
        self._budgets_in = self._budgets.index(lambda b: (b.metadata.namespace,))
        self.queue: WorkQueue[ObjectKey] = WorkQueue("disruption", self.sync, rest_s=0.02)
        self._budgets.on_change(self._budget_changed)
        self._pods.on_change(self._pod_changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring one budget's status up to date; seconds until it must be looked at again."""
        budget = self._budgets.get(key)
        if budget is None or budget.is_terminating:
            return None
        now = self._clock.wall()
        pods = self._selected(budget)
        wanted = await self._wanted(budget, [p for p in pods if p.is_active])
        status = status_of(budget, pods, wanted, now=now, now_text=rfc3339(now))
        if status != budget.status:
            await self._write(budget, status)
        if isinstance(wanted, Unknown):
            self._events.emit(
                POD_DISRUPTION_BUDGETS,
                key,
                budget.uid,
                reason="CalculateExpectedPodCountFailed",
                message=f"Failed to calculate the number of expected pods: {wanted.message}",
                warning=True,
            )
            return _AGAIN_S
        again = next_look(status, now)
        return min(again or _AGAIN_S, _AGAIN_S) if needs_owners(budget) or again else None

    def _selected(self, budget: PodDisruptionBudget) -> list[Pod]:
        if budget.spec.selector is None:
            return []
        selector = from_selector(budget.spec.selector)
        there = self._pods_in.get(budget.metadata.namespace, {})
        return [p for p in there.values() if selector.matches(p.metadata.labels)]

    async def _wanted(self, budget: PodDisruptionBudget, pods: list[Pod]) -> int | Unknown:
        """How many pods the owners want together, each counted once."""
        if not needs_owners(budget):
            return len(pods)
        found: dict[str, int] = {}
        for pod in pods:
            owner = next((o for o in pod.metadata.owner_references if o.controller), None)
            if owner is None:
                return Unknown(f"found no controller ref for pod {pod.metadata.name!r}")
            if owner.uid not in found:
                scale = await self._scale(pod.metadata.namespace, owner)
                if isinstance(scale, Unknown):
                    return scale
                found |= scale
        return sum(found.values())

    async def _scale(self, namespace: str, owner: Owner) -> dict[str, int] | Unknown:
        """What an owner wants, by its uid; of a ReplicaSet what its Deployment wants, where it has one."""
        resource = _resource_of(owner)
        if resource is None:
            return Unknown(f"{owner.kind} {owner.name!r} does not implement the scale subresource")
        try:
            body = await self._client.get(resource, ObjectKey(namespace, owner.name))
        except NotFound:
            return {owner.uid: 0}
        except NetloomError as error:
            return Unknown(str(error))
        if body["metadata"]["uid"] != owner.uid:
            return {owner.uid: 0}
        above = next((o for o in body["metadata"].get("ownerReferences") or () if o.get("controller")), None)
        if resource is REPLICA_SETS and above is not None and above["kind"] == DEPLOYMENTS.kind:
            return {owner.uid: 0} | await self._of_deployment(namespace, above)
        return {owner.uid: int((body.get("spec") or {}).get("replicas", 1))}

    async def _of_deployment(self, namespace: str, reference: dict[str, Any]) -> dict[str, int]:
        with contextlib.suppress(NotFound):
            body = await self._client.get(DEPLOYMENTS, ObjectKey(namespace, reference["name"]))
            return {body["metadata"]["uid"]: int((body.get("spec") or {}).get("replicas", 1))}
        return {}

    async def _write(self, budget: PodDisruptionBudget, status: BudgetStatus) -> None:
        body: dict[str, Any] = msgspec.to_builtins(status)
        body["conditions"] = [
            {"message": "", **{k: v for k, v in c.items() if v is not None and k != "lastUpdateTime"}}
            for c in body["conditions"]
        ]
        gone = {name: None for name in budget.status.disrupted_pods if name not in status.disrupted_pods}
        body["disruptedPods"] = {**body["disruptedPods"], **gone}
        meta = {"resourceVersion": budget.metadata.resource_version}
        with contextlib.suppress(
            NotFound, Conflict
        ):  # an eviction was granted meanwhile: its event marks the key
            await self._client.patch(
                POD_DISRUPTION_BUDGETS, budget.key, {"metadata": meta, "status": body}, subresource="status"
            )

    def _budget_changed(self, _: PodDisruptionBudget | None, new: PodDisruptionBudget | None) -> None:
        if new is not None:
            self.queue.mark(new.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and _view(old) == _view(new):
            return
        for pod in (old, new):
            if pod is None:
                continue
            for key, budget in self._budgets_in.get(pod.metadata.namespace, {}).items():
                selector = budget.spec.selector
                if selector is not None and from_selector(selector).matches(pod.metadata.labels):
                    self.queue.mark(key)


def _resource_of(owner: Owner) -> Resource | None:
    """The kind of an owner that has a scale: one of the usual ones."""
    resource = _SCALES.get(owner.kind)
    return resource if resource is not None and resource.api_version == owner.api_version else None


def _view(pod: Pod) -> tuple[object, ...]:
    return (pod.uid, pod.metadata.labels, pod.is_ready, pod.is_terminating, pod.is_finished)
