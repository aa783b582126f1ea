"""What a node tells its BGP peers: with whom it talks, which routes it announces, and which it learns. Pure.

Comes in: who the node is, BGPPeers, the duties of announcing with the pools and Services behind them, and where the fabric is ``bgp``
the ranges of the node's pods. Goes out: a :class:`Speech`, and Findings. Not here: the words of the router program
(``announce/bgp/config.py``).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from netloom.api.bgp import COMMUNITIES_ANNOTATION, LOCAL_PREF_ANNOTATION, BGPPeer
from netloom.api.core import Node, Service
from netloom.api.load_balancers import LoadBalancerPool
from netloom.api.pools import IPBlock, IPPool
from netloom.model.addresses.blocks import read_block
from netloom.model.addresses.pools import read_pools
from netloom.model.announcing.bgp_peers import Peer, duplicates, read_peer
from netloom.model.announcing.communities import (
    MOST_LOCAL_PREF,
    Community,
    LargeCommunity,
    read_community,
    read_large_community,
    read_local_pref,
)
from netloom.model.announcing.view import Duty
from netloom.model.load_balancers.spans import read_span
from netloom.model.provenance import Finding, Source, source_of
from netloom.model.routes.blocks import Holders
from netloom.model.routes.peers import NodeRanges, read_node
from netloom.units import Addr, Cidr, ObjectKey


class Advertised(msgspec.Struct, frozen=True, kw_only=True):
    """One prefix, and what its route carries. ``local_pref`` is for peers of the own system only; None: the router's own."""

    prefix: Cidr
    communities: tuple[Community, ...] = ()
    large_communities: tuple[LargeCommunity, ...] = ()
    local_pref: int | None = None
    sources: tuple[Source, ...] = ()


class Speech(msgspec.Struct, frozen=True, kw_only=True):
    """All that a node's router program has to do."""

    router_id: ipaddress.IPv4Address
    peers: tuple[Peer, ...] = ()
    announced: tuple[Advertised, ...] = ()
    learned: tuple[Cidr, ...] = ()
    """Routes into these are taken from the peers and go into the kernel; none: nothing is learned."""
    findings: tuple[Finding, ...] = ()


class PodNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """What the fabric ``bgp`` needs: where pods are."""

    cluster_cidrs: tuple[Cidr, ...] = ()
    nodes: Mapping[ObjectKey, Node] = {}
    pools: Mapping[ObjectKey, IPPool] = {}
    blocks: Mapping[ObjectKey, IPBlock] = {}


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses outside that nodes answer for, and who says how they are announced."""

    duties: Mapping[Addr, Duty] = {}
    pools: Mapping[ObjectKey, LoadBalancerPool] = {}
    services: Mapping[ObjectKey, Service] = {}


def speech(
    node: Node, peers: Iterable[BGPPeer], outside: Outside, fabric: PodNetwork | None = None
) -> Speech:
    """What this node says, and what it listens to.

    Args:
        node: this one.
        peers: all BGPPeers.
        outside: what is announced to the networks around.
        fabric: only where the fabric is ``bgp``.
    """
    read = [read_peer(peer) for peer in peers]
    findings = [finding for _, found in read for finding in found]
    labels = node.metadata.labels
    ours = sorted((p for p, _ in read if p is not None and p.is_of(labels)), key=lambda peer: peer.name)
    twice = tuple(duplicates(ours))
    findings += twice
    left_out = {finding.source.name for finding in twice}
    found = _services(node.metadata.name, outside, findings)
    learned: tuple[Cidr, ...] = ()
    if fabric is not None:
        for cidr, source in own_ranges(node, fabric).items():
            found[cidr] = Advertised(prefix=cidr, sources=(source,))
        learned = _learned(fabric)
    return Speech(
        router_id=router_id(read_node(node)),
        peers=tuple(peer for peer in ours if peer.name not in left_out),
        announced=tuple(found[cidr] for cidr in sorted(found, key=_rank)),
        learned=learned,
        findings=tuple(sorted(set(findings))),
    )


def router_id(node: NodeRanges) -> ipaddress.IPv4Address:
    """The node's first IPv4 address; a digest of its name where it has none (RFC 6286: any number but 0)."""
    for address in node.addresses:
        if isinstance(address, ipaddress.IPv4Address):
            return address
    digest = hashlib.sha256(node.subject.name.encode()).digest()
    return ipaddress.IPv4Address(int.from_bytes(digest[:4]) | 1)


