"""What a BGP route carries beside its prefix, read from texts: communities and local preference. Pure.

Comes in: words of a pool or of a Service. Goes out: numbers; None where a text is none.
"""

from __future__ import annotations

import re

Community = tuple[int, int]
"""RFC 1997: two numbers of 16 bits."""
LargeCommunity = tuple[int, int, int]
"""RFC 8092: three numbers of 32 bits."""

WELL_KNOWN: dict[str, Community] = {
    "no-export": (65535, 65281),
    "no-advertise": (65535, 65282),
    "no-peer": (65535, 65284),
}
"""Names of RFC 1997 and RFC 3765."""
MOST_LOCAL_PREF = 2**32 - 1
_NUMBER = re.compile(r"[0-9]{1,10}")


def read_community(text: str) -> Community | None:
    """``65000:100``, or a name that is well known."""
    if text in WELL_KNOWN:
        return WELL_KNOWN[text]
    numbers = _numbers(text, 2**16 - 1)
    return (numbers[0], numbers[1]) if len(numbers) == 2 else None


def read_large_community(text: str) -> LargeCommunity | None:
    """``65000:1:2``."""
    numbers = _numbers(text, 2**32 - 1)
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else None


def read_local_pref(text: str) -> int | None:
    """A number of 32 bits."""
    numbers = _numbers(text, MOST_LOCAL_PREF)
    return numbers[0] if len(numbers) == 1 else None


def _numbers(text: str, most: int) -> tuple[int, ...]:
    parts = text.split(":")
    if not all(_NUMBER.fullmatch(part) for part in parts):
        return ()
    numbers = tuple(map(int, parts))
    return numbers if max(numbers) <= most else ()
