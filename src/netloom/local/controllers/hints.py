"""Hints of endpoints: which zones and nodes should use each (discovery/v1 EndpointHints). Pure.

In: a Service, its endpoints by slice group, the zones' shares of CPU. Out: the same endpoints with hints. Two rules, of which the
annotation goes before the field: ``spec.trafficDistribution`` names each ready endpoint's own zone (and node, with
PreferSameNode); the annotation ``service.kubernetes.io/topology-mode: Auto`` gives each zone endpoints in proportion to its
CPU, so that none is overloaded, and gives no hints where that cannot be. Not here: what proxies make of hints (model).
Source: KEP-4444, KEP-3015, KEP-2433.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from netloom.api import quantity
from netloom.api.discovery import Endpoint, EndpointHints, HintedNode, HintedZone
from netloom.local.controllers.objects import ZONE, Node, Service
from netloom.local.controllers.slices import Ports

TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
_FORMER_TOPOLOGY_MODE = "service.kubernetes.io/topology-aware-hints"
_CLOSE = frozenset({"PreferClose", "PreferSameZone", "PreferSameNode"})
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
OVERLOAD = 0.2
"""By how much an endpoint may get more than its share of the traffic before hints are given up."""

Group = tuple[str, Ports]
"""Address type and ports: endpoints that share slices."""


def wants_proportional(service: Service) -> bool:
    """The annotation asks for hints in proportion; the older one of both names goes first."""
    notes = service.metadata.annotations
    return notes.get(_FORMER_TOPOLOGY_MODE, notes.get(TOPOLOGY_MODE)) in {"Auto", "auto"}


def hinted(
    service: Service, groups: Mapping[Group, list[Endpoint]], shares: Mapping[str, float] | None
) -> dict[Group, list[Endpoint]]:
    """The endpoints with their hints; each address type is a whole of its own.

    Args:
        service: whose they are.
        groups: its endpoints, from ``slices.wanted``.
        shares: of the zones, from :func:`zone_shares`.
    """
    if not wants_proportional(service):
        wish = service.spec.traffic_distribution
        if wish not in _CLOSE:
            return dict(groups)
        to_node = wish == "PreferSameNode"
        return {g: [_close(e, to_node=to_node) for e in endpoints] for g, endpoints in groups.items()}
    found = dict(groups)
    for type_ in {type_ for type_, _ in groups}:
        mine = [(g, e) for g, endpoints in groups.items() if g[0] == type_ for e in endpoints]
        zones = proportional([e for _, e in mine], shares)
        if zones is None:
            continue
        for group in [g for g in groups if g[0] == type_]:
            found[group] = []
        for (group, endpoint), zone in zip(mine, zones, strict=True):
            hints = EndpointHints(for_zones=(HintedZone(zone),)) if zone else None
            found[group].append(msgspec.structs.replace(endpoint, hints=hints))
    return found


def _close(endpoint: Endpoint, *, to_node: bool) -> Endpoint:
    """A ready endpoint is for its own zone and, where asked, node; what is not ready, or nowhere, has no hint."""
    if not endpoint.conditions.ready:
        return endpoint
    zones = (HintedZone(endpoint.zone),) if endpoint.zone else ()
    nodes = (HintedNode(endpoint.node_name),) if to_node and endpoint.node_name else ()
    return (
        msgspec.structs.replace(endpoint, hints=EndpointHints(zones, nodes)) if zones or nodes else endpoint
    )


def zone_shares(nodes: Iterable[Node]) -> dict[str, float] | None:
    """Each zone's part of the CPU of all ready nodes; None where a node says too little, or there is but one zone."""
    cores: dict[str, float] = {}
    for part in map(part_in_shares, nodes):
        if part is None:
            continue
        zone, own = part
        if not zone or not own:
            return None
        cores[zone] = cores.get(zone, 0.0) + own
    total = sum(cores.values())
    return {zone: own / total for zone, own in cores.items()} if len(cores) > 1 else None


def part_in_shares(node: Node | None) -> tuple[str, float] | None:
    """Zone and cores of a node, as far as it says them; None for one that does not count."""
    if node is None or not node.is_ready or any(label in node.metadata.labels for label in _CONTROL_PLANE):
        return None
    cores = quantity.parse(node.status.allocatable.get("cpu"))
    return node.metadata.labels.get(ZONE, ""), float(cores or 0)


def proportional(endpoints: Sequence[Endpoint], shares: Mapping[str, float] | None) -> list[str] | None:
    """The zone that each endpoint is for, empty for one that is not ready; None where there should be no hints.

    Endpoints serve their own zone; where a zone has more of them than its share, the first of them go to zones with less.
    """
    ready = [e for e in endpoints if e.conditions.ready]
    if shares is None or len(shares) > len(ready) or not all(e.zone for e in ready):
        return None
    least = {zone: math.ceil(share * len(ready) / (1 + OVERLOAD)) for zone, share in shares.items()}
    if sum(least.values()) > len(ready):
        return None
    has = {zone: sum(e.zone == zone for e in ready) for zone in shares}
    over = {zone: has[zone] - max(shares[zone] * len(ready), least[zone]) for zone in shares}
    moves = _moves(over)
    chosen = []
    for endpoint in endpoints:
        zone = endpoint.zone or ""
        if not endpoint.conditions.ready:
            chosen.append("")
        else:
            chosen.append(moves[zone].pop() if moves.get(zone) else zone)
    return chosen


def _moves(over: Mapping[str, float]) -> dict[str, list[str]]:
    """Which zones each zone gives endpoints to, one entry for each; ``over`` is what a zone has beyond its share.

    A move must help: half an endpoint on both sides at least, and a whole one on one of them.
    """
    left = dict(over)
    moves: dict[str, list[str]] = {}
    while left:
        giver = max(sorted(left), key=lambda zone: left[zone])
        taker = min(sorted(left), key=lambda zone: left[zone])
        give, take = left[giver], -left[taker]
        if min(give, take) < 0.5 or max(give, take) < 1:
            break
        moves.setdefault(giver, []).append(taker)
        left[giver] -= 1
        left[taker] += 1
    return moves
