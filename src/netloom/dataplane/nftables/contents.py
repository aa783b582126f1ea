"""All that should be in the maps and sets of a table, of Services and of policies, and where to look for parts of it. Pure.

In: the :class:`TableState` that the kernel should have. Out: containers and elements, some at a time. Not here: what is in the kernel
(``linux/nft_dump``), what differs (``drift``). What packets write is left out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping

import msgspec

from netloom.dataplane.nftables.compile import TableState, elements
from netloom.dataplane.nftables.containers import (
    OURS,
    POLICED,
    POLICY_EGRESS,
    POLICY_INGRESS,
    SOURCE_RANGES,
    keyed,
)
from netloom.dataplane.nftables.element_ops import Elements
from netloom.dataplane.nftables.policy.sets import container_of
from netloom.dataplane.nftables.policy.table import verdicts
from netloom.model.policy.state import SetKey
from netloom.model.services.frontends import FrontendKey
from netloom.program.nft import Container, Key, Value
from netloom.units import Family, Protocol

_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}
_FIXED = (*OURS, POLICY_INGRESS, POLICY_EGRESS, POLICED)
_VERDICTS = (POLICY_INGRESS.name, POLICY_EGRESS.name, POLICED.name)

Containers = Mapping[str, Container]
"""By name."""
Suspects = Mapping[str, Collection[Key]]
"""Keys by the name of their container."""


def containers_of(table: TableState) -> dict[str, Container]:
    """Every map and set whose elements are ours alone to write."""
    found = {container.name: container for container in _FIXED}
    found.update((name, container_of(key)) for name, key in peer_sets(table).items())
    return found


def peer_sets(table: TableState) -> dict[str, SetKey]:
    """The sets of policies' peers, by the name that they have in the kernel."""
    return {container_of(key).name: key for key in table.policy.sets} if table.policy is not None else {}


def pieces(table: TableState, size: int) -> Iterator[Elements]:
    """All elements, those of ``size`` frontends or of one set of peers at a time.

    Nobody has to look at all of it at once; the table may change between two pieces, as the plane's own does.
    """
    yield elements(msgspec.structs.replace(table, entries={}))
    if table.policy is not None:
        yield _verdict_elements(table)
        for key, members in list(table.policy.sets.items()):
            yield {container_of(key).name: dict.fromkeys(members)}
    nothing = TableState(table.family)
    keys = list(table.entries)
    for start in range(0, len(keys), size):
        held = ((key, table.entries.get(key)) for key in keys[start : start + size])
        some = {key: entry for key, entry in held if entry is not None}
        yield elements(msgspec.structs.replace(nothing, entries=some))


def mark(name: str, key: Key, value: Value) -> int:
    """A number for an element of the container of this name: a set of them takes a tenth of the memory of the elements."""
    return hash((name, key, value))


def wanted(table: TableState, suspects: Suspects) -> Elements:
    """What should be at these keys; those that should not be there are left out."""
    containers = containers_of(table)
    entries = {}
    for name, keys in suspects.items():
        for key in keys:
            place = frontend_key(containers[name], key, table.family)
            if place is not None and place in table.entries:
                entries[place] = table.entries[place]
    found = elements(msgspec.structs.replace(table, entries=entries))
    if any(name in _VERDICTS for name in suspects):
        found |= _verdict_elements(table)
    if table.policy is not None:
        sets = peer_sets(table)
        found |= {name: dict.fromkeys(table.policy.sets[sets[name]]) for name in suspects if name in sets}
    return {
        name: {key: found[name][key] for key in keys if key in found[name]}
        for name, keys in suspects.items()
        if name in found
    }


def frontend_key(container: Container, key: Key, family: Family) -> FrontendKey | None:
    """The frontend that an element belongs to; None for those of none (pods, nodes), and where it names no frontend."""
    if container == SOURCE_RANGES:
        tail = key[:-1]
    else:
        group = keyed(container)
        if group is None:
            return None
        tail = key[len(key) - len(group.key) :]
    *address, protocol, port = tail
    if not isinstance(protocol, int) or protocol not in _PROTOCOLS or not isinstance(port, int):
        return None
    host = ipaddress.ip_address(address[0]) if address else None
    return FrontendKey(family, host, _PROTOCOLS[protocol], port)


def _verdict_elements(table: TableState) -> Elements:
    found = verdicts(table.policy.pods) if table.policy is not None else {}
    return {name: {} for name in _VERDICTS} | {
        container.name: dict(wanted) for container, wanted in found.items()
    }
