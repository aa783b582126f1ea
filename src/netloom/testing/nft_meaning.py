"""Elements of the nftables plane read back into what they do, so that tables can be compared by meaning, not by slots.

In: the elements of a table, from a fake or a kernel. Out: for each frontend what happens, and to whom it is sent. Raises
AssertionError where the elements contradict each other: a packet would be lost.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.dataplane.nftables.compile import Elements
from netloom.dataplane.nftables.skeleton import (
    ENDPOINTS,
    HAIRPIN,
    NODE_PORT_ENDPOINTS,
    NODE_PORTS,
    PEERS,
    SERVICES,
)
from netloom.dataplane.nftables.slots import class_size
from netloom.program.nft import Key, Value, Verdict


class Meaning(msgspec.Struct, frozen=True):
    """What the elements of one table do."""

    frontends: Mapping[Key, tuple[str, frozenset[Value]]]
    """By the key without slot: the verdict, and the set of targets."""
    hairpin: frozenset[Key]
    peers: frozenset[Key]


def meaning(elements: Elements) -> Meaning:
    """Read a table's elements.

    Raises:
        AssertionError: a slot that may be drawn is empty, a filled one is never drawn, or a class does not fit.
    """
    frontends: dict[Key, tuple[str, frozenset[Value]]] = {}
    for verdicts, endpoints in ((SERVICES, ENDPOINTS), (NODE_PORTS, NODE_PORT_ENDPOINTS)):
        slots: dict[Key, dict[object, Value]] = {}
        for (slot, *tail), target in elements[endpoints.name].items():
            slots.setdefault(tuple(tail), {})[slot] = target
        for key, verdict in elements[verdicts.name].items():
            _check(isinstance(verdict, Verdict), f"{key}: no verdict")
            held = slots.pop(key, {})
            _check(set(held) == set(range(len(held))), f"{key}: slots {sorted(map(str, held))} have a hole")
            chain = verdict.chain if isinstance(verdict, Verdict) else ""
            if held:
                size = next(int(part) for part in chain.split("-") if part.isdigit())
                _check(size == class_size(len(held)), f"{key}: {chain} for {len(held)} endpoints")
            _check(bool(held) == chain.startswith(("balance-", "node-port-")), f"{key}: {verdict} and {held}")
            targets = frozenset(held.values())
            _check(len(targets) == len(held), f"{key}: one target in two slots")
            frontends[key] = (str(verdict), targets)
        _check(not slots, f"endpoints without frontend: {sorted(map(str, slots))}")
    return Meaning(frontends, frozenset(elements[HAIRPIN.name]), frozenset(elements[PEERS.name]))


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
