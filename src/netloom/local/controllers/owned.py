"""Whose pods are whose, for every kind that has pods. In: the caches of a kind and of Pods; out: an owner's pods, marks.

A pod's owner is marked when the pod changes; of an orphan, whoever selects it. Not here: adopting and releasing (ownership.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from netloom.kube.resources import PODS, Resource
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Owning, Pod
from netloom.local.controllers.ownership import claim
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

_BEHIND_S = 0.01
"""How long a change of a pod waits: the slices, which traffic hangs on, are written first."""

T = TypeVar("T", bound=Owning)


def owner_of(pod: Pod) -> Iterable[str]:
    """Index of pods: the controller's uid."""
    return (pod.controller_uid,) if pod.controller_uid else ()


def orphans_of(pod: Pod) -> Iterable[str]:
    """Index of pods: the namespace of those without a controller."""
    return () if pod.controller_uid else (pod.metadata.namespace,)


def uid_of(owner: Owning) -> Iterable[str]:
    """Index of owners: their uid."""
    return (owner.uid,)


def namespace_of(owner: Owning) -> Iterable[str]:
    """Index of owners: their namespace."""
    return (owner.metadata.namespace,)


class OwnedPods(Generic[T]):
    """Owners of one kind and their pods.

    Args:
        informers: the shared caches; ask before they run.
        resource: kind of the owners.
        type_: their struct.
        queue: whose keys are marked.
        on_gone: called with the uid of an owner that is gone.
    """

    def __init__(
        self,
        informers: Informers,
        resource: Resource,
        type_: type[T],
        queue: WorkQueue[ObjectKey],
        on_gone: Callable[[str], None],
    ) -> None:
        self._client = informers.client
        self._resource = resource
        self._queue = queue
        self._on_gone = on_gone
        self.owners = informers.of(resource, type_)
        self.pods = informers.of(PODS, Pod)
        self._by_owner = self.pods.index(owner_of)
        self._orphans = self.pods.index(orphans_of)
        self._owners_by_uid = self.owners.index(uid_of)
        self._owners_in = self.owners.index(namespace_of)
        self.owners.on_change(self._owner_changed)
        self.pods.on_change(self._pod_changed)

    def of(self, owner: T) -> list[Pod]:
        """The pods that say that this is their controller."""
        return self.with_uid(owner.uid)

    def with_uid(self, uid: str) -> list[Pod]:
        """The pods that say that their controller has this uid."""
        return [*self._by_owner.get(uid, {}).values()]

    async def claim(self, owner: T, where: Callable[[Pod], bool] = lambda _: True) -> list[Pod]:
        """The owner's pods, after adopting orphans that it selects and letting go of those that it no longer does.

        Args:
            owner: as last seen.
            where: which pods come into question at all.

        Raises:
            Conflict: a pod changed meanwhile; the next turn sees it.
        """
        if not owner.selector.requirements:
            return [p for p in self.of(owner) if where(p)]  # it would take every pod of the namespace
        candidates = [*self.of(owner), *self._orphans.get(owner.metadata.namespace, {}).values()]
        return await claim(
            self._client,
            owner,
            owner_resource=self._resource,
            selector=owner.selector,
            resource=PODS,
            candidates=[p for p in candidates if where(p)],
        )

    def has(self, uid: str) -> bool:
        """There is an owner with this uid."""
        return uid in self._owners_by_uid

    def _owner_changed(self, old: T | None, new: T | None) -> None:
        if old is not None and (new is None or new.uid != old.uid):
            self._on_gone(old.uid)
        if new is not None:
            self._queue.mark(new.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            if pod is None:
                continue
            if pod.controller_uid:
                for key in self._owners_by_uid.get(pod.controller_uid, {}):
                    self._queue.mark_soon(key, _BEHIND_S)
            elif pod is new:
                # An orphan: whoever selects it may adopt it.
                for key, owner in self._owners_in.get(pod.metadata.namespace, {}).items():
                    if owner.selector.matches(pod.metadata.labels):
                        self._queue.mark(key)
