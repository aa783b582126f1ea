"""Which of several nodes has a duty: the same answer on every node that knows of the same nodes. Pure.

Rendezvous hashing: each node has a score for each duty, and the highest has it. When a node goes, only its own duties move, and they spread
over all that are left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def elected(duty: str, candidates: Iterable[str]) -> str | None:
    """The node that has the duty; None where nobody may have it.

    Args:
        duty: names it: an address.
        candidates: names of nodes.
    """
    return max(candidates, key=lambda node: (_score(duty, node), node), default=None)


def ranked(duty: str, candidates: Iterable[str]) -> tuple[str, ...]:
    """All candidates, the one that has the duty first, then who has it when those before are gone."""
    return tuple(sorted(candidates, key=lambda node: (_score(duty, node), node), reverse=True))


class Elections:
    """Who has which of many duties, as candidates come and go: costs what changed, for an owner stays while nobody better comes."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[str, ...], str | None]] = {}

    def owner(self, duty: str, candidates: tuple[str, ...]) -> str | None:
        """As :func:`elected` would say."""
        before, owner = self._known.get(duty, ((), None))
        if candidates != before:
            if owner is None or owner not in candidates:
                owner = elected(duty, candidates)
            else:
                owner = elected(duty, (owner, *set(candidates).difference(before)))
            self._known[duty] = candidates, owner
        return owner

    def keep(self, duties: Iterable[str]) -> None:
        """Forget all others."""
        wanted = set(duties)
        for duty in self._known.keys() - wanted:
            del self._known[duty]


def _score(duty: str, node: str) -> bytes:
    return hashlib.blake2b(f"{duty}\0{node}".encode(), digest_size=8).digest()
