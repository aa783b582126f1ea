"""Namespaces: how one that is being deleted empties. In: Namespaces; out: deletions, finalize. What each new one has: accounts.py.

One with a deletionTimestamp loses all
objects of all kinds, then its finalizer `kubernetes` (core/v1 NamespaceSpec.finalizers). Garbage collection is the API server's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from netloom.clock import Clock, rfc3339
from netloom.errors import NotFound
from netloom.kube.resources import ALL, CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, PODS, Resource
from netloom.kube.status import Conflict
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Namespace, Pod
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

FINALIZER = "kubernetes"
_AT_ONCE = 64
_LOOK_AGAIN_S = 1.0
"""When to count again what has not gone; pods that go mark the key themselves, before that."""


class NamespaceLoop:
    """Empties namespaces; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, *, clock: Clock) -> None:
        self._client = informers.client
        self._clock = clock
        self._namespaces = informers.of(NAMESPACES, Namespace)
        self.queue: WorkQueue[ObjectKey] = WorkQueue("namespace", self.sync)
        self._namespaces.on_change(self._changed)
        informers.of(PODS, Pod).on_change(self._pod_changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """One turn for one namespace; seconds until it must be looked at again."""
        namespace = self._namespaces.get(key)
        if namespace is None:
            return None
        if not namespace.is_terminating:
            return None
        kinds = await asyncio.gather(
            *(self._empty(key.name, r) for r in await self._resources()), return_exceptions=True
        )
        left: list[tuple[Resource, list[dict[str, Any]]]] = []
        for one in kinds:
            if isinstance(one, BaseException):
                raise one
            left.append(one)
        if any(items for _, items in left):
            await self._report(namespace, left)
            return _LOOK_AGAIN_S
        await self._finalize(key)
        return None

    async def _resources(self) -> list[Resource]:
        """All kinds that may be in a namespace: those that every server has, and those that are defined now."""
        definitions, _ = await self._client.list(CUSTOM_RESOURCE_DEFINITIONS)
        found = [r for r in ALL if r.namespaced]
        have = {(r.group, r.plural) for r in found}
        for definition in definitions:
            defined = _defined(definition["spec"])
            if defined is not None and (defined.group, defined.plural) not in have:
                found.append(defined)
        return found

    async def _empty(self, namespace: str, resource: Resource) -> tuple[Resource, list[dict[str, Any]]]:
        """Delete all objects of a kind; what is still there afterwards. A kind that is not served has none."""
        try:
            items, _ = await self._client.list(resource, namespace)
        except NotFound:
            return resource, []
        doomed = [i for i in items if not i["metadata"].get("deletionTimestamp")]
        for start in range(0, len(doomed), _AT_ONCE):
            results = await asyncio.gather(
                *(self._delete(resource, i["metadata"]) for i in doomed[start : start + _AT_ONCE]),
                return_exceptions=True,
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        if items:
            items, _ = await self._client.list(resource, namespace)
        return resource, items

    async def _delete(self, resource: Resource, metadata: dict[str, Any]) -> None:
        key = ObjectKey(metadata["namespace"], metadata["name"])
        with contextlib.suppress(NotFound, Conflict):  # Conflict: a namesake; the next turn sees it.
            await self._client.delete(resource, key, preconditions_uid=metadata["uid"])

    async def _report(
        self, namespace: Namespace, left: Sequence[tuple[Resource, list[dict[str, Any]]]]
    ) -> None:
        """Say in the namespace's status what keeps it (core/v1 NamespaceCondition)."""
        counts = ", ".join(f"{r.plural} has {len(items)} resource instances" for r, items in left if items)
        finalizers = Counter(
            f for _, items in left for i in items for f in i["metadata"].get("finalizers") or ()
        )
        wish = [
            ("NamespaceContentRemaining", "SomeResourcesRemain", f"Some resources are remaining: {counts}")
        ]
        if finalizers:
            text = ", ".join(f"{name} in {n} resource instances" for name, n in sorted(finalizers.items()))
            wish.append(
                (
                    "NamespaceFinalizersRemaining",
                    "SomeFinalizersRemain",
                    f"Some content in the namespace has finalizers remaining: {text}",
                )
            )
        known = {c.type: c for c in namespace.status.conditions}
        if all(t in known and known[t].message == m for t, _, m in wish):
            return
        now = rfc3339(self._clock.wall())
        conditions = [
            {
                "type": t,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": (known[t].last_transition_time if t in known else None) or now,
            }
            for t, reason, message in wish
        ]
        with contextlib.suppress(NotFound):
            await self._client.patch(
                NAMESPACES, namespace.key, {"status": {"conditions": conditions}}, subresource="status"
            )

    async def _finalize(self, key: ObjectKey) -> None:
        with contextlib.suppress(NotFound):
            body = await self._client.get(NAMESPACES, key)
            spec = msgspec.convert(body, Namespace).spec
            body["spec"] = {"finalizers": [f for f in spec.finalizers if f != FINALIZER]}
            await self._client.update(NAMESPACES, body, subresource="finalize")

    def _changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None:
            self.queue.mark(new.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is None:
            namespace = self._namespaces.get(ObjectKey("", old.metadata.namespace))
            if namespace is not None and namespace.is_terminating:
                self.queue.mark(namespace.key)


def _defined(spec: dict[str, Any]) -> Resource | None:
    """The kind of a CustomResourceDefinition, in a version that is served; None where it is in no namespace."""
    served = [v["name"] for v in sorted(spec["versions"], key=lambda v: not v["storage"]) if v["served"]]
    if spec["scope"] != "Namespaced" or not served:
        return None
    names = spec["names"]
    return Resource(spec["group"], served[0], names["plural"], names["kind"], namespaced=True)
