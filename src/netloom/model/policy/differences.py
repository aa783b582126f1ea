"""What leads from one state of the policies to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from netloom.model.policy.state import Members, PolicyDelta, PolicyState, SetChange

K = TypeVar("K")
V = TypeVar("V")


def difference(before: PolicyState, after: PolicyState) -> PolicyDelta:
    """What leads from one state to the other."""
    sets: dict[object, SetChange | None] = {key: None for key in before.sets if key not in after.sets}
    for key, members in after.sets.items():
        there = before.sets.get(key)
        change = set_change(there, members)
        if change is not None:
            sets[key] = change
    return PolicyDelta(
        sets=sets,  # type: ignore[arg-type] # keys of both states
        chains=_changed(before.chains, after.chains),
        pods=_changed(before.pods, after.pods),
    )


def set_change(before: Members | None, after: Members) -> SetChange | None:
    """What became of a set that has members ``after`` now; None where it is what it was."""
    there = before or {}
    added = {member: owner for member, owner in after.items() if there.get(member) != owner}
    removed = tuple(member for member in there if member not in after)
    if before is not None and not added and not removed:
        return None
    return SetChange(added, removed, is_new=before is None)


def _changed(before: Mapping[K, V], after: Mapping[K, V]) -> dict[K, V | None]:
    changed: dict[K, V | None] = {key: None for key in before if key not in after}
    changed.update((key, value) for key, value in after.items() if before.get(key) != value)
    return changed
