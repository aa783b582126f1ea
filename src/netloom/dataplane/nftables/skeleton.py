"""The chains, rules and maps of a node's table: all that does not depend on which Services there are. Pure.

In: a :class:`Layout`, what the node is in one family. Out: maps, sets and chains with their rules, in nft's words.
Not here: the elements (``compile``). The family is an argument; the rules of both read alike.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netloom.dataplane.nftables import labels
from netloom.dataplane.nftables.classes import (
    Rule,
    RuledChain,
    chain,
    class_chain,
    class_chains,
    class_labels,
    drawing_chains,
)
from netloom.dataplane.nftables.containers import (
    CONTAINERS,
    HAIRPIN,
    KEYED,
    NODE_PORT,
    OWN_POD_RANGES,
    OWN_SOURCE,
    PEERS,
    POD_RANGES,
    POLICED,
    POLICY_EGRESS,
    POLICY_INGRESS,
    SERVICE,
    SOURCE_RANGES,
    Keyed,
)
from netloom.model.inputs import NodeFacts
from netloom.program import names
from netloom.program.nft import Hook
from netloom.units import Addr, Cidr, Family, family_of

_RAW, _DSTNAT, _SRCNAT, _FILTER = -300, -100, 100, 0  # netfilter_ipv4.h
_LOOPBACK = {Family.V4: "127.0.0.0/8", Family.V6: "::1"}


class Layout(msgspec.Struct, frozen=True):
    """What the skeleton depends on: the node in one family. Ranges are merged and sorted."""

    family: Family
    node_address: Addr | None
    pods: tuple[Cidr, ...]
    """Pods of this node."""
    cluster: tuple[Cidr, ...]
    """All pods and all Services: what is outside is outside of the cluster."""
    services: tuple[Cidr, ...]
    node_ports: tuple[Cidr, ...] | None = None
    """Where NodePorts are served, of the node's addresses; None: at all but loopback."""
    masquerade: bool = True
    """Whether what pods send out of the cluster gets the node's address."""
    no_masquerade: tuple[tuple[str, Cidr], ...] = ()
    """Where it does not: setting and range."""


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
    node_ports = None if facts.node_port_cidrs is None else _merged(facts.node_port_cidrs, family)
    exceptions = enumerate(facts.egress.no_masquerade)
    return Layout(
        family,
        addresses[0] if addresses else None,
        pods,
        cluster,
        services,
        node_ports,
        facts.egress.masquerade,
        tuple((f"no_masquerade[{i}]", cidr) for i, cidr in exceptions if family_of(cidr) is family),
    )


def edition(family: Family) -> str:
    """Name of the chain that says which maps and class chains a table has."""
    content = repr((CONTAINERS, class_chains(family))).encode()
    return names.NFT_EDITION_PREFIX + hashlib.sha256(content).hexdigest()[:12]


def regular_chains(node: Layout) -> tuple[RuledChain, ...]:
    """Chains that packets come to from others, and that can be renewed in place."""
    by_key = [
        ruled
        for group in KEYED
        for ruled in (
            chain(group.prefix + names.NFT_FOREIGN, _foreign(node, group)),
            chain(group.prefix + names.NFT_BY_SOURCE, _by_source(node, group)),
        )
    ]
    return (
        *drawing_chains(node.family),
        chain(names.NFT_REFUSE, _refuse()),
        chain(names.NFT_STRAY, _stray()),
        chain(names.NFT_NODE_SOURCE, _node_source(node)),
        chain(names.NFT_LEAVING, _leaving(node)),
        *by_key,
        chain(names.NFT_ADMISSION, _admission(node)),
        chain(names.NFT_HOST_PORT, _host_port(node)),
        chain(names.NFT_POLICIES, _policies(node)),
        chain(names.NFT_DISPATCH, _dispatch(node)),
    )


