"""Arithmetic of ranges of either family."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from netloom.units import Addr, Cidr


def overlap(one: Cidr, other: Cidr) -> bool:
    """True where some address is in both; never for different families."""
    if isinstance(one, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and one.overlaps(other)
    return isinstance(other, ipaddress.IPv6Network) and one.overlaps(other)


def is_within(inner: Cidr, outer: Cidr) -> bool:
    """True where all of ``inner`` is in ``outer``."""
    return overlap(inner, outer) and inner.prefixlen >= outer.prefixlen


def holds(ranges: Iterable[Cidr], address: Addr) -> bool:
    """True where one of the ranges has the address."""
    return any(address.version == one.version and address in one for one in ranges)


def alone(address: Addr) -> Cidr:
    """The range of this address and no other."""
    return ipaddress.ip_network(address)
