"""What the gateways of a cluster do: from everything at once, or kept up to date change by change; both give the same.

Comes in: a ``GatewayView``, or ``GatewayChanges``. Goes out: ``Built``: the plan, desired statuses, findings. Not here: how one kind is read
(``frames.py``, ``routes.py`` ...), the engine (``gateway/``).

An update goes through the same steps as a start, each for what the steps before it changed: objects, frames of gateways, readings of routes,
attachments, tables of listeners, doors, pools, statuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from netloom.model.gateways.built import Built, StatusKey
from netloom.model.gateways.estate import Estate
from netloom.model.gateways.gateway_state import GatewayState
from netloom.model.gateways.ingress_part import IngressPart
from netloom.model.gateways.plan import Plan
from netloom.model.gateways.pool_state import PoolState
from netloom.model.gateways.route_state import RouteState
from netloom.model.gateways.traffic_part import TrafficPart
from netloom.model.gateways.view import GatewayChanges, GatewayView
from netloom.model.provenance import Finding

_OF_ENDPOINTS = {"slices", "endpoints"}
"""What changes all the time, and nothing but pools."""

__all__ = ["Built", "Gateways", "StatusKey", "compute"]


class Gateways:
    """The gateways of a cluster, following it. An update costs what the change touches."""

    def __init__(self, view: GatewayView | None = None) -> None:
        given = view or GatewayView()
        self._estate = Estate(given.now)
        self._gateways = GatewayState(self._estate)
        self._routes = RouteState(self._estate, self._gateways)
        self._ingress = IngressPart(self._estate)
        self._traffic = TrafficPart(self._estate)
        self._pools = PoolState(self._estate)
        self._statuses: dict[StatusKey, dict[str, Any]] = {}
        self._findings: dict[object, tuple[Finding, ...]] = {}
        self._built = Built()
        kinds = {kind: getattr(given, kind) for kind in GatewayView.__struct_fields__ if kind != "now"}
        self._take(GatewayChanges(**kinds), is_start=True)

    @property
    def built(self) -> Built:
        """What holds now; a value that no later update changes."""
        return self._built

    def update(self, changes: GatewayChanges) -> Built:
        """Take over what changed. Where nothing comes of it the plan is the same object as before."""
        self._take(changes, is_start=False)
        return self._built

    def _take(self, changes: GatewayChanges, *, is_start: bool) -> None:
        touched = self._estate.take(changes)
        if not touched and not is_start:
            return
        if touched.keys() <= _OF_ENDPOINTS and not is_start:
            if self._pools.update(touched):
                self._built = replace(self._built, plan=Plan(self._built.plan.doors, self._pools.pools))
            return
        frames = self._gateways.update(touched)
        routes = self._routes.update(touched, frames)
        ingress = self._ingress.update(touched)
        pools = self._pools.update(touched, routes.wishes, ingress.wishes)
        doors = self._gateways.update_doors(self._routes.tables, frames | routes.gateways, touched)
        before = self._built
        plan = before.plan
        if doors or ingress.is_changed or pools or is_start:
            all_doors = (
                self._gateways.doors + self._ingress.doors if doors or ingress.is_changed else plan.doors
            )
            plan = Plan(all_doors, self._pools.pools if pools else plan.pools)
        is_told = self._tell(
            (
                *self._gateways.statuses(frames | routes.gateways, touched, self._routes.counts),
                *self._routes.statuses(routes.keys),
                *self._routes.policy_statuses(),
                *ingress.statuses,
                *self._traffic.update(touched),
            )
        )
        is_found = self._find(
            (
                *self._gateways.findings(frames),
                *self._routes.findings(routes.keys),
                *ingress.findings,
                *self._traffic.findings(touched),
            )
        )
        self._built = Built(
            plan,
            dict(self._statuses) if is_told or is_start else before.statuses,
            self._all_findings() if is_found or is_start else before.findings,
        )

    def _tell(self, statuses: Iterable[tuple[StatusKey, dict[str, Any] | None]]) -> bool:
        """Take statuses over; None: there is nothing of ours to say any more. Whether any is another."""
        is_changed = False
        for key, status in statuses:
            if status is None:
                is_changed |= self._statuses.pop(key, None) is not None
            elif self._statuses.get(key) != status:
                self._statuses[key] = status
                is_changed = True
        return is_changed

    def _find(self, findings: Iterable[tuple[object, tuple[Finding, ...]]]) -> bool:
        is_changed = False
        for key, found in findings:
            if self._findings.get(key, ()) != found:
                is_changed = True
                if found:
                    self._findings[key] = found
                else:
                    del self._findings[key]
        return is_changed

    def _all_findings(self) -> tuple[Finding, ...]:
        return tuple(sorted(one for found in self._findings.values() for one in found))


def compute(view: GatewayView) -> Built:
    """What this cluster's gateways do. This is the definition; ``Gateways.update`` is its optimisation."""
    return Gateways(view).built
