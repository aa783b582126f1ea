"""Which endpoints are preferred for being near, as their hints say.

Comes in: the endpoints of a port, where the node is. Goes out: a preference, or why there is none. The rules are those of
kube-proxy (KEP-2433, KEP-4444, KEP-3015): hints count only if every ready endpoint has them and one of them is for this node, then
for its zone. ``spec.trafficDistribution`` is read by whoever writes the hints; here it only serves to name what is behind them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from netloom.model.services.slices import ReadEndpoint, Usability

ZONE_LABEL = "topology.kubernetes.io/zone"
DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
"""core/v1 ServiceSpec.trafficDistribution."""


class Place(msgspec.Struct, frozen=True):
    """Where a node is."""

    node: str
    zone: str


class Nearness(enum.Enum):
    """How near an endpoint has to be."""

    ANYWHERE = "anywhere"
    SAME_ZONE = "same zone"
    SAME_NODE = "same node"


class Preference(msgspec.Struct, frozen=True):
    """What the hints of some endpoints come to on one node."""

    nearness: Nearness
    has_hints: bool = False
    because: str = ""
    """Why hints that are there do not count."""


_NO_HINTS = Preference(Nearness.ANYWHERE)


def preference_of(endpoints: Iterable[ReadEndpoint], place: Place) -> Preference:
    """How near an endpoint has to be; those that are not ready have no say."""
    ready = [one for one in endpoints if one.usability is Usability.READY]
    by_node = sum(1 for one in ready if one.node_hints)
    by_zone = sum(1 for one in ready if one.zone_hints)
    if not by_node and not by_zone:
        return _NO_HINTS
    because = ""
    if by_node == len(ready):
        if any(place.node in one.node_hints for one in ready):
            return Preference(Nearness.SAME_NODE, has_hints=True)
        because = f"no hints.forNodes says {place.node}"
    elif by_node:
        because = "not every ready endpoint has hints.forNodes"
    if by_zone < len(ready):
        because = "not every ready endpoint has hints.forZones" if by_zone else because
    elif not place.zone:
        because = f"{place.node} has no label {ZONE_LABEL}"
    elif any(place.zone in one.zone_hints for one in ready):
        return Preference(Nearness.SAME_ZONE, has_hints=True)
    else:
        because = f"no hints.forZones says {place.zone}"
    return Preference(Nearness.ANYWHERE, has_hints=True, because=because)


def is_near(endpoint: ReadEndpoint, nearness: Nearness, place: Place) -> bool:
    """Whether an endpoint is as near as is asked for."""
    if nearness is Nearness.SAME_NODE:
        return place.node in endpoint.node_hints
    return nearness is Nearness.ANYWHERE or place.zone in endpoint.zone_hints


def remoteness(
    endpoint: ReadEndpoint, nearness: Nearness, place: Place, distribution: str | None
) -> tuple[str, str]:
    """The field and the words for an endpoint that is not near enough."""
    if nearness is Nearness.SAME_NODE:
        field, names, here = "hints.forNodes", endpoint.node_hints, f"this node is {place.node}"
    else:
        field, names, here = "hints.forZones", endpoint.zone_hints, f"this node is in {place.zone}"
    behind = f" (spec.trafficDistribution {distribution})" if distribution else ""
    return field, f"{field} says {', '.join(names)}; {here}{behind}"
