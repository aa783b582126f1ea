"""Elements and chains that are not as they should be, in words: what they mean, and the objects and fields that they come from. Pure.

In: a difference, the model's state and the table's. Out: :class:`Drift` values, and what chains and sets of policies are for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from netloom.dataplane.nftables.compile import TableState
from netloom.dataplane.nftables.containers import POLICED, POLICY_EGRESS, POLICY_INGRESS
from netloom.dataplane.nftables.contents import frontend_key, peer_sets
from netloom.dataplane.nftables.drift import Difference, Drift, DriftKind, Meanings
from netloom.dataplane.nftables.explain import Explanation, explain
from netloom.model.policy.state import ChainKey, Endpoint, Member, PolicyState, SetKey
from netloom.model.provenance import Source
from netloom.model.services.frontends import Frontend, FrontendKind
from netloom.model.state import NetworkState
from netloom.program.nft import Field, Key, Value, render_element, render_key
from netloom.units import Family, Protocol

_ENDPOINT = (Field.ADDRESS, Field.PORT)
"""Data of the maps that hold endpoints."""
_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}
_MOST_SOURCES = 4


def described(one: Difference, state: NetworkState, table: TableState, node: str) -> Drift:
    """A difference in words, with the objects and fields that it comes from."""
    family = table.family
    where = frontend_key(one.container, one.key, family)
    frontend = state.frontends.get(where) if where is not None else None
    known = explain(one.container.name, one.key, state, table) or _policy_element(one, state.policy, table)
    if one.kind is DriftKind.FOREIGN:
        known = None
    sources = known.sources if known is not None else (frontend.source,) if frontend is not None else ()
    peers = peer_sets(table).get(one.container.name)
    if one.container.data == _ENDPOINT and frontend is not None:
        text = _endpoint_text(one, frontend, node)
    elif known is not None:
        text = f"{known.text}: this is {one.kind.value} on {node}"
    elif peers is not None:
        text = f"{_words(one, None, family)} on {node} is foreign: it stands among {peers}"
        sources = _rules_of(peers, state.policy)
    else:
        nobody = f"no field of {_whose(frontend)}" if frontend is not None else "no object"
        text = f"{_words(one, one.present, family)} on {node} is foreign: it comes from {nobody}"
    kind = "map" if one.container.data or one.container.verdicts else "set"
    value = one.present if one.kind is DriftKind.FOREIGN else one.wanted
    return Drift(one.kind, family, f"{kind} {one.container.name}", _words(one, value, family), text, sources)


def meanings(state: NetworkState, table: TableState) -> Meanings:
    """What the chains and sets are for that there are because of policies, by name."""
    if table.policy is None:
        return {}
    found: dict[str, tuple[str, tuple[Source, ...]]] = {}
    for key, program in table.policy.programs.items():
        for name, _ in program.chains:
            found[name] = str(key), _policies(key)
    for name, peers in peer_sets(table).items():
        found[name] = f"peers: {peers}", _rules_of(peers, state.policy)
    return found


def _policy_element(one: Difference, state: PolicyState, table: TableState) -> Explanation | None:
    """Which pod is under which policies, or who is a peer of whose rules."""
    name = one.container.name
    if name == POLICED.name:
        pod = state.pods.get(ipaddress.ip_address(one.key[0]))
        keys = [] if pod is None else [key for key in (pod.ingress, pod.egress) if key is not None]
        return None if pod is None else Explanation(f"Pod {pod.pod} is under policies", _policies(keys[0]))
    if name in (POLICY_INGRESS.name, POLICY_EGRESS.name):
        pod = state.pods.get(ipaddress.ip_address(one.key[0]))
        key = None if pod is None else pod.ingress if name == POLICY_INGRESS.name else pod.egress
        if pod is None or key is None:
            return None
        return Explanation(
            f"Pod {pod.pod} ({ipaddress.ip_address(one.key[0])}) is under {key}", _policies(key)
        )
    peers = peer_sets(table).get(name)
    if peers is None:
        return None
    member = _member(one.key, table.family)
    who = state.sets.get(peers, {}).get(member) if member is not None else None
    of = f" ({who})" if who is not None and who.name else ""
    words = render_key(table.family, one.container.key, one.key)
    return Explanation(f"{words}{of} is one of {peers}", _rules_of(peers, state))


def _policies(key: ChainKey) -> tuple[Source, ...]:
    return tuple(Source(ref.kind, ref.namespace, ref.name) for ref in key.policies[:_MOST_SOURCES])


def _rules_of(peers: SetKey, state: PolicyState) -> tuple[Source, ...]:
    """The first rules that look into a set."""

    def sources() -> Iterator[Source]:
        for chain in state.chains.values():
            yield from (rule.source for rule in chain.rules if rule.peers == peers or peers in rule.endpoints)

    found = dict.fromkeys(sources())
    return tuple(found)[:_MOST_SOURCES]


def _member(key: Key, family: Family) -> Member | None:
    address, *rest = key
    if not isinstance(address, bytes):
        return None
    size = family.bits // 8
    if len(address) == 2 * size:
        return None  # a range comes from no object
    host = ipaddress.ip_address(address)
    if not rest:
        return host
    protocol, port = rest
    if not isinstance(protocol, int) or not isinstance(port, int) or protocol not in _PROTOCOLS:
        return None
    return Endpoint(host, _PROTOCOLS[protocol], port)


def _endpoint_text(one: Difference, frontend: Frontend, node: str) -> str:
    service = _whose(frontend)
    at = f"at {frontend.key}"
    if one.kind is DriftKind.MISSING:
        return f"endpoint {_place(one.wanted)} of {service} is missing on {node} ({at})"
    if one.kind is DriftKind.WRONG:
        return f"endpoint {_place(one.wanted)} of {service} is replaced by {_place(one.present)} on {node} ({at})"
    return f"{_place(one.present)} on {node} is foreign: it stands among the endpoints of {service} ({at})"


def _whose(frontend: Frontend) -> str:
    if frontend.kind is FrontendKind.HOST_PORT:
        return frontend.source.subject
    return str(frontend.service_port.service)


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
