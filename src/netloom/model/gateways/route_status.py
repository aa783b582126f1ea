"""Statuses of routes and BackendTLSPolicies, without the times that the writer puts in.

Comes in: what became of each parentRef, what could not be used. Goes out: ``.status.parents`` or ``.status.ancestors``, our entries only. The words are
the specification's (``apis/v1/shared_types.go``). Not here: merging with entries of others (``controller/status_parts.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from netloom.api.gateway import GROUP, ParentReference
from netloom.model.gateways.attach import Attachment
from netloom.model.gateways.backend_tls import BackendPolicies
from netloom.model.gateways.listeners import ListenerId
from netloom.model.gateways.routes import ReadRoute, RouteKey
from netloom.model.gateways.status import CONTROLLER, Condition, condition
from netloom.model.gateways.troubles import UNSUPPORTED, in_words
from netloom.units import ObjectKey

_MOST_ANCESTORS = 16


def route_status(
    route: ReadRoute, attachments: Iterable[Attachment], losers: Mapping[ListenerId, Mapping[RouteKey, str]]
) -> dict[str, Any]:
    """Status of a route: an entry for each parentRef that is ours."""
    generation = route.source.generation
    parents = []
    for one in attachments:
        conditions = [_accepted(route, one, losers)]
        if route.unresolved:
            reason, message = route.unresolved[0].reason, in_words(route.unresolved)
            conditions.append(condition("ResolvedRefs", False, reason, message, generation))
        else:
            conditions.append(condition("ResolvedRefs", True, "ResolvedRefs", "", generation))
        if route.dropped and conditions[0]["status"] == "True":
            numbers = ", ".join(map(str, route.dropped_rules))
            message = f"Dropped Rule {numbers}: {in_words(route.dropped)}"
            conditions.append(condition("PartiallyInvalid", True, UNSUPPORTED, message, generation))
        parents.append(
            {
                "parentRef": _reference(route.parents[one.index]),
                "controllerName": CONTROLLER,
                "conditions": conditions,
            }
        )
    return {"parents": parents}


def policy_status(
    policies: BackendPolicies, policy: ObjectKey, gateways: Iterable[ObjectKey]
) -> dict[str, Any]:
    """Status of a BackendTLSPolicy: an entry for each Gateway with a route to a Service that it is about."""
    conditions = policies.conditions(policy)
    return {
        "ancestors": [
            {
                "ancestorRef": {
                    "group": GROUP,
                    "kind": "Gateway",
                    "namespace": gateway.namespace,
                    "name": gateway.name,
                },
                "controllerName": CONTROLLER,
                "conditions": [dict(one) for one in conditions],
            }
            for gateway in sorted(gateways)[:_MOST_ANCESTORS]
        ]
    }


def is_taken(one: Attachment, route: RouteKey, losers: Mapping[ListenerId, Mapping[RouteKey, str]]) -> bool:
    """Whether a listener has the route and did not give it up for another."""
    return any(route not in losers.get(id_, {}) for id_, _ in one.listeners)


def _accepted(
    route: ReadRoute, one: Attachment, losers: Mapping[ListenerId, Mapping[RouteKey, str]]
) -> Condition:
    generation = route.source.generation
    if not one.listeners:
        return condition("Accepted", False, one.reason, one.message, generation)
    if not is_taken(one, route.key, losers):
        rivals = sorted({losers[id_][route.key] for id_, _ in one.listeners})
        problem = f"spec.parentRefs[{one.index}]: {', '.join(rivals)}, which is older, has these hosts at the listener"
        return condition("Accepted", False, "Conflicted", problem, generation)
    return condition("Accepted", True, "Accepted", in_words(route.notes), generation)


def _reference(ref: ParentReference) -> dict[str, Any]:
    """As it is written, with what the API server fills in."""
    found: dict[str, Any] = {"group": ref.group, "kind": ref.kind, "name": ref.name}
    if ref.namespace is not None:
        found["namespace"] = ref.namespace
    if ref.section_name is not None:
        found["sectionName"] = ref.section_name
    if ref.port is not None:
        found["port"] = ref.port
    return found
