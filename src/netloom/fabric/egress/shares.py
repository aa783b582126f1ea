"""Which part of all addresses each way of a pod is for, as ranges that do not overlap. Pure. In: ways in their order. Out: ranges.

The same as ``model.egress.state.way_of`` says of one destination, for all at once: a kernel's map takes no ranges that overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netloom.model.egress.state import NEAR, PodWay
from netloom.units import Addr, Cidr, Family, family_of

Span = tuple[int, int]
"""First and last address, as numbers."""


def shares(ways: Iterable[PodWay], family: Family) -> list[tuple[Span, PodWay]]:
    """The ranges of each way, in order of addresses; what no way is for is in none of them."""
    free: list[Span] = _without([(0, (1 << family.bits) - 1)], [_span(cidr) for cidr in NEAR[family]])
    found: list[tuple[Span, PodWay]] = []
    for way in ways:
        wanted = free if way.destinations is None else _common(free, _spans(way.destinations, family))
        mine = _without(wanted, _spans(way.excepts, family))
        found.extend((span, way) for span in mine)
        free = _without(free, mine)
    return sorted(found, key=lambda one: one[0])


def packed(span: Span, family: Family) -> bytes:
    """A range as the key of a kernel's map has it."""
    size = family.bits // 8
    return span[0].to_bytes(size, "big") + span[1].to_bytes(size, "big")


def _span(cidr: Cidr) -> Span:
    return int(cidr.network_address), int(cidr.broadcast_address)


def _spans(cidrs: Iterable[Cidr], family: Family) -> list[Span]:
    return [_span(cidr) for cidr in cidrs if family_of(cidr) is family]


def _common(spans: list[Span], others: list[Span]) -> list[Span]:
    """What is in one of each; the others may overlap."""
    return _without(spans, _without(spans, others))


def _without(spans: list[Span], holes: Iterable[Span]) -> list[Span]:
    for hole in holes:
        spans = [part for span in spans for part in _cut(span, hole)]
    return spans


def _cut(span: Span, hole: Span) -> Iterator[Span]:
    if hole[1] < span[0] or span[1] < hole[0]:
        yield span
        return
    if span[0] < hole[0]:
        yield span[0], hole[0] - 1
    if hole[1] < span[1]:
        yield hole[1] + 1, span[1]


def holder(found: Iterable[tuple[Span, PodWay]], address: Addr) -> PodWay | None:
    """Whose range an address is in."""
    return next((way for span, way in found if span[0] <= int(address) <= span[1]), None)
