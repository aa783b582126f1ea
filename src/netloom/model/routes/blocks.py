"""Addresses of pods outside of the nodes' own ranges: routes to other nodes' blocks, and which ranges are pods' at all.

Comes in: IPPools, IPBlocks, Nodes, what this node is. Goes out: routes, ranges and Findings. A block that lies in another range wins
there: it is the narrower one. Not here: claiming blocks (agent), and what is masqueraded (a dataplane decides by the ranges).
"""

from __future__ import annotations

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
    ranges: dict[Cidr, PodRange] = {}
    read, findings = _read(blocks)
    pool_ranges, pool_findings = _pools(pools, by_name, facts)
    findings += pool_findings
    routes: dict[Cidr, PeerRoute] = {}
    holders = _Holders(read, by_name.values()) if read else None
    away = [b.cidr for b in read if b.is_single and b.node != facts.name and holders and holders.let_go(b)]
    for block in read:
        if block.node == facts.name:
            ranges.update((cidr, PodRange(cidr, True)) for cidr in _without(block.cidr, away))
            continue
        if not any(is_within(block.cidr, whole) for whole in pool_ranges):
            ranges.setdefault(block.cidr, PodRange(block.cidr, False))
        node = by_name.get(block.node)
        if node is None or holders is None or not holders.let_go(block):
            continue
        route = route_to(block.cidr, node, block.source, facts)
        if isinstance(route, Finding):
            findings.append(route)
        elif block.cidr not in facts.pod_cidrs:
            routes[block.cidr] = route
    for cidr in pool_ranges:
        ranges.setdefault(cidr, PodRange(cidr, False))
    return BlockBuild(routes, ranges, tuple(findings))


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


def _pools(
    pools: Iterable[IPPool], nodes: Mapping[str, NodeRanges], facts: NodeFacts
) -> tuple[list[Cidr], list[Finding]]:
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


class _Holders:
    """Who has the ranges around a single address: they have to let it go before anybody is sent elsewhere for it."""

    def __init__(self, blocks: Iterable[Block], nodes: Iterable[NodeRanges]) -> None:
        self._of: dict[Cidr, str] = {}
        for node in nodes:
            self._of.update((cidr, node.subject.name) for _, cidr in node.cidrs)
        self._of.update((block.cidr, block.node) for block in blocks if not block.is_single)
        self._lengths = sorted({(cidr.version, cidr.prefixlen) for cidr in self._of})

    def let_go(self, block: Block) -> bool:
        """Whether a block is its node's alone."""
        if not block.is_single:
            return True
        for version, length in self._lengths:
            if version == block.cidr.version and length < block.cidr.prefixlen:
                holder = self._of.get(block.cidr.supernet(new_prefix=length), block.node)
                if holder != block.node and block.grants.get(holder) != GRANTED:
                    return False
        return True
