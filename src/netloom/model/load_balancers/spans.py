"""Ranges of addresses that need not be CIDRs: read from texts, counted, subtracted.

Comes in: an address, a CIDR, or ``first-last``. Goes out: a :class:`Span`; None where the text is none of them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

from netloom.units import Addr, parse_addr, parse_cidr


class Span(msgspec.Struct, frozen=True, order=True, gc=False):
    """Addresses of one family from the first to the last, both included."""

    version: int
    """4 or 6."""
    first: int
    last: int

    @property
    def size(self) -> int:
        """How many addresses."""
        return self.last - self.first + 1

    def holds(self, address: Addr) -> bool:
        """True where the address is one of them."""
        return address.version == self.version and self.first <= int(address) <= self.last

    def meets(self, other: Span) -> bool:
        """True where some address is in both."""
        return self.version == other.version and self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        first, last = address_of(self.version, self.first), address_of(self.version, self.last)
        return str(first) if self.size == 1 else f"{first}-{last}"


def address_of(version: int, number: int) -> Addr:
    """The address of this family and number."""
    return ipaddress.IPv4Address(number) if version == 4 else ipaddress.IPv6Address(number)


def read_span(text: str) -> Span | None:
    """An address, a CIDR without bits behind its prefix, or ``first-last``."""
    if "-" in text:
        first, _, last = text.partition("-")
        return _between(parse_addr(first.strip()), parse_addr(last.strip()))
    cidr = parse_cidr(text)
    return (
        None if cidr is None else Span(cidr.version, int(cidr.network_address), int(cidr.broadcast_address))
    )


def _between(first: Addr | None, last: Addr | None) -> Span | None:
    if first is None or last is None or first.version != last.version or int(first) > int(last):
        return None
    return Span(first.version, int(first), int(last))


def without(spans: Iterable[Span], holes: Iterable[Span]) -> tuple[Span, ...]:
    """What is left of the spans, in their order, when the holes are taken out."""
    left = list(spans)
    for hole in holes:
        left = [part for span in left for part in _parts(span, hole)]
    return tuple(left)


def holds(spans: Iterable[Span], address: Addr) -> bool:
    """True where one of the spans has the address."""
    return any(span.holds(address) for span in spans)


def _parts(span: Span, hole: Span) -> Iterable[Span]:
    if not span.meets(hole):
        yield span
        return
    if span.first < hole.first:
        yield Span(span.version, span.first, hole.first - 1)
    if hole.last < span.last:
        yield Span(span.version, hole.last + 1, span.last)
