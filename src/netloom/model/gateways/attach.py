"""Which listeners take a route: each parentRef of it against the listeners of the Gateway or ListenerSet that it names.

Comes in: a ``ReadRoute``, frames, labels of its namespace. Goes out: ``Attachment`` of each parentRef that is ours. Not here: routes that exclude each
other at a listener (``tables.py``), conditions (``route_status.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from netloom.api.gateway import GROUP, ParentReference
from netloom.model.gateways.frames import Frame
from netloom.model.gateways.hostnames import intersection
from netloom.model.gateways.listeners import ListenerId, ReadListener
from netloom.model.gateways.routes import ReadRoute
from netloom.units import ObjectKey

Names = tuple[tuple[str, str], ...]
"""Pairs: the hosts that a route and a listener both mean, and what the route says of them."""


class Attachment(msgspec.Struct, frozen=True):
    """What becomes of one parentRef."""

    index: int
    gateway: ObjectKey
    listeners: tuple[tuple[ListenerId, Names], ...] = ()
    """Who takes it, and for which hosts."""
    reason: str = ""
    """Why nobody does, where it is so: of condition Accepted."""
    message: str = ""


class Parents:
    """Finds the listeners that a parentRef names."""

    def __init__(self, frames: Mapping[ObjectKey, Frame], sets: Mapping[ObjectKey, ObjectKey]) -> None:
        self._frames = frames
        self._sets = sets
        """Gateways of ListenerSets, by the ListenerSets."""

    def of(self, ref: ParentReference, namespace: str) -> tuple[ObjectKey, tuple[ReadListener, ...]] | None:
        """The gateway and its listeners that this reference can mean; None where it is not ours."""
        key = ObjectKey(ref.namespace or namespace, ref.name)
        if ref.group != GROUP or ref.kind not in ("Gateway", "ListenerSet"):
            return None
        if ref.kind == "Gateway":
            frame = self._frames.get(key)
            return None if frame is None else (key, frame.listeners)
        gateway = self._sets.get(key)
        frame = None if gateway is None else self._frames.get(gateway)
        if gateway is None or frame is None:
            return None
        found = (one.listeners for one in frame.sets if one.key == key and not one.refused)
        return gateway, next(found, ())


def gateways_named(parents: Iterable[ParentReference], namespace: str) -> frozenset[tuple[str, ObjectKey]]:
    """Kind and key of everything that parentRefs name and that could be ours."""
    return frozenset(
        (ref.kind, ObjectKey(ref.namespace or namespace, ref.name))
        for ref in parents
        if ref.group == GROUP and ref.kind in ("Gateway", "ListenerSet")
    )


def attach(route: ReadRoute, parents: Parents, labels: Mapping[str, str] | None) -> tuple[Attachment, ...]:
    """What becomes of each parentRef; those of other controllers are left out."""
    found = []
    namespace = route.key.key.namespace
    for index, ref in enumerate(route.parents):
        if index in route.parents_unread:
            continue
        named = parents.of(ref, namespace)
        if named is not None:
            found.append(_one(route, index, ref, named, labels))
    return tuple(found)


def _one(
    route: ReadRoute,
    index: int,
    ref: ParentReference,
    named: tuple[ObjectKey, tuple[ReadListener, ...]],
    labels: Mapping[str, str] | None,
) -> Attachment:
    gateway, listeners = named
    namespace = route.key.key.namespace
    if route.is_void:
        first = route.dropped[0]
        return Attachment(index, gateway, (), first.reason, "; ".join(map(str, route.dropped)))
    wanted = [
        one
        for one in listeners
        if (ref.section_name is None or one.id.name == ref.section_name) and ref.port in (None, one.port)
    ]
    if not wanted:
        return Attachment(index, gateway, (), "NoMatchingParent", _nobody(index, ref))
    allowed = [
        one
        for one in wanted
        if route.key.kind in one.supported and one.namespaces.includes(namespace, labels)
    ]
    if not allowed:
        message = (
            f"spec.parentRefs[{index}]: none of {_names(wanted)} lets a {route.key.kind} of namespace {namespace} attach"
            " (spec.listeners[].allowedRoutes)"
        )
        return Attachment(index, gateway, (), "NotAllowedByListeners", message)
    taken = tuple(
        (one.id, names) for one in allowed if (names := shared_names(one.hostname, route.hostnames))
    )
    if not taken:
        message = f"spec.hostnames: none of {', '.join(route.hostnames)} is a host of {_names(allowed)}"
        return Attachment(index, gateway, (), "NoMatchingListenerHostname", message)
    return Attachment(index, gateway, taken)


def shared_names(listener: str, route: tuple[str, ...]) -> Names:
    """Hosts of both; those that only the route means are left out."""
    if not route:
        return ((listener, ""),)
    pairs = ((intersection(listener, name), name) for name in route)
    return tuple((both, name) for both, name in pairs if both is not None)


def _nobody(index: int, ref: ParentReference) -> str:
    said = [f"sectionName {ref.section_name}"] if ref.section_name is not None else []
    said += [f"port {ref.port}"] if ref.port is not None else []
    return f"spec.parentRefs[{index}]: {ref.kind} {ref.name} has no listener of {' and '.join(said) or 'its own'}"


def _names(listeners: Iterable[ReadListener]) -> str:
    return ", ".join(f"{one.id.name} ({one.protocol} {one.hostname or 'any host'})" for one in listeners)
