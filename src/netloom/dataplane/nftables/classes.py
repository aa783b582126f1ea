"""The chains that draw a backend: one for each size of a class, and for each way to draw. Pure.

Most frontends draw by slot: one look-up gives the backend. Those whose clients stay with their backend, and pools for clients
outside, draw the number of a backend, and one chain for all sends the client there. Not here: how a packet gets to
its class (``skeleton``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from netloom.dataplane.nftables import labels
from netloom.dataplane.nftables.containers import KEYED, Keyed
from netloom.dataplane.nftables.slots import OUTSIDE_SIZES, SIZES, draws
from netloom.program import names
from netloom.program.nft import AddRule, Chain, Hook
from netloom.units import Family

Rule = tuple[str, str]
"""Text and comment."""
RuledChain = tuple[Chain, tuple[AddRule, ...]]


def chain(name: str, rules: Iterable[Rule], hook: Hook | None = None) -> RuledChain:
    """A chain with its rules. Each has a digest of itself in its comment, so that what is in a kernel can be recognised."""
    return Chain(name, hook), tuple(
        AddRule(name, text, f"{reason} {_digest(text)}".lstrip()) for text, reason in rules
    )


def comments(ruled: RuledChain) -> tuple[str, ...]:
    """What a kernel shows of a chain's rules, in order."""
    return tuple(rule.comment for rule in ruled[1])


def class_chain(group: Keyed, label: int) -> str:
    """Name of the chain that draws for a label; the flags that concern the source make no difference."""
    kind = "outside-" if label & labels.OUTSIDE else ""
    kind += "affinity" if label & labels.AFFINITY else "balance"
    return f"{group.prefix}{kind}-{labels.size(label)}"


def class_labels() -> list[int]:
    """Every label that leads to a class of its own."""
    return [
        size | outside | affinity
        for outside, sizes in ((0, SIZES), (labels.OUTSIDE, OUTSIDE_SIZES))
        for affinity in (0, labels.AFFINITY)
        for size in sizes
    ]


def class_chains(family: Family) -> tuple[RuledChain, ...]:
    """Those that translate: they come with their maps in one transaction, and are never renewed.

    nft 1.0.6 refuses to add a rule that translates by a map which is there already.
    """
    found: list[RuledChain] = []
    for group in KEYED:
        found.append(chain(send_chain(group), _send(family, group)))
        found.extend(
            chain(class_chain(group, label), _balance(family, group, label))
            for label in class_labels()
            if is_by_slot(label)
        )
    return tuple(found)


def drawing_chains(family: Family) -> tuple[RuledChain, ...]:
    """Those that find a number, and can be renewed in place."""
    return tuple(
        chain(class_chain(group, label), _draw(family, group, label))
        for group in KEYED
        for label in class_labels()
        if not is_by_slot(label)
    )


def is_by_slot(label: int) -> bool:
    """Whether a class draws a slot, not a number."""
    return not label & (labels.AFFINITY | labels.OUTSIDE)


def send_chain(group: Keyed) -> str:
    """Name of the chain that sends a client to the backend whose number was found."""
    return group.prefix + names.NFT_SEND


def remember_chains(family: Family, times: Iterable[int]) -> tuple[RuledChain, ...]:
    """The chains that remember a client's backend for so long; two for each time that some Service wants."""
    return tuple(
        chain(remember_name(group, seconds), [(_remember(group, family, seconds), "")])
        for group in KEYED
        for seconds in sorted(times)
    )


def remember_name(group: Keyed, seconds: int) -> str:
    """Name of that chain."""
    return f"{group.prefix}{names.NFT_HOLD_PREFIX}{seconds}"


def _numgen(slots: int, label: int) -> str:
    offset = f" offset {labels.OUTSIDE_SLOTS}" if label & labels.OUTSIDE else ""
    return f"numgen random mod {slots}{offset}"


def _balance(family: Family, group: Keyed, label: int) -> Iterator[Rule]:
    key = group.expression(family)
    for slots in draws(labels.size(label)):
        yield f"dnat {family.value} to {_numgen(slots, label)} . {key} map @{group.endpoints.name}", ""


def _draw(family: Family, group: Keyed, label: int) -> Iterator[Rule]:
    key, client, send = group.expression(family), _client(family, group), send_chain(group)
    if label & labels.AFFINITY:
        yield f"meta priority set {client} map @{group.affinity.name} jump {send}", ""
        # Still here: a new client, or one whose backend has gone. An update would keep the old value.
        yield f"delete @{group.affinity.name} {{ {client} : meta priority }}", ""
    for slots in draws(labels.size(label)):
        yield f"meta priority set {_numgen(slots, label)} . {key} map @{group.draws.name} goto {send}", ""


def _send(family: Family, group: Keyed) -> Iterator[Rule]:
    key = group.expression(family)
    yield f"{key} vmap @{group.holds.name}", "remember the client's backend"
    yield f"dnat {family.value} to meta priority . {key} map @{group.targets.name}", ""


def _remember(group: Keyed, family: Family, seconds: int) -> str:
    return f"update @{group.affinity.name} {{ {_client(family, group)} timeout {seconds}s : meta priority }}"


def _client(family: Family, group: Keyed) -> str:
    """Client and frontend as one number: nft 1.0.6 cannot write an IPv6 address into a map. Two with the same share a backend."""
    return f"jhash {family.value} saddr . {group.expression(family)} mod 4294967295 seed 0x1"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
