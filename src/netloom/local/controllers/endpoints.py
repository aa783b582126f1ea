"""The legacy Endpoints object of each Service with a selector. In: Services, Pods; out: Endpoints, written where they differ.

Clients older than EndpointSlice read it (core/v1 Endpoints, deprecated in 1.33, still served). The content is decided in
slices.py. An Endpoints object of a Service without selector is left alone.
"""

from __future__ import annotations

import contextlib
from typing import Any

from netloom.errors import AlreadyExists, NotFound
from netloom.kube.resources import ENDPOINTS
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import HEADLESS, Endpoints, Service
from netloom.local.controllers.selected import Selected
from netloom.local.controllers.slices import legacy_subsets
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"


class EndpointsLoop:
    """Keeps the Endpoints object of each Service; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, selected: Selected) -> None:
        self._client = informers.client
        self._selected = selected
        self._endpoints = informers.of(ENDPOINTS, Endpoints)
        self.queue: WorkQueue[ObjectKey] = WorkQueue("endpoints", self.sync)
        selected.services.on_change(self._changed)
        selected.follow_pods(self.queue.mark)
        self._endpoints.on_change(self._changed)

    async def sync(self, key: ObjectKey) -> None:
        """Bring one Service's Endpoints up to date."""
        service = self._selected.services.get(key)
        there = self._endpoints.get(key)
        if service is None or service.is_terminating:
            if there is not None and there.metadata.labels.get(MANAGED_BY_LABEL) == MANAGER:
                with contextlib.suppress(NotFound):
                    await self._client.delete(ENDPOINTS, key, preconditions_uid=there.uid)
            return
        if not service.spec.selector or service.spec.type == "ExternalName":
            return
        body = _body(service, legacy_subsets(service, self._selected.pods_of(service)))
        if there is None:
            # It may be there although the cache has not seen it yet; its event marks the key again.
            with contextlib.suppress(AlreadyExists):
                await self._client.create(ENDPOINTS, body)
        elif there.subsets != body["subsets"] or there.metadata.labels != body["metadata"]["labels"]:
            body["metadata"]["resourceVersion"] = there.metadata.resource_version
            await self._client.update(ENDPOINTS, body)

    def _changed(self, old: Service | Endpoints | None, new: Service | Endpoints | None) -> None:
        for object_ in (new, old):
            if object_ is not None:
                self.queue.mark(object_.key)


def _body(service: Service, subsets: list[dict[str, object]]) -> dict[str, Any]:
    labels = service.metadata.labels | {MANAGED_BY_LABEL: MANAGER}
    return {
        "apiVersion": ENDPOINTS.api_version,
        "kind": ENDPOINTS.kind,
        "metadata": {
            "namespace": service.metadata.namespace,
            "name": service.metadata.name,
            "labels": labels | ({HEADLESS: ""} if service.is_headless else {}),
        },
        "subsets": subsets,
    }
