"""Which slot of a frontend's balancing holds which endpoint, and which class of chain draws it. Pure.

In: what stood where before, and who shall stand there. Out: the slots, dense from 0, with as few moves as can be, since each
move costs two elements in the kernel; and the size of the class that serves that many. Not here: elements (``compile``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

Target = tuple[bytes, int]
"""Packed address and port."""

EXACT_SIZES = 8
"""Up to here there is a class for each number of endpoints; beyond, one for each power of two."""
MOST_TARGETS = 1 << 13
"""Endpoints of one frontend that are used; Kubernetes is specified for 5,000 nodes, and a Service may have one on each."""
SIZES = (*range(1, EXACT_SIZES + 1), *(1 << bits for bits in range(4, MOST_TARGETS.bit_length())))
MOST_OUTSIDE = 1 << 9
"""The same for what clients outside get under externalTrafficPolicy Local: pods of one node."""
OUTSIDE_SIZES = tuple(size for size in SIZES if size <= MOST_OUTSIDE)
DRAWS = 6
"""How often a class that may have empty slots draws among all before it draws among those that are surely filled.

With six the shares of two endpoints of one frontend differ by 1.6 % at most (just above half a class); each draw costs a rule in
each class.
"""


def class_size(targets: int) -> int:
    """The smallest class that has room for this many endpoints (1 to MOST_TARGETS)."""
    return targets if targets <= EXACT_SIZES else 1 << (targets - 1).bit_length()


def surely_filled(size: int) -> int:
    """How many slots of a class are filled in every frontend that uses it: all that the next smaller class has, and one."""
    return size if size <= EXACT_SIZES else size // 2 + 1


def assign(previous: Sequence[Target], wanted: Collection[Target]) -> tuple[Target, ...]:
    """Slots for ``wanted``; from nothing, in sorted order.

    Whoever is in ``previous`` keeps its slot where that still exists; holes are filled with those whose slot is gone, the
    last first, then with newcomers in sorted order.
    """
    size = len(wanted)
    absent = set(wanted)
    slots: list[Target | None] = [None] * size
    moving: list[Target] = []
    for index, target in enumerate(previous):
        if target not in absent:
            continue
        absent.remove(target)
        if index < size:
            slots[index] = target
        else:
            moving.append(target)
    waiting = iter([*reversed(moving), *sorted(absent)])
    return tuple(target if target is not None else next(waiting) for target in slots)


def draws(size: int) -> list[int]:
    """Among how many slots a class draws, in turn until the slot is filled."""
    return [size] if size <= EXACT_SIZES else [*[size] * DRAWS, surely_filled(size)]
