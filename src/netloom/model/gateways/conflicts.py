"""Listeners of one gateway that cannot be told apart, and those whose TLS overlaps.

Comes in: the listeners of a Gateway and its ListenerSets. Goes out: the same, with their conflicts. The rules: Gateway ``spec.listeners`` (nobody wins
within one object), ListenerSet ``spec.listeners`` (the Gateway, then the oldest set, comes first). Not here: what a listener is alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from netloom.model.gateways.hostnames import covers
from netloom.model.gateways.listeners import TERMINATE, ReadListener
from netloom.model.gateways.plan import Transport
from netloom.model.gateways.troubles import Trouble

_PROTOCOL, _HOSTNAME, _LISTENER = "ProtocolConflict", "HostnameConflict", "ListenerConflict"


def settle(groups: Sequence[Sequence[ReadListener]]) -> list[list[ReadListener]]:
    """The listeners with their conflicts; each group is one object's, in the order of precedence."""
    rank = {one.id: index for index, group in enumerate(groups) for one in group}
    by_port: dict[tuple[int, bool], list[ReadListener]] = {}
    for group in groups:
        for one in group:
            if one.transport is not None and not one.refused:
                by_port.setdefault((one.port, one.transport is Transport.UDP), []).append(one)
    found: dict[object, Trouble] = {}
    overlaps: dict[object, str] = {}
    for sharing in by_port.values():
        for one in sharing:
            others = [other for other in sharing if other is not one and rank[other.id] <= rank[one.id]]
            conflict = _first_conflict(one, others)
            if conflict is not None:
                found[one.id] = conflict
        for one in sharing:
            overlaps[one.id] = _overlap(one, sharing)
    return [
        [replace(one, conflict=found.get(one.id), overlap=overlaps.get(one.id, "")) for one in group]
        for group in groups
    ]


def _first_conflict(one: ReadListener, others: Iterable[ReadListener]) -> Trouble | None:
    conflicts = [(_conflict(one, other), other) for other in others]
    sound = [(reason, other) for reason, other in conflicts if reason]
    if not sound:
        return None
    reasons = {reason for reason, _ in sound}
    reason = sound[0][0] if len(reasons) == 1 else _several(one)
    names = ", ".join(other.source.at("").subject + " " + other.id.name for _, other in sound)
    problem = f"port {one.port}, protocol {one.protocol}, hostname {one.hostname or 'any'} cannot be told from {names}"
    return Trouble(one.source.field, reason, problem)


def _several(one: ReadListener) -> str:
    return _LISTENER if one.id.kind == "ListenerSet" else _PROTOCOL


def _conflict(one: ReadListener, other: ReadListener) -> str:
    """The reason, or empty where a connection or request can be given to one of the two."""
    if one.transport is not other.transport:
        return _PROTOCOL
    if one.transport in (Transport.TCP, Transport.UDP):
        return _LISTENER if one.id.kind == "ListenerSet" else _HOSTNAME
    if one.hostname != other.hostname:
        return ""
    return _HOSTNAME if one.protocol == other.protocol else _PROTOCOL


def _overlap(one: ReadListener, sharing: Iterable[ReadListener]) -> str:
    """Gateway listener condition OverlappingTLSConfig: another listener's name is covered by this one's, or covers it."""
    if one.mode != TERMINATE:
        return ""
    names = [
        f"{other.id.name} ({other.hostname or 'any host'})"
        for other in sharing
        if other is not one
        and other.mode == TERMINATE
        and other.hostname != one.hostname
        and (covers(one.hostname, other.hostname) or covers(other.hostname, one.hostname))
    ]
    return ", ".join(names)
