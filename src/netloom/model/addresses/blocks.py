"""Blocks: names that follow from ranges, what of an IPBlock can be used, and which block of a pool is free.

Comes in: IPBlocks, pools, what is taken. Goes out: ranges and Findings. Not here: claiming one (agent), routes to one (``routes``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator

import msgspec

from netloom.api.pools import IPBlock
from netloom.model.addresses.pools import Pool
from netloom.model.addresses.ranges import overlap
from netloom.model.provenance import Finding, Source, source_of
from netloom.units import Cidr, parse_cidr

GRANTED = "granted"
"""In ``status.grants``: the node in whose range the block is gives none of its addresses to anybody."""

_MOST_TRIES = 4096


class Block(msgspec.Struct, frozen=True):
    """A block as it is used."""

    cidr: Cidr
    node: str
    pool: str
    source: Source
    is_leaving: bool = False
    """Its deletion has been asked for: nothing of it is given to anybody any more."""
    grants: dict[str, str] = {}

    @property
    def name(self) -> str:
        """Of the IPBlock."""
        return block_name(self.cidr)

    @property
    def is_single(self) -> bool:
        """One address, which a pod has asked for; or the smallest block that there is."""
        return self.cidr.num_addresses == 1


def block_name(cidr: Cidr) -> str:
    """The name of the IPBlock of a range: one range has one name, so the API server lets it be claimed once.

    ``10.1.0.64/26`` is ``10.1.0.64-26``, ``fd00:1::40/122`` is ``fd00-1--40-122``.
    """
    text = str(cidr.network_address).replace(":", "-")
    return f"{'0' if text.startswith('-') else ''}{text}-{cidr.prefixlen}"


def read_block(block: IPBlock) -> Block | Finding:
    """What an IPBlock says; a Finding where it cannot be used."""
    source = source_of("IPBlock", block.metadata, "spec.cidr")
    cidr = parse_cidr(block.spec.cidr)
    if cidr is None or "/" not in block.spec.cidr:
        return Finding(
            source, f'"{block.spec.cidr}" is no CIDR', "delete the block: nodes make what they need"
        )
    if block.metadata.name != block_name(cidr):
        problem = f"a block of {cidr} is named {block_name(cidr)}; nobody is sent there"
        return Finding(source.at("metadata.name"), problem, "delete the block: nodes make what they need")
    if not block.spec.node:
        return Finding(source.at("spec.node"), "is empty", "delete the block: nodes make what they need")
    is_leaving = block.metadata.deletion_timestamp is not None
    return Block(cidr, block.spec.node, block.spec.pool, source, is_leaving, block.status.grants)


def free_blocks(pool: Pool, version: int, taken: Collection[Cidr], node: str) -> Iterator[Cidr]:
    """Blocks of a pool that overlap with nothing that is taken. Each node begins elsewhere, so that few try for the same.

    A pool may have more blocks than could be looked at: after some thousands that are taken the search ends.
    """
    size = pool.sizes[version]
    for cidr in pool.cidrs:
        if cidr.version != version:
            continue
        length = max(size, cidr.prefixlen)
        count = 1 << (length - cidr.prefixlen)
        near = [other for other in taken if overlap(other, cidr)]
        occupied = {other for other in near if other.prefixlen == length}
        others = [other for other in near if other.prefixlen != length]
        begin = int.from_bytes(hashlib.sha256(f"{node} {cidr}".encode()).digest()[:8]) % count
        for step in range(min(count, len(near) + _MOST_TRIES)):
            block = _nth(cidr, length, (begin + step) % count)
            if block not in occupied and not any(overlap(block, other) for other in others):
                yield block


def _nth(cidr: Cidr, length: int, number: int) -> Cidr:
    bits = cidr.max_prefixlen
    return type(cidr)((int(cidr.network_address) + (number << (bits - length)), length))
