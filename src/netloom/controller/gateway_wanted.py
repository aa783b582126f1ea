"""All objects that should be there for gateways, from what they do. In: the plan, Gateways, nodes. Out: bodies by place, and findings. Pure.

Not here: one Service and its slices (``gateway_services.py``), and writing them (``gateway_objects.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from netloom.api.core import Node, Service
from netloom.api.gateway import Gateway
from netloom.controller.gateway_objects import Body, Place
from netloom.controller.gateway_services import (
    OWN_LABEL,
    Entrance,
    entrance_of,
    ingress_entrance,
    places,
    service_of,
    slices_of,
)
from netloom.gateway.in_force import Told
from netloom.kube.resources import ENDPOINT_SLICES, SERVICES
from netloom.model.gateways.entrances import INGRESS
from netloom.model.gateways.plan import Door, Plan
from netloom.model.provenance import Finding, source_of
from netloom.units import ObjectKey


def wanted_objects(
    plan: Plan,
    *,
    gateways: Iterable[Gateway],
    services: Mapping[ObjectKey, Service],
    nodes: Sequence[Node],
    told: Mapping[str, Told],
) -> tuple[dict[Place, Body], tuple[Finding, ...]]:
    """The Services and EndpointSlices of gateways, and what stands in their way.

    Args:
        plan: what gateways do.
        gateways: those of our classes.
        services: all.
        nodes: all.
        told: by node, what its gateway has in force.
    """
    doors = doors_by_gateway(plan)
    entrances = [entrance_of(gateway, doors.get(gateway.key, ())) for gateway in gateways]
    if INGRESS in doors:
        entrances.append(ingress_entrance())
    where = places(nodes, {node: one.doors for node, one in told.items()})
    wanted: dict[Place, Body] = {}
    findings: list[Finding] = []
    for entrance in entrances:
        if not entrance.ports:
            continue
        service = services.get(entrance.service)
        if service is not None and OWN_LABEL not in service.metadata.labels:
            findings.append(_in_the_way(entrance, service))
            continue
        wanted[SERVICES, entrance.service] = service_of(entrance)
        if service is None or not service.metadata.uid:
            continue
        for body in slices_of(
            entrance, service, nodes=where, plan=plan, doors=doors.get(entrance.gateway, ())
        ):
            meta = body["metadata"]
            wanted[ENDPOINT_SLICES, ObjectKey(meta["namespace"], meta["name"])] = body
    return wanted, tuple(findings)


def doors_by_gateway(plan: Plan) -> dict[ObjectKey, list[Door]]:
    """The doors of each gateway."""
    found: dict[ObjectKey, list[Door]] = {}
    for door in plan.doors:
        found.setdefault(door.gateway, []).append(door)
    return found


def _in_the_way(entrance: Entrance, service: Service) -> Finding:
    return Finding(
        source_of("Service", service.metadata, "metadata.name"),
        f"{entrance.gateway} needs a Service of this name for its addresses, and this one is somebody else's",
        "delete it, or name the Gateway otherwise",
    )
