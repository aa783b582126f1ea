"""EndpointSlices written on behalf of what they belong to. In: an owner and a plan; out: writes of what differs, the cache's slices.

After a write the owner waits until the cache has seen it, by resourceVersion. Not here: which slices there should be (slices.py), and from
what they follow (endpointslice.py, mirroring.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from netloom.api.discovery import SERVICE_NAME_LABEL, Endpoint
from netloom.errors import NotFound
from netloom.kube.resources import ENDPOINT_SLICES, Resource
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import (
    HEADLESS,
    MANAGED_BY,
    EndpointSlice,
    Loaded,
    owner_reference,
    version_of,
)
from netloom.local.controllers.slices import Plan, SliceContent
from netloom.units import ObjectKey

LOOK_AGAIN_S = 5.0
"""When to look whether our own writes have come back, should the event that tells it have been lost in a relist."""


class SliceWrites:
    """Slices of one control loop.

    Args:
        informers: of the loop.
        manager: what the slices say in ``endpointslice.kubernetes.io/managed-by``; others are not ours.
        resource: kind of the owners; a slice is labelled with its owner's name.
    """

    def __init__(self, informers: Informers, manager: str, resource: Resource) -> None:
        self._client = informers.client
        self._manager = manager
        self._resource = resource
        self._slices = informers.of(ENDPOINT_SLICES, EndpointSlice)
        self._by_owner = self._slices.index(self._owner_of)
        self._written: dict[ObjectKey, int] = {}

    def follow(self, mark: Callable[[ObjectKey], None]) -> None:
        """Mark the owner of every slice that changes."""

        def changed(old: EndpointSlice | None, new: EndpointSlice | None) -> None:
            for slice_ in (old, new):
                for key in self._owner_of(slice_) if slice_ is not None else ():
                    mark(key)

        self._slices.on_change(changed)

    def is_caught_up(self, key: ObjectKey) -> bool:
        """The cache shows all that we wrote for this owner; if not, the event that shows it marks the key again."""
        if self._slices.version < self._written.get(key, 0):
            return False
        self._written.pop(key, None)
        return True

    def there(self, key: ObjectKey) -> list[EndpointSlice]:
        """The owner's slices that are not on their way out."""
        return [s for s in self._by_owner.get(key, {}).values() if not s.is_terminating]

    async def clear(self, key: ObjectKey) -> None:
        """Delete all slices of an owner."""
        await asyncio.gather(*(self._delete(s) for s in self.there(key)))

    async def carry_out(
        self,
        todo: Plan,
        owner: Loaded,
        labels: Mapping[str, str],
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Write what is planned, all at once; what fails is raised after the rest is done.

        Raises:
            NetloomError: the first write that failed.
        """

        def body(content: SliceContent) -> dict[str, Any]:
            return self._body(content, owner, labels, annotations or {})

        written = await asyncio.gather(
            *(self._create(body(c), owner) for c in todo.create),
            *(self._update(body(c), s) for s, c in todo.update),
            *(self._delete(s) for s in todo.delete),
            return_exceptions=True,
        )
        self._written[owner.key] = max((w for w in written if isinstance(w, int)), default=0)
        for failed in written:
            if isinstance(failed, BaseException):
                raise failed

    def labels(self, owner: Loaded, *, is_headless: bool) -> dict[str, str]:
        """Labels of an owner's slices: its own, who manages them, whose they are, and whether the Service is headless."""
        own = {
            k: v
            for k, v in owner.metadata.labels.items()
            if k not in {SERVICE_NAME_LABEL, MANAGED_BY, HEADLESS}
        }
        ours = {SERVICE_NAME_LABEL: owner.metadata.name, MANAGED_BY: self._manager}
        return own | ours | ({HEADLESS: ""} if is_headless else {})

    async def _create(self, body: dict[str, Any], owner: Loaded) -> int:
        body["metadata"]["generateName"] = f"{owner.metadata.name}-"
        return version_of(await self._client.create(ENDPOINT_SLICES, body))

    async def _update(self, body: dict[str, Any], slice_: EndpointSlice) -> int:
        body["metadata"]["name"] = slice_.metadata.name
        body["metadata"]["resourceVersion"] = slice_.metadata.resource_version
        return version_of(await self._client.update(ENDPOINT_SLICES, body))

    async def _delete(self, slice_: EndpointSlice) -> None:
        with contextlib.suppress(NotFound):
            await self._client.delete(ENDPOINT_SLICES, slice_.key, preconditions_uid=slice_.uid)

    def _owner_of(self, slice_: EndpointSlice) -> tuple[ObjectKey, ...]:
        """Key of the owner of a slice that we manage; nothing for a slice of somebody else."""
        labels = slice_.metadata.labels
        name = labels.get(SERVICE_NAME_LABEL)
        if not name or labels.get(MANAGED_BY) != self._manager:
            return ()
        return (ObjectKey(slice_.metadata.namespace, name),)

    def _body(
        self, content: SliceContent, owner: Loaded, labels: Mapping[str, str], annotations: Mapping[str, str]
    ) -> dict[str, Any]:
        return {
            "apiVersion": ENDPOINT_SLICES.api_version,
            "kind": ENDPOINT_SLICES.kind,
            "metadata": {
                "namespace": owner.metadata.namespace,
                "labels": labels,
                **({"annotations": annotations} if annotations else {}),
                "ownerReferences": [owner_reference(self._resource.api_version, self._resource.kind, owner)],
            },
            "addressType": content.address_type,
            "endpoints": [_endpoint(e) for e in content.endpoints],
            "ports": [
                {k: v for k, v in msgspec.to_builtins(p).items() if v is not None} for p in content.ports
            ],
        }


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint as it is sent; what is not said is left away."""
    body: dict[str, Any] = msgspec.to_builtins(endpoint)
    if endpoint.hints is not None:
        body["hints"] = {k: v for k, v in body["hints"].items() if v}
    return {k: v for k, v in body.items() if v is not None}
