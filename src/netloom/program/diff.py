"""The difference between what should be in a container of the kernel and what is. Pure.

In: two mappings. Out: what to take out and what to put in. A key is never overwritten in a kernel map, so a value that
changes is in both lists: first out, then in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

K = TypeVar("K")
V = TypeVar("V")


class Difference(msgspec.Struct, Generic[K, V], frozen=True):
    """What leads from one mapping to another."""

    remove: tuple[K, ...]
    """Keys that go, and keys whose value changes."""
    add: tuple[tuple[K, V], ...]
    """Items that come, and items whose value changes."""

    @property
    def is_empty(self) -> bool:
        """True where both are the same."""
        return not (self.remove or self.add)


def difference(desired: Mapping[K, V], present: Mapping[K, V]) -> Difference[K, V]:
    """What to remove from ``present`` and then to add, to get ``desired``; in the order of the mappings."""
    return Difference(
        tuple(key for key, value in present.items() if key not in desired or desired[key] != value),
        tuple((key, value) for key, value in desired.items() if key not in present or present[key] != value),
    )