def base_chains(node: Layout) -> tuple[RuledChain, ...]:
    """Chains that stand at the hooks: without them nothing of ours is in force."""
    # NAT chains see our own refusals too, as answers related to what they refuse.
    jump = [(f"ct state new jump {names.NFT_DISPATCH}", "")]
    return (
        chain(names.NFT_PREROUTING, jump, Hook("nat", "prerouting", _DSTNAT)),
        chain(names.NFT_OUTPUT, jump, Hook("nat", "output", _DSTNAT)),
        chain(names.NFT_SPOOFED, _spoofed(node), Hook("filter", "prerouting", _RAW)),
        chain(names.NFT_INPUT, _input(node), Hook("filter", "input", _FILTER)),
        chain(names.NFT_FORWARD, _forward(node), Hook("filter", "forward", _FILTER)),
        chain(names.NFT_FILTER_OUTPUT, _filter_output(node), Hook("filter", "output", _FILTER)),
        chain(names.NFT_POSTROUTING, _postrouting(node), Hook("nat", "postrouting", _SRCNAT)),
    )


def _dispatch(node: Layout) -> Iterator[Rule]:
    ip = node.family.value
    yield f"{_labelled(node, SERVICE)} vmap {_vmap(SERVICE, _first(SERVICE))}", ""
    if node.services:
        yield (
            f"{ip} daddr {_set(node.services)} goto {names.NFT_REFUSE}",
            "no Service has this address and port",
        )
    if node.node_ports == ():
        return
    where = f"{ip} daddr != {_LOOPBACK[node.family]} fib daddr type local"
    if node.node_ports is not None:
        where += f" {ip} daddr {_set(node.node_ports)}"
    yield f"{where} {_labelled(node, NODE_PORT)} vmap {_vmap(NODE_PORT, _first(NODE_PORT))}", ""


def _labelled(node: Layout, group: Keyed, stage: int = 0) -> str:
    """Look a label up: the first, or the one of a stage."""
    key = group.expression(node.family)
    if not stage:
        return f"meta priority set {key} map @{group.labels.name} meta priority"
    return (
        f"meta priority set {labels.text(stage)}"
        f" meta priority set meta priority . {key} map @{group.stages.name} meta priority"
    )


def _vmap(group: Keyed, goals: Mapping[int, str]) -> str:
    return "{ " + ", ".join(f"{labels.text(label)} : {goals[label]}" for label in sorted(goals)) + " }"


_REFUSED = {labels.REFUSE: f"goto {names.NFT_REFUSE}", labels.DROP: "drop"}


def _classes(group: Keyed, pool: int) -> dict[int, str]:
    """The classes of a pool: ``labels.OUTSIDE``, or 0 for that of everybody or inside."""
    found = (label for label in class_labels() if label & labels.OUTSIDE == pool)
    return {label: f"goto {class_chain(group, label)}" for label in found}


def _admitted(group: Keyed) -> dict[int, str]:
    """The labels of those who are let in."""
    plain = _classes(group, 0)
    foreign = {label | labels.FOREIGN: f"goto {group.prefix}{names.NFT_FOREIGN}" for label in plain}
    by_source = {labels.BY_SOURCE: f"goto {group.prefix}{names.NFT_BY_SOURCE}"}
    return plain | foreign | by_source | _REFUSED


def _first(group: Keyed) -> dict[int, str]:
    """All labels that a frontend can have."""
    found = _admitted(group) | {labels.UNTRANSLATED: "accept"}
    if group is NODE_PORT:
        return found
    return found | {
        labels.ADMISSION: f"goto {names.NFT_ADMISSION}",
        labels.LOCAL | _ONE: f"goto {names.NFT_HOST_PORT}",
    }


_ONE = 1
"""The class of host ports: each has one backend."""


def _mark() -> str:
    return f"meta mark set meta mark | {names.MASQUERADE_MARK:#x}"


def _foreign(node: Layout, group: Keyed) -> Iterator[Rule]:
    # What a pod of this node sends comes back here anyway.
    ip = node.family.value
    strangers = f"{ip} saddr != {_set(node.pods)} " if node.pods else ""
    yield f"{strangers}{ip} saddr != @{OWN_POD_RANGES.name} {_mark()}", ""
    yield f"meta priority & {labels.FOREIGN - 1:#x} vmap {_vmap(group, _classes(group, 0))}", ""


