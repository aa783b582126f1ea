"""What has changed and is not in force yet: the newest object for each key, taken all at once by one reader.

Watches mark, the engine takes. Many changes of one object between two turns are one change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.model.inputs import Changes
from netloom.units import ObjectKey

KINDS = Changes.__struct_fields__


class Pending:
    """Coalesces changes; one task marks and one task takes, in one event loop."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[ObjectKey, Any]] = {kind: {} for kind in KINDS}
        self._some = asyncio.Event()

    def mark(self, kind: str, key: ObjectKey, value: msgspec.Struct | None) -> None:
        """An object of this kind (a field name of `Changes`) is now this, or None: gone."""
        self._kinds[kind][key] = value
        self._some.set()

    def take_now(self) -> Changes:
        """Everything marked since the last take; may be empty."""
        taken = Changes(**self._kinds)
        self._kinds = {kind: {} for kind in KINDS}
        self._some.clear()
        return taken

    async def take(self) -> Changes:
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
