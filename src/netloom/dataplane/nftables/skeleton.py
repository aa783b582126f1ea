"""The chains, rules and maps of a node's table: all that does not depend on which Services there are. Pure.

In: a :class:`Layout`, what the node is in one family. Out: maps, sets and chains with their rules, in nft's words.
Not here: the elements (``compile``). The family is an argument; the rules of both read alike.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator

import msgspec

from netloom.dataplane.nftables.slots import DRAWS, EXACT_SIZES, SIZES, surely_filled
from netloom.model.inputs import NodeFacts
from netloom.program import names
from netloom.program.nft import AddRule, Chain, Container, Field, Hook
from netloom.units import Addr, Cidr, Family, family_of

SERVICES = Container(names.NFT_SERVICES, (Field.ADDRESS, Field.PROTOCOL, Field.PORT), verdicts=True)
NODE_PORTS = Container(names.NFT_NODE_PORTS, (Field.PROTOCOL, Field.PORT), verdicts=True)
ENDPOINTS = Container(
    names.NFT_ENDPOINTS,
    (Field.SLOT, Field.ADDRESS, Field.PROTOCOL, Field.PORT),
    data=(Field.ADDRESS, Field.PORT),
)
NODE_PORT_ENDPOINTS = Container(
    names.NFT_NODE_PORT_ENDPOINTS,
    (Field.SLOT, Field.PROTOCOL, Field.PORT),
    data=(Field.ADDRESS, Field.PORT),
)
HAIRPIN = Container(names.NFT_HAIRPIN, (Field.ADDRESS, Field.ADDRESS))
PEERS = Container(names.NFT_PEERS, (Field.ADDRESS,))
CONTAINERS = (SERVICES, NODE_PORTS, ENDPOINTS, NODE_PORT_ENDPOINTS, HAIRPIN, PEERS)

_DSTNAT, _SRCNAT, _FILTER = -100, 100, 0  # netfilter_ipv4.h
_LOOPBACK = {Family.V4: "127.0.0.0/8", Family.V6: "::1"}

RuledChain = tuple[Chain, tuple[AddRule, ...]]


class Layout(msgspec.Struct, frozen=True):
    """What the skeleton depends on: the node in one family. Ranges are merged and sorted."""

    family: Family
    node_address: Addr | None
    pods: tuple[Cidr, ...]
    """Pods of this node."""
    cluster: tuple[Cidr, ...]
    """All pods and all Services: what is outside is outside of the cluster."""
    services: tuple[Cidr, ...]


def families(facts: NodeFacts) -> tuple[Family, ...]:
    """The families in which this node has pods or addresses of its own."""
    has = {family_of(one) for one in (*facts.pod_cidrs, *facts.addresses)}
    return tuple(family for family in Family if family in has)


def layout(facts: NodeFacts, family: Family) -> Layout:
    """What of the facts concerns one family."""
    addresses = [address for address in facts.addresses if family_of(address) is family]
    pods = _merged(facts.pod_cidrs, family)
    services = _merged(facts.service_cidrs, family)
    cluster = _merged((*facts.cluster_cidrs, *pods, *services), family)
    return Layout(family, addresses[0] if addresses else None, pods, cluster, services)


def class_chain(size: int, *, node_port: bool, masquerade: bool = False) -> str:
    """Name of the chain that draws one of up to ``size`` endpoints."""
    return f"{'node-port' if node_port else 'balance'}-{size}{'-masquerade' if masquerade else ''}"


def class_chains(family: Family) -> tuple[RuledChain, ...]:
    """Chains that draw an endpoint. They come with their maps and are never renewed: see ``program.nft`` on nft 1.0.6."""
    return tuple(
        _chain(class_chain(size, node_port=node_port), _draws(family, size, node_port=node_port))
        for node_port in (False, True)
        for size in SIZES
    )


def edition(family: Family) -> str:
    """Name of the chain that says which maps and class chains a table has."""
    content = repr((CONTAINERS, class_chains(family))).encode()
    return names.NFT_EDITION_PREFIX + hashlib.sha256(content).hexdigest()[:12]


def regular_chains(node: Layout) -> tuple[RuledChain, ...]:
    """Chains that packets come to from others, and that can be renewed in place."""
    return (
        _chain(names.NFT_REFUSE, _refuse()),
        _chain(names.NFT_STRAY, _stray()),
        _chain(names.NFT_NODE_SOURCE, _node_source(node)),
        *(
            _chain(class_chain(size, node_port=node_port, masquerade=True), _marks(size, node_port=node_port))
            for node_port in (False, True)
            for size in SIZES
        ),
        _chain(names.NFT_DISPATCH, _dispatch(node)),
    )


def base_chains(node: Layout) -> tuple[RuledChain, ...]:
    """Chains that stand at the hooks: without them nothing of ours is in force."""
    # NAT chains see our own refusals too, as answers related to what they refuse.
    jump = [(f"ct state new jump {names.NFT_DISPATCH}", "")]
    return (
        _chain(names.NFT_PREROUTING, jump, Hook("nat", "prerouting", _DSTNAT)),
        _chain(names.NFT_OUTPUT, jump, Hook("nat", "output", _DSTNAT)),
        _chain(names.NFT_FORWARD, _forward(node), Hook("filter", "forward", _FILTER)),
        _chain(names.NFT_FILTER_OUTPUT, _filter_output(node), Hook("filter", "output", _FILTER)),
        _chain(names.NFT_POSTROUTING, _postrouting(node), Hook("nat", "postrouting", _SRCNAT)),
    )


Rule = tuple[str, str]
"""Text and comment."""


def _chain(name: str, rules: Iterable[Rule], hook: Hook | None = None) -> RuledChain:
    return Chain(name, hook), tuple(AddRule(name, text, comment) for text, comment in rules)


def _dispatch(node: Layout) -> Iterator[Rule]:
    ip = node.family.value
    yield f"{ip} daddr . meta l4proto . th dport vmap @{SERVICES.name}", ""
    if node.services:
        yield (
            f"{ip} daddr {_set(node.services)} goto {names.NFT_REFUSE}",
            "no Service has this address and port",
        )
    yield (
        f"{ip} daddr != {_LOOPBACK[node.family]} fib daddr type local"
        f" meta l4proto . th dport vmap @{NODE_PORTS.name}",
        "",
    )


def _refuse() -> Iterator[Rule]:
    # A reset for TCP: ICMP errors are limited to one a second for each peer (icmp_ratelimit), and whoever does not get his
    # waits for a timeout.
    yield "meta l4proto tcp reject with tcp reset", ""
    yield "reject", ""


def _stray() -> Iterator[Rule]:
    # A segment that conntrack cannot place is not translated; a reset for it would end a connection that is alive.
    yield "ct state invalid drop", ""
    yield f"goto {names.NFT_REFUSE}", ""


def _marks(size: int, *, node_port: bool) -> Iterator[Rule]:
    mark = f"meta mark set meta mark | {names.MASQUERADE_MARK:#x}"
    yield f"{mark} goto {class_chain(size, node_port=node_port)}", ""


def _draws(family: Family, size: int, *, node_port: bool) -> Iterator[Rule]:
    ip = family.value
    key = "meta l4proto . th dport" if node_port else f"{ip} daddr . meta l4proto . th dport"
    container = NODE_PORT_ENDPOINTS if node_port else ENDPOINTS
    draws = [size] if size <= EXACT_SIZES else [*[size] * DRAWS, surely_filled(size)]
    for slots in draws:
        yield f"dnat {ip} to numgen random mod {slots} . {key} map @{container.name}", ""


def _forward(node: Layout) -> Iterator[Rule]:
    ip = node.family.value
    if node.services:
        yield f"{ip} daddr {_set(node.services)} goto {names.NFT_STRAY}", "a Service address leaves no node"
    if node.pods:
        yield (
            f"{ip} saddr {_set(node.pods)} meta l4proto tcp ct state invalid drop",
            "untranslated, an answer of a backend would make its client reset the connection",
        )


def _filter_output(node: Layout) -> Iterator[Rule]:
    ip = node.family.value
    if node.services:
        # The cluster DNS address is an address of this node.
        yield (
            f"{ip} daddr {_set(node.services)} fib daddr type != local goto {names.NFT_STRAY}",
            "a Service address leaves no node",
        )


def _postrouting(node: Layout) -> Iterator[Rule]:
    ip = node.family.value
    mark = f"{names.MASQUERADE_MARK:#x}"
    yield (
        f"meta mark & {mark} != 0 meta mark set meta mark ^ {mark} goto {names.NFT_NODE_SOURCE}",
        "NodePort: the answer must come back here",
    )
    yield (
        f"ct status dnat {ip} saddr . {ip} daddr @{HAIRPIN.name} goto {names.NFT_NODE_SOURCE}",
        "a pod that reaches itself through a Service",
    )
    if node.pods:
        yield (
            f"{ip} saddr {_set(node.pods)} {ip} daddr != {_set(node.cluster)} {ip} daddr != @{PEERS.name}"
            " masquerade fully-random",
            "pods to the world outside",
        )


def _node_source(node: Layout) -> Iterator[Rule]:
    # `masquerade` takes an address of the interface that the packet leaves by. A pod's interface has none on this side, so
    # the kernel would take any other of the node's.
    if node.pods and node.node_address is not None:
        yield f"{node.family.value} daddr {_set(node.pods)} snat to {node.node_address} fully-random", ""
    yield "masquerade fully-random", ""


def _merged(ranges: Iterable[Cidr], family: Family) -> tuple[Cidr, ...]:
    # Overlapping ranges in one set are refused by nft.
    if family is Family.V4:
        return tuple(ipaddress.collapse_addresses(r for r in ranges if isinstance(r, ipaddress.IPv4Network)))
    return tuple(ipaddress.collapse_addresses(r for r in ranges if isinstance(r, ipaddress.IPv6Network)))


def _set(ranges: tuple[Cidr, ...]) -> str:
    return f"{{ {', '.join(map(str, ranges))} }}"