def _by_source(node: Layout, group: Keyed) -> Iterator[Rule]:
    ip = node.family.value
    inside = (
        f"{_labelled(node, group, labels.INSIDE_STAGE)} vmap {_vmap(group, _classes(group, 0) | _REFUSED)}"
    )
    if node.pods:
        yield f"{ip} saddr {_set(node.pods)} {inside}", "pods of this node"
    yield f"{ip} saddr @{OWN_POD_RANGES.name} {inside}", "pods of this node with an address of a pool"
    yield f"fib saddr type local {_mark()} {inside}", "the node itself"
    outside = _classes(group, labels.OUTSIDE) | _REFUSED
    yield f"{_labelled(node, group, labels.OUTSIDE_STAGE)} vmap {_vmap(group, outside)}", ""


def _admission(node: Layout) -> Iterator[Rule]:
    ip, key = node.family.value, SERVICE.expression(node.family)
    admitted = f"{_labelled(node, SERVICE, labels.ADMITTED_STAGE)} vmap {_vmap(SERVICE, _admitted(SERVICE))}"
    yield f"{key} . {ip} saddr @{SOURCE_RANGES.name} {admitted}", ""
    yield "drop", "not in loadBalancerSourceRanges"


def _host_port(node: Layout) -> Iterator[Rule]:
    # whoever may write a hostIP must not get the traffic of an address that is somebody else's
    yield f"fib daddr type local goto {class_chain(SERVICE, _ONE)}", "hostIP is an address of this node"
    yield "meta priority set none", "it is none: not for us"


def _refuse() -> Iterator[Rule]:
    # A reset for TCP: ICMP errors are limited to one a second for each peer (icmp_ratelimit), and whoever does not get his
    # waits for a timeout.
    yield "meta l4proto tcp reject with tcp reset", ""
    yield "reject", ""


def _stray() -> Iterator[Rule]:
    # A segment that conntrack cannot place is not translated; a reset for it would end a connection that is alive.
    yield "ct state invalid drop", ""
    yield f"goto {names.NFT_REFUSE}", ""


def _forward(node: Layout) -> Iterator[Rule]:
    ip = node.family.value
    # Most packets: nothing below is about a connection that was let through before (policies say the same of it). Each rule
    # that such a packet need not meet is half a percent of requests between pods.
    yield (
        "ct state established,related accept",
        "what its first packet was allowed holds for all of a connection",
    )
    if node.services:
        yield f"{ip} daddr {_set(node.services)} goto {names.NFT_STRAY}", "a Service address leaves no node"
    yield from _unplaced(node)
    yield f"jump {names.NFT_POLICIES}", ""


def _spoofed(node: Layout) -> Iterator[Rule]:
    # the route back to a pod's address leads to its own interface
    pods = f'iifname "{names.POD_LINK_PREFIX}*"'
    free = ""
    if node.family is Family.V6:
        # what asks for a neighbour, or joins a group, has a link-local source or none; nothing else may
        free = " ip6 saddr != { ::, fe80::/10 }"
        link_local = f"{pods} ip6 saddr {{ ::, fe80::/10 }}"
        yield f"{link_local} meta l4proto != ipv6-icmp counter drop", "no policy knows a link-local address"
        yield (
            f"{link_local} icmpv6 type != {{ {', '.join(_NEIGHBOURS)} }} counter drop",
            "a pod is no router, and there is none to ask for",
        )
    yield f"{pods}{free} fib saddr . iif oif missing counter drop", "a pod sends with its own address only"


_NEIGHBOURS = (
    "nd-neighbor-solicit",
    "nd-neighbor-advert",
    "mld-listener-report",
    "mld-listener-done",
    "mld2-listener-report",
)


def _unplaced(node: Layout) -> Iterator[Rule]:
    """Answers of pods, of this node or others, that conntrack cannot place: nobody would translate them back."""
    if node.cluster:
        yield (
            f"{node.family.value} saddr {_set(node.cluster)} meta l4proto tcp ct state invalid drop",
            "untranslated, an answer of a backend would make its client reset the connection",
        )
    yield (
        f"{node.family.value} saddr @{POD_RANGES.name} meta l4proto tcp ct state invalid drop",
        "the same, of pods with an address of a pool",
    )


