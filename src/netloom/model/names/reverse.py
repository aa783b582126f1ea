"""Reverse names and reverse zones (RFC 1035 section 3.5, RFC 3596 section 2.5). Values only."""

from __future__ import annotations

from netloom.units import Addr, Cidr


def reverse_name(address: Addr) -> str:
    """``10.96.0.1`` as ``1.0.96.10.in-addr.arpa``; an IPv6 address by its nibbles under ``ip6.arpa``."""
    return address.reverse_pointer


def reverse_zones(cidr: Cidr) -> tuple[str, ...]:
    """The zones that together hold exactly the reverse names of a network.

    A reverse zone is cut at whole labels (8 bits of IPv4, 4 of IPv6), so a network with another length needs several:
    a /12 of IPv4 sixteen of /16.
    """
    bits = 8 if cidr.version == 4 else 4
    length = -(-cidr.prefixlen // bits) * bits
    labels = length // bits
    zones = []
    for part in cidr.subnets(new_prefix=length):
        whole = part.network_address.reverse_pointer.split(".")
        zones.append(".".join(whole[len(whole) - 2 - labels :]))
    return tuple(zones)
