"""Pods made and deleted on behalf of a controller, none of them twice. In: an owner, bodies or pods; out: writes, Events.

After a write the owner waits until the cache has seen it: by resourceVersion for creations, pod by pod for deletions. Not here:
how many pods there should be, and which (the plans of each kind).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from netloom.errors import AlreadyExists, NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.resources import PODS, Resource
from netloom.local.controllers.informers import Informer
from netloom.local.controllers.objects import Loaded, Pod, owner_reference, version_of
from netloom.units import ObjectKey

BURST = 500
"""Pods created or deleted in one turn at most."""

LOOK_AGAIN_S = 5.0
"""When to look whether our own writes have come back, should the event that tells it have been lost in a relist."""


class _Expected(msgspec.Struct):
    """Writes of ours that the cache must show before the pods are counted again."""

    version: int = 0
    deleted: dict[ObjectKey, str] = msgspec.field(default_factory=dict)


class PodWrites:
    """Writes of one control loop.

    Args:
        client: an open client.
        events: of the loop.
        pods: the cache that has to see what was written.
        resource: kind of the owners.
    """

    def __init__(
        self, client: KubeClient, events: EventRecorder, pods: Informer[Pod], resource: Resource
    ) -> None:
        self._client = client
        self._events = events
        self._pods = pods
        self._resource = resource
        self._expected: dict[str, _Expected] = {}

    def forget(self, uid: str) -> None:
        """The owner is gone."""
        self._expected.pop(uid, None)

    def is_caught_up(self, uid: str) -> bool:
        """The cache shows all that we wrote for this owner; if not, the event that shows it comes."""
        expected = self._expected.get(uid)
        if expected is None:
            return True
        for key, pod_uid in list(expected.deleted.items()):
            pod = self._pods.get(key)
            if pod is None or pod.uid != pod_uid or pod.is_terminating:
                del expected.deleted[key]
        if expected.deleted or self._pods.version < expected.version:
            return False
        del self._expected[uid]
        return True

    async def create(self, owner: Loaded, bodies: Sequence[dict[str, Any]]) -> NetloomError | None:
        """Create pods in growing batches, so that a template that is refused fails once, not 500 times.

        A name that is taken is no failure: the next turn sees whose it is.
        """
        expected = self._expected.setdefault(owner.uid, _Expected())
        batch, left = 1, list(bodies[:BURST])
        while left:
            now, left = left[:batch], left[batch:]
            batch *= 2
            results = await asyncio.gather(
                *(self._client.create(PODS, body) for body in now), return_exceptions=True
            )
            failure: NetloomError | None = None
            for result in results:
                if isinstance(result, AlreadyExists):
                    failure = failure or result
                elif isinstance(result, NetloomError):
                    failure = result
                    self.tell(owner, "FailedCreate", f"Error creating: {result}", warning=True)
                elif isinstance(result, BaseException):
                    raise result
                else:
                    expected.version = max(expected.version, version_of(result))
                    self.tell(owner, "SuccessfulCreate", f"Created pod: {result['metadata']['name']}")
            if failure is not None:
                return failure
        return None

    async def delete(self, owner: Loaded, pods: Sequence[Pod]) -> NetloomError | None:
        """Delete pods; those that are gone already are no failure."""
        pods = pods[:BURST]
        expected = self._expected.setdefault(owner.uid, _Expected())
        expected.deleted.update({p.key: p.uid for p in pods})
        results = await asyncio.gather(
            *(self._client.delete(PODS, p.key, preconditions_uid=p.uid) for p in pods), return_exceptions=True
        )
        failure: NetloomError | None = None
        for pod, result in zip(pods, results, strict=True):
            if result is None:
                self.tell(owner, "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")
                continue
            expected.deleted.pop(pod.key, None)
            if isinstance(result, NotFound):
                continue
            if not isinstance(result, NetloomError):
                raise result
            failure = result
            self.tell(owner, "FailedDelete", f"Error deleting: {failure}", warning=True)
        return failure

    def saw(self, owner: Loaded, written: dict[str, Any]) -> None:
        """A write of a pod that is not made here: the owner waits for it, too."""
        expected = self._expected.setdefault(owner.uid, _Expected())
        expected.version = max(expected.version, version_of(written))

    def goes(self, owner: Loaded, pod: Pod) -> None:
        """A deletion that is not made here: the owner waits for it, too."""
        self._expected.setdefault(owner.uid, _Expected()).deleted[pod.key] = pod.uid

    def tell(self, owner: Loaded, reason: str, message: str, *, warning: bool = False) -> None:
        """An Event about the owner."""
        self._events.emit(
            self._resource, owner.key, owner.uid, reason=reason, message=message, warning=warning
        )


def pod_from(
    template: dict[str, Any], owner: Loaded, resource: Resource, *, labels: dict[str, str] | None = None
) -> dict[str, Any]:
    """The pod of a template: named after its owner with something random, owned by it, with these labels besides."""
    metadata = template.get("metadata") or {}
    return {
        "apiVersion": PODS.api_version,
        "kind": PODS.kind,
        "metadata": {
            "namespace": owner.metadata.namespace,
            "generateName": f"{owner.metadata.name}-",
            "labels": (metadata.get("labels") or {}) | (labels or {}),
            "annotations": metadata.get("annotations") or {},
            "finalizers": metadata.get("finalizers") or [],
            "ownerReferences": [owner_reference(resource.api_version, resource.kind, owner)],
        },
        "spec": template.get("spec") or {},
    }
