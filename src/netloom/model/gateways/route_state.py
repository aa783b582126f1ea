"""Routes as they are now: readings, attachments, tables of listeners, each made anew only when something that it depends on changed.

Comes in: what changed of the estate, Gateways whose frames changed. Goes out: what that changed, tables, statuses, findings. Not here: what a route
means (``routes.py``), which listener takes it (``attach.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from netloom.api.gateway import GRPCRoute, HTTPRoute
from netloom.model.gateways.attach import Attachment, Names, Parents, attach, gateways_named
from netloom.model.gateways.backend_tls import KIND as BACKEND_TLS
from netloom.model.gateways.backend_tls import BackendPolicies
from netloom.model.gateways.built import StatusKey
from netloom.model.gateways.estate import Estate, Touched, touched_routes
from netloom.model.gateways.gateway_state import GatewayState
from netloom.model.gateways.listeners import TERMINATE, ListenerId, ReadListener
from netloom.model.gateways.pool_state import Wisher, Wishes
from netloom.model.gateways.pools import PoolRefs, PoolWish
from netloom.model.gateways.route_status import policy_status, route_status
from netloom.model.gateways.routes import Around, ReadRoute, RouteKey, read_route
from netloom.model.gateways.stream_routes import read_stream_route
from netloom.model.gateways.tables import Table
from netloom.model.provenance import Finding
from netloom.units import ObjectKey


class RouteChange(msgspec.Struct, frozen=True):
    """What an update of routes changed."""

    keys: set[RouteKey]
    """Routes whose status may be another."""
    gateways: set[ObjectKey]
    """Gateways with a table that is another, or that has another number of routes."""
    wishes: Wishes
    """Pools that routes use now, where that is not what it was."""


class RouteState:
    """All routes."""

    def __init__(self, estate: Estate, gateways: GatewayState) -> None:
        self._estate = estate
        self._gateways = gateways
        self._reads: dict[RouteKey, ReadRoute] = {}
        self._attached: dict[RouteKey, tuple[Attachment, ...]] = {}
        self._wishes: dict[RouteKey, Mapping[str, PoolWish]] = {}
        self.tables: dict[ListenerId, Table] = {}
        self._policies = BackendPolicies({}, {}, {})
        self._targeted: set[RouteKey] = set()
        self._by_service: dict[ObjectKey, set[RouteKey]] = {}
        self._by_parent: dict[tuple[str, ObjectKey], set[RouteKey]] = {}
        self._by_namespace: dict[str, set[RouteKey]] = {}
        self._policies_told: set[ObjectKey] = set()

    @property
    def counts(self) -> dict[ListenerId, int]:
        """Routes attached to each listener."""
        return {id_: table.count for id_, table in self.tables.items()}

    def update(self, touched: Touched, frames: set[ObjectKey]) -> RouteChange:
        """Make anew what depends on what was touched, or on these Gateways."""
        dirty = touched_routes(touched) | self._dependent(touched)
        changed = {key for key in dirty if self._read(key)}
        for gateway in frames:
            self._fit_tables(gateway)
        wishes: dict[Wisher, Mapping[str, PoolWish]] = {}
        for gateway in frames | (set(self._gateways.frames) if "policies" in touched else set()):
            wishes.update(self._police(gateway))
        moved = changed | self._naming(frames)
        for namespace in touched.get("namespaces", ()):
            moved |= self._by_namespace.get(namespace.name, set())
        told = set(changed)
        parents = Parents(self._gateways.frames, self._gateways.parents)
        for key in moved:
            if self._attach(key, parents, is_changed=key in changed):
                told.add(key)
            if self._wish(key):
                wishes[key] = self._wishes.get(key, {})
        gateways = self._settle(told)
        return RouteChange(told, gateways, wishes)

    def statuses(self, keys: Iterable[RouteKey]) -> Iterator[tuple[StatusKey, dict[str, Any] | None]]:
        """Statuses of these routes; of one that names nothing of ours, that we say nothing of it."""
        losers = {id_: table.losers for id_, table in self.tables.items() if table.losers}
        for key in keys:
            route = self._reads.get(key)
            status = None if route is None else route_status(route, self._attached.get(key, ()), losers)
            yield StatusKey(key.kind, key.key), status

    def policy_statuses(self) -> Iterator[tuple[StatusKey, dict[str, Any] | None]]:
        """Statuses of all BackendTLSPolicies: few, and each depends on many routes."""
        for key in self._policies_told - self._policies.readings.keys():
            yield StatusKey(BACKEND_TLS, key), None
        self._policies_told = set(self._policies.readings)
        for key in self._policies.readings:
            gateways = {
                one.gateway
                for service in self._policies.targets_of(key)
                for route in self._by_service.get(service, ())
                for one in self._attached.get(route, ())
                if one.listeners
            }
            yield StatusKey(BACKEND_TLS, key), policy_status(self._policies, key, gateways)

    def findings(self, keys: Iterable[RouteKey]) -> Iterator[tuple[object, tuple[Finding, ...]]]:
        """What could not be used of these routes, where they name something of ours."""
        for key in keys:
            route = self._reads.get(key)
            if route is None or not self._attached.get(key):
                yield key, ()
            else:
                troubles = (*route.dropped, *route.unresolved, *route.notes)
                yield key, tuple(Finding(route.source.at(one.field), one.problem) for one in troubles)

    def _dependent(self, touched: Touched) -> set[RouteKey]:
        """Routes that depend on other things that were touched."""
        services = set(touched.get("services", ()))
        found: set[RouteKey] = set()
        if self._move_policies(touched):
            before = self._policies.verdicts
            self._policies = BackendPolicies(
                self._estate.backend_tls, self._estate.services, self._estate.config_maps
            )
            after = self._policies.verdicts
            services |= {
                target[0]
                for target in before.keys() | after.keys()
                if before.get(target) != after.get(target)
            }
        for service in services:
            found |= self._by_service.get(service, set())
        if "policies" in touched:
            found |= self._under_policies()
        if "grants" in touched:
            namespaces = {key.namespace for key in touched["grants"]}
            found |= {
                key
                for service, keys in self._by_service.items()
                if service.namespace in namespaces
                for key in keys
                if key.key.namespace != service.namespace
            }
        return found

    def _under_policies(self) -> set[RouteKey]:
        """Routes that TrafficPolicies are for, or were; those that name one in a filter, too."""
        before = self._targeted
        policies = self._estate.policies
        self._targeted = {
            RouteKey(kind, key) for kind in ("HTTPRoute", "GRPCRoute") for key in policies.targets(kind)
        }
        naming = {
            key
            for key, read in self._reads.items()
            if any(one.rule.traffic.source is not None or one.rule.fault for one in read.rules)
        }
        return before | self._targeted | naming

    def _move_policies(self, touched: Touched) -> bool:
        policies = self._policies
        if "backend_tls" in touched:
            return True
        if not policies.readings:
            return False
        targets = {one for key in policies.readings for one in policies.targets_of(key)}
        return not targets.isdisjoint(touched.get("services", ())) or not policies.config_maps.isdisjoint(
            touched.get("config_maps", ())
        )

    def _read(self, key: RouteKey) -> bool:
        """Whether the route says something else than before."""
        given = self._estate.route(key)
        before = self._reads.get(key)
        estate = self._estate
        around = Around(estate.services, estate.granted, self._policies, estate.policies)
        if given is None:
            after = None
        elif isinstance(given, HTTPRoute | GRPCRoute):
            after = read_route(given, around)
        else:
            after = read_stream_route(given, around)
        if after == before:
            return False
        self._index(key, before, after)
        if after is None:
            del self._reads[key]
        else:
            self._reads[key] = after
        return True

    def _index(self, key: RouteKey, before: ReadRoute | None, after: ReadRoute | None) -> None:
        namespace = key.key.namespace
        if before is not None:
            for service in before.services:
                self._by_service[service].discard(key)
            for parent in gateways_named(before.parents, namespace):
                self._by_parent[parent].discard(key)
            self._by_namespace[namespace].discard(key)
        if after is not None:
            for service in after.services:
                self._by_service.setdefault(service, set()).add(key)
            for parent in gateways_named(after.parents, namespace):
                self._by_parent.setdefault(parent, set()).add(key)
            self._by_namespace.setdefault(namespace, set()).add(key)

    def _naming(self, frames: Iterable[ObjectKey]) -> set[RouteKey]:
        """Routes that name these Gateways, or any ListenerSet: one may be theirs now, or no longer."""
        found: set[RouteKey] = set()
        for key in frames:
            found |= self._by_parent.get(("Gateway", key), set())
        if frames:
            for (kind, _), keys in self._by_parent.items():
                if kind == "ListenerSet":
                    found |= keys
        return found

    def _attach(self, key: RouteKey, parents: Parents, *, is_changed: bool) -> bool:
        """Whether the route is attached otherwise than before; tables are told."""
        route = self._reads.get(key)
        labels = self._estate.labels_of(key.key.namespace)
        after = () if route is None else attach(route, parents, labels)
        before = self._attached.get(key, ())
        if after == before and not is_changed:
            return False
        if after:
            self._attached[key] = after
        else:
            self._attached.pop(key, None)
        old, new = _by_listener(before), _by_listener(after)
        for id_ in old.keys() | new.keys():
            table = self.tables.get(id_)
            if table is not None:
                table.put(key, new.get(id_, ()))
        return True

    def _wish(self, key: RouteKey) -> bool:
        """Whether the route uses other pools than before; one that nobody takes uses none."""
        route = self._reads.get(key)
        is_taken = any(one.listeners for one in self._attached.get(key, ()))
        after = route.wishes if route is not None and is_taken else {}
        before = self._wishes.get(key, {})
        if after:
            self._wishes[key] = after
        else:
            self._wishes.pop(key, None)
        return after != before

    def _fit_tables(self, gateway: ObjectKey) -> None:
        """A table for each listener of the Gateway, of its kind; those of listeners that are gone go, too."""
        frame = self._gateways.frames.get(gateway)
        listeners: dict[ListenerId, ReadListener] = {}
        if frame is not None:
            own = [*frame.listeners, *(one for group in frame.sets for one in group.listeners)]
            listeners = {one.id: one for one in own}
        for id_ in [id_ for id_ in self.tables if id_.gateway == gateway and id_ not in listeners]:
            del self.tables[id_]
        for id_, one in listeners.items():
            is_ended = one.mode == TERMINATE
            known = self.tables.get(id_)
            if known is None or not known.is_for(is_stream=one.is_stream, is_tls_ended=is_ended):
                table = Table(is_stream=one.is_stream, is_tls_ended=is_ended)
                self.tables[id_] = table
                for key in () if known is None else known.routes:
                    table.put(key, _by_listener(self._attached.get(key, ())).get(id_, ()))

    def _police(self, gateway: ObjectKey) -> Wishes:
        """Tables hear of the TrafficPolicies that are for the Gateway or a listener of its own; pools that these need."""
        estate = self._estate
        pools = PoolRefs(estate.services)
        is_ours = gateway in self._gateways.frames
        if is_ours:
            for id_, table in self.tables.items():
                if id_.gateway == gateway:
                    section = id_.name if id_.kind == "Gateway" else ""
                    table.set_traffic(estate.policies.about("Gateway", gateway, section, pools))
        return {f"Gateway {gateway}": dict(pools.wishes)}

    def _settle(self, told: set[RouteKey]) -> set[ObjectKey]:
        """Bring tables up to date; Gateways of those that changed. Routes that lost or won join ``told``."""
        gateways = set()
        for id_, table in self.tables.items():
            losers = table.losers
            if table.settle(self._reads):
                gateways.add(id_.gateway)
                if losers or table.losers:
                    told |= losers.keys() | table.losers.keys()
        return gateways


def _by_listener(attachments: Iterable[Attachment]) -> dict[ListenerId, Names]:
    """What all parentRefs together come to at each listener."""
    found: dict[ListenerId, Names] = {}
    for one in attachments:
        for id_, names in one.listeners:
            found[id_] = tuple(dict.fromkeys((*found.get(id_, ()), *names)))
    return found
