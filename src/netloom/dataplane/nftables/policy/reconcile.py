"""From the policies that a kernel has to those that it should have, after a restart. Pure.

In: the table as it should be, and what was read. Out: transactions, of which each one leaves no pod without its policies: first
sets, then chains with the verdicts that lead to them, and last what nobody wants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from netloom.dataplane.nftables.policy.sets import container_of
from netloom.dataplane.nftables.policy.table import PolicyTable, change_verdicts, clear, verdicts
from netloom.program import names
from netloom.program.diff import difference
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddElements,
    Chain,
    Container,
    DeleteContainer,
    DeleteElements,
    Field,
    FlushChain,
    Key,
    Op,
    Value,
)

T = TypeVar("T")


class PresentPolicies(msgspec.Struct, frozen=True):
    """What of policies was read in a kernel."""

    chains: Mapping[str, Sequence[str]] = {}
    """Comments of the rules of each chain of policies."""
    sets: Mapping[str, Mapping[Key, Value]] = {}
    """Elements of those sets of peers that are wanted."""
    strange_sets: frozenset[str] = frozenset()
    """Sets of peers that are not."""
    verdicts: Mapping[Container, Mapping[Key, Value]] = {}


def is_policy_chain(name: str) -> bool:
    """True for names that ``chains.chain_name`` gives."""
    return name.startswith(names.NFT_POLICY_PREFIX)


def is_peers_set(name: str) -> bool:
    """True for names that ``sets.container_of`` gives."""
    return name.startswith(names.NFT_PEERS_PREFIX)


def pieces(table: PolicyTable, present: PresentPolicies, most: int) -> list[list[Op]]:
    """The operations, a transaction each; those on elements of sets have at most ``most``."""
    found = [*_sets(table, present, most), _chains(table, present)]
    return [piece for piece in found if piece]


def _sets(table: PolicyTable, present: PresentPolicies, most: int) -> Iterable[list[Op]]:
    ops: list[Op] = []
    room = most
    for key, keys in table.sets.items():
        container = container_of(key)
        held = present.sets.get(container.name)
        if held is None:
            ops.append(AddContainer(container))
        change = difference(dict.fromkeys(sorted(keys)), held or {})
        for wanted in (
            [DeleteElements(container, some) for some in _slices(change.remove, most)],
            [AddElements(container, some) for some in _slices(change.add, most)],
        ):
            for op in wanted:
                size = len(op.keys) if isinstance(op, DeleteElements) else len(op.elements)
                if size > room and ops:
                    yield ops
                    ops, room = [], most
                ops.append(op)
                room -= size
    yield ops


def _slices(found: tuple[T, ...], most: int) -> list[tuple[T, ...]]:
    return [found[start : start + most] for start in range(0, len(found), most)]


def _chains(table: PolicyTable, present: PresentPolicies) -> list[Op]:
    ops: list[Op] = []
    wanted: set[str] = set()
    for program in table.programs.values():
        for name, rules in program.chains:
            wanted.add(name)
            if tuple(present.chains.get(name, ())) == tuple(rule.comment for rule in rules):
                continue
            ops.append(AddChain(Chain(name)))
            if name in present.chains:
                ops.append(FlushChain(name))
            ops += rules
    # a rule may lead to the chain of the next tier: all of them are there before the first rule
    ops.sort(key=lambda op: not isinstance(op, AddChain))
    ops += change_verdicts(present.verdicts, verdicts(table.pods))
    ops += clear(sorted(name for name in present.chains if name not in wanted))
    ops += (DeleteContainer(Container(name, (Field.ADDRESS,))) for name in sorted(present.strange_sets))
    return ops