def _input(node: Layout) -> Iterator[Rule]:
    yield from _unplaced(node)
    yield f"jump {names.NFT_POLICIES}", "what pods send to the node itself"


def _policies(node: Layout) -> Iterator[Rule]:
    ip = node.family.value
    yield (
        "ct state established,related return",
        "what its first packet was allowed holds for all of a connection",
    )
    # of a connection that was cut, the server's next segment would else begin one the other way round
    for side in ("saddr", "daddr"):
        yield (
            f"{ip} {side} @{POLICED.name} tcp flags & (fin | syn | rst | ack) != syn counter drop",
            "no connection of a pod under policies begins in its middle",
        )
    yield f"{ip} saddr vmap @{POLICY_EGRESS.name}", ""
    yield f"{ip} daddr vmap @{POLICY_INGRESS.name}", ""


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
    yield "ct status dnat meta priority set none", "the label was ours"
    yield (
        f"meta mark & {mark} != 0 meta mark set meta mark ^ {mark} goto {names.NFT_NODE_SOURCE}",
        "NodePort: the answer must come back here",
    )
    yield (
        f"ct status dnat {ip} saddr . {ip} daddr @{HAIRPIN.name} goto {names.NFT_NODE_SOURCE}",
        "a pod that reaches itself through a Service",
    )
    if node.services and node.node_address is not None:
        own = (*node.pods, ipaddress.ip_network(node.node_address))
        yield (
            f"ct status dnat ct original {ip} daddr {_set(node.services)} {ip} saddr != {_set(own)}"
            f" {ip} saddr != @{OWN_POD_RANGES.name} goto {names.NFT_NODE_SOURCE}",
            "a ClusterIP asked for from elsewhere: the answer must come back here",
        )
    for whose in (_set(node.pods) if node.pods else "", f"@{OWN_POD_RANGES.name}"):
        if whose and node.masquerade:
            away = f"{ip} daddr != {_set(node.cluster)} " if node.cluster else ""
            yield f"{ip} saddr {whose} {away}goto {names.NFT_LEAVING}", "pods to the world outside"


def _leaving(node: Layout) -> Iterator[Rule]:
    # in the order of model.egress.leaving
    ip = node.family.value
    yield f'oifname "{names.EGRESS_LINK}" return', "by the address of another node, which that one gives"
    yield f"{ip} daddr @{POD_RANGES.name} return", "pods with an address of a pool"
    yield f"{ip} daddr @{PEERS.name} return", "nodes that have a way back to pods"
    for setting, cidr in node.no_masquerade:
        yield f"{ip} daddr {cidr} return", setting
    yield f"{ip} saddr @{OWN_SOURCE.name} return", "annotation netloom.io/masquerade"
    # ports are drawn anew for each connection: in order, an outsider could guess those of others, and several nodes' pods that
    # use the same ones would meet
    yield "masquerade fully-random", ""


def _node_source(node: Layout) -> Iterator[Rule]:
    # `masquerade` takes an address of the interface that the packet leaves by. A pod's interface has none on this side, so
    # the kernel would take any other of the node's.
    if node.pods and node.node_address is not None:
        yield f"{node.family.value} daddr {_set(node.pods)} snat to {node.node_address} fully-random", ""
    if node.node_address is not None:
        own = f"{node.family.value} daddr @{OWN_POD_RANGES.name}"
        yield f"{own} snat to {node.node_address} fully-random", ""
    yield "masquerade fully-random", ""


def _merged(ranges: Iterable[Cidr], family: Family) -> tuple[Cidr, ...]:
    # Overlapping ranges in one set are refused by nft.
    if family is Family.V4:
        return tuple(ipaddress.collapse_addresses(r for r in ranges if isinstance(r, ipaddress.IPv4Network)))
    return tuple(ipaddress.collapse_addresses(r for r in ranges if isinstance(r, ipaddress.IPv6Network)))


def _set(ranges: tuple[Cidr, ...]) -> str:
    return f"{{ {', '.join(map(str, ranges))} }}"
