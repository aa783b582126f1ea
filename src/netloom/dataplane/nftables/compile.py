"""From the model to the node's nftables program: whole, or the transaction that one change needs. Pure.

In: ``NetworkState`` or ``Delta``, and the :class:`TableState` that the kernel has. Out: a transaction, and the state after it.
Not here: the rules (``skeleton``), the order of slots (``slots``), what happens to established flows (``flows``).

What differs from one frontend to the next is elements only: one verdict that leads to the class chain, and one endpoint a slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from netloom.dataplane.nftables.classes import RuledChain, class_chains, comments, remember_chains
from netloom.dataplane.nftables.containers import CONTAINERS, OURS
from netloom.dataplane.nftables.element_ops import Elements, by_frontend, changes, joined, slices
from netloom.dataplane.nftables.entries import (
    NO_SLOTS,
    Entry,
    Slots,
    elements_of,
    entry_of,
    group_of,
    slots_in,
    tail_of,
)
from netloom.dataplane.nftables.places import Places, changed, places_of, touched
from netloom.dataplane.nftables.places import elements_of as place_elements
from netloom.dataplane.nftables.policy.reconcile import is_policy_chain
from netloom.dataplane.nftables.policy.table import PolicyTable, advance, creation, policy_table
from netloom.dataplane.nftables.policy.table import empty as policies_of_none
from netloom.dataplane.nftables.skeleton import Layout, base_chains, edition, regular_chains
from netloom.model.services.frontends import FrontendKey
from netloom.model.state import Delta, NetworkState
from netloom.program import names
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddElements,
    AddRule,
    AddTable,
    Chain,
    DeleteChain,
    DeleteElements,
    DeleteTable,
    FlushChain,
    Op,
    Transaction,
)
from netloom.units import Family


class TableState(msgspec.Struct, frozen=True):
    """What varies in the table of one family. Slots depend on history; which targets they hold does not."""

    family: Family
    entries: Mapping[FrontendKey, Entry] = {}
    times: frozenset[int] = frozenset()
    """For how many seconds some frontend keeps clients at their backend: there is a chain for each. None goes before a start."""
    places: Places = Places()
    policy: PolicyTable | None = None
    """None: no policies."""


class Step(msgspec.Struct, frozen=True):
    """One change: what to do, and how the kernel's state differs afterwards."""

    transaction: Transaction
    before: TableState
    entries: Mapping[FrontendKey, Entry | None]
    """Those that the change is about; None where one goes."""
    times: frozenset[int]
    places: Places
    policy: PolicyTable | None

    @property
    def after(self) -> TableState:
        """What the kernel has afterwards, as a value of its own. Costs a copy of all."""
        return self._with(dict(self.before.entries))

    def commit(self) -> TableState:
        """The same at the cost of the change; ``before`` must not be used any more."""
        entries = self.before.entries
        return self._with(entries if isinstance(entries, dict) else dict(entries))

    def _with(self, entries: dict[FrontendKey, Entry]) -> TableState:
        for key, entry in self.entries.items():
            if entry is None:
                entries.pop(key, None)
            else:
                entries[key] = entry
        return TableState(self.before.family, entries, self.times, self.places, self.policy)


def table_state(
    state: NetworkState,
    family: Family,
    previous: Mapping[FrontendKey, Slots] | None = None,
    times: Iterable[int] = (),
) -> TableState:
    """The whole table of one family.

    ``previous`` are slots to keep where the same targets are still wanted, ``times`` those that there are chains for already.
    """
    slots = previous or {}
    entries = {
        key: entry_of(frontend, slots.get(key, NO_SLOTS))
        for key, frontend in state.frontends.items()
        if key.family is family
    }
    return TableState(
        family=family,
        entries=entries,
        times=frozenset(times) | {entry.affinity_s for entry in entries.values() if entry.affinity_s},
        places=places_of(state, family),
        policy=policy_table(state.policy, family),
    )


