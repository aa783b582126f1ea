"""Addresses and ranges as users write them.

Comes in: text. Goes out: an address or a range, or what is wrong with the text. Not here: whether it may be used.
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

from netloom.units import Addr, Cidr, Family, family_of, parse_addr

_LOW, _MIDDLE, _HIGH = ({str(number): number << shift for number in range(256)} for shift in (0, 8, 16))
_FIRST = {str(number): number << 24 for number in range(1, 224) if number not in (127, 169)}
"""First octets behind which no IPv4 address is loopback, link-local, multicast or unspecified."""
_V6 = Family.V6


def read_address(text: str, family: Family | None = None) -> tuple[Addr, int] | str:
    """An address (of this family) that packets can be sent to from another host, and its number; or what is wrong.

    What is refused here the API server refuses for endpoints too (core/v1 validation of non-special addresses): a
    translation to 127.0.0.1 would open services of the node that nobody offered.

    The short way is for what nearly all of 50,000 endpoints have, an ordinary dotted quad: it takes half the time.
    """
    if family is not _V6:
        try:
            a, b, c, d = text.split(".")
            value = _FIRST[a] + _HIGH[b] + _MIDDLE[c] + _LOW[d]
            return IPv4Address(value), value
        except (ValueError, KeyError):
            pass
    address = parse_addr(text)
    if address is None:
        return f'"{text}" is no IP address'
    trouble = _trouble_of(address)
    if trouble:
        return f"{text} {trouble}"
    if family is not None and family_of(address) is not family:
        return f"{text} is not of addressType {family.address_type}"
    return address, int(address)


def read_range(text: str) -> Cidr | None:
    """A CIDR as kube-proxy reads those of users: bits beyond the prefix do not count, the prefix must be there."""
    if "/" not in text:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _trouble_of(address: Addr) -> str:
    for is_so, trouble in (
        (address.is_unspecified, "is the unspecified address"),
        (address.is_loopback, "is a loopback address"),
        (address.is_link_local, "is a link-local address"),
        (address.is_multicast, "is a multicast address"),
    ):
        if is_so:
            return trouble
    return ""