def own_ranges(node: Node, fabric: PodNetwork) -> dict[Cidr, Source]:
    """The ranges of a node's pods, and where that is said. A single address of another's range counts once that one let it go."""
    ranges = read_node(node)
    found = {cidr: ranges.subject.at(field) for field, cidr in ranges.cidrs}
    holders = Holders()
    for other in fabric.nodes.values():
        holders.add_node(read_node(other))
    read = [block for one in fabric.blocks.values() if not isinstance(block := read_block(one), Finding)]
    for block in read:
        holders.add_block(block)
    for block in read:
        if block.node == node.metadata.name and holders.let_go(block):
            found.setdefault(block.cidr, block.source)
    return found


def _learned(fabric: PodNetwork) -> tuple[Cidr, ...]:
    """Where pods can be at all: nothing else that a peer says goes into a node's kernel."""
    pools, _ = read_pools(fabric.pools.values(), {})
    ranges = {*fabric.cluster_cidrs, *(cidr for pool in pools.values() for cidr in pool.cidrs)}
    return tuple(sorted(ranges, key=_rank))


def _services(node: str, outside: Outside, findings: list[Finding]) -> dict[Cidr, Advertised]:
    """The prefixes for the duties of this node; several that come to the same one are one, with what any of them carries."""
    found: dict[Cidr, Advertised] = {}
    pools = [outside.pools[key] for key in sorted(outside.pools)]
    for address in sorted(outside.duties, key=lambda one: (one.version, int(one))):
        duty = outside.duties[address]
        if node not in duty.routed_by:
            continue
        pool = next((one for one in pools if _has(one, address)), None)
        one = _announced(duty, pool, [outside.services.get(key) for key in duty.users], findings)
        before = found.get(one.prefix)
        found[one.prefix] = one if before is None else _merged(before, one)
    return found


def _announced(
    duty: Duty, pool: LoadBalancerPool | None, users: Sequence[Service | None], findings: list[Finding]
) -> Advertised:
    one = Advertised(prefix=ipaddress.ip_network(duty.address), sources=(duty.source,))
    if pool is not None:
        one = _of_pool(one, duty.address, pool, findings)
    for service in users:
        if service is not None:
            one = _of_service(one, service, findings)
    return one


def _of_pool(one: Advertised, address: Addr, pool: LoadBalancerPool, findings: list[Finding]) -> Advertised:
    subject, bgp = source_of("LoadBalancerPool", pool.metadata), pool.spec.bgp
    short: list[Community] = []
    large: list[LargeCommunity] = []
    for field, texts in (("communities", bgp.communities), ("largeCommunities", bgp.large_communities)):
        where = [subject.at(f"spec.bgp.{field}[{number}]") for number in range(len(texts))]
        _read_communities(zip(texts, where, strict=True), short, large, findings)
    preference = bgp.local_pref
    if preference is not None and not 0 <= preference <= MOST_LOCAL_PREF:
        findings.append(_no_preference(subject.at("spec.bgp.localPref"), str(preference)))
        preference = None
    return Advertised(
        prefix=_aggregate(address, pool, subject, findings),
        communities=tuple(sorted(set(short))),
        large_communities=tuple(sorted(set(large))),
        local_pref=preference,
        sources=(*one.sources, subject.at("spec.bgp")),
    )


