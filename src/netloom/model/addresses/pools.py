"""IPPools, read: ranges, sizes of blocks, what is left out, and for whom.

Comes in: IPPools. Goes out: what of them can be used, and Findings. Not here: which pool a pod gets (``choose.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from netloom.api.pools import IPPool
from netloom.api.selectors import Selector
from netloom.model.addresses.ranges import alone, holds, is_within, overlap
from netloom.model.claims import Seniority, seniority
from netloom.model.provenance import Finding, Source, source_of
from netloom.model.selecting import read_selector
from netloom.units import Addr, Cidr, parse_cidr

SIZES = {4: (20, 32), 6: (112, 128)}
"""Prefix lengths that blocks may have, by version."""


class Pool(msgspec.Struct, frozen=True):
    """A pool as it is used.

    Selectors that are None exclude nobody. One with a fault excludes everybody: who is meant is not known.
    """

    name: str
    subject: Source
    cidrs: tuple[Cidr, ...]
    sizes: Mapping[int, int]
    """Prefix length of a block, by version."""
    reserved: tuple[Cidr, ...]
    """What nobody is given: what the pool says, and the edges of its ranges."""
    is_disabled: bool = False
    nodes: Selector | None = None
    namespaces: Selector | None = None
    pods: Selector | None = None

    @property
    def versions(self) -> tuple[int, ...]:
        """4, 6 or both."""
        return tuple(sorted({cidr.version for cidr in self.cidrs}))

    @property
    def has_selector(self) -> bool:
        """Whether pods get it without naming it."""
        return not (self.nodes is None and self.namespaces is None and self.pods is None)

    @property
    def rank(self) -> tuple[int, ...]:
        """How specific it is: the least comes first. Pods before namespaces before nodes; a selector of everything counts little."""
        return tuple(
            0 if one is not None and one.requirements else 1
            for one in (self.pods, self.namespaces, self.nodes)
        )

    def has(self, address: Addr) -> bool:
        """Whether an address is of this pool."""
        return holds(self.cidrs, address)


class PoolBuild(msgspec.Struct, frozen=True):
    """What one IPPool says; of several that overlap the oldest counts."""

    pool: Pool
    seniority: Seniority
    fields: Mapping[Cidr, str]
    findings: tuple[Finding, ...] = ()


def read_pool(pool: IPPool) -> PoolBuild:
    """One IPPool, alone."""
    subject = source_of("IPPool", pool.metadata)
    spec = pool.spec
    findings: list[Finding] = []
    fields: dict[Cidr, str] = {}
    for number, text in enumerate(spec.cidrs):
        field = f"spec.cidrs[{number}]"
        cidr = parse_cidr(text)
        if cidr is None:
            hint = "write the range's first address and a prefix, such as 10.1.0.0/16"
            findings.append(Finding(subject.at(field), f'"{text}" is no CIDR', hint))
        elif any(overlap(cidr, other) for other in fields):
            hint = "write each range once"
            findings.append(Finding(subject.at(field), f"{cidr} overlaps with another of this pool", hint))
        else:
            fields[cidr] = field
    reserved = [edge for cidr in fields for edge in _edges(cidr)]
    for number, text in enumerate(spec.reserved):
        network = parse_cidr(text)
        if network is None:
            hint = "write an address or a range, such as 10.1.0.0/28"
            findings.append(Finding(subject.at(f"spec.reserved[{number}]"), f'"{text}" is neither', hint))
        else:
            reserved.append(network)
    selectors = [
        read_selector(selector, subject.at(f"spec.{name}"), findings)
        for name, selector in (
            ("nodeSelector", spec.node_selector),
            ("namespaceSelector", spec.namespace_selector),
            ("podSelector", spec.pod_selector),
        )
    ]
    read = Pool(
        name=pool.metadata.name,
        subject=subject,
        cidrs=tuple(fields),
        sizes=_sizes(pool, subject, findings),
        reserved=tuple(reserved),
        is_disabled=spec.disabled,
        nodes=selectors[0],
        namespaces=selectors[1],
        pods=selectors[2],
    )
    return PoolBuild(read, seniority(pool.metadata), fields, tuple(findings))


def read_pools(
    pools: Iterable[IPPool], occupied: Mapping[Cidr, str]
) -> tuple[dict[str, Pool], tuple[Finding, ...]]:
    """All pools by name, without what somebody else has: an older pool, or who is named in ``occupied``."""
    found: dict[str, Pool] = {}
    findings: list[Finding] = []
    taken = dict(occupied)
    for build in sorted(map(read_pool, pools), key=lambda one: one.seniority):
        findings.extend(build.findings)
        kept: list[Cidr] = []
        for cidr, field in build.fields.items():
            holder = next((who for other, who in taken.items() if overlap(cidr, other)), "")
            if holder:
                problem = f"{cidr} overlaps with {holder}: nobody is given an address of it"
                findings.append(Finding(build.pool.subject.at(field), problem, "keep the ranges apart"))
            else:
                kept.append(cidr)
        taken.update(dict.fromkeys(kept, build.pool.subject.subject))
        found[build.pool.name] = msgspec.structs.replace(build.pool, cidrs=tuple(kept))
    return found, tuple(findings)


def pool_of(cidr: Cidr, pools: Iterable[Pool]) -> Pool | None:
    """The pool that a range is of."""
    return next((pool for pool in pools if any(is_within(cidr, whole) for whole in pool.cidrs)), None)


def _edges(cidr: Cidr) -> tuple[Cidr, ...]:
    """What is not handed out of any range: its own address, and in IPv4 the last, which means everybody (RFC 919)."""
    if cidr.num_addresses <= 2:
        return ()
    first = alone(cidr.network_address)
    return (first, alone(cidr.broadcast_address)) if cidr.version == 4 else (first,)


def _sizes(pool: IPPool, subject: Source, findings: list[Finding]) -> dict[int, int]:
    found = {}
    for version, size in ((4, pool.spec.block_size.ipv4), (6, pool.spec.block_size.ipv6)):
        least, most = SIZES[version]
        if not least <= size <= most:
            field = subject.at(f"spec.blockSize.ipv{version}")
            findings.append(Finding(field, f"{size} is not between {least} and {most}", f"say {most - 6}"))
        found[version] = min(most, max(least, size))
    return found
