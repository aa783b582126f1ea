"""All ports of all protocols, cut where rules and Services name a number. Pure.

Comes in: every range that anything names. Goes out: sets of ports as bits, one bit for each stretch of ports that nothing tells
apart, and such sets in words. One more bit stands for whatever has no ports, such as ICMP.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec

from netloom.model.policy.state import PortRange
from netloom.units import Protocol

_LAST = 65535
_MOST_SHOWN = 8


class Stretch(msgspec.Struct, frozen=True):
    """Ports that nothing tells apart; no protocol: traffic without ports."""

    protocol: Protocol | None
    first: int = 0
    last: int = 0

    def __str__(self) -> str:
        if self.protocol is None:
            return "icmp"
        if (self.first, self.last) == (0, _LAST):
            return f"any {self.protocol.word} port"
        first = max(self.first, 1)
        ports = str(first) if first == self.last else f"{first}-{self.last}"
        return f"{ports}/{self.protocol.word}"


class PortSpace:
    """Sets of ports as bits.

    Args:
        ranges: each that is ever asked for; others may cut through a stretch, which ``bits`` refuses.
    """

    def __init__(self, ranges: Iterable[PortRange] = ()) -> None:
        cuts: dict[Protocol, set[int]] = {protocol: {0, _LAST + 1} for protocol in Protocol}
        for given in ranges:
            cuts[given.protocol].update((given.first, given.last + 1))
        self._cuts = {protocol: sorted(cuts[protocol]) for protocol in Protocol}
        self._offsets: dict[Protocol, int] = {}
        self.stretches: list[Stretch] = []
        for protocol, numbers in self._cuts.items():
            self._offsets[protocol] = len(self.stretches)
            self.stretches += [Stretch(protocol, first, after - 1) for first, after in pairwise(numbers)]
        self.portless = 1 << len(self.stretches)
        self.stretches.append(Stretch(None))
        self.everything = (1 << len(self.stretches)) - 1
        self._known: dict[tuple[Protocol, int, int], int] = {}

    def bits(self, given: PortRange) -> int:
        """The stretches that make up a range.

        Raises:
            KeyError: the range was not given at the beginning, and cuts through a stretch.
        """
        key = (given.protocol, given.first, given.last)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._find(given)
        return found

    def _find(self, given: PortRange) -> int:
        cuts = self._cuts[given.protocol]
        low, high = bisect_left(cuts, given.first), bisect_left(cuts, given.last + 1)
        if cuts[low] != given.first or cuts[high] != given.last + 1:
            raise KeyError(str(given))
        return ((1 << (high - low)) - 1) << (self._offsets[given.protocol] + low)

    def all_bits(self, ranges: Iterable[PortRange]) -> int:
        """The stretches of several ranges."""
        found = 0
        for given in ranges:
            found |= self.bits(given)
        return found

    def in_bits(self, bits: int) -> Iterator[Stretch]:
        """The stretches of a set, in order."""
        return (self.stretches[index] for index in each_bit(bits))

    def examples(self, bits: int) -> Iterator[tuple[Protocol | None, int]]:
        """A protocol and a port out of each stretch."""
        for stretch in self.in_bits(bits):
            yield stretch.protocol, max(stretch.first, 1) if stretch.protocol else 0

    def joined(self, bits: int) -> list[Stretch]:
        """The set with as few stretches as possible, in order."""
        found: list[Stretch] = []
        for stretch in self.in_bits(bits):
            before = found[-1] if found else None
            is_next = (
                before is not None
                and before.protocol is stretch.protocol is not None
                and before.last + 1 == stretch.first
            )
            if before is not None and is_next:
                found[-1] = Stretch(stretch.protocol, before.first, stretch.last)
            else:
                found.append(stretch)
        return found

    def text(self, bits: int) -> str:
        """A set in words: what is in it, or, where that is shorter, what is not."""
        if bits == self.everything:
            return "all traffic"
        if not bits:
            return "nothing"
        if bits == self.everything & ~self.portless:
            return "all ports"
        within, without = self.joined(bits), self.joined(self.everything & ~bits)
        if len(without) < len(within):
            return f"all traffic but {_listed(without)}"
        return _listed(within)


def _listed(stretches: list[Stretch]) -> str:
    shown = ", ".join(map(str, stretches[:_MOST_SHOWN]))
    return shown if len(stretches) <= _MOST_SHOWN else f"{shown} and {len(stretches) - _MOST_SHOWN} more"


def each_bit(mask: int) -> Iterator[int]:
    """The places of the bits that are set, lowest first."""
    if mask.bit_count() * 8 > mask.bit_length():  # dense: one pass over the digits
        for place, digit in enumerate(reversed(f"{mask:b}")):
            if digit == "1":
                yield place
        return
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
