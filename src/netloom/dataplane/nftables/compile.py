"""From the model to the node's nftables program: whole, or the transaction that one change needs. Pure.

In: ``NetworkState`` or ``Delta``, and the :class:`TableState` that the kernel has. Out: a transaction, and the state after it.
Not here: the rules (``skeleton``), the order of slots (``slots``), what happens to established flows (``flows``).

What differs from one frontend to the next is elements only: one verdict that leads to the class chain, and one endpoint a slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from netloom.dataplane.nftables.skeleton import (
    CONTAINERS,
    ENDPOINTS,
    HAIRPIN,
    NODE_PORT_ENDPOINTS,
    NODE_PORTS,
    PEERS,
    SERVICES,
    Layout,
    RuledChain,
    base_chains,
    class_chain,
    class_chains,
    edition,
    regular_chains,
)
from netloom.dataplane.nftables.slots import MOST_TARGETS, Target, assign, class_size
from netloom.model.services.frontends import Frontend, FrontendAction, FrontendKey
from netloom.model.state import Delta, NetworkState
from netloom.program import names
from netloom.program.diff import difference
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddElements,
    AddRule,
    AddTable,
    Chain,
    Container,
    DeleteChain,
    DeleteElements,
    DeleteTable,
    Element,
    FlushChain,
    Key,
    Op,
    Transaction,
    Value,
    Verdict,
)
from netloom.units import Addr, Cidr, Family, family_of

Elements = dict[str, dict[Key, Value]]
"""Contents of each container, by its name."""

_REFUSE = Verdict("goto", names.NFT_REFUSE)
_UNTRANSLATED = Verdict("accept")


class Entry(msgspec.Struct, frozen=True):
    """One frontend as the kernel has it."""

    verdict: Verdict
    slots: tuple[Target, ...] = ()


class TableState(msgspec.Struct, frozen=True):
    """What varies in the table of one family. Slots depend on history; which targets they hold does not."""

    family: Family
    entries: Mapping[FrontendKey, Entry] = {}
    pods: frozenset[Addr] = frozenset()
    """Pods of this node."""
    peers: Mapping[Cidr, Addr] = {}
    """Addresses of other nodes, by the pod range behind each; several ranges may have one."""


class Step(msgspec.Struct, frozen=True):
    """One change: what to do, and what the kernel has afterwards."""

    transaction: Transaction
    after: TableState


def table_state(
    state: NetworkState, family: Family, previous: Mapping[FrontendKey, Sequence[Target]] | None = None
) -> TableState:
    """The whole table of one family. ``previous`` are slots to keep where the same targets are still wanted."""
    slots = previous or {}
    return TableState(
        family=family,
        entries={
            key: _entry(frontend, slots.get(key, ()))
            for key, frontend in state.frontends.items()
            if key.family is family
        },
        pods=frozenset(address for address in state.local_pods if family_of(address) is family),
        peers={cidr: route.via for cidr, route in state.routes.items() if family_of(route.via) is family},
    )


def elements(state: TableState) -> Elements:
    """Everything that is in the maps and sets."""
    found: Elements = {container.name: {} for container in CONTAINERS}
    for frontend, entry in state.entries.items():
        for container, key, value in _entry_elements(frontend, entry):
            found[container.name][key] = value
    found[HAIRPIN.name] = {(pod.packed, pod.packed): None for pod in state.pods}
    found[PEERS.name] = {(address.packed,): None for address in state.peers.values()}
    return found


def step(before: TableState, delta: Delta) -> Step:
    """The transaction that one change needs: for one more endpoint an element, and mostly a verdict (out and in)."""
    after = _after(before, delta)
    changes = _changes(_touched(after, delta), _touched(before, delta))
    return Step(_transaction(before.family, changes), after)


def convergence(desired: TableState, present: Elements, most: int) -> tuple[Transaction, ...]:
    """What leads from the elements that were read in the kernel to those of ``desired``.

    Everything of one frontend is in one transaction, so that none is ever half changed; a transaction has ``most`` elements
    where no single frontend needs more.
    """
    pieces: list[list[Op]] = []
    room = 0
    for group in _by_frontend(_changes(elements(desired), present)):
        size = sum(len(op.keys if isinstance(op, DeleteElements) else op.elements) for op in group)
        if not pieces or size > room:
            pieces.append([])
            room = most
        pieces[-1].extend(group)
        room -= size
    return tuple(_transaction(desired.family, _joined(piece)) for piece in pieces)


def filling(state: TableState, most: int) -> tuple[Transaction, ...]:
    """All elements, in transactions of at most ``most``: for a table that is empty and at no hook yet."""
    found = elements(state)
    return tuple(
        _transaction(state.family, [AddElements(container, some)])
        for container in CONTAINERS
        for some in _slices(tuple(found[container.name].items()), most)
    )


def slots_in(present: Elements, family: Family, state: NetworkState) -> dict[FrontendKey, list[Target]]:
    """The slots that each frontend of ``state`` has in elements read from the kernel, up to the first that is missing."""
    found: dict[FrontendKey, list[Target]] = {}
    for frontend in state.frontends:
        if frontend.family is not family:
            continue
        container = ENDPOINTS if frontend.address is not None else NODE_PORT_ENDPOINTS
        held = present.get(container.name, {})
        tail = _frontend_key(frontend)
        slots = found[frontend] = []
        while (target := held.get((len(slots), *tail))) is not None:
            address, port = target if isinstance(target, tuple) else (b"", 0)
            if isinstance(address, bytes) and isinstance(port, int):
                slots.append((address, port))
    return found


def foundations(node: Layout) -> Transaction:
    """Table, maps and chains, not yet at any hook."""
    return _transaction(node.family, _foundations(node))


def hooks(node: Layout) -> Transaction:
    """The chains at the hooks: from here on it is in force."""
    return _transaction(node.family, _chains(base_chains(node)))


def is_renewable(family: Family, present: Mapping[str, int]) -> bool:
    """Whether a table with these chains, and so many rules in each, can be kept: its maps and class chains are ours."""
    return edition(family) in present and all(
        present.get(chain.name) == len(rules) for chain, rules in class_chains(family)
    )


def renewal(node: Layout, present: Iterable[str]) -> Transaction:
    """Chains and rules anew in a table that is there, save class chains and maps; chains that we do not know go."""
    chains = [*regular_chains(node), *base_chains(node)]
    known = {chain.name for chain, _ in (*chains, *class_chains(node.family))} | {edition(node.family)}
    strange = sorted(set(present) - known)
    return _transaction(
        node.family,
        [
            *(FlushChain(name) for name in strange),
            *_chains(chains),
            *(DeleteChain(name) for name in strange),
        ],
    )


def replacement(node: Layout, state: TableState) -> Transaction:
    """The whole table in place of whatever is there, in one transaction: what golden files show."""
    fill = _changes(elements(state), {})
    return _transaction(
        node.family,
        [
            AddTable(),
            DeleteTable(),
            *_foundations(node),
            *fill,
            *_chains(base_chains(node)),
        ],
    )


def removal(family: Family) -> Transaction:
    """Take the table out, whether it is there or not."""
    return _transaction(family, [AddTable(), DeleteTable()])


def _after(before: TableState, delta: Delta) -> TableState:
    family = before.family
    # A dict without holes is copied at once, so what changes is put in place and not taken out first.
    entries = dict(before.entries)
    for key, frontend in delta.frontends.items():
        if key.family is not family:
            continue
        if frontend is None:
            entries.pop(key, None)
        else:
            held = entries.get(key)
            entries[key] = _entry(frontend, held.slots if held is not None else ())
    peers = dict(before.peers)
    for cidr, route in delta.routes.items():
        peers.pop(cidr, None)
        if route is not None and family_of(route.via) is family:
            peers[cidr] = route.via
    gone = {address for address, pod in delta.local_pods.items() if pod is None}
    come = {a for a, pod in delta.local_pods.items() if pod is not None and family_of(a) is family}
    return TableState(family, entries, (before.pods - gone) | come, peers)


def _touched(state: TableState, delta: Delta) -> Elements:
    """The elements of ``state`` that ``delta`` may change."""
    found: Elements = {container.name: {} for container in CONTAINERS}
    for frontend in delta.frontends:
        if (entry := state.entries.get(frontend)) is not None:
            for container, key, value in _entry_elements(frontend, entry):
                found[container.name][key] = value
    for pod in delta.local_pods:
        if pod in state.pods:
            found[HAIRPIN.name][pod.packed, pod.packed] = None
    if delta.routes:
        found[PEERS.name] = {(address.packed,): None for address in state.peers.values()}
    return found


def _entry(frontend: Frontend, previous: Sequence[Target]) -> Entry:
    if frontend.action is FrontendAction.NODE_LOCAL:
        return Entry(_UNTRANSLATED)
    if frontend.action is FrontendAction.REJECT or not frontend.backends:
        return Entry(_REFUSE)
    targets = [(backend.address.packed, backend.port) for backend in frontend.backends[:MOST_TARGETS]]
    slots = assign(previous, targets)
    chain = class_chain(
        class_size(len(slots)), node_port=frontend.key.address is None, masquerade=frontend.masquerade
    )
    return Entry(Verdict("goto", chain), slots)


def _frontend_key(key: FrontendKey) -> Key:
    if key.address is None:
        return (key.protocol.number, key.port)
    return (key.address.packed, key.protocol.number, key.port)


def _entry_elements(frontend: FrontendKey, entry: Entry) -> Iterator[tuple[Container, Key, Value]]:
    tail = _frontend_key(frontend)
    verdicts, slots = (NODE_PORTS, NODE_PORT_ENDPOINTS) if frontend.address is None else (SERVICES, ENDPOINTS)
    yield verdicts, tail, entry.verdict
    for slot, target in enumerate(entry.slots):
        yield slots, (slot, *tail), target


def _changes(desired: Elements, present: Elements) -> list[DeleteElements | AddElements]:
    """Deletions before additions, since a key is never overwritten; in sorted order."""
    deletions: list[DeleteElements | AddElements] = []
    additions: list[DeleteElements | AddElements] = []
    for container in CONTAINERS:
        change = difference(desired.get(container.name, {}), present.get(container.name, {}))
        if change.remove:
            deletions.append(DeleteElements(container, tuple(sorted(change.remove))))
        if change.add:
            additions.append(AddElements(container, tuple(sorted(change.add, key=_element_key))))
    return deletions + additions


def _slices(found: tuple[Element, ...], most: int) -> Iterator[tuple[Element, ...]]:
    for start in range(0, len(found), most):
        yield found[start : start + most]


def _element_key(element: Element) -> Key:
    return element[0]


def _by_frontend(
    changes: Iterable[DeleteElements | AddElements],
) -> Iterator[list[DeleteElements | AddElements]]:
    """The same changes, those of one frontend together."""
    groups: dict[Key, list[DeleteElements | AddElements]] = {}
    for op in changes:
        container = op.container
        skip = 1 if container in (ENDPOINTS, NODE_PORT_ENDPOINTS) else 0
        if isinstance(op, DeleteElements):
            for key in op.keys:
                groups.setdefault(key[skip:], []).append(DeleteElements(container, (key,)))
        else:
            for key, value in op.elements:
                groups.setdefault(key[skip:], []).append(AddElements(container, ((key, value),)))
    yield from groups.values()


def _joined(ops: Iterable[Op]) -> list[Op]:
    """Operations on the same container as one, deletions first."""
    deletions: dict[Container, list[Key]] = {}
    additions: dict[Container, list[Element]] = {}
    for op in ops:
        if isinstance(op, DeleteElements):
            deletions.setdefault(op.container, []).extend(op.keys)
        elif isinstance(op, AddElements):
            additions.setdefault(op.container, []).extend(op.elements)
    return [
        *(DeleteElements(container, tuple(keys)) for container, keys in deletions.items()),
        *(AddElements(container, tuple(found)) for container, found in additions.items()),
    ]


def _foundations(node: Layout) -> list[Op]:
    return [
        AddTable(),
        *(AddContainer(container) for container in CONTAINERS),
        AddChain(Chain(edition(node.family))),
        *_chains([*class_chains(node.family), *regular_chains(node)]),
    ]


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
