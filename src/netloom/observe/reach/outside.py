"""Addresses cut where rules name a range: which ranges hold an address, and what there is outside of the cluster. Pure.

Comes in: every range of every rule. Goes out: for an address the ranges that hold it, as bits; for the rest of the world, classes of
addresses that no rule tells apart. Not here: whose an address is.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left, bisect_right
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
        return "internet" if self.is_rest else span_text(self.family, self.spans)


def span_text(family: Family, spans: Iterable[tuple[int, int]]) -> str:
    """Addresses as ranges, or, where that is shorter, as one range but for others: ``10.0.0.0/8 without 10.1.0.0/16``."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    within = _cidrs(family, joined)
    low, high = joined[0][0], joined[-1][1]
    shift = (low ^ high).bit_length()
    low, high = low >> shift << shift, (high >> shift << shift) + (1 << shift) - 1
    without = _cidrs(family, _without([(low, high)], joined))
    if len(without) + 1 < len(within):
        return f"{_cidrs(family, [(low, high)])[0]} without {_listed(without)}"
    return _listed(within)


def _cidrs(family: Family, spans: Iterable[tuple[int, int]]) -> list[Cidr]:
    found: list[Cidr] = []
    for first, last in spans:
        found += ipaddress.summarize_address_range(_address(family, first), _address(family, last))
    return found


def _listed(cidrs: Sequence[Cidr]) -> str:
    shown = ", ".join(map(str, cidrs[:_MOST_SHOWN]))
    return shown if len(cidrs) <= _MOST_SHOWN else f"{shown} and {len(cidrs) - _MOST_SHOWN} more ranges"


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
        gaps = _gaps(c for c in (*inside, *_NOBODY_SENDS) if family_of(c) is family)
        bounds = [*self._starts[family], end]
        for (first, after), member in zip(pairwise(bounds), self._memberships[family], strict=True):
            if first < end:
                spans.setdefault(member, []).append((first, min(after, end) - 1))
        cut = {member: list(_without(given, gaps)) for member, given in spans.items()}
        sizes = {member: sum(b - a + 1 for a, b in given) for member, given in cut.items() if given}
        ordered = sorted(sizes, key=lambda member: (-sizes[member], cut[member]))
        return [
            OutsideClass(family, member, tuple(cut[member]), is_rest=place == 0)
            for place, member in enumerate(ordered)
        ]


def _gaps(holes: Iterable[Cidr]) -> list[tuple[int, int]]:
    """In order, none overlaps another."""
    found: list[tuple[int, int]] = []
    for low, high in sorted((int(hole.network_address), int(hole.broadcast_address)) for hole in holes):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return found


def _without(spans: Iterable[tuple[int, int]], gaps: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for first, last in spans:
        at = first
        for low, high in gaps[bisect_left(gaps, first, key=lambda gap: gap[1]) :]:
            if low > last:
                break
            if low > at:
                yield at, low - 1
            at = max(at, high + 1)
        if at <= last:
            yield at, last


def _address(family: Family, number: int) -> Addr:
    return ipaddress.IPv4Address(number) if family is Family.V4 else ipaddress.IPv6Address(number)
