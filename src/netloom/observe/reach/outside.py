"""Addresses cut where rules name a range: which ranges hold an address, and what there is outside of the cluster. Pure.

Comes in: every range of every rule. Goes out: for an address the ranges that hold it, as bits; for the rest of the world, classes of
addresses that no rule tells apart. Not here: whose an address is.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import msgspec

from netloom.model.policy.state import NetworkPeers
from netloom.units import Addr, Cidr, Family, family_of

_NOBODY_SENDS = tuple(
    ipaddress.ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/128", "::1/128", "fe80::/10", "ff00::/8")
)
"""This network, loopback, link-local, multicast, reserved (RFC 6890): no client out there has such an address."""
_MOST_SHOWN = 3


class OutsideClass(msgspec.Struct, frozen=True):
    """Addresses outside of the cluster that no rule tells apart."""

    family: Family
    membership: int
    """Which of the ranges hold them."""
    spans: tuple[tuple[int, int], ...]
    """First and last address of each stretch, in order."""
    is_rest: bool
    """The largest class of its family: the internet, but for what rules name."""

    @property
    def example(self) -> Addr:
        """One of its addresses: of the longest stretch."""
        first, last = max(self.spans, key=lambda span: span[1] - span[0])
        return _address(self.family, min(first + 1, last))

    def __str__(self) -> str:
        if self.is_rest:
            return "internet"
        cidrs = self.cidrs()
        shown = ", ".join(map(str, cidrs[:_MOST_SHOWN]))
        return shown if len(cidrs) <= _MOST_SHOWN else f"{shown} and {len(cidrs) - _MOST_SHOWN} more ranges"

    def cidrs(self) -> list[Cidr]:
        """The same as ranges."""
        found: list[Cidr] = []
        for first, last in self.spans:
            found += ipaddress.summarize_address_range(
                _address(self.family, first),
                _address(self.family, last),
            )
        return found


class AddressSpace:
    """Every address, by the ranges that hold it.

    Args:
        ranges: what rules name, each once.
    """

    def __init__(self, ranges: Iterable[NetworkPeers] = ()) -> None:
        self.places = {key: place for place, key in enumerate(dict.fromkeys(ranges))}
        self._starts: dict[Family, list[int]] = {}
        self._memberships: dict[Family, list[int]] = {}
        for family in Family:
            self._cut(family)

    def _cut(self, family: Family) -> None:
        """A sweep over all beginnings and ends."""
        turns: dict[int, int] = {0: 0}
        for key, place in self.places.items():
            for cidr in key.cidrs:
                if family_of(cidr) is family:
                    for bound in (int(cidr.network_address), int(cidr.broadcast_address) + 1):
                        turns[bound] = turns.get(bound, 0) ^ (1 << place)
        inside = 0
        starts: list[int] = []
        memberships: list[int] = []
        for bound in sorted(turns):
            inside ^= turns[bound]
            if not memberships or memberships[-1] != inside:
                starts.append(bound)
                memberships.append(inside)
        self._starts[family], self._memberships[family] = starts, memberships

    def membership(self, address: Addr) -> int:
        """Which ranges hold an address: bit ``places[key]`` of each."""
        family = family_of(address)
        return self._memberships[family][bisect_right(self._starts[family], int(address)) - 1]

    def outside(self, family: Family, inside: Sequence[Cidr]) -> list[OutsideClass]:
        """What is not in the ranges of the cluster, by classes, the rest of the world first."""
        spans: dict[int, list[tuple[int, int]]] = {}
        end = 1 << family.bits
        holes = [c for c in (*inside, *_NOBODY_SENDS) if family_of(c) is family]
        bounds = [*self._starts[family], end]
        for (first, after), member in zip(pairwise(bounds), self._memberships[family], strict=True):
            if first < end:
                spans.setdefault(member, []).append((first, min(after, end) - 1))
        cut = {member: list(_without(given, holes)) for member, given in spans.items()}
        sizes = {member: sum(b - a + 1 for a, b in given) for member, given in cut.items() if given}
        ordered = sorted(sizes, key=lambda member: (-sizes[member], cut[member]))
        return [
            OutsideClass(family, member, tuple(cut[member]), is_rest=place == 0)
            for place, member in enumerate(ordered)
        ]


def _without(spans: Iterable[tuple[int, int]], holes: Iterable[Cidr]) -> Iterator[tuple[int, int]]:
    gaps = sorted((int(hole.network_address), int(hole.broadcast_address)) for hole in holes)
    for first, last in spans:
        at = first
        for low, high in gaps:
            if high < at or low > last:
                continue
            if low > at:
                yield at, low - 1
            at = max(at, high + 1)
        if at <= last:
            yield at, last


def _address(family: Family, number: int) -> Addr:
    return ipaddress.IPv4Address(number) if family is Family.V4 else ipaddress.IPv6Address(number)
