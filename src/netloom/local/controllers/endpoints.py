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
from netloom.local.controllers.objects import HEADLESS, Endpoints, Service, version_of
from netloom.local.controllers.selected import Selected
from netloom.local.controllers.slices import legacy_subsets
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
LOOK_AGAIN_S = 5.0
_BEHIND_S = 0.05
"""How long a change of pods waits: the slices, which traffic hangs on, are written first."""
_REST_S = 0.1
"""Long: nobody waits for this object, and during a rollout it changes with every pod."""


class EndpointsLoop:
    """Keeps the Endpoints object of each Service; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, selected: Selected) -> None:
        self._client = informers.client
        self._selected = selected
        self._endpoints = informers.of(ENDPOINTS, Endpoints)
        self._written: dict[ObjectKey, int] = {}
        self.queue: WorkQueue[ObjectKey] = WorkQueue("endpoints", self.sync, rest_s=_REST_S)
        selected.services.on_change(self._changed)
        selected.follow_pods(self._pods_changed)
        self._endpoints.on_change(self._changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring one Service's Endpoints up to date."""
        if self._endpoints.version < self._written.get(key, 0):
            # Our own write has not come back yet. Its event marks the key again, unless a relist swallowed it.
            return LOOK_AGAIN_S
        self._written.pop(key, None)
        service = self._selected.services.get(key)
        there = self._endpoints.get(key)
        if service is None or service.is_terminating:
            if there is not None and there.metadata.labels.get(MANAGED_BY_LABEL) == MANAGER:
                with contextlib.suppress(NotFound):
                    await self._client.delete(ENDPOINTS, key, preconditions_uid=there.uid)
            return None
        if not service.spec.selector or service.spec.type == "ExternalName":
            return None
        body = _body(service, legacy_subsets(service, self._selected.pods_of(service)))
        if there is None:
            # It may be there although the cache has not seen it yet; its event marks the key again.
            with contextlib.suppress(AlreadyExists):
                self._written[key] = version_of(await self._client.create(ENDPOINTS, body))
        elif there.subsets != body["subsets"] or there.metadata.labels != body["metadata"]["labels"]:
            body["metadata"]["resourceVersion"] = there.metadata.resource_version
            self._written[key] = version_of(await self._client.update(ENDPOINTS, body))
        return None

    def _pods_changed(self, key: ObjectKey) -> None:
        self.queue.mark_soon(key, _BEHIND_S)

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
