"""What in a node's table is not as it should be, named by meaning. Pure.

In: what should be, and what was read of it. Out: differences, the transaction that repairs those of elements, and :class:`Drift`
values for people. Not here: what should be (``contents``, ``reference``), how elements are named (``drift_words``), reading and
repairing (``audit``, ``repair``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from netloom.dataplane.nftables.contents import Containers
from netloom.dataplane.nftables.element_ops import Elements
from netloom.dataplane.nftables.explain import explain_chain
from netloom.linux.nft_dump import ChainDump, TableDump
from netloom.model.provenance import Source
from netloom.program import names
from netloom.program.nft import (
    AddElements,
    Container,
    DeleteElements,
    Element,
    Key,
    Transaction,
    Value,
)
from netloom.units import Family

T = TypeVar("T")

_TABLE, _CHAIN, _CONTAINER = "table", "chain ", "map or set "
"""Places: how they read."""


class DriftKind(enum.Enum):
    """How something differs from what should be."""

    MISSING = "missing"
    FOREIGN = "foreign"
    """It is there and should not be."""
    WRONG = "wrong"
    """It is there and is another."""


class Drift(msgspec.Struct, frozen=True):
    """One difference, in words."""

    kind: DriftKind
    family: Family
    place: str
    """``map endpoints``, ``chain refuse``, ``table``: where in the table."""
    item: str
    """The element in nft's words; empty where the place itself is meant."""
    text: str
    """What it means, such as ``endpoint 10.1.2.3:80 of shop/cart is missing on node-2``."""
    sources: tuple[Source, ...] = ()
    """The objects and fields that say how it should be, the most telling first."""

    @property
    def identity(self) -> tuple[Family, str, str]:
        """What the same difference seen again has in common."""
        return self.family, self.place, self.item


class Difference(msgspec.Struct, frozen=True):
    """One element that is not as it should be."""

    kind: DriftKind
    container: Container
    key: Key
    wanted: Value = None
    """Nothing where it is foreign; nothing in sets, too."""
    present: Value = None
    """Nothing where it is missing; nothing in sets, too."""


def differences(containers: Containers, desired: Elements, present: Elements) -> list[Difference]:
    """What leads from what should be to what is, in the order of containers and keys."""
    found: list[Difference] = []
    for name in sorted(desired.keys() | present.keys()):
        want, have = desired.get(name, {}), present.get(name, {})
        container = containers[name]
        for key in sorted(want.keys() | have.keys()):
            if key not in have:
                found.append(Difference(DriftKind.MISSING, container, key, wanted=want[key]))
            elif key not in want:
                found.append(Difference(DriftKind.FOREIGN, container, key, present=have[key]))
            elif want[key] != have[key]:
                found.append(Difference(DriftKind.WRONG, container, key, wanted=want[key], present=have[key]))
    return found


def repair(family: Family, found: Iterable[Difference]) -> Transaction:
    """Exactly these elements put right; deletions first, since a key is never overwritten."""
    deletions: dict[Container, list[Key]] = {}
    additions: dict[Container, list[Element]] = {}
    for one in found:
        if one.kind is not DriftKind.MISSING:
            deletions.setdefault(one.container, []).append(one.key)
        if one.kind is not DriftKind.FOREIGN:
            additions.setdefault(one.container, []).append((one.key, one.wanted))
    return Transaction(
        family,
        names.NFT_TABLE,
        (
            *(DeleteElements(container, tuple(keys)) for container, keys in deletions.items()),
            *(AddElements(container, tuple(some)) for container, some in additions.items()),
        ),
    )


Meanings = Mapping[str, tuple[str, tuple[Source, ...]]]
"""What chains and sets are for, by name, and the objects that they come from."""


def compare_tables(
    desired: TableDump, present: TableDump | None, family: Family, node: str, meanings: Meanings
) -> list[Drift]:
    """Tables, chains, rules and declarations that are not as they should be."""
    table = f"table {family.value} {names.NFT_TABLE}"
    if present is None:
        text = f"{table}, and with it every Service and policy, is missing on {node}"
        return [Drift(DriftKind.MISSING, family, _TABLE, "", text)]
    found: list[Drift] = []
    if desired.flags != present.flags:
        found.append(Drift(DriftKind.WRONG, family, _TABLE, "", f"{table} is dormant on {node}"))
    problems = [
        *((_CHAIN, *one) for one in _problems(desired.chains, present.chains, _chain_problem)),
        *((_CONTAINER, *one) for one in _problems(desired.containers, present.containers, _declaration)),
    ]
    for what, name, kind, problem in problems:
        means, sources = meanings.get(name) or (explain_chain(name), ())
        subject = f"{what}{name} ({means})" if means else f"{what}{name}"
        found.append(Drift(kind, family, f"{what}{name}", "", f"{subject} {problem} on {node}", sources))
    return found


def _problems(
    desired: Mapping[str, T], present: Mapping[str, T], compare: Callable[[T, T], str]
) -> Iterator[tuple[str, DriftKind, str]]:
    """Name, kind, and what is wrong, of objects that differ."""
    for name in sorted(desired.keys() | present.keys()):
        if name not in present:
            yield name, DriftKind.MISSING, "is missing"
        elif name not in desired:
            yield name, DriftKind.FOREIGN, "is none of ours and stands in our table"
        elif problem := compare(desired[name], present[name]):
            yield name, DriftKind.WRONG, problem


def _declaration(desired: bytes, present: bytes) -> str:
    return "" if desired == present else "is declared in another way"


def is_gone(found: Iterable[Drift]) -> bool:
    """Whether the table itself is missing."""
    return any(one.place == _TABLE and one.kind is DriftKind.MISSING for one in found)


def names_of(found: Collection[Drift]) -> frozenset[str] | None:
    """The chains and containers that are not as they should be; None where the table itself is not."""
    if any(one.place == _TABLE for one in found):
        return None
    return frozenset(one.place.removeprefix(_CHAIN).removeprefix(_CONTAINER) for one in found)


def _chain_problem(desired: ChainDump, present: ChainDump) -> str:
    rules, others = desired.rules, present.rules
    if desired.hook != present.hook:
        return f"stands at {present.hook or 'no hook'} instead of {desired.hook or 'no hook'}"
    if rules == others:
        return ""
    gone, come = _surplus(rules, others), _surplus(others, rules)
    if gone and not come:
        return f"lacks {_rules(gone)} of {len(rules)}"
    if come and not gone:
        return f"has {_rules(come)} too many"
    return f"has {_rules(gone)} changed" if gone else "has its rules in another order"


def _surplus(of: tuple[bytes, ...], over: tuple[bytes, ...]) -> int:
    left = list(over)
    count = 0
    for rule in of:
        if rule in left:
            left.remove(rule)
        else:
            count += 1
    return count


def _rules(count: int) -> str:
    return f"{count} rule{'s' if count > 1 else ''}"
