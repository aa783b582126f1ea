"""EndpointSlices of Endpoints that people write themselves. In: Endpoints, Services without selector. Out: slices that say the same.

Who reads slices only, as our agents do, follows such Endpoints too. What is mirrored: Endpoints whose Service has no selector, unless they are
labelled ``endpointslice.kubernetes.io/skip-mirror`` or are a leader's record. Which slice holds which endpoint is decided in slices.py; slicewrites.py writes.
Source: Kubernetes' EndpointSlice mirroring controller, as documented for Services without selectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from netloom.api.discovery import Endpoint, EndpointConditions, EndpointPort, TargetRef
from netloom.kube.resources import ENDPOINTS
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Endpoints, Service
from netloom.local.controllers.selected import Selected
from netloom.local.controllers.slices import Ports, family_name, plan
from netloom.local.controllers.slicewrites import LOOK_AGAIN_S, SliceWrites
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
_REST_S = 0.02


class MirroringLoop:
    """Keeps the mirrored slices of each Endpoints; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, selected: Selected) -> None:
        self._services = selected.services
        self._endpoints = informers.of(ENDPOINTS, Endpoints)
        self._slices = SliceWrites(informers, MANAGER, ENDPOINTS)
        self.queue: WorkQueue[ObjectKey] = WorkQueue("endpointslicemirroring", self.sync, rest_s=_REST_S)
        for informer in (self._endpoints, self._services):
            informer.on_change(self._changed)
        self._slices.follow(self.queue.mark)

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring the mirrored slices of one Endpoints up to date."""
        if not self._slices.is_caught_up(key):
            return LOOK_AGAIN_S
        endpoints, service = self._endpoints.get(key), self._services.get(key)
        if endpoints is None or service is None or not is_mirrored(endpoints, service):
            await self._slices.clear(key)
            return None
        labels = self._slices.labels(endpoints, is_headless=service.is_headless)
        annotations = {k: v for k, v in endpoints.metadata.annotations.items() if k not in _NOT_COPIED}
        todo = plan(mirror(endpoints), self._slices.there(key), labels=labels)
        await self._slices.carry_out(todo, endpoints, labels, annotations)
        return None

    def _changed(self, old: Endpoints | Service | None, new: Endpoints | Service | None) -> None:
        for one in (new, old):
            if one is not None:
                self.queue.mark(one.key)


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
