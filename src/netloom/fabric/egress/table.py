"""From the model to the nftables table of what leaves by gateways. Pure. In: the node, egress state. Out: transactions, and what is in force.

    choose      prerouting, behind the translation of destinations: whose packets leave by which address; answers to the pod's node
    translate   postrouting, before Services and masquerading: the address as source, where this node has it
    sent        postrouting, behind all translation: marks are taken off; what has a mark and no such source does not leave
    arrivals    input: tunnels end at nodes only

A pod leads to a label: what its gateways say. Label and destination lead to the mark of an address, and the mark to a table of routes or, on
the node that has the address, to the source. So a pod that comes is an element, and an address that moves is a few, whatever the pods.
Labels are numbers that say nothing; which one stands for which pods is known from what is in force.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netloom.fabric.egress.shares import packed, shares
from netloom.model.egress.state import EgressPod, EgressState, PodWay
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
    DeleteElements,
    DeleteTable,
    Element,
    Field,
    Hook,
    Key,
    Op,
    Transaction,
    Value,
)
from netloom.units import Addr, Cidr, Family, family_of

PODS = Container(names.NFT_EGRESS_PODS, (Field.ADDRESS,), data=(Field.MARK,))
WAYS = Container(names.NFT_EGRESS_WAYS, (Field.MARK, Field.SOURCE_RANGE), data=(Field.MARK,))
SOURCES = Container(names.NFT_EGRESS_SOURCES, (Field.MARK,), data=(Field.ADDRESS,))
HELD = Container(names.NFT_EGRESS_HELD, (Field.MARK,))
HELD_ADDRESSES = Container(names.NFT_EGRESS_HELD_ADDRESSES, (Field.ADDRESS,))
REMOTE = Container(names.NFT_EGRESS_REMOTE, (Field.ADDRESS,))
INSIDE = Container(names.NFT_EGRESS_INSIDE, (Field.SOURCE_RANGE,))
ENDS = Container(names.NFT_EGRESS_ENDS, (Field.ADDRESS,))
CONTAINERS = (PODS, WAYS, SOURCES, HELD, HELD_ADDRESSES, REMOTE, INSIDE, ENDS)

Elements = dict[str, dict[Key, Value]]
"""Contents of each container, by its name."""

_CHOOSING, _BEFORE_SOURCE_NAT, _BEHIND_SOURCE_NAT, _BEFORE_FILTER = -50, 95, 150, -10
_TUNNEL = f'iifname "{names.EGRESS_LINK}"'
_MARKED = f"meta mark & {names.EGRESS_MARKS_MASK:#x} == {names.EGRESS_MARKS:#x}"
_MOST_LABELS = 0xFFFFFFF0


class EgressTable(msgspec.Struct, frozen=True):
    """What is in the table of one family."""

    family: Family
    labels: Mapping[tuple[PodWay, ...], int] = {}
    """What gateways say of some pods, and the number that stands for it."""
    elements: Mapping[str, Mapping[Key, Value]] = {}


def egress_table(
    state: EgressState,
    family: Family,
    node: str,
    inside: Iterable[Cidr],
    labels: Mapping[tuple[PodWay, ...], int] | None = None,
) -> EgressTable:
    """The whole table of one family.

    Args:
        state: of this node.
        family: which.
        node: the name of this node.
        inside: ranges that packets do not leave the cluster to, besides nodes.
        labels: numbers to keep where somebody has them.
    """
    pods = {a: pod for a, pod in state.pods.items() if family_of(a) is family}
    found = _labels(pods.values(), {} if labels is None else labels)
    elements = _of_pods(pods, found, node) | _of_exits(state, found, family, node, inside)
    return EgressTable(family, found, elements)


def advance(
    before: EgressTable, state: EgressState, node: str, inside: Iterable[Cidr], changed: Iterable[Addr]
) -> tuple[EgressTable, Transaction]:
    """The table after a change of these pods and whatever else, and what leads there; pods that are the same cost next to nothing."""
    family = before.family
    pods = {address: state.pods.get(address) for address in changed if family_of(address) is family}
    there = {address: pod for address, pod in pods.items() if pod is not None}
    labels = {**before.labels, **_labels(there.values(), before.labels)}
    keys: list[Key] = [(address.packed,) for address in pods]
    wanted, present, after = _of_pods(there, labels, node), {}, {}
    for name, found in wanted.items():
        held = dict(before.elements.get(name, {}))
        present[name] = {key: held.pop(key) for key in keys if key in held}
        after[name] = held | found
    used = {value[0] for value in after[PODS.name].values() if isinstance(value, tuple)}
    labels = {ways: label for ways, label in labels.items() if label in used}
    others = _of_exits(state, labels, family, node, inside)
    transaction = _transaction(
        family,
        _changes(wanted | others, present | {name: before.elements.get(name, {}) for name in others}),
    )
    return EgressTable(family, labels, after | others), transaction


def _of_pods(pods: Mapping[Addr, EgressPod], labels: Mapping[tuple[PodWay, ...], int], node: str) -> Elements:
    return {
        PODS.name: {(address.packed,): (labels[pod.ways],) for address, pod in pods.items()},
        REMOTE.name: {(address.packed,): None for address, pod in pods.items() if pod.node != node},
    }


def _of_exits(
    state: EgressState,
    labels: Mapping[tuple[PodWay, ...], int],
    family: Family,
    node: str,
    inside: Iterable[Cidr],
) -> Elements:
    held = {
        names.exit_mark(one.number): one.address
        for one in state.exits.values()
        if one.node == node and family_of(one.address) is family
    }
    return {
        WAYS.name: dict(_ways(state, labels, family)),
        SOURCES.name: {(mark,): (address.packed,) for mark, address in held.items()},
        HELD.name: {(mark,): None for mark in held},
        HELD_ADDRESSES.name: {(address.packed,): None for address in held.values()},
        INSIDE.name: _ranges(inside, state.nodes, family),
        ENDS.name: {
            (end.address.packed,): None for end in state.ends.values() if family_of(end.address) is family
        },
    }


def creation(table: EgressTable) -> Transaction:
    """The table in place of whatever is there, in one transaction."""
    return _transaction(
        table.family,
        [
            AddTable(),
            DeleteTable(),
            AddTable(),
            *(AddContainer(container) for container in CONTAINERS),
            AddChain(Chain(edition(table.family))),
            *_changes(table.elements, {}),
            *_rules(table.family),
        ],
    )


def convergence(table: EgressTable, present: Mapping[str, Mapping[Key, Value]]) -> Transaction:
    """What leads from elements that were read to those of the table."""
    return _transaction(table.family, _changes(table.elements, present))


def removal(family: Family) -> Transaction:
    """Take the table out, whether it is there or not."""
    return _transaction(family, [AddTable(), DeleteTable()])


def edition(family: Family) -> str:
    """Name of the chain that says which containers and rules a table has."""
    content = repr((CONTAINERS, _rules(family))).encode()
    return names.NFT_EDITION_PREFIX + hashlib.sha256(content).hexdigest()[:12]


def comments(family: Family) -> dict[str, tuple[str, ...]]:
    """Every chain that there should be, with the comments of its rules."""
    found: dict[str, list[str]] = {edition(family): []}
    for op in _rules(family):
        if isinstance(op, AddChain):
            found[op.chain.name] = []
        elif isinstance(op, AddRule):
            found[op.chain].append(op.comment)
    return {name: tuple(rules) for name, rules in found.items()}


def labels_in(
    state: EgressState, family: Family, present: Mapping[str, Mapping[Key, Value]]
) -> dict[tuple[PodWay, ...], int]:
    """The numbers that elements read from the kernel use for pods that are still there."""
    found: dict[tuple[PodWay, ...], int] = {}
    for address, pod in state.pods.items():
        value = present.get(PODS.name, {}).get((address.packed,)) if family_of(address) is family else None
        number = value[0] if isinstance(value, tuple) else None
        if isinstance(number, int) and number not in found.values():
            found.setdefault(pod.ways, number)
    return found


def _labels(
    pods: Iterable[EgressPod], before: Mapping[tuple[PodWay, ...], int]
) -> dict[tuple[PodWay, ...], int]:
    wanted = dict.fromkeys(pod.ways for pod in pods)
    found = {ways: before[ways] for ways in wanted if ways in before}
    taken = set(before.values())
    for ways in wanted:
        if ways not in found:
            number = _digest(ways)
            while number in taken:
                number = number % _MOST_LABELS + 1
            taken.add(number)
            found[ways] = number
    return found


def _digest(ways: tuple[PodWay, ...]) -> int:
    text = ";".join(f"{way.gateway.name} {way.address}" for way in ways)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") % _MOST_LABELS + 1


def _ways(state: EgressState, labels: Mapping[tuple[PodWay, ...], int], family: Family) -> Iterator[Element]:
    """While nobody has an address, what falls back has no element: it leaves as if there were no gateway."""
    for ways, label in labels.items():
        for span, way in shares(ways, family):
            one = state.exits.get(way.address)
            if one is not None and (one.node or not way.falls_back):
                yield (label, packed(span, family)), (names.exit_mark(one.number),)


def _ranges(inside: Iterable[Cidr], nodes: Iterable[Addr], family: Family) -> dict[Key, Value]:
    spans = [
        (int(cidr.network_address), int(cidr.broadcast_address))
        for cidr in inside
        if family_of(cidr) is family
    ]
    spans += [(int(address), int(address)) for address in nodes if family_of(address) is family]
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return {(packed(span, family),): None for span in merged}


def _changes(
    desired: Mapping[str, Mapping[Key, Value]], present: Mapping[str, Mapping[Key, Value]]
) -> list[Op]:
    """Deletions before additions, since a key is never overwritten."""
    deletions: list[Op] = []
    additions: list[Op] = []
    for container in CONTAINERS:
        change = difference(desired.get(container.name, {}), present.get(container.name, {}))
        if change.remove:
            deletions.append(DeleteElements(container, tuple(sorted(change.remove))))
        if change.add:
            additions.append(AddElements(container, tuple(sorted(change.add, key=lambda one: one[0]))))
    return deletions + additions


def _rules(family: Family) -> list[Op]:
    ip = family.value
    drop = "counter drop"
    of = {
        Chain(names.NFT_EGRESS_NONE): [
            (f"{_TUNNEL} {drop}", "no pod that leaves here"),
            ("meta mark set 0x0", "as if there were no gateway"),
        ],
        Chain(names.NFT_EGRESS_LEAVING): [
            (f"{_TUNNEL} meta mark != @{HELD.name} {drop}", "this node has not the address, or not any more"),
        ],
        Chain(names.NFT_EGRESS_CHOSEN): [
            (f"{ip} daddr @{INSIDE.name} goto {names.NFT_EGRESS_NONE}", "does not leave the cluster"),
            (
                f"meta mark set meta mark . {ip} daddr map @{WAYS.name} goto {names.NFT_EGRESS_LEAVING}",
                "the address to leave by",
            ),
            (f"goto {names.NFT_EGRESS_NONE}", "no matter of its gateways"),
        ],
        Chain(names.NFT_EGRESS_CHOOSE, Hook("filter", "prerouting", _CHOOSING)): [
            (
                f"ct direction original meta mark set {ip} saddr map @{PODS.name} goto {names.NFT_EGRESS_CHOSEN}",
                "pods that leave by gateways",
            ),
            (f"{_TUNNEL} ct direction original {drop}", "nobody else sends through the tunnel"),
            (
                f"ct direction reply ct status snat {ip} daddr @{REMOTE.name} meta mark set {names.EGRESS_ANSWERS:#x}",
                "answers to the node of the pod",
            ),
            (f"{ip} daddr @{HELD_ADDRESSES.name} {drop}", "answers to nothing that is known here"),
        ],
        Chain(names.NFT_EGRESS_TRANSLATE, Hook("nat", "postrouting", _BEFORE_SOURCE_NAT)): [
            (
                f'{_MARKED} oifname != "{names.EGRESS_LINK}" snat to meta mark map @{SOURCES.name}',
                "the address to leave by",
            ),
        ],
        Chain(names.NFT_EGRESS_SENT, Hook("filter", "postrouting", _BEHIND_SOURCE_NAT)): [
            (
                f'oifname "{names.EGRESS_LINK}" meta mark set 0x0 accept',
                "what carries it is routed like all else",
            ),
            (
                f"{_MARKED} {ip} saddr != @{HELD_ADDRESSES.name} {drop}",
                "never with another address than its gateway's",
            ),
            (f"{_MARKED} meta mark set 0x0", "the mark was ours"),
        ],
        Chain(names.NFT_EGRESS_ARRIVALS, Hook("filter", "input", _BEFORE_FILTER)): [
            (f"udp dport {names.EGRESS_PORT} {ip} saddr != @{ENDS.name} {drop}", "tunnels are of nodes only"),
        ],
    }
    return [
        *(AddChain(chain) for chain in of),
        *(AddRule(chain.name, text, reason) for chain, rules in of.items() for text, reason in rules),
    ]


def _transaction(family: Family, ops: Iterable[Op]) -> Transaction:
    return Transaction(family, names.NFT_EGRESS_TABLE, tuple(ops))
