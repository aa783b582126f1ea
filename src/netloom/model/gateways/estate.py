"""The objects of a cluster as the gateways' model holds them, and what changed since the last turn.

Comes in: ``GatewayChanges``. Goes out: ``Touched``: keys of objects that are not what they were, by kind. Not here: what they mean.
"""

from __future__ import annotations

from typing import Any

from netloom.api.core import ConfigMap, Namespace, Secret, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.gateway import (
    BackendTLSPolicy,
    Gateway,
    GatewayClass,
    ListenerSet,
    ReferenceGrant,
    Route,
    Written,
)
from netloom.api.meta import KubeObject
from netloom.api.traffic import TrafficPolicy
from netloom.model.gateways.grants import Grants
from netloom.model.gateways.routes import RouteKey
from netloom.model.gateways.traffic import TrafficPolicies
from netloom.model.gateways.view import GatewayChanges, GatewayView
from netloom.units import ObjectKey

ROUTES = {
    "http_routes": "HTTPRoute",
    "grpc_routes": "GRPCRoute",
    "tls_routes": "TLSRoute",
    "tcp_routes": "TCPRoute",
    "udp_routes": "UDPRoute",
}
"""Field of the view, and kind."""
_KINDS = tuple(kind for kind in GatewayView.__struct_fields__ if kind != "now")

Touched = dict[str, set[ObjectKey]]
"""By field of the view; ``endpoints`` has the Services of slices, ``now`` is there when time went on,
``policies`` when what TrafficPolicies say may be something else."""


class Estate:
    """Everything that is there, by kind and key."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.classes: dict[ObjectKey, GatewayClass] = {}
        self.gateways: dict[ObjectKey, Gateway] = {}
        self.listener_sets: dict[ObjectKey, ListenerSet] = {}
        self.grants: dict[ObjectKey, ReferenceGrant] = {}
        self.backend_tls: dict[ObjectKey, BackendTLSPolicy] = {}
        self.services: dict[ObjectKey, Service] = {}
        self.slices: dict[ObjectKey, EndpointSlice] = {}
        self.namespaces: dict[ObjectKey, Namespace] = {}
        self.secrets: dict[ObjectKey, Secret] = {}
        self.config_maps: dict[ObjectKey, ConfigMap] = {}
        self.traffic: dict[ObjectKey, TrafficPolicy] = {}
        self.kinds: dict[str, dict[ObjectKey, Any]] = {kind: getattr(self, kind, {}) for kind in _KINDS}
        self.granted = Grants(())
        self.policies = TrafficPolicies({}, {}, self.granted)
        self.slices_of: dict[ObjectKey, dict[ObjectKey, EndpointSlice]] = {}
        """By Service."""

    def take(self, changes: GatewayChanges) -> Touched:
        """Take objects over; those that mean the same as before are not touched."""
        touched: Touched = {}
        if changes.now is not None and changes.now != self.now:
            self.now = changes.now
            touched["now"] = set()
        for kind in _KINDS:
            new = getattr(changes, kind)
            if not new:
                continue
            held = self.kinds[kind]
            keys: set[ObjectKey] = set()
            for key, one in new.items():
                before = held.get(key)
                if _is_same(before, one):
                    continue
                keys.add(key)
                if kind == "slices":
                    touched.setdefault("endpoints", set()).update(self._move_slice(key, before, one))
                if one is None:
                    del held[key]
                else:
                    held[key] = one
            if keys:
                touched[kind] = keys
        if "grants" in touched:
            self.granted = Grants(self.grants.values())
        if self._moves_policies(touched):
            self.policies = TrafficPolicies(self.traffic, self.secrets, self.granted)
            touched["policies"] = set()
        return touched

    def _moves_policies(self, touched: Touched) -> bool:
        """Whether what TrafficPolicies say may be something else now."""
        if "traffic" in touched:
            return True
        policies = self.policies
        return bool(self.traffic) and (
            "grants" in touched
            or not policies.secrets.isdisjoint(touched.get("secrets", ()))
            or not policies.services.isdisjoint(touched.get("services", ()))
        )

    def route(self, key: RouteKey) -> Route | None:
        """A route of any kind."""
        found: Route | None = self.kinds[_FIELDS[key.kind]].get(key.key)
        return found

    def view(self) -> GatewayView:
        """Everything, for those who read it whole; not a copy."""
        return GatewayView(now=self.now, **self.kinds)

    def labels_of(self, namespace: str) -> dict[str, str] | None:
        """Labels of a namespace; None where it is not there."""
        found = self.namespaces.get(ObjectKey("", namespace))
        return None if found is None else found.metadata.labels

    def _move_slice(
        self, key: ObjectKey, before: EndpointSlice | None, after: EndpointSlice | None
    ) -> set[ObjectKey]:
        """Services that had the slice, or have it."""
        concerned = set()
        old = None if before is None else before.service
        if old is not None:
            concerned.add(old)
            del self.slices_of[old][key]
        new = None if after is None else after.service
        if after is not None and new is not None:
            concerned.add(new)
            self.slices_of.setdefault(new, {})[key] = after
        return concerned


_FIELDS = {kind: field for field, kind in ROUTES.items()}


def touched_routes(touched: Touched) -> set[RouteKey]:
    """Keys of routes of all kinds."""
    return {RouteKey(kind, key) for field, kind in ROUTES.items() for key in touched.get(field, ())}


def _is_same(before: KubeObject | None, after: KubeObject | None) -> bool:
    """Whether an object means what it meant: resourceVersions say nothing, nor do statuses that we write ourselves."""
    if before is None or after is None:
        return before is after
    if before is after:
        return True
    skipped = ("metadata", "status") if isinstance(before, Written) else ("metadata",)
    for field in before.__struct_fields__:
        if field not in skipped and getattr(before, field) != getattr(after, field):
            return False
    old, new = before.metadata, after.metadata
    return (old.uid, old.generation, old.creation_timestamp, old.labels, old.annotations) == (
        new.uid,
        new.generation,
        new.creation_timestamp,
        new.labels,
        new.annotations,
    )