def elements(state: TableState) -> Elements:
    """Everything that is in the maps and sets, save what packets write and what is of policies."""
    found: Elements = {container.name: {} for container in OURS}
    for frontend, entry in state.entries.items():
        if not entry.is_plain:
            for container, key, value in elements_of(frontend, entry):
                found[container.name][key] = value
            continue
        group, tail = group_of(frontend), tail_of(frontend)
        found[group.labels.name][tail] = (entry.label,)
        endpoints = found[group.endpoints.name]
        for slot, target in enumerate(entry.slots):
            endpoints[slot, *tail] = target
    return found | place_elements(state.places)


def step(before: TableState, delta: Delta) -> Step:
    """The transaction that one change needs: for one more endpoint an element, and mostly a label (out and in)."""
    family = before.family
    entries: dict[FrontendKey, Entry | None] = {}
    times = before.times
    for key, frontend in delta.frontends.items():
        if key.family is not family:
            continue
        held = before.entries.get(key)
        entry = None
        if frontend is not None:
            entry = entry_of(frontend, held.held if held is not None else NO_SLOTS)
            if entry.affinity_s:
                times |= {entry.affinity_s}
        entries[key] = entry
    places = changed(before.places, delta, family)
    was = _touched(before.entries.get, before.places, delta)
    now = _touched(entries.get, places, delta)
    chains = _chains(remember_chains(family, times - before.times)) if times != before.times else []
    policy = before.policy
    policies: list[Op] = []
    if not delta.policy.is_empty:
        policy = policy.copy() if policy is not None else policies_of_none(family)
        policies = advance(policy, delta.policy)
    transaction = _transaction(family, [*chains, *changes(now, was), *policies])
    return Step(transaction, before, entries, times, places, policy)


def convergence(desired: TableState, present: Elements, most: int) -> tuple[Transaction, ...]:
    """What leads from the elements that were read in the kernel to those of ``desired``.

    Everything of one frontend is in one transaction, so that none is ever half changed; a transaction has ``most`` elements
    where no single frontend needs more.
    """
    pieces: list[list[Op]] = []
    room = 0
    for group in by_frontend(changes(elements(desired), present)):
        size = sum(len(op.keys if isinstance(op, DeleteElements) else op.elements) for op in group)
        if not pieces or size > room:
            pieces.append([])
            room = most
        pieces[-1].extend(group)
        room -= size
    return tuple(_transaction(desired.family, joined(piece)) for piece in pieces)


def filling(state: TableState, most: int) -> tuple[Transaction, ...]:
    """All elements, in transactions of at most ``most``: for a table that is empty and at no hook yet."""
    found = elements(state)
    return tuple(
        _transaction(state.family, [AddElements(container, some)])
        for container in OURS
        for some in slices(tuple(found[container.name].items()), most)
    )


def held_slots(present: Elements, family: Family, state: NetworkState) -> dict[FrontendKey, Slots]:
    """The slots that each frontend of ``state`` has in elements read from the kernel."""
    return {key: slots_in(present, key) for key in state.frontends if key.family is family}


def foundations(node: Layout, times: Iterable[int], most_rules: int) -> tuple[Transaction, ...]:
    """Table, maps and chains, not yet at any hook; after the first piece in pieces of at most so many rules."""
    chains = _inner_chains(node, times)
    pieces: list[list[RuledChain]] = [[]]
    for ruled in chains:
        if sum(len(rules) for _, rules in pieces[-1]) + len(ruled[1]) > most_rules:
            pieces.append([])
        pieces[-1].append(ruled)
    first = [*_containers(node.family), *_chains(class_chains(node.family))]
    if len(pieces) == 1:
        return (_transaction(node.family, [*first, *_chains(chains)]),)
    return (
        _transaction(node.family, first),
        _transaction(node.family, [AddChain(chain) for chain, _ in chains]),
        *(_transaction(node.family, _chains(piece)) for piece in pieces),
    )


def hooks(node: Layout) -> Transaction:
    """The chains at the hooks: from here on it is in force."""
    return _transaction(node.family, _chains(base_chains(node)))


