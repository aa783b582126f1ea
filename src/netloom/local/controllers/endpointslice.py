"""EndpointSlices of Services with selectors. In: Services, Pods, Nodes, slices; out: slices, written only where they differ.

The decision is in slices.py, the writing in slicewrites.py. A Service without selector is left alone: its slices are somebody else's.
"""

from __future__ import annotations

from netloom.kube.resources import NODES, SERVICES
from netloom.local.controllers.hints import hinted, part_in_shares, wants_proportional, zone_shares
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import ZONE, Node, Service
from netloom.local.controllers.selected import Selected
from netloom.local.controllers.slices import plan, wanted
from netloom.local.controllers.slicewrites import LOOK_AGAIN_S, SliceWrites
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

MANAGER = "endpointslice-controller.k8s.io"
_REST_S = 0.002
"""Short: how soon traffic reaches a pod hangs on this."""


class EndpointSliceLoop:
    """Keeps the slices of each Service; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, selected: Selected) -> None:
        self._selected = selected
        self._nodes = informers.of(NODES, Node)
        self._slices = SliceWrites(informers, MANAGER, SERVICES)
        self._pods_on = selected.pods.index(lambda p: (p.spec.node_name,))
        self.queue: WorkQueue[ObjectKey] = WorkQueue("endpointslice", self.sync, rest_s=_REST_S)
        selected.services.on_change(self._service_changed)
        selected.follow_pods(self.queue.mark)
        self._slices.follow(self.queue.mark)
        self._nodes.on_change(self._node_changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring one Service's slices up to date."""
        if not self._slices.is_caught_up(key):
            return LOOK_AGAIN_S
        service = self._selected.services.get(key)
        if service is None or service.is_terminating:
            await self._slices.clear(key)
            return None
        if not service.spec.selector or service.spec.type == "ExternalName":
            return None
        zones = {n.metadata.name: n.metadata.labels.get(ZONE, "") for n in self._nodes.items.values()}
        labels = self._slices.labels(service, is_headless=service.is_headless)
        shares = zone_shares(self._nodes.items.values()) if wants_proportional(service) else None
        found = hinted(service, wanted(service, self._selected.pods_of(service), zones), shares)
        todo = plan(found, self._slices.there(key), labels=labels)
        await self._slices.carry_out(todo, service, labels)
        return None

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        for service in (new, old):
            if service is not None:
                self.queue.mark(service.key)

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
