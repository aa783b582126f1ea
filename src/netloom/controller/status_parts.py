"""Our part of an object's status among the parts of others. In: the status as it is, and ours as it should be; out: what to write. Pure.

A Gateway API object may have several controllers: each says its own conditions, and of ``parents`` and ``ancestors`` its own entries.
What is another's stays as it is, in its place. ``lastTransitionTime`` moves only when a condition's ``status`` does. Source: Gateway API v1
(RouteStatus, PolicyStatus), meta/v1 Condition. Not here: what our part says (``model/gateways``), and writing (``status_writer.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

Document = Mapping[str, Any]

CONTROLLERS = ("netloom.io/gateway",)
"""Names under which entries of ``parents`` and ``ancestors`` are ours."""
_OWN_CONDITIONS = frozenset(
    {
        "Accepted", "Programmed", "ResolvedRefs", "Conflicted", "Ready", "PartiallyInvalid", "OverlappingTLSConfig",
        "SupportedVersion", "AttachedListenerSets", "InsecureFrontendValidationMode",
    }
)  # fmt: skip
"""Types that the specification gives to the controller of the object itself: those that we do not say any more are gone."""
SHARED = {"parents": "parentRef", "ancestors": "ancestorRef"}
"""Lists that several controllers have entries in, and by what an entry is known beside its controller."""


def changes(
    live: Document, wanted: Document, *, now: str, controllers: Collection[str] = CONTROLLERS
) -> dict[str, Any]:
    """The fields of ``status`` that have to be written, whole; empty where all is as it should be.

    Args:
        live: the status as it is.
        wanted: our part, conditions without ``lastTransitionTime``.
        now: as RFC 3339, for conditions that become another.
        controllers: names of ours.
    """
    found: dict[str, Any] = {}
    for field, value in wanted.items():
        before = live.get(field)
        after = _field(field, before, value, now, controllers)
        if after != before and (after or before):
            found[field] = after
    return found


def _field(field: str, before: Any, value: Any, now: str, controllers: Collection[str]) -> Any:  # noqa: ANN401 - any JSON
    if field == "conditions":
        return _conditions(before or (), value, now)
    if field in SHARED:
        return _entries(before or (), value, SHARED[field], now, controllers)
    if field == "listeners":
        return _listeners(before or (), value, now)
    return value


def _conditions(live: Iterable[Document], wanted: Sequence[Document], now: str) -> list[Document]:
    """All conditions of an object: others' types stay, ours are said anew."""
    before = {one.get("type"): one for one in live}
    said = {one["type"]: _since(one, before.get(one["type"]), now) for one in wanted}
    kept = [
        said.pop(str(kind)) if kind in said else one
        for kind, one in before.items()
        if kind in said or kind not in _OWN_CONDITIONS
    ]
    return [*kept, *said.values()]


def _own_conditions(live: Iterable[Document], wanted: Iterable[Document], now: str) -> list[Document]:
    """The conditions of an entry that is ours as a whole."""
    before = {one.get("type"): one for one in live}
    return [_since(one, before.get(one["type"]), now) for one in wanted]


def _since(wanted: Document, before: Document | None, now: str) -> Document:
    since = now
    if before is not None and before.get("status") == wanted.get("status"):
        since = str(before.get("lastTransitionTime") or now)
    return {**wanted, "lastTransitionTime": since}


def _entries(
    live: Sequence[Document],
    wanted: Iterable[Document],
    reference: str,
    now: str,
    controllers: Collection[str],
) -> list[Document]:
    """Entries of several controllers: ours are those that are wanted, in the place where the first of ours stood."""
    before = {
        _identity(one, reference): one.get("conditions") or ()
        for one in live
        if one.get("controllerName") in controllers
    }
    ours = [
        {
            **one,
            "conditions": _own_conditions(before.get(_identity(one, reference), ()), one["conditions"], now),
        }
        for one in wanted
    ]
    place = next((i for i, one in enumerate(live) if one.get("controllerName") in controllers), len(live))
    others = [(i, one) for i, one in enumerate(live) if one.get("controllerName") not in controllers]
    return [
        *(one for i, one in others if i < place),
        *ours,
        *(one for i, one in others if i > place),
    ]


def _identity(entry: Document, reference: str) -> tuple[str, bytes]:
    refers = msgspec.json.encode(entry.get(reference) or {}, order="sorted")
    return str(entry.get("controllerName", "")), refers


def _listeners(live: Iterable[Document], wanted: Iterable[Document], now: str) -> list[Document]:
    before = {one.get("name"): one.get("conditions") or () for one in live}
    return [
        {**one, "conditions": _own_conditions(before.get(one.get("name"), ()), one["conditions"], now)}
        for one in wanted
    ]
