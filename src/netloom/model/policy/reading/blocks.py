"""Ranges of addresses: CIDRs as text, exceptions taken out, in the one form that equal ranges have."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from itertools import pairwise

from netloom.model.policy.reading.document import Document, short
from netloom.units import Cidr


def read_cidr(document: Document, value: object, field: str) -> Cidr | None:
    """A CIDR. Bits behind the prefix are ignored, as the API's servers ignore them in policies."""
    text = value if isinstance(value, str) else ""
    try:
        cidr = ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        cidr = None
    if cidr is not None and cidr.version == 6 and cidr.network_address.ipv4_mapped is not None:
        cidr = None
    if cidr is None:
        hint = "write an address and a prefix, such as 192.0.2.0/24 or 2001:db8::/32"
        document.note(field, f"{short(value)} is no CIDR", hint)
    return cidr


def without(block: Cidr, excepted: Iterable[Cidr]) -> tuple[Cidr, ...]:
    """What is left of a block when parts of it (of its family) are taken out; ranges in order, as few as possible."""
    low, high = int(block.network_address), int(block.broadcast_address)
    gaps = sorted((int(part.network_address), int(part.broadcast_address)) for part in excepted)
    bounds = [(low - 1, low - 1), *gaps, (high + 1, high + 1)]
    left: list[Cidr] = []
    reached = low - 1
    for (_, end), (start, _) in pairwise(bounds):
        reached = max(reached, end)
        left.extend(_summary(block, reached + 1, min(start - 1, high)))
    return tuple(left)


def joined(blocks: Iterable[Cidr]) -> tuple[Cidr, ...]:
    """These blocks in the one form that the same addresses always have: IPv4 before IPv6, in order, as few as possible."""
    given = set(blocks)
    v4 = [block for block in given if isinstance(block, ipaddress.IPv4Network)]
    v6 = [block for block in given if isinstance(block, ipaddress.IPv6Network)]
    return (*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6))


def _summary(block: Cidr, first: int, last: int) -> Iterable[Cidr]:
    if first > last:
        return ()
    make = type(block.network_address)
    return ipaddress.summarize_address_range(make(first), make(last))
