"""EndpointSlices of Services with selectors. In: Services, Pods, Nodes, slices; out: slices, written only where they differ.

The decision is in slices.py. A Service without selector is left alone: its slices are somebody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec

from netloom.api.discovery import SERVICE_NAME_LABEL, Endpoint
from netloom.errors import NotFound
from netloom.kube.resources import ENDPOINT_SLICES, NODES, SERVICES
from netloom.local.controllers.hints import hinted, part_in_shares, wants_proportional, zone_shares
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import (
    HEADLESS,
    MANAGED_BY,
    ZONE,
    EndpointSlice,
    Node,
    Service,
    owner_reference,
    version_of,
)
from netloom.local.controllers.selected import Selected
from netloom.local.controllers.slices import SliceContent, plan, wanted
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

MANAGER = "endpointslice-controller.k8s.io"
LOOK_AGAIN_S = 5.0
_REST_S = 0.002
"""Short: how soon traffic reaches a pod hangs on this."""


class EndpointSliceLoop:
    """Keeps the slices of each Service; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, selected: Selected) -> None:
        self._client = informers.client
        self._selected = selected
        self._nodes = informers.of(NODES, Node)
        self._slices = informers.of(ENDPOINT_SLICES, EndpointSlice)
        self._of_service = self._slices.index(_service_of)
        self._pods_on = selected.pods.index(lambda p: (p.spec.node_name,))
        self._written: dict[ObjectKey, int] = {}
        self.queue: WorkQueue[ObjectKey] = WorkQueue("endpointslice", self.sync, rest_s=_REST_S)
        selected.services.on_change(self._service_changed)
        selected.follow_pods(self.queue.mark)
        self._slices.on_change(self._slice_changed)
        self._nodes.on_change(self._node_changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring one Service's slices up to date."""
        if self._slices.version < self._written.get(key, 0):
            # Our own write has not come back yet. Its event marks the key again, unless a relist swallowed it.
            return LOOK_AGAIN_S
        self._written.pop(key, None)
        service = self._selected.services.get(key)
        there = [s for s in self._of_service.get(key, {}).values() if not s.is_terminating]
        if service is None or service.is_terminating:
            await asyncio.gather(*(self._delete(s) for s in there))
            return None
        if not service.spec.selector or service.spec.type == "ExternalName":
            return None
        zones = {n.metadata.name: n.metadata.labels.get(ZONE, "") for n in self._nodes.items.values()}
        labels = labels_of(service)
        shares = zone_shares(self._nodes.items.values()) if wants_proportional(service) else None
        found = hinted(service, wanted(service, self._selected.pods_of(service), zones), shares)
        todo = plan(found, there, labels=labels)
        written = await asyncio.gather(
            *(self._create(service, labels, c) for c in todo.create),
            *(self._update(service, labels, s, c) for s, c in todo.update),
            *(self._delete(s) for s in todo.delete),
            return_exceptions=True,
        )
        self._written[key] = max((w for w in written if isinstance(w, int)), default=0)
        for failed in written:
            if isinstance(failed, BaseException):
                raise failed
        return None

    async def _create(self, service: Service, labels: dict[str, str], content: SliceContent) -> int:
        body = _body(service, labels, content)
        body["metadata"]["generateName"] = f"{service.metadata.name}-"
        return version_of(await self._client.create(ENDPOINT_SLICES, body))

    async def _update(
        self, service: Service, labels: dict[str, str], slice_: EndpointSlice, content: SliceContent
    ) -> int:
        body = _body(service, labels, content)
        body["metadata"]["name"] = slice_.metadata.name
        body["metadata"]["resourceVersion"] = slice_.metadata.resource_version
        return version_of(await self._client.update(ENDPOINT_SLICES, body))

    async def _delete(self, slice_: EndpointSlice) -> None:
        with contextlib.suppress(NotFound):
            await self._client.delete(ENDPOINT_SLICES, slice_.key, preconditions_uid=slice_.uid)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        for service in (new, old):
            if service is not None:
                self.queue.mark(service.key)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for slice_ in (old, new):
            for key in _service_of(slice_) if slice_ is not None else ():
                self.queue.mark(key)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        """Only that a node comes or goes, or its zone, shows in slices; in proportional hints all that makes a zone's share."""
        if part_in_shares(old) != part_in_shares(new):
            for service in self._selected.services.items.values():
                if wants_proportional(service):
                    self.queue.mark(service.key)
        if (
            old is not None
            and new is not None
            and old.metadata.labels.get(ZONE) == new.metadata.labels.get(ZONE)
        ):
            return
        names = {n.metadata.name for n in (old, new) if n is not None}
        for pod in (p for name in names for p in self._pods_on.get(name, {}).values()):
            for key in self._selected.services_of(pod):
                self.queue.mark(key)


def _service_of(slice_: EndpointSlice) -> tuple[ObjectKey, ...]:
    """Key of the Service of a slice that we manage; nothing for a slice of somebody else."""
    labels = slice_.metadata.labels
    name = labels.get(SERVICE_NAME_LABEL)
    if not name or labels.get(MANAGED_BY) != MANAGER:
        return ()
    return (ObjectKey(slice_.metadata.namespace, name),)


def labels_of(service: Service) -> dict[str, str]:
    """Labels of a Service's slices: its own, who manages them, whose they are, and whether it is headless."""
    own = {
        k: v
        for k, v in service.metadata.labels.items()
        if k not in {SERVICE_NAME_LABEL, MANAGED_BY, HEADLESS}
    }
    ours = {SERVICE_NAME_LABEL: service.metadata.name, MANAGED_BY: MANAGER}
    return own | ours | ({HEADLESS: ""} if service.is_headless else {})


def _body(service: Service, labels: dict[str, str], content: SliceContent) -> dict[str, Any]:
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "namespace": service.metadata.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(SERVICES.api_version, SERVICES.kind, service)],
        },
        "addressType": content.address_type,
        "endpoints": [endpoint_body(e) for e in content.endpoints],
        "ports": [{k: v for k, v in msgspec.to_builtins(p).items() if v is not None} for p in content.ports],
    }


def endpoint_body(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint as it is sent; what is not said is left away."""
    body: dict[str, Any] = msgspec.to_builtins(endpoint)
    if endpoint.hints is not None:
        body["hints"] = {k: v for k, v in body["hints"].items() if v}
    return {k: v for k, v in body.items() if v is not None}