def _aggregate(address: Addr, pool: LoadBalancerPool, subject: Source, findings: list[Finding]) -> Cidr:
    """The prefix that stands for an address: of the pool's length, where the pool has all of it."""
    alone = ipaddress.ip_network(address)
    lengths = pool.spec.bgp.aggregation_length
    field, length = ("ipv4", lengths.ipv4) if address.version == 4 else ("ipv6", lengths.ipv6)
    if length == address.max_prefixlen:
        return alone
    where = subject.at(f"spec.bgp.aggregationLength.{field}")
    if not 1 <= length <= address.max_prefixlen:
        hint = f"use 1 to {address.max_prefixlen}; until then each address is announced"
        findings.append(Finding(where, f"{length} is no length of a prefix", hint))
        return alone
    whole = ipaddress.ip_network(f"{address}/{length}", strict=False)
    spans = [span for text in (*pool.spec.cidrs, *pool.spec.ranges) if (span := read_span(text)) is not None]
    if any(span.holds(whole[0]) and span.holds(whole[-1]) for span in spans):
        return whole
    problem = f"{whole} is more than the pool has: {address} is announced alone"
    findings.append(Finding(where, problem, "use a longer prefix, or give the pool the whole of it"))
    return alone


def _of_service(one: Advertised, service: Service, findings: list[Finding]) -> Advertised:
    """What a Service says itself counts in place of what its pool says."""
    subject, said = source_of("Service", service.metadata), service.metadata.annotations
    if COMMUNITIES_ANNOTATION in said:
        where = subject.at(f"metadata.annotations[{COMMUNITIES_ANNOTATION}]")
        texts = [text.strip() for text in said[COMMUNITIES_ANNOTATION].split(",") if text.strip()]
        short: list[Community] = []
        large: list[LargeCommunity] = []
        _read_communities([(text, where) for text in texts], short, large, findings)
        one = msgspec.structs.replace(
            one,
            communities=tuple(sorted(set(short))),
            large_communities=tuple(sorted(set(large))),
            sources=(*one.sources, where),
        )
    if LOCAL_PREF_ANNOTATION in said:
        where = subject.at(f"metadata.annotations[{LOCAL_PREF_ANNOTATION}]")
        preference = read_local_pref(said[LOCAL_PREF_ANNOTATION].strip())
        if preference is None:
            findings.append(_no_preference(where, said[LOCAL_PREF_ANNOTATION]))
        else:
            one = msgspec.structs.replace(one, local_pref=preference, sources=(*one.sources, where))
    return one


def _merged(one: Advertised, other: Advertised) -> Advertised:
    preferences = [p for p in (one.local_pref, other.local_pref) if p is not None]
    return Advertised(
        prefix=one.prefix,
        communities=tuple(sorted({*one.communities, *other.communities})),
        large_communities=tuple(sorted({*one.large_communities, *other.large_communities})),
        local_pref=max(preferences, default=None),
        sources=tuple(dict.fromkeys((*one.sources, *other.sources))),
    )


def _read_communities(
    texts: Iterable[tuple[str, Source]],
    short: list[Community],
    large: list[LargeCommunity],
    findings: list[Finding],
) -> None:
    for text, where in texts:
        if (one := read_community(text)) is not None:
            short.append(one)
        elif (other := read_large_community(text)) is not None:
            large.append(other)
        else:
            hint = "write 65000:100, 65000:1:2 or a well-known name such as no-export; it is left out"
            findings.append(Finding(where, f'"{text}" is no community', hint))


def _no_preference(where: Source, text: str) -> Finding:
    return Finding(where, f'"{text}" is no local preference', f"use 0 to {MOST_LOCAL_PREF}")


def _has(pool: LoadBalancerPool, address: Addr) -> bool:
    return any(
        span.holds(address)
        for text in (*pool.spec.cidrs, *pool.spec.ranges)
        if (span := read_span(text)) is not None
    )


def _rank(cidr: Cidr) -> tuple[int, int, int]:
    return cidr.version, int(cidr.network_address), cidr.prefixlen
