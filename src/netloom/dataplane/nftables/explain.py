"""From a kernel object of the nftables plane back to the objects and fields that it comes from. Pure.

In: the model's state, the table's state, and the key of an element as nft or a dump shows it. Out: sources and words.
Elements carry no comments, which would double their size: the key itself says which frontend, and the slot which backend.
Rules carry their reason as a comment; they come from the node's settings, not from an object.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Mapping

import msgspec

from netloom.dataplane.nftables import labels
from netloom.dataplane.nftables.classes import class_chain, class_labels
from netloom.dataplane.nftables.compile import TableState
from netloom.dataplane.nftables.containers import (
    HAIRPIN,
    KEYED,
    OWN_POD_RANGES,
    OWN_SOURCE,
    PEERS,
    POD_RANGES,
    SOURCE_RANGES,
    Keyed,
)
from netloom.dataplane.nftables.entries import Entry, numbers_of
from netloom.dataplane.nftables.slots import Target
from netloom.model.provenance import Source
from netloom.model.services.frontends import Backend, Frontend, FrontendKey, FrontendKind
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
    if (place := _PLACES.get(container)) is not None:
        return place(key, state)
    if container == SOURCE_RANGES.name:
        return _explain_range(key, state, table)
    for group in KEYED:
        kind = next((one for one in group.containers if one.name == container), None)
        if kind is None:
            continue
        extra = len(kind.key) - len(group.key)
        frontend = _frontend(key[extra:], state, table.family)
        if frontend is None:
            return None
        return _explain_of(frontend, group, container, key[0] if extra else None, table)
    return None


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
        names.NFT_LEAVING: "what of a pod leaves the cluster gets the node's address, unless something says otherwise",
        names.NFT_FORWARD: "what passes through the node and must not",
        names.NFT_FILTER_OUTPUT: "what the node sends and must not",
        names.NFT_SPOOFED: "drops what a pod sends with an address that is not its own",
        names.NFT_INPUT: "what comes to the node itself: may its sender send that?",
        names.NFT_POLICIES: "asks the policies of the sender, then those of the receiver, for new connections",
        names.NFT_ADMISSION: "lets in only whom loadBalancerSourceRanges names",
        names.NFT_HOST_PORT: "sends to the pod of a hostPort, where its hostIP is an address of this node",
    }
    if name in known:
        return known[name]
    what = "a NodePort" if name.startswith(names.NFT_NODE_PORT_PREFIX) else "a Service"
    name = name.removeprefix(names.NFT_NODE_PORT_PREFIX)
    by_name = {
        names.NFT_FOREIGN: f"a client of {what} that is no pod of this node gets the node's address as its source",
        names.NFT_BY_SOURCE: f"asks whether a client of {what} is inside or outside",
        names.NFT_SEND: f"sends a client of {what} to the endpoint that was found for it",
    }
    if name in by_name:
        return by_name[name]
    kind, _, number = name.rpartition("-")
    if not number.isdecimal():
        return ""
    if kind == names.NFT_HOLD_PREFIX.rstrip("-"):
        return f"remembers the endpoint of a client of {what} for {number} s"
    if name not in _CLASSES:
        return ""
    whose = ", for clients outside" if kind.startswith("outside-") else ""
    stays = ", and stays with it" if kind.endswith("affinity") else ""
    return f"draws one of up to {number} endpoints of {what}{whose}{stays}"


_CLASSES = frozenset(class_chain(KEYED[0], label) for label in class_labels())


def explain_label(label: int, group: Keyed) -> str:
    """What becomes of packets with a label, in words."""
    ends = {
        labels.REFUSE: explain_chain(names.NFT_REFUSE),
        labels.DROP: "dropped: no endpoint that the traffic policy allows is on this node",
        labels.UNTRANSLATED: "a server of this node answers at the address itself",
        labels.BY_SOURCE: explain_chain(group.prefix + names.NFT_BY_SOURCE),
        labels.ADMISSION: explain_chain(names.NFT_ADMISSION),
        labels.LOCAL | 1: explain_chain(names.NFT_HOST_PORT),
    }
    if label in ends:
        return ends[label]
    source = ", and gives the node's address as source" if label & labels.FOREIGN else ""
    return explain_chain(class_chain(group, label)) + source


def _frontend(key: Key, state: NetworkState, family: Family) -> Frontend | None:
    *address, protocol, port = key
    if not isinstance(protocol, int) or protocol not in _PROTOCOLS or not isinstance(port, int):
        return None
    host = ipaddress.ip_address(address[0]) if address else None
    return state.frontends.get(FrontendKey(family, host, _PROTOCOLS[protocol], port))


def _explain_of(
    frontend: Frontend, group: Keyed, container: str, first: Atom | None, table: TableState
) -> Explanation | None:
    """An element of a frontend; ``first`` is what stands before the frontend in its key."""
    entry = table.entries.get(frontend.key)
    if entry is None:
        return None
    text = _text_of_labels(entry, group, container, first)
    if text:
        sources = (frontend.source, *(left.source for left in frontend.left_out))
        return Explanation(f"{frontend.key} is {frontend.owner}{text}", sources)
    if not isinstance(first, int):
        return None
    for slots, salt in ((entry.slots, 0), (entry.outside, labels.OUTSIDE_SLOTS)):
        found = _target_of(container, group, first, slots, salt)
        if found is not None:
            return _explain_target(found, len(slots), frontend)
    return None


_WHOSE = {
    labels.INSIDE_STAGE: "for clients inside",
    labels.OUTSIDE_STAGE: "for clients outside",
    labels.ADMITTED_STAGE: "for those who are let in",
}


def _text_of_labels(entry: Entry, group: Keyed, container: str, first: Atom | None) -> str:
    """Of elements that say where packets of a frontend go; empty for others."""
    if container == group.labels.name:
        return f": {explain_label(entry.label, group)}"
    if container == group.holds.name and entry.affinity_s:
        return f": clients stay with their endpoint for {entry.affinity_s} s"
    label = next((label for stage, label in entry.stages if stage == first), None)
    if container != group.stages.name or label is None or not isinstance(first, int):
        return ""
    return f", {_WHOSE[first]}: {explain_label(label, group)}"


def _target_of(
    container: str, group: Keyed, first: int, slots: tuple[Target, ...], salt: int
) -> Target | None:
    if container == group.targets.name:
        numbers = numbers_of(slots, salt=salt)
        return next((target for target, number in numbers.items() if number == first), None)
    return slots[first - salt] if 0 <= first - salt < len(slots) else None


def _explain_target(target: Target, count: int, frontend: Frontend) -> Explanation | None:
    backend = _backend(ipaddress.ip_address(target[0]), target[1], frontend)
    if backend is None:
        return None
    share = f"1 of {count} endpoints of {frontend.owner} at {frontend.key}"
    if frontend.kind is FrontendKind.HOST_PORT:
        share = f"the pod behind {frontend.owner} at {frontend.key}"
    sources = (backend.source, frontend.source) if backend.source is not None else (frontend.source,)
    return Explanation(f"{backend} is {share}", sources)


def _explain_range(key: Key, state: NetworkState, table: TableState) -> Explanation | None:
    frontend = _frontend(key[:-1], state, table.family)
    ends = key[-1]
    if frontend is None or frontend.source_ranges is None or not isinstance(ends, bytes):
        return None
    half = len(ends) // 2
    first, last = (ipaddress.ip_address(end) for end in (ends[:half], ends[half:]))
    entry = table.entries.get(frontend.key)
    cidrs = entry.source_ranges if entry is not None else ()
    cidr = next((c for c in cidrs if (c[0], c[-1]) == (first, last)), None)
    if cidr is None:
        return None
    source = frontend.source.at("spec.loadBalancerSourceRanges")
    return Explanation(f"{cidr} is let in at {frontend.key} of {frontend.service_port}", (source,))


def _backend(address: Addr, port: int, frontend: Frontend) -> Backend | None:
    inside = frontend.inside.backends if frontend.inside is not None else ()
    found = (b for b in (*frontend.backends, *inside) if (b.address, b.port) == (address, port))
    return next(found, None)


def _explain_hairpin(key: Key, state: NetworkState) -> Explanation | None:
    pod = state.local_pods.get(ipaddress.ip_address(key[0]))
    if pod is None or key[0] != key[1]:
        return None
    source = Source("Pod", pod.pod.namespace, pod.pod.name, pod.uid, 0, "status.podIPs")
    text = f"Pod {pod.pod} reaches itself through a Service with the node's address as source"
    return Explanation(text, (source,))


def _explain_own_source(key: Key, state: NetworkState) -> Explanation | None:
    pod = state.local_pods.get(ipaddress.ip_address(key[0]))
    if pod is None or pod.keeps_source is None:
        return None
    return Explanation(f"Pod {pod.pod} leaves the cluster with its own address", (pod.keeps_source,))


def _explain_pod_range(key: Key, state: NetworkState, *, is_own: bool = False) -> Explanation | None:
    (ends,) = key
    if not isinstance(ends, bytes):
        return None
    first = ipaddress.ip_address(ends[: len(ends) // 2])
    last = ipaddress.ip_address(ends[len(ends) // 2 :])
    if not any(first in cidr and (one.is_own or not is_own) for cidr, one in state.ranges.items()):
        return None
    whose = "pods of this node" if is_own else "pods"
    return Explanation(f"{first} to {last} are addresses of {whose}, of a pool")


def _explain_peer(key: Key, state: NetworkState) -> Explanation | None:
    address = ipaddress.ip_address(key[0])
    routes = [route for route in state.routes.values() if route.is_plain and route.via == address]
    if not routes:
        return None
    text = f"{address} is Node {routes[0].node}: pods reach it with their own address"
    return Explanation(text, tuple(route.source for route in routes))


_PLACES: Mapping[str, Callable[[Key, NetworkState], Explanation | None]] = {
    PEERS.name: _explain_peer,
    HAIRPIN.name: _explain_hairpin,
    OWN_SOURCE.name: _explain_own_source,
    POD_RANGES.name: _explain_pod_range,
    OWN_POD_RANGES.name: functools.partial(_explain_pod_range, is_own=True),
}
"""Of the sets that have nothing to do with frontends."""
