"""Makes Services and EndpointSlices of gateways be as they should. In: bodies, and the objects as they are; out: applies and deletions.

They are applied on the server: what the server and others add (addresses, node ports, other labels) stays. A Service that somebody else
made under the name is left alone, and said. What nobody owns any more is deleted here; what goes with its owner is collected. Not here:
what they should be (``gateway_services.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from netloom.api.meta import KubeObject
from netloom.controller.bursts import Bursts
from netloom.errors import AlreadyExists, NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import NAMESPACES, Resource
from netloom.kube.status import Conflict, Denied
from netloom.kube.versions import reached
from netloom.model.gateways.entrances import INGRESS
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

FIELD_MANAGER = "netloom-gateways"

Place = tuple[Resource, ObjectKey]
Body = Mapping[str, Any]


class ObjectKeeper(Bursts):
    """Keeps objects of ours as they should be.

    Args:
        client: an open client.
        live: gives an object as the API server has it; None where it is not there.
        may_write: asked before each write.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        live: Callable[[Place], KubeObject | None],
        may_write: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._client = client
        self._live = live
        self._may_write = may_write
        self._wanted: dict[Place, Body] = {}
        self._applied: dict[Place, tuple[Body, str]] = {}
        self._dirty: dict[Place, None] = {}
        self.writes = 0
        self.failures = 0

    def want(self, wanted: Mapping[Place, Body], ours: Iterable[Place]) -> None:
        """Exactly these should be there, from now on.

        Args:
            wanted: bodies to apply.
            ours: all objects that are there and were made by us; those that are not wanted are deleted.
        """
        self._wanted = dict(wanted)
        for place, body in self._wanted.items():
            live = self._live(place)
            at = "" if live is None else live.metadata.resource_version
            applied, version = self._applied.get(place, ({}, ""))
            if applied != body or (at and not reached(version, at)):
                self._mark(place)
        for place in ours:
            if place not in self._wanted:
                self._mark(place)
        for place in self._applied.keys() - self._wanted.keys():
            del self._applied[place]

    def gone(self, place: Place) -> None:
        """This object is not there any more."""
        self._applied.pop(place, None)

    async def turn(self) -> bool:
        """Write what differs; whether nothing failed. What failed is still to be written."""
        self._some.clear()
        due, self._dirty = list(self._dirty), {}
        failed = [place for place in due if not await self._settle(place)]
        self._dirty.update(dict.fromkeys(failed))
        return not failed

    def _mark(self, place: Place) -> None:
        self._dirty[place] = None
        self._some.set()

    async def _settle(self, place: Place) -> bool:
        if not self._may_write():
            return True
        resource, key = place
        body, live = self._wanted.get(place), self._live(place)
        try:
            if body is None:
                await self._delete(resource, key, live)
            else:
                await self._apply(place, body)
        except (Conflict, NotFound, Denied) as error:
            # of a namespace that is going, or of an object that changed meanwhile: the watch tells
            log.debug("%s", error)
        except NetloomError as error:
            self.failures += 1
            log.warning("%s %s: %s", resource.kind, key, error)
            return False
        return True

    async def _apply(self, place: Place, body: Body) -> None:
        resource, key = place
        try:
            made = await self._client.apply(resource, body, field_manager=FIELD_MANAGER, force=True)
        except NotFound:
            if key.namespace != INGRESS.namespace:
                raise
            await self._make_namespace(key.namespace)
            made = await self._client.apply(resource, body, field_manager=FIELD_MANAGER, force=True)
        self._applied[place] = (body, str(made["metadata"].get("resourceVersion", "")))
        self.writes += 1

    async def _make_namespace(self, name: str) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        try:
            await self._client.create(NAMESPACES, body)
        except AlreadyExists as error:
            log.debug("%s", error)

    async def _delete(self, resource: Resource, key: ObjectKey, live: KubeObject | None) -> None:
        if live is None or live.metadata.deletion_timestamp is not None:
            return
        await self._client.delete(resource, key, preconditions_uid=live.metadata.uid)
        self.writes += 1
