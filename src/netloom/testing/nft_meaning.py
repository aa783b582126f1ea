"""Elements of the nftables plane read back into what they do, so that tables can be compared by meaning, not by slots.

In: the elements of a table, from a fake or a kernel. Out: for each frontend what happens, and to whom it is sent. Raises
AssertionError where the elements contradict each other: a packet would be lost.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.dataplane.nftables import labels
from netloom.dataplane.nftables.containers import (
    HAIRPIN,
    KEYED,
    OWN_POD_RANGES,
    OWN_SOURCE,
    PEERS,
    POD_RANGES,
    SOURCE_RANGES,
    Keyed,
)
from netloom.dataplane.nftables.element_ops import Elements
from netloom.dataplane.nftables.slots import class_size
from netloom.program.nft import Key, Value, Verdict


class Place(msgspec.Struct, frozen=True):
    """What happens at one frontend."""

    labels: Mapping[int, int]
    """By stage, 0 for the first."""
    targets: frozenset[Value]
    outside: frozenset[Value]
    hold: str = ""
    """The chain that remembers clients."""


class Meaning(msgspec.Struct, frozen=True):
    """What the elements of one table do."""

    frontends: Mapping[Key, Place]
    """By the key without slot."""
    source_ranges: frozenset[Key]
    hairpin: frozenset[Key]
    peers: frozenset[Key]
    own_source: frozenset[Key]
    pod_ranges: frozenset[Key]
    own_pod_ranges: frozenset[Key]


def meaning(elements: Elements) -> Meaning:
    """Read a table's elements.

    Raises:
        AssertionError: a slot that may be drawn is empty, a filled one is never drawn, or a class does not fit.
    """
    frontends: dict[Key, Place] = {}
    for group in KEYED:
        frontends.update(_places(group, elements))
    return Meaning(
        frontends,
        frozenset(elements[SOURCE_RANGES.name]),
        frozenset(elements[HAIRPIN.name]),
        frozenset(elements[PEERS.name]),
        frozenset(elements[OWN_SOURCE.name]),
        frozenset(elements[POD_RANGES.name]),
        frozenset(elements[OWN_POD_RANGES.name]),
    )


def _places(group: Keyed, elements: Elements) -> dict[Key, Place]:
    found: dict[Key, dict[int, int]] = {
        key: {0: _number(v)} for key, v in elements[group.labels.name].items()
    }
    for (stage, *tail), value in elements[group.stages.name].items():
        _check(tuple(tail) in found, f"{tail}: a stage of no frontend")
        found[tuple(tail)][_number((stage,))] = _number(value)
    slots = _slots(group, elements)
    holds = dict(elements[group.holds.name])
    places: dict[Key, Place] = {}
    for key, by_stage in found.items():
        hold = holds.pop(key, None)
        name = hold.chain if isinstance(hold, Verdict) else ""
        held = slots.pop(key, {})
        pools = []
        for outside in (0, labels.OUTSIDE):
            first = labels.OUTSIDE_SLOTS if outside else 0
            pool = {n: t for n, t in held.items() if (n >= labels.OUTSIDE_SLOTS) == bool(outside)}
            _check(
                set(pool) == set(range(first, first + len(pool))), f"{key}: slots {sorted(pool)} have a hole"
            )
            _check(len(set(pool.values())) == len(pool), f"{key}: one target in two slots")
            drawing = [
                one for one in by_stage.values() if labels.size(one) and one & labels.OUTSIDE == outside
            ]
            _check(bool(drawing) == bool(pool), f"{key}: {by_stage} and {pool}")
            for label in drawing:
                _check(
                    labels.size(label) == class_size(len(pool)), f"{key}: {label} for {len(pool)} endpoints"
                )
                _check(bool(label & labels.AFFINITY) == bool(name), f"{key}: {label} and {name}")
            pools.append(frozenset(pool.values()))
        places[key] = Place(by_stage, pools[0], pools[1], name)
    _check(not slots, f"endpoints without frontend: {sorted(map(str, slots))}")
    _check(not holds, f"holds without frontend: {sorted(map(str, holds))}")
    return places


def _slots(group: Keyed, elements: Elements) -> dict[Key, dict[int, Value]]:
    """By frontend, who stands where; with affinity through the numbers of backends, each of which is used."""
    slots: dict[Key, dict[int, Value]] = {}
    for (slot, *tail), target in elements[group.endpoints.name].items():
        slots.setdefault(tuple(tail), {})[_number((slot,))] = target
    targets = dict(elements[group.targets.name])
    for (slot, *tail), value in elements[group.draws.name].items():
        target = targets.pop((_number(value), *tail), None)
        _check(target is not None, f"{tail}: slot {slot!r} leads to no backend")
        slots.setdefault(tuple(tail), {})[_number((slot,))] = target
    _check(not targets, f"backends that nobody draws: {sorted(map(str, targets))}")
    return slots


def _number(value: Value) -> int:
    if isinstance(value, tuple) and isinstance(value[0], int):
        return value[0]
    raise AssertionError(f"{value!r} is no number")


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
