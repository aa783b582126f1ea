"""Objects as they are now, by key. In: what is held, and changes. Out: which of them are another now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from netloom.units import ObjectKey

T = TypeVar("T")


def take_over(held: dict[ObjectKey, T], changes: Mapping[ObjectKey, T | None]) -> list[ObjectKey]:
    """Hold what changed (None: gone); returns the keys of those that are not what they were."""
    different = []
    for key, value in changes.items():
        if held.get(key) == value:
            continue
        different.append(key)
        if value is None:
            del held[key]
        else:
            held[key] = value
    return different
