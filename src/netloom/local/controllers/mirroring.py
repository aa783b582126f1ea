"""EndpointSlices of Endpoints that people write themselves. In: Endpoints, Services without selector. Out: slices that say the same.

Who reads slices only, as our agents do, follows such Endpoints too. What is mirrored: Endpoints whose Service has no selector, unless they are
labelled ``endpointslice.kubernetes.io/skip-mirror`` or are a leader's record. Which slice holds which endpoint is decided in slices.py.
Source: Kubernetes' EndpointSlice mirroring controller, as documented for Services without selectors.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec

from netloom.api.discovery import SERVICE_NAME_LABEL, Endpoint, EndpointConditions, EndpointPort, TargetRef
from netloom.errors import NotFound
from netloom.kube.resources import ENDPOINT_SLICES, ENDPOINTS
from netloom.local.controllers.endpointslice import endpoint_body
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import (
    HEADLESS,
    MANAGED_BY,
    Endpoints,
    EndpointSlice,
    Service,
    owner_reference,
    version_of,
)
from netloom.local.controllers.selected import Selected
from netloom.local.controllers.slices import Ports, SliceContent, family_name, plan
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey, parse_addr

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "endpoints.kubernetes.io/last-change-trigger-time",
        "endpoints.kubernetes.io/over-capacity",
    }
)
MAX_ADDRESSES = 1000
"""Addresses of a subset that are mirrored (kube-controller-manager ``--mirroring-max-endpoints-per-subset``)."""
_LOOK_AGAIN_S = 5.0
_REST_S = 0.02


class MirroringLoop:
    """Keeps the mirrored slices of each Endpoints; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, selected: Selected) -> None:
        self._client = informers.client
        self._services = selected.services
        self._endpoints = informers.of(ENDPOINTS, Endpoints)
        self._slices = informers.of(ENDPOINT_SLICES, EndpointSlice)
        self._mirrored = self._slices.index(_mirror_of)
        self._written: dict[ObjectKey, int] = {}
        self.queue: WorkQueue[ObjectKey] = WorkQueue("endpointslicemirroring", self.sync, rest_s=_REST_S)
        for informer in (self._endpoints, self._services):
            informer.on_change(self._changed)
        self._slices.on_change(self._slice_changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring the mirrored slices of one Endpoints up to date."""
        if self._slices.version < self._written.get(key, 0):
            return _LOOK_AGAIN_S
        self._written.pop(key, None)
        there = [s for s in self._mirrored.get(key, {}).values() if not s.is_terminating]
        endpoints, service = self._endpoints.get(key), self._services.get(key)
        if endpoints is None or service is None or not is_mirrored(endpoints, service):
            await asyncio.gather(*(self._delete(s) for s in there))
            return None
        labels = labels_of(endpoints, service)
        todo = plan(mirror(endpoints), there, labels=labels)
        written = await asyncio.gather(
            *(self._create(endpoints, labels, content) for content in todo.create),
            *(self._update(endpoints, labels, slice_, content) for slice_, content in todo.update),
            *(self._delete(slice_) for slice_ in todo.delete),
            return_exceptions=True,
        )
        self._written[key] = max((w for w in written if isinstance(w, int)), default=0)
        for failed in written:
            if isinstance(failed, BaseException):
                raise failed
        return None

    async def _create(self, endpoints: Endpoints, labels: dict[str, str], content: SliceContent) -> int:
        body = _body(endpoints, labels, content)
        body["metadata"]["generateName"] = f"{endpoints.metadata.name}-"
        return version_of(await self._client.create(ENDPOINT_SLICES, body))

    async def _update(
        self, endpoints: Endpoints, labels: dict[str, str], slice_: EndpointSlice, content: SliceContent
    ) -> int:
        body = _body(endpoints, labels, content)
        body["metadata"]["name"] = slice_.metadata.name
        body["metadata"]["resourceVersion"] = slice_.metadata.resource_version
        return version_of(await self._client.update(ENDPOINT_SLICES, body))

    async def _delete(self, slice_: EndpointSlice) -> None:
        with contextlib.suppress(NotFound):
            await self._client.delete(ENDPOINT_SLICES, slice_.key, preconditions_uid=slice_.uid)

    def _changed(self, old: Endpoints | Service | None, new: Endpoints | Service | None) -> None:
        for one in (new, old):
            if one is not None:
                self.queue.mark(one.key)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for slice_ in (old, new):
            for key in _mirror_of(slice_) if slice_ is not None else ():
                self.queue.mark(key)


def is_mirrored(endpoints: Endpoints, service: Service) -> bool:
    """Whether these are somebody's own endpoints of a Service that has no others."""
    meta = endpoints.metadata
    return (
        not endpoints.is_terminating
        and not service.is_terminating
        and not service.spec.selector
        and meta.labels.get(SKIP) != "true"
        and _LEADER not in meta.annotations
    )


def labels_of(endpoints: Endpoints, service: Service) -> dict[str, str]:
    """Labels of the mirrored slices: the Endpoints' own, and whose they are."""
    own = {
        k: v
        for k, v in endpoints.metadata.labels.items()
        if k not in {SERVICE_NAME_LABEL, MANAGED_BY, HEADLESS}
    }
    ours = {SERVICE_NAME_LABEL: endpoints.metadata.name, MANAGED_BY: MANAGER}
    return own | ours | ({HEADLESS: ""} if service.is_headless else {})


def mirror(endpoints: Endpoints) -> dict[tuple[str, Ports], list[Endpoint]]:
    """Endpoints by address type and port set."""
    found: dict[tuple[str, Ports], list[Endpoint]] = {}
    for subset in endpoints.subsets:
        ports = tuple(
            EndpointPort(
                name=p.get("name") or "",
                protocol=p.get("protocol") or "TCP",
                port=p.get("port"),
                app_protocol=p.get("appProtocol"),
            )
            for p in subset.get("ports") or ()
        )
        for endpoint in list(_of_subset(subset))[:MAX_ADDRESSES]:
            group = found.setdefault((family_name(endpoint.addresses[0]), ports), [])
            if all(other.addresses != endpoint.addresses for other in group):
                group.append(endpoint)
    return found


def _of_subset(subset: dict[str, Any]) -> Iterator[Endpoint]:
    for field, is_ready in (("addresses", True), ("notReadyAddresses", False)):
        for given in subset.get(field) or ():
            if parse_addr(given.get("ip") or "") is None:
                continue
            target = given.get("targetRef")
            yield Endpoint(
                addresses=(given["ip"],),
                conditions=EndpointConditions(ready=is_ready),
                hostname=given.get("hostname") or None,
                node_name=given.get("nodeName") or None,
                target_ref=msgspec.convert(target, TargetRef) if isinstance(target, dict) else None,
            )


def _mirror_of(slice_: EndpointSlice) -> tuple[ObjectKey, ...]:
    """Key of the Endpoints that a slice mirrors; nothing for a slice of somebody else."""
    labels = slice_.metadata.labels
    name = labels.get(SERVICE_NAME_LABEL)
    return (ObjectKey(slice_.metadata.namespace, name),) if name and labels.get(MANAGED_BY) == MANAGER else ()


def _body(endpoints: Endpoints, labels: dict[str, str], content: SliceContent) -> dict[str, Any]:
    annotations = {k: v for k, v in endpoints.metadata.annotations.items() if k not in _NOT_COPIED}
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "namespace": endpoints.metadata.namespace,
            "labels": labels,
            **({"annotations": annotations} if annotations else {}),
            "ownerReferences": [owner_reference(ENDPOINTS.api_version, ENDPOINTS.kind, endpoints)],
        },
        "addressType": content.address_type,
        "endpoints": [endpoint_body(e) for e in content.endpoints],
        "ports": [{k: v for k, v in msgspec.to_builtins(p).items() if v is not None} for p in content.ports],
    }
