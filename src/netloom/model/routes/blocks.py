"""Addresses of pods outside of the nodes' own ranges: routes to other nodes' blocks, and which ranges are pods' at all.

Comes in: IPPools, IPBlocks, Nodes, what this node is. Goes out: routes, ranges and Findings. A block that lies in another range wins
there: it is the narrower one. This is the definition; ``block_changes.py`` follows changes. Not here: claiming blocks (agent).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network

import msgspec

from netloom.api.pools import IPBlock, IPPool
from netloom.model.addresses.blocks import GRANTED, Block, read_block
from netloom.model.addresses.pools import read_pools
from netloom.model.addresses.ranges import is_within, overlap
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding
from netloom.model.routes.peers import NodeRanges, route_to
from netloom.model.state import PeerRoute, PodRange
from netloom.units import Cidr


class BlockBuild(msgspec.Struct, frozen=True):
    """What pools and blocks mean for one node."""

    routes: Mapping[Cidr, PeerRoute] = {}
    ranges: Mapping[Cidr, PodRange] = {}
    findings: tuple[Finding, ...] = ()


def build_blocks(
    pools: Iterable[IPPool], blocks: Iterable[IPBlock], nodes: Iterable[NodeRanges], facts: NodeFacts
) -> BlockBuild:
    """Routes to blocks of other nodes, and the ranges of pods besides the nodes' own: this node's blocks, and the pools."""
    by_name = {node.subject.name: node for node in nodes}
    read, findings = _read(blocks)
    whole, pool_findings = pool_ranges(pools, by_name, facts)
    findings += pool_findings
    holders = Holders()
    for node in by_name.values():
        holders.add_node(node)
    for block in read:
        holders.add_block(block)
    routes: dict[Cidr, PeerRoute] = {}
    for block in read:
        route = route_of(block, by_name.get(block.node), holders, facts)
        if isinstance(route, Finding):
            findings.append(route)
        elif route is not None:
            routes[block.cidr] = route
    own = own_ranges(
        [b.cidr for b in read if b.node == facts.name],
        [b.cidr for b in read if b.node != facts.name and b.is_single and holders.let_go(b)],
    )
    outside = (b.cidr for b in read if b.node != facts.name and is_outside(b.cidr, whole))
    return BlockBuild(routes, merged_ranges(whole, outside, own), tuple(findings))


def pool_ranges(
    pools: Iterable[IPPool], nodes: Mapping[str, NodeRanges], facts: NodeFacts
) -> tuple[list[Cidr], list[Finding]]:
    """All ranges of pools, and what is wrong with them."""
    read, found = read_pools(pools, dict.fromkeys(facts.service_cidrs, "the range of Services"))
    findings = list(found)
    ranges: list[Cidr] = []
    for pool in read.values():
        for number, cidr in enumerate(pool.cidrs):
            ranges.append(cidr)
            whose = _node_range(cidr, nodes, facts)
            if whose:
                problem = f"{cidr} overlaps with {whose}: blocks are taken only where no node has its range"
                field = pool.subject.at(f"spec.cidrs[{number}]")
                findings.append(Finding(field, problem, "keep pools and the nodes' ranges apart"))
    return ranges, findings


def route_of(
    block: Block, node: NodeRanges | None, holders: Holders, facts: NodeFacts
) -> PeerRoute | Finding | None:
    """The route to a block of another node; None where there is none yet, or none is needed."""
    if block.node == facts.name or node is None or block.cidr in facts.pod_cidrs or not holders.let_go(block):
        return None
    return route_to(block.cidr, node, block.source, facts)


def own_ranges(own: Iterable[Cidr], away: Iterable[Cidr]) -> list[Cidr]:
    """This node's blocks without single addresses that other nodes have of them."""
    singles = list(away)
    return [part for cidr in own for part in _without(cidr, singles)]


def is_outside(cidr: Cidr, pools: Iterable[Cidr]) -> bool:
    """Whether a block is of no pool that there is."""
    return not any(is_within(cidr, whole) for whole in pools)


def merged_ranges(
    pools: Iterable[Cidr], outside: Iterable[Cidr], own: Iterable[Cidr]
) -> dict[Cidr, PodRange]:
    """All of them; what is this node's counts as its own."""
    ranges = {cidr: PodRange(cidr, False) for cidr in (*pools, *outside)}
    ranges.update((cidr, PodRange(cidr, True)) for cidr in own)
    return ranges


class Holders:
    """Who has the ranges around a single address: they have to let it go before anybody is sent elsewhere for it."""

    def __init__(self) -> None:
        self._of: dict[Cidr, list[str]] = {}
        self._lengths: Counter[tuple[int, int]] = Counter()

    def add_node(self, node: NodeRanges) -> None:
        """A node and its ``spec.podCIDRs``."""
        for _, cidr in node.cidrs:
            self._add(cidr, node.subject.name)

    def remove_node(self, node: NodeRanges) -> None:
        """It is gone, or another now."""
        for _, cidr in node.cidrs:
            self._remove(cidr, node.subject.name)

    def add_block(self, block: Block) -> None:
        """A block; those of one address have nothing around them."""
        if not block.is_single:
            self._add(block.cidr, block.node)

    def remove_block(self, block: Block) -> None:
        """It is gone, or another now."""
        if not block.is_single:
            self._remove(block.cidr, block.node)

    def let_go(self, block: Block) -> bool:
        """Whether a block is its node's alone."""
        if not block.is_single:
            return True
        for version, length in self._lengths:
            if version != block.cidr.version or length >= block.cidr.prefixlen:
                continue
            for holder in self._of.get(block.cidr.supernet(new_prefix=length), ()):
                if holder != block.node and block.grants.get(holder) != GRANTED:
                    return False
        return True

    def _add(self, cidr: Cidr, holder: str) -> None:
        self._of.setdefault(cidr, []).append(holder)
        self._lengths[cidr.version, cidr.prefixlen] += 1

    def _remove(self, cidr: Cidr, holder: str) -> None:
        held = self._of[cidr]
        held.remove(holder)
        if not held:
            del self._of[cidr]
        key = (cidr.version, cidr.prefixlen)
        self._lengths[key] -= 1
        if not self._lengths[key]:
            del self._lengths[key]


def _read(blocks: Iterable[IPBlock]) -> tuple[list[Block], list[Finding]]:
    read: list[Block] = []
    findings: list[Finding] = []
    for block in blocks:
        found = read_block(block)
        if isinstance(found, Finding):
            findings.append(found)
        else:
            read.append(found)
    return read, findings


def _node_range(cidr: Cidr, nodes: Mapping[str, NodeRanges], facts: NodeFacts) -> str:
    for whole in facts.cluster_cidrs:
        if overlap(cidr, whole):
            return f"{whole}, of which nodes have their ranges"
    for name in sorted(nodes):
        for _, one in nodes[name].cidrs:
            if overlap(cidr, one):
                return f"{one} of Node {name}"
    return ""


def _without(cidr: Cidr, singles: Iterable[Cidr]) -> list[Cidr]:
    """A range without some addresses that others have of it."""
    left = [cidr]
    for single in singles:
        left = [part for whole in left for part in _split(whole, single)]
    return left


def _split(whole: Cidr, single: Cidr) -> Iterable[Cidr]:
    if not is_within(single, whole):
        return (whole,)
    if isinstance(whole, IPv4Network):
        return whole.address_exclude(single) if isinstance(single, IPv4Network) else (whole,)
    return whole.address_exclude(single) if isinstance(single, IPv6Network) else (whole,)
