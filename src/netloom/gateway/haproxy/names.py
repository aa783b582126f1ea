"""Names that a door knows: which listener or host has which name, and the rules with which HAProxy finds them.

Comes in: patterns: ``shop.example``, ``*.example``, empty for any. Goes out: entries of maps, and lines that look them up at a cost that does not
grow with their number. Not here: what is behind a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from netloom.model.gateways.hostnames import patterns_of
from netloom.model.gateways.plan import Listener

T = TypeVar("T")


def by_name(
    listeners: Sequence[Listener], items: Callable[[Listener], Iterable[tuple[str, T]]], nothing: T
) -> dict[str, tuple[int, T]]:
    """What each pattern leads to, with the number of its listener.

    A name is the business of the most special listener that covers it. Names that a listener has and nothing behind them lead to
    ``nothing``: a less special listener does not get them.
    """
    numbers: dict[str, int] = {}
    for number, listener in enumerate(listeners):
        numbers.setdefault(listener.hostname, number)
    found: dict[str, tuple[int, T]] = {}
    for number, listener in enumerate(listeners):
        for pattern, item in (*items(listener), (listener.hostname, nothing)):
            owner = next(name for name in patterns_of(pattern) if name in numbers or not name)
            if pattern not in found and numbers.get(owner) == number:
                found[pattern] = (number, item)
    return found


class Names:
    """Patterns of a door, apart by how they are looked up.

    Args:
        patterns: all of them.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.wild: dict[str, str] = {}
        """What follows the ``*.``, and the pattern."""
        self.has_any = False
        for pattern in patterns:
            if pattern.startswith("*."):
                self.wild[pattern[2:]] = pattern
            elif not pattern:
                self.has_any = True

    def wild_lines(self, rule: str, source: str, target: str, file: str, condition: str) -> Iterator[str]:
        """Lines that look a name up among wildcards, the longest first.

        Args:
            rule: ``http-request``, ``tcp-request content`` ...
            source: the variable with the name, in lower case.
            target: the variable that gets what the map has.
            file: the map, with keys as those of :attr:`wild`.
            condition: further conditions.
        """
        for depth in sorted({suffix.count(".") + 1 for suffix in self.wild}, reverse=True):
            # the second condition: at least one label stands before the suffix
            yield (
                f"{rule} set-var({target}) var({source}),field(-1,.,{depth}),map_str({file}) "
                f"if !{{ var({target}) -m found }} {{ var({source}),field(-{depth + 1},.) -m found }} {condition}"
            ).rstrip()