Comments = Mapping[str, Sequence[str]]
"""Of each chain in a kernel the comments of its rules, in order. Those of ours say which rule it is."""


def is_renewable(family: Family, present: Comments) -> bool:
    """Whether a table with these chains can be kept: its maps and class chains are ours."""
    return edition(family) in present and all(_is(ruled, present) for ruled in class_chains(family))


def is_right(node: Layout, present: Comments, times: Iterable[int]) -> bool:
    """Whether a table that can be kept has all other chains too, and none but them."""
    chains = _renewed(node, times)
    known = {chain.name for chain, _ in (*chains, *class_chains(node.family))} | {edition(node.family)}
    return known == {name for name in present if not is_policy_chain(name)} and all(
        _is(ruled, present) for ruled in chains
    )


def times_in(present: Iterable[str]) -> frozenset[int]:
    """The times that a table has chains for."""
    found = (name.removeprefix(names.NFT_HOLD_PREFIX) for name in present)
    return frozenset(int(text) for text in found if text.isdecimal())


def renewal(node: Layout, present: Comments, times: Iterable[int]) -> Transaction:
    """Those chains anew that are not as they should be, save class chains; chains that we do not know go."""
    chains = _renewed(node, times)
    known = {chain.name for chain, _ in (*chains, *class_chains(node.family))} | {edition(node.family)}
    strange = sorted(name for name in set(present) - known if not is_policy_chain(name))
    return _transaction(
        node.family,
        [
            *(FlushChain(name) for name in strange),
            *_chains(ruled for ruled in chains if not _is(ruled, present)),
            *(DeleteChain(name) for name in strange),
        ],
    )


def replacement(node: Layout, state: TableState) -> Transaction:
    """The whole table in place of whatever is there, in one transaction: what golden files show."""
    fill = changes(elements(state), {})
    return _transaction(
        node.family,
        [
            AddTable(),
            DeleteTable(),
            *_containers(node.family),
            *_chains([*class_chains(node.family), *_inner_chains(node, state.times)]),
            *fill,
            *(creation(state.policy) if state.policy is not None else ()),
            *_chains(base_chains(node)),
        ],
    )


def removal(family: Family) -> Transaction:
    """Take the table out, whether it is there or not."""
    return _transaction(family, [AddTable(), DeleteTable()])


def _touched(entry_at: Callable[[FrontendKey], Entry | None], places: Places, delta: Delta) -> Elements:
    """The elements that ``delta`` may change, of a state with these entries and places."""
    found: Elements = {container.name: {} for container in OURS} | touched(places, delta)
    for frontend in delta.frontends:
        if (entry := entry_at(frontend)) is not None:
            for container, key, value in elements_of(frontend, entry):
                found[container.name][key] = value
    return found


def _containers(family: Family) -> list[Op]:
    return [
        AddTable(),
        *(AddContainer(container) for container in CONTAINERS),
        AddChain(Chain(edition(family))),
    ]


def _inner_chains(node: Layout, times: Iterable[int]) -> list[RuledChain]:
    """Those that are neither class chains nor at a hook."""
    return [*remember_chains(node.family, times), *regular_chains(node)]


def _renewed(node: Layout, times: Iterable[int]) -> list[RuledChain]:
    return [*_inner_chains(node, times), *base_chains(node)]


def _is(ruled: RuledChain, present: Comments) -> bool:
    return tuple(present.get(ruled[0].name, ())) == comments(ruled) and ruled[0].name in present


def _chains(chains: Iterable[RuledChain]) -> list[Op]:
    """Each chain emptied and filled; all exist before the first rule names one."""
    ruled = list(chains)
    rules: list[AddRule] = [rule for _, found in ruled for rule in found]
    return [
        *(AddChain(chain) for chain, _ in ruled),
        *(FlushChain(chain.name) for chain, _ in ruled),
        *rules,
    ]


def _transaction(family: Family, ops: Iterable[Op]) -> Transaction:
    return Transaction(family, names.NFT_TABLE, tuple(ops))
