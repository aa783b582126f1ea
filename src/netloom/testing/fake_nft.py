"""A kernel's nftables in memory, verified: ``tests/contract`` holds it and the kernel to the same answers.

In: the transactions that ``linux.nft.Nft`` takes. Out: the same results and refusals, and all there is to look at.
What the kernel refuses, this refuses. It knows names and references, not what a rule does to a packet.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

from netloom.errors import NftError
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddElements,
    AddRule,
    AddTable,
    Chain,
    Container,
    DeleteChain,
    DeleteContainer,
    DeleteElements,
    DeleteTable,
    FlushChain,
    Key,
    Op,
    Transaction,
    Value,
    Verdict,
)
from netloom.units import Family

_CHAIN_REFERENCE = re.compile(r"\b(?:goto|jump) ([\w-]+)")
_MAP_REFERENCE = re.compile(r"@([\w-]+)")


class FakeTable:
    """What is in one table."""

    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.elements: dict[str, dict[Key, Value]] = {}
        self.chains: dict[str, Chain] = {}
        self.rules: dict[str, list[AddRule]] = {}

    def copy(self) -> FakeTable:
        """A table that can be changed without changing this one."""
        twin = FakeTable()
        twin.containers = dict(self.containers)
        twin.elements = {name: dict(elements) for name, elements in self.elements.items()}
        twin.chains = dict(self.chains)
        twin.rules = {name: list(rules) for name, rules in self.rules.items()}
        return twin

    def references(self) -> Iterator[str]:
        """Chains that a rule or an element leads to, each as often as that."""
        for rules in self.rules.values():
            for rule in rules:
                yield from _CHAIN_REFERENCE.findall(rule.text)
        for elements in self.elements.values():
            for value in elements.values():
                if isinstance(value, Verdict) and value.chain:
                    yield value.chain

    def looked_into(self) -> Iterator[str]:
        """Maps and sets that a rule looks into."""
        for rules in self.rules.values():
            for rule in rules:
                yield from _MAP_REFERENCE.findall(rule.text)


Tables = dict[tuple[Family, str], FakeTable]


class FakeNft:
    """Stands where ``linux.nft.Nft`` does.

    Args:
        most_elements: what one transaction can hold; more is refused with EMSGSIZE.
    """

    def __init__(self, *, most_elements: int = 100_000) -> None:
        self.most_elements = most_elements
        self.most_rules = max(1, most_elements // 8)
        self.tables: Tables = {}
        self.ran: list[Transaction] = []
        """Every transaction that was applied, in order."""
        self._failures: dict[int, int] = {}
        self._calls = 0

    def fail_at(self, call: int, number: int) -> None:
        """Let the nth call of :meth:`run` from now on (1 is the next) be refused with this errno."""
        self._failures[self._calls + call] = number

    async def run(self, *transactions: Transaction) -> None:
        """Apply all of them together or none.

        Raises:
            NftError: as the kernel would.
        """
        self._calls += 1
        if number := self._failures.pop(self._calls, 0):
            raise NftError("injected failure", number, os.strerror(number))
        if sum(transaction.count for transaction in transactions) > self.most_elements:
            raise NftError("nft batch", errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        tables = {place: table.copy() for place, table in self.tables.items()}
        for transaction in transactions:
            for op in transaction.ops:
                _apply(tables, transaction, op)
        self.tables = tables
        self.ran.extend(transaction for transaction in transactions if transaction.ops)

    async def elements(self, family: Family, table: str, container: Container) -> dict[Key, Value]:
        """Everything that is in a map or set.

        Raises:
            NftError: there is no such table or container (ENOENT), or it is of another shape (EINVAL).
        """
        found = self.tables.get((family, table))
        operation = f"list {family.value} {table} {container.name}"
        if found is None or container.name not in found.containers:
            raise NftError(operation, errno.ENOENT, os.strerror(errno.ENOENT))
        if found.containers[container.name] != container and found.elements[container.name]:
            raise NftError(operation, errno.EINVAL, "it has another shape")
        return dict(found.elements[container.name])

    async def containers(self, family: Family, table: str) -> set[str]:
        """Names of the table's maps and sets; empty where there is no such table."""
        found = self.tables.get((family, table))
        return set(found.containers) if found is not None else set()

    async def chains(self, family: Family, table: str) -> dict[str, tuple[str, ...]] | None:
        """The table's chains, and the comment of each rule in it; None where there is no such table."""
        found = self.tables.get((family, table))
        if found is None:
            return None
        return {name: tuple(rule.comment for rule in rules) for name, rules in found.rules.items()}


def _apply(tables: Tables, transaction: Transaction, op: Op) -> None:
    place = (transaction.family, transaction.table)
    if isinstance(op, AddTable):
        tables.setdefault(place, FakeTable())
        return
    table = tables.get(place)
    if table is None:
        raise _refusal(transaction, op, errno.ENOENT)
    if isinstance(op, DeleteTable):
        del tables[place]
    elif isinstance(op, AddElements | DeleteElements | AddContainer | DeleteContainer):
        number = _apply_to_container(table, op)
        if number:
            raise _refusal(transaction, op, number)
    elif number := _apply_to_chain(table, op):
        raise _refusal(transaction, op, number)


def _apply_to_container(
    table: FakeTable, op: AddElements | DeleteElements | AddContainer | DeleteContainer
) -> int:
    name = op.container.name
    if isinstance(op, AddContainer):
        table.elements.setdefault(name, {})
        return errno.EEXIST if table.containers.setdefault(name, op.container) != op.container else 0
    if name not in table.containers:
        return errno.ENOENT
    if isinstance(op, DeleteContainer):
        return _take_away(table, name)
    if isinstance(op, DeleteElements):
        return _take_out(table.elements[name], op.keys)
    return _put_in(table, op)


def _take_away(table: FakeTable, name: str) -> int:
    if name in set(table.looked_into()):
        return errno.EBUSY
    del table.containers[name], table.elements[name]
    return 0


def _take_out(held: dict[Key, Value], keys: tuple[Key, ...]) -> int:
    for key in keys:
        if key not in held:
            return errno.ENOENT
        del held[key]
    return 0


def _put_in(table: FakeTable, op: AddElements) -> int:
    held = table.elements[op.container.name]
    for key, value in op.elements:
        if isinstance(value, Verdict) and value.chain and value.chain not in table.chains:
            return errno.ENOENT
        if held.setdefault(key, value) != value:
            return errno.EEXIST
    return 0


def _apply_to_chain(table: FakeTable, op: AddChain | FlushChain | DeleteChain | AddRule) -> int:
    if isinstance(op, AddChain):
        if table.chains.setdefault(op.chain.name, op.chain) != op.chain:
            return errno.EEXIST
        table.rules.setdefault(op.chain.name, [])
        return 0
    name = op.chain if isinstance(op, AddRule) else op.name
    if name not in table.chains:
        return errno.ENOENT
    if isinstance(op, AddRule):
        chains, maps = _CHAIN_REFERENCE.findall(op.text), _MAP_REFERENCE.findall(op.text)
        if not (table.chains.keys() >= set(chains) and table.containers.keys() >= set(maps)):
            return errno.ENOENT
        table.rules[name].append(op)
    elif isinstance(op, FlushChain):
        table.rules[name].clear()
    elif name in set(table.references()):
        return errno.EBUSY
    else:
        del table.chains[name], table.rules[name]
    return 0


def _refusal(transaction: Transaction, op: Op, number: int) -> NftError:
    where = f"{type(op).__name__} in {transaction.family.value} {transaction.table}"
    return NftError(where, number, os.strerror(number))
