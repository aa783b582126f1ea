"""Many differences, one for each receiver, put together to few rows: rectangles of senders and receivers with the same ports. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netloom.observe.reach.ends import End
from netloom.observe.reachability import Difference


class Rectangle(msgspec.Struct, frozen=True):
    """Each of these senders gains (or loses) exactly these ports of each of these receivers."""

    is_lost: bool
    senders: int
    receivers: int
    ports: int


def rectangles(differences: Iterable[tuple[End, Difference]]) -> list[Rectangle]:
    """Receivers with the same senders go together first, then senders with the same receivers; in order."""
    cells: list[Rectangle] = []
    for end, difference in differences:
        for is_lost, found in ((True, difference.lost), (False, difference.gained)):
            cells += [Rectangle(is_lost, senders, end.bit, ports) for ports, senders in found.items()]
    together = _by_receivers(_by_senders(cells))
    return sorted(together, key=lambda one: (not one.is_lost, one.receivers, one.senders, one.ports))


def _by_senders(cells: Iterable[Rectangle]) -> list[Rectangle]:
    found: dict[tuple[bool, int, int], int] = {}
    for cell in cells:
        key = (cell.is_lost, cell.senders, cell.ports)
        found[key] = found.get(key, 0) | cell.receivers
    return [Rectangle(is_lost, senders, mask, ports) for (is_lost, senders, ports), mask in found.items()]


def _by_receivers(cells: Iterable[Rectangle]) -> list[Rectangle]:
    found: dict[tuple[bool, int, int], int] = {}
    for cell in cells:
        key = (cell.is_lost, cell.receivers, cell.ports)
        found[key] = found.get(key, 0) | cell.senders
    return [Rectangle(is_lost, mask, receivers, ports) for (is_lost, receivers, ports), mask in found.items()]
