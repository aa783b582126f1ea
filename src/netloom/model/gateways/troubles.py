"""What is wrong with a part of an object, on its way to a condition. Values only.

Comes in: nothing. Goes out: ``Trouble``, and how several make one message. Not here: which condition they make (``route_status.py`` ...).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Trouble(msgspec.Struct, frozen=True, order=True, gc=False):
    """A field that cannot be used as written."""

    field: str
    """``spec.rules[2].backendRefs[0]``."""
    reason: str
    """Of the condition."""
    problem: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


UNSUPPORTED = "UnsupportedValue"
INCOMPATIBLE = "IncompatibleFilters"
NOT_PERMITTED = "RefNotPermitted"
INVALID_KIND = "InvalidKind"
NOT_FOUND = "BackendNotFound"
BAD_PROTOCOL = "UnsupportedProtocol"


def in_words(troubles: Iterable[Trouble]) -> str:
    """All of them as one message."""
    return "; ".join(map(str, troubles))
