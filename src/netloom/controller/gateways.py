"""What a cluster needs once for its gateways: Services through which they have addresses, endpoints of these, and statuses.

In: everything that gateways depend on, the nodes, and what their gateways have in force. Out: Services, EndpointSlices, statuses, Events. It
runs while this process leads, and begins anew each time: all that it knows is in the cluster. Not here: what Gateways mean
(``model/gateways``), who leads (``leader.py``), the nodes' own work (``gateway/``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from netloom.api.core import Node
from netloom.api.meta import KubeObject
from netloom.clock import Clock
from netloom.controller.gateway_events import GatewayEvents
from netloom.controller.gateway_objects import ObjectKeeper, Place
from netloom.controller.gateway_programmed import InForce
from netloom.controller.gateway_services import is_own, serves
from netloom.controller.gateway_wanted import wanted_objects
from netloom.controller.status_writer import StatusWriter
from netloom.gateway.in_force import NAMESPACE as LEASE_NAMESPACE
from netloom.gateway.in_force import SELECTOR, TOLD, GatewayLease, Told, node_of, told_by
from netloom.gateway.pending import Pending
from netloom.gateway.turns import PATIENCE_S
from netloom.gateway.watches import FIRST, REST, Watches
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.resources import ENDPOINT_SLICES, LEASES, NODES, SERVICES
from netloom.kube.watch import Reflector
from netloom.model.gateways.build import Built, Gateways, StatusKey
from netloom.units import ObjectKey, Protocol

log = logging.getLogger(__name__)

_STATUS_KINDS = {one.resource.kind: one.kind for one in (*FIRST, *REST) if one.has_status}
"""By word of the kind: the field of the view."""
_RESOURCES = {one.resource.kind: one.resource for one in (*FIRST, *REST) if one.has_status}
_MADE = {"services": SERVICES, "slices": ENDPOINT_SLICES}
"""Kinds of which we make objects."""
_LINGER_S = 0.03
_WORDS = {field: word for word, field in _STATUS_KINDS.items()}


class GatewayController:
    """Does it for one term of leading; :meth:`run` until cancelled.

    Args:
        client: an open client.
        may_write: whether this process still leads; asked before each write.
        recorder: takes Events; whoever made it runs it.
        clock: the time.
    """

    def __init__(
        self, client: KubeClient, *, may_write: Callable[[], bool], recorder: EventRecorder, clock: Clock
    ) -> None:
        self._clock = clock
        self._pending = Pending(clock=clock)
        self._own: dict[Place, None] = {}
        """What is there and was made by us."""
        self._has_moved = True
        """Whether anything changed besides endpoints, of which there are many changes."""
        self._watches = Watches(
            client,
            on_change=self._changed,
            on_seen=lambda _, __: None,
            on_synced=self._pending.wake,
        )
        self._nodes = Reflector(client, NODES, Node, on_change=lambda _, __: self._moves())
        self._leases = Reflector(
            client,
            LEASES,
            GatewayLease,
            on_change=lambda _, __: self._moves(),
            namespace=LEASE_NAMESPACE,
            label_selector=SELECTOR,
        )
        self._writer = StatusWriter(
            client, resources=_RESOURCES, live=self._object, may_write=may_write, clock=clock
        )
        self._keeper = ObjectKeeper(client, live=self._made, may_write=may_write)
        self._events = GatewayEvents(recorder, may_write=may_write, clock=clock)
        self._in_force = InForce()
        self._gateways: Gateways | None = None

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watches.run(), name="gateway-watches")
            await self._watches.first_synced()
            tasks.create_task(self._writer.run(), name="gateway-statuses")
            tasks.create_task(self._events.run(), name="gateway-events")
            while not self._watches.synced.is_set():
                # classes alone: they are accepted before anybody uses them
                self.turn()
                await self._pending.some(PATIENCE_S)
            tasks.create_task(self._nodes.run(), name="gateway-nodes")
            tasks.create_task(self._leases.run(), name="gateway-leases")
            tasks.create_task(self._keeper.run(), name="gateway-objects")
            await self._nodes.synced.wait()
            await self._leases.synced.wait()
            while True:
                self.turn()
                await self._pending.some(PATIENCE_S)
                # not a wait for something that has an event: statuses may come a little later than what they tell of
                await asyncio.sleep(_LINGER_S)

    def turn(self) -> None:
        """Take over what has changed, and say what should be."""
        before = None if self._gateways is None else self._gateways.built
        if self._gateways is None:
            self._gateways = Gateways(self._pending.view(self._clock.wall()))
            self._pending.take_now()
        else:
            self._gateways.update(self._pending.take_now().changes)
        built = self._gateways.built
        if before is None or self._has_moved or _is_other(before, built):
            self._has_moved = False
            self._want(built)

    def _want(self, built: Built) -> None:
        told, nodes = self._told(), tuple(self._nodes.items.values())
        gateways = self._watches.items("gateways")
        findings = built.findings
        if self._nodes.synced.is_set():
            ours = (
                gateways[key.key] for key in built.statuses if key.kind == "Gateway" and key.key in gateways
            )
            wanted, more = wanted_objects(
                built.plan, gateways=ours, services=self._watches.items("services"), nodes=nodes, told=told
            )
            self._keeper.want(wanted, self._own)
            findings = (*findings, *more)
        counting = sorted(node.metadata.name for node in nodes if node.is_ready and serves(node))
        self._writer.want(self._in_force.statuses(built, gateways=gateways, nodes=counting, told=told))
        self._events.take(findings)

    def _told(self) -> Mapping[str, Told]:
        return {
            node: told_by(lease, TOLD) for lease in self._leases.items.values() if (node := node_of(lease))
        }

    def _changed(self, kind: str, key: ObjectKey, value: Any) -> None:  # noqa: ANN401 - a struct of the kind, or None
        self._has_moved |= self._pending.mark(kind, key, value) and kind != "slices"
        if (resource := _MADE.get(kind)) is not None:
            self._own_changed((resource, key), value)
        if (word := _WORDS.get(kind)) is not None:
            self._writer.touch(StatusKey(word, key))

    def _own_changed(self, place: Place, value: KubeObject | None) -> None:
        if value is not None and is_own(value):
            self._own[place] = None
        elif place in self._own:
            del self._own[place]
            self._keeper.gone(place)
        else:
            return
        self._moves()

    def _moves(self) -> None:
        self._has_moved = True
        self._pending.wake()

    def _object(self, key: StatusKey) -> KubeObject | None:
        found: KubeObject | None = self._watches.items(_STATUS_KINDS[key.kind]).get(key.key)
        return found

    def _made(self, place: Place) -> KubeObject | None:
        resource, key = place
        kind = next(kind for kind, one in _MADE.items() if one == resource)
        found: KubeObject | None = self._watches.items(kind).get(key)
        return found


def _is_other(before: Built, built: Built) -> bool:
    """Whether there may be anything to write; endpoints alone matter where UDP leads to them."""
    return (
        before.statuses is not built.statuses
        or before.findings is not built.findings
        or before.plan.doors is not built.plan.doors
        or (before.plan is not built.plan and any(d.protocol is Protocol.UDP for d in built.plan.doors))
    )
