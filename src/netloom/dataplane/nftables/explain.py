"""From a kernel object of the nftables plane back to the objects and fields that it comes from. Pure.

In: the model's state, the table's state, and the key of an element as nft or a dump shows it. Out: sources and words.
Elements carry no comments, which would double their size: the key itself says which frontend, and the slot which backend.
Rules carry their reason as a comment; they come from the node's settings, not from an object.
"""

from __future__ import annotations

import ipaddress

import msgspec

from netloom.dataplane.nftables.compile import TableState
from netloom.dataplane.nftables.skeleton import (
    ENDPOINTS,
    HAIRPIN,
    NODE_PORT_ENDPOINTS,
    NODE_PORTS,
    PEERS,
    SERVICES,
)
from netloom.model.provenance import Source
from netloom.model.services.frontends import Backend, Frontend, FrontendKey
from netloom.model.state import NetworkState
from netloom.program import names
from netloom.program.nft import Atom, Key
from netloom.units import Addr, Family, Protocol

_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}


class Explanation(msgspec.Struct, frozen=True):
    """What an element means and whose fields made it so, the most telling first."""

    text: str
    sources: tuple[Source, ...] = ()


def explain(container: str, key: Key, state: NetworkState, table: TableState) -> Explanation | None:
    """The meaning of the element with this key; None where the model has no such thing: it is drift.

    ``container`` is a map or set of the table, ``key`` its atoms as ``program.nft`` writes them.
    """
    if container == PEERS.name:
        return _explain_peer(key, state)
    if container == HAIRPIN.name:
        return _explain_hairpin(key, state)
    slot: Atom | None = None
    if container in (ENDPOINTS.name, NODE_PORT_ENDPOINTS.name):
        slot, key = key[0], key[1:]
    elif container not in (SERVICES.name, NODE_PORTS.name):
        return None
    frontend = _frontend(key, state, table.family)
    if frontend is None:
        return None
    if slot is None:
        return _explain_verdict(frontend, table)
    return _explain_slot(slot, frontend, table)


def explain_chain(name: str) -> str:
    """What a chain is for, in words; empty where it is none of ours."""
    known = {
        names.NFT_PREROUTING: "what comes to the node or from its pods: is it for a Service?",
        names.NFT_OUTPUT: "what the node itself sends: is it for a Service?",
        names.NFT_DISPATCH: "looks the destination up: Services first, then NodePorts",
        names.NFT_REFUSE: "refused at once: TCP reset, ICMP port unreachable for everything else",
        names.NFT_STRAY: "untranslated packet to a Service address, which must not leave the node",
        names.NFT_NODE_SOURCE: "the connection gets the node's address as its source",
        names.NFT_POSTROUTING: "which connections get the node's address as their source",
        names.NFT_FORWARD: "what passes through the node and must not",
        names.NFT_FILTER_OUTPUT: "what the node sends and must not",
    }
    if name in known:
        return known[name]
    parts = name.removesuffix("-masquerade").rsplit("-", 1)
    if parts[0] not in ("balance", "node-port") or not parts[-1].isdigit():
        return ""
    what = "a NodePort" if parts[0] == "node-port" else "a Service"
    source = ", and gives the node's address as source" if name.endswith("-masquerade") else ""
    return f"draws one of up to {parts[1]} endpoints of {what}{source}"


def _frontend(key: Key, state: NetworkState, family: Family) -> Frontend | None:
    *address, protocol, port = key
    if not isinstance(protocol, int) or protocol not in _PROTOCOLS or not isinstance(port, int):
        return None
    host = ipaddress.ip_address(address[0]) if address else None
    return state.frontends.get(FrontendKey(family, host, _PROTOCOLS[protocol], port))


def _explain_verdict(frontend: Frontend, table: TableState) -> Explanation:
    what = f"{frontend.key} is {frontend.service_port}"
    entry = table.entries.get(frontend.key)
    does = f": {explain_chain(entry.verdict.chain) or entry.verdict}" if entry is not None else ""
    return Explanation(what + does, (frontend.source, *(left.source for left in frontend.left_out)))


def _explain_slot(slot: Atom, frontend: Frontend, table: TableState) -> Explanation | None:
    entry = table.entries.get(frontend.key)
    if entry is None or not isinstance(slot, int) or not 0 <= slot < len(entry.slots):
        return None
    address, port = entry.slots[slot]
    backend = _backend(ipaddress.ip_address(address), port, frontend)
    if backend is None:
        return None
    share = f"1 of {len(entry.slots)} endpoints of {frontend.service_port} at {frontend.key}"
    sources = (backend.source, frontend.source) if backend.source is not None else (frontend.source,)
    return Explanation(f"{backend} is {share}", sources)


def _backend(address: Addr, port: int, frontend: Frontend) -> Backend | None:
    return next((b for b in frontend.backends if (b.address, b.port) == (address, port)), None)


def _explain_hairpin(key: Key, state: NetworkState) -> Explanation | None:
    pod = state.local_pods.get(ipaddress.ip_address(key[0]))
    if pod is None or key[0] != key[1]:
        return None
    source = Source("Pod", pod.pod.namespace, pod.pod.name, pod.uid, 0, "status.podIPs")
    text = f"Pod {pod.pod} reaches itself through a Service with the node's address as source"
    return Explanation(text, (source,))


def _explain_peer(key: Key, state: NetworkState) -> Explanation | None:
    address = ipaddress.ip_address(key[0])
    routes = [route for route in state.routes.values() if route.via == address]
    if not routes:
        return None
    text = f"{address} is Node {routes[0].node}: pods reach it with their own address"
    return Explanation(text, tuple(route.source for route in routes))
