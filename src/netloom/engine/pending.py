"""What has changed and is not in force yet: the newest object for each key, taken all at once by one reader.

Watches mark, the engine takes. Many changes of one object between two turns are one change. With the changes goes how far each
watch had read when they were taken: with them in force, everything up to there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.clock import Clock
from netloom.model.inputs import Changes
from netloom.units import ObjectKey

KINDS = Changes.__struct_fields__


class Taken(msgspec.Struct, frozen=True):
    """What one turn puts in force."""

    changes: Changes = Changes()
    versions: Mapping[str, str] = {}
    """By kind: the resourceVersion up to which ``changes``, with those taken before, hold every event of its watch."""
    since: float | None = None
    """When the first of these changes arrived, on the monotonic clock; None where there are none."""
    marked: int = 0
    """How many marks had been made when these were taken, since the process began."""


class Pending:
    """Coalesces changes; one task marks and one task takes, in one event loop."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._kinds: dict[str, dict[ObjectKey, Any]] = {kind: {} for kind in KINDS}
        self._versions: dict[str, str] = {}
        self._since: float | None = None
        self._marked = 0
        self._some = asyncio.Event()

    def mark(self, kind: str, key: ObjectKey, value: msgspec.Struct | None) -> int:
        """An object of this kind (a field name of `Changes`) is now this, or None: gone.

        Gives the number of this mark: ``Acks.in_force`` waits for it.
        """
        self._kinds[kind][key] = value
        self._marked += 1
        if self._since is None:
            self._since = self._clock.monotonic()
            self._some.set()
        return self._marked

    def seen(self, kind: str, version: str) -> None:
        """Every event of this kind up to this resourceVersion has been marked; there may have been none."""
        self._versions[kind] = version
        self._some.set()

    def wake(self) -> None:
        """Have the taker take, whatever there is."""
        self._some.set()

    def take_now(self) -> Taken:
        """Everything marked since the last take; may be empty."""
        taken = Taken(Changes(**self._kinds), self._versions, self._since, self._marked)
        self._kinds = {kind: {} for kind in KINDS}
        self._versions = {}
        self._since = None
        self._some.clear()
        return taken

    async def take(self) -> Taken:
        """Everything marked since the last take, once there is something."""
        await self._some.wait()
        return self.take_now()


def is_empty(changes: Changes) -> bool:
    """True where nothing changed."""
    return not any(_of(changes, kind) for kind in KINDS)


def count(changes: Changes) -> int:
    """Number of changed objects."""
    return sum(len(_of(changes, kind)) for kind in KINDS)


def _of(changes: Changes, kind: str) -> Mapping[ObjectKey, Any]:
    found: Mapping[ObjectKey, Any] = getattr(changes, kind)
    return found
