"""What has changed for gateways and is not in force yet: the newest object for each key, taken all at once by one reader.

Watches mark, the reader takes. An object that changed only in its status or its resourceVersion has not changed: statuses are written by
ourselves, thousands at a time. Not here: following the API (``watches.py``), and what a change means (``model/gateways``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from netloom.api.gateway import Written
from netloom.api.meta import KubeObject, ObjectMeta
from netloom.clock import Clock
from netloom.model.gateways.view import GatewayChanges, GatewayView
from netloom.units import ObjectKey

_TIMED = frozenset({"gateways", "listener_sets", "ingresses", "secrets", "config_maps"})
"""Kinds whose changes are looked at with the time of now: certificates are valid from one moment to another."""
KINDS: tuple[str, ...] = tuple(kind for kind in GatewayView.__struct_fields__ if kind != "now")
"""Field names of the view."""

O = TypeVar("O", bound=KubeObject)  # noqa: E741 - an object


class Taken(msgspec.Struct, frozen=True):
    """What one turn puts in force."""

    changes: GatewayChanges
    versions: Mapping[str, str]
    """By kind: the resourceVersion up to which ``changes``, with those taken before, hold every event of its watch."""
    since: float | None
    """When the first of these changes arrived, on the monotonic clock; None where there are none."""
    count: int
    """How many objects."""


class Pending:
    """Coalesces changes; one task marks and one task takes, in one event loop."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._meant: dict[str, dict[ObjectKey, Any]] = {kind: {} for kind in KINDS}
        self._kinds: dict[str, dict[ObjectKey, Any]] = {}
        self._versions: dict[str, str] = {}
        self._since: float | None = None
        self._some = asyncio.Event()

    def mark(self, kind: str, key: ObjectKey, value: KubeObject | None) -> bool:
        """An object of this kind (a field name of ``GatewayView``) is now this, or None: gone. Whether that is news."""
        before = self._meant[kind].get(key)
        if value is None:
            self._meant[kind].pop(key, None)
            if before is None:
                return False
        else:
            value = meaning(value)
            if value == before:
                return False
            self._meant[kind][key] = value
        self._kinds.setdefault(kind, {})[key] = value
        if self._since is None:
            self._since = self._clock.monotonic()
        self._some.set()
        return True

    def seen(self, kind: str, version: str) -> None:
        """Every event of this kind up to this resourceVersion has been marked; there may have been none."""
        self._versions[kind] = version
        self._some.set()

    def wake(self) -> None:
        """Have the taker take, whatever there is."""
        self._some.set()

    def view(self, now: float) -> GatewayView:
        """Everything as it is now, as values that later marks do not change."""
        kinds: dict[str, Any] = {kind: dict(items) for kind, items in self._meant.items()}
        return GatewayView(now=now, **kinds)

    def take_now(self) -> Taken:
        """Everything marked since the last take; may be empty. Where certificates may be concerned, or nothing changed, with the time."""
        count = sum(map(len, self._kinds.values()))
        kinds: dict[str, Any] = dict(self._kinds)
        if not kinds or not _TIMED.isdisjoint(kinds):
            kinds["now"] = self._clock.wall()
        taken = Taken(GatewayChanges(**kinds), self._versions, self._since, count)
        self._kinds, self._versions, self._since = {}, {}, None
        self._some.clear()
        return taken

    async def some(self, patience_s: float) -> None:
        """Return when there is something to take, or the patience is over."""
        try:
            async with asyncio.timeout(patience_s):
                await self._some.wait()
        except TimeoutError:
            pass

    async def take(self, patience_s: float) -> Taken:
        """Everything marked since the last take, once there is something or the patience is over."""
        await self.some(patience_s)
        return self.take_now()


def meaning(obj: O) -> O:
    """The object without what may change while it means the same."""
    meta = obj.metadata
    bare = ObjectMeta(
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        generation=meta.generation,
        creation_timestamp=meta.creation_timestamp,
        deletion_timestamp=meta.deletion_timestamp,
        labels=meta.labels,
        annotations=meta.annotations,
        owner_references=meta.owner_references,
    )
    if isinstance(obj, Written):
        return msgspec.structs.replace(obj, metadata=bare, status=None)
    return msgspec.structs.replace(obj, metadata=bare)
