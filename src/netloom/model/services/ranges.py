"""Ranges of addresses, asked for by the ten thousand.

Comes in: CIDRs. Goes out: which of them holds an address. An ``in`` of the standard library makes several objects for each
question; this compares two numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

from netloom.units import Cidr, Family, family_of

_V4 = Family.V4


class Ranges:
    """CIDRs of both families."""

    def __init__(self, cidrs: Iterable[Cidr]) -> None:
        self._v4: list[tuple[int, int, Cidr]] = []
        self._v6: list[tuple[int, int, Cidr]] = []
        for cidr in dict.fromkeys(cidrs):
            of_family = self._v4 if family_of(cidr) is _V4 else self._v6
            of_family.append((int(cidr.netmask), int(cidr.network_address), cidr))

    def holder(self, family: Family, value: int) -> Cidr | None:
        """The first range that holds the address with this number."""
        for mask, first, cidr in self._v4 if family is _V4 else self._v6:
            if value & mask == first:
                return cidr
        return None
