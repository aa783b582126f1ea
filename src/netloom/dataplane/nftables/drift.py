"""What in a node's table is not as it should be, named by meaning. Pure.

In: the :class:`TableState` that the kernel should have, and what was read of it. Out: differences, the transaction that repairs
them, and :class:`Drift` values for people. Not here: reading and repairing (``audit``), what packets write (``containers.OURS``
leaves it out: that is no drift).
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from netloom.dataplane.nftables.compile import TableState, elements
from netloom.dataplane.nftables.containers import OURS, SOURCE_RANGES, keyed
from netloom.dataplane.nftables.element_ops import Elements
from netloom.dataplane.nftables.explain import explain, explain_chain
from netloom.linux.nft_dump import ChainDump, TableDump
from netloom.model.provenance import Source
from netloom.model.services.frontends import Frontend, FrontendKey
from netloom.model.state import NetworkState
from netloom.program import names
from netloom.program.nft import (
    AddElements,
    Container,
    DeleteElements,
    Element,
    Field,
    Key,
    Transaction,
    Value,
    render_element,
    render_key,
)
from netloom.units import Family, Protocol

_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}
_BY_NAME = {container.name: container for container in OURS}
_TABLE, _CHAIN = "table", "chain "
"""Places: how they read."""
_ENDPOINT = (Field.ADDRESS, Field.PORT)
"""Data of the maps that hold endpoints."""


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


Suspects = Mapping[str, Collection[Key]]
"""Keys by the name of their container."""


def parts(table: TableState, size: int) -> Iterator[TableState]:
    """The same table in pieces of ``size`` frontends, so that nobody has to look at all of it at a time.

    The table may change between two pieces, as the plane's own does.
    """
    rest = msgspec.structs.replace(table, entries={})
    yield rest
    nothing = TableState(table.family)
    keys = list(table.entries)
    for start in range(0, len(keys), size):
        held = ((key, table.entries.get(key)) for key in keys[start : start + size])
        some = {key: entry for key, entry in held if entry is not None}
        yield msgspec.structs.replace(nothing, entries=some)


def mark(name: str, key: Key, value: Value) -> int:
    """A number for an element of the container of this name: a set of them takes a tenth of the memory of the elements."""
    return hash((name, key, value))


def wanted(table: TableState, suspects: Suspects) -> Elements:
    """What should be at these keys; those that should not be there are left out."""
    entries = {}
    for name, keys in suspects.items():
        for key in keys:
            place = frontend_key(_BY_NAME[name], key, table.family)
            if place is not None and place in table.entries:
                entries[place] = table.entries[place]
    found = elements(msgspec.structs.replace(table, entries=entries))
    return {
        name: {key: found[name][key] for key in keys if key in found[name]} for name, keys in suspects.items()
    }


def differences(desired: Elements, present: Elements) -> list[Difference]:
    """What leads from what should be to what is, in the order of containers and keys."""
    found: list[Difference] = []
    for name in sorted(desired.keys() | present.keys()):
        want, have = desired.get(name, {}), present.get(name, {})
        container = _BY_NAME[name]
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


def described(one: Difference, state: NetworkState, table: TableState, node: str) -> Drift:
    """A difference in words, with the objects and fields that it comes from."""
    family = table.family
    where = frontend_key(one.container, one.key, family)
    frontend = state.frontends.get(where) if where is not None else None
    known = explain(one.container.name, one.key, state, table) if one.kind is not DriftKind.FOREIGN else None
    sources = known.sources if known is not None else (frontend.source,) if frontend is not None else ()
    if one.container.data == _ENDPOINT and frontend is not None:
        text = _endpoint_text(one, frontend, node)
    elif known is not None:
        text = f"{known.text}: this is {one.kind.value} on {node}"
    else:
        nobody = f"no field of {frontend.service_port.service}" if frontend is not None else "no object"
        text = f"{_words(one, one.present, family)} on {node} is foreign: it comes from {nobody}"
    kind = "map" if one.container.data or one.container.verdicts else "set"
    value = one.present if one.kind is DriftKind.FOREIGN else one.wanted
    return Drift(one.kind, family, f"{kind} {one.container.name}", _words(one, value, family), text, sources)


def compare_tables(desired: TableDump, present: TableDump | None, family: Family, node: str) -> list[Drift]:
    """Tables, chains, rules and declarations that are not as they should be."""

    def drift(kind: DriftKind, place: str, text: str) -> Drift:
        return Drift(kind, family, place, "", f"{text} on {node}")

    if present is None:
        table = f"{family.value} {names.NFT_TABLE}"
        return [drift(DriftKind.MISSING, _TABLE, f"table {table}, and with it every Service, is missing")]
    found: list[Drift] = []
    if desired.flags != present.flags:
        found.append(drift(DriftKind.WRONG, _TABLE, f"table {family.value} {names.NFT_TABLE} is dormant"))
    for name in sorted(desired.chains.keys() | present.chains.keys()):
        place, means = f"{_CHAIN}{name}", explain_chain(name)
        subject = f"{place} ({means})" if means else place
        if name not in present.chains:
            found.append(drift(DriftKind.MISSING, place, f"{subject} is missing"))
        elif name not in desired.chains:
            found.append(
                drift(DriftKind.FOREIGN, place, f"{subject} is none of ours and stands in our table")
            )
        elif problem := _chain_problem(desired.chains[name], present.chains[name]):
            found.append(drift(DriftKind.WRONG, place, f"{subject}: {problem}"))
    for name in sorted(desired.containers.keys() | present.containers.keys()):
        place = f"map or set {name}"
        if name not in present.containers:
            found.append(drift(DriftKind.MISSING, place, f"{place} is missing"))
        elif name not in desired.containers:
            found.append(drift(DriftKind.FOREIGN, place, f"{place} is none of ours and stands in our table"))
        elif desired.containers[name] != present.containers[name]:
            found.append(drift(DriftKind.WRONG, place, f"{place} is declared in another way"))
    return found


def is_gone(found: Iterable[Drift]) -> bool:
    """Whether the table itself is missing."""
    return any(one.place == _TABLE and one.kind is DriftKind.MISSING for one in found)


def chains_of(found: Collection[Drift]) -> frozenset[str]:
    """The chains that are not as they should be; none where anything else is wrong, too."""
    if not all(one.place.startswith(_CHAIN) for one in found):
        return frozenset()
    return frozenset(one.place.removeprefix(_CHAIN) for one in found)


def _chain_problem(desired: ChainDump, present: ChainDump) -> str:
    rules, others = desired.rules, present.rules
    if desired.hook != present.hook:
        return f"stands at {present.hook or 'no hook'} instead of {desired.hook or 'no hook'}"
    if rules == others:
        return ""
    gone, come = _surplus(rules, others), _surplus(others, rules)
    if gone and not come:
        return f"{_rules(gone)} of {len(rules)} missing"
    if come and not gone:
        return f"{_rules(come)} too many"
    return f"{_rules(gone)} changed" if gone else "the order of its rules was changed"


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


def _endpoint_text(one: Difference, frontend: Frontend, node: str) -> str:
    service = frontend.service_port.service
    at = f"at {frontend.key}"
    if one.kind is DriftKind.MISSING:
        return f"endpoint {_place(one.wanted)} of {service} is missing on {node} ({at})"
    if one.kind is DriftKind.WRONG:
        return f"endpoint {_place(one.wanted)} of {service} is replaced by {_place(one.present)} on {node} ({at})"
    return f"{_place(one.present)} on {node} is foreign: it stands among the endpoints of {service} ({at})"


def _place(value: Value) -> str:
    if not isinstance(value, tuple):
        return str(value)
    address, port = value
    host = ipaddress.ip_address(address)
    return f"[{host}]:{port!s}" if host.version == 6 else f"{host}:{port!s}"


def _words(one: Difference, value: Value, family: Family) -> str:
    if value is None:
        return render_key(family, one.container.key, one.key)
    return render_element(one.container, (one.key, value), family)
