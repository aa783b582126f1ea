"""Functions of addresses, ranges and URLs. Pure. Source: Kubernetes' IP, CIDR and URL libraries."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

import msgspec

from netloom.local.apiserver.custom.cel.syntax import CelError
from netloom.local.apiserver.custom.cel.types import Value

_LONGEST = 2048


class Ip(msgspec.Struct, frozen=True):
    """An address."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address

    def __str__(self) -> str:
        """As text."""
        return str(self.address)


class Cidr(msgspec.Struct, frozen=True):
    """A range, with the address by which it was written."""

    interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface

    def __str__(self) -> str:
        """As text."""
        return str(self.interface)


class Url(msgspec.Struct, frozen=True):
    """A URL, or an absolute path."""

    text: str

    @property
    def parts(self) -> SplitResult:
        """Its parts."""
        return urlsplit(self.text)


def _ip(text: str) -> Ip:
    try:
        # an address with a zone is none here
        address = ipaddress.ip_address(text.replace("%", " "))
    except ValueError as error:
        raise CelError(f'IP Address "{text}" parse error during conversion from string') from error
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        raise CelError(f"IPv4-mapped IPv6 address {text!r} is not allowed")
    return Ip(address)


def _cidr(text: str) -> Cidr:
    address, _, length = text.replace("%", " ").partition("/")
    try:
        return Cidr(ipaddress.ip_interface(f"{address}/{int(length)}"))
    except ValueError as error:
        raise CelError(f'network address parse error during conversion from string: "{text}"') from error


def _url(text: str) -> Url:
    parts = urlsplit(text) if len(text) <= _LONGEST else urlsplit("")
    if not (parts.scheme and (parts.netloc or parts.path)) and not text.startswith("/"):
        raise CelError(
            f'URL parse error during conversion from string: parse "{text}": invalid URI for request'
        )
    return Url(text)


def _is(made: Callable[[str], object]) -> Callable[[Value], bool]:
    def check(text: Value) -> bool:
        if not isinstance(text, str):
            raise TypeError("not a text")
        try:
            made(text)
        except (CelError, ValueError):
            return False
        return True

    return check


def _is_global(value: Ip) -> bool:
    """As Go has it: whatever is no multicast, loopback, link-local, unspecified or broadcast address."""
    address = value.address
    return not (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or str(address) == "255.255.255.255"
    )


def _is_link_local_multicast(value: Ip) -> bool:
    address = value.address
    if isinstance(address, ipaddress.IPv4Address):
        return address in ipaddress.ip_network("224.0.0.0/24")
    return address.is_multicast and int(address) >> 112 & 0xF == 2


def _contains_ip(value: Cidr, one: Value) -> bool:
    found = one if isinstance(one, Ip) else _ip(one)
    return found.address in value.interface.network


def _contains_cidr(value: Cidr, one: Value) -> bool:
    inner, outer = (one if isinstance(one, Cidr) else _cidr(one)).interface.network, value.interface.network
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type] # of one family


def _family(value: Ip) -> int:
    return value.address.version


def _host(value: Url) -> str:
    parts = value.parts
    return parts.netloc.rpartition("@")[2]


def _hostname(value: Url) -> str:
    host = _host(value)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _port(value: Url) -> str:
    host = _host(value).rpartition("]")[2]
    return host.rpartition(":")[2] if ":" in host else ""


METHODS: Mapping[str, Callable[..., Value]] = {
    "containsCIDR": _contains_cidr,
    "containsIP": _contains_ip,
    "family": _family,
    "getEscapedPath": lambda value: quote(value.parts.path, safe="/%:@!$&'()*+,;=~-._"),
    "getHost": _host,
    "getHostname": _hostname,
    "getPort": _port,
    "getQuery": lambda value: parse_qs(value.parts.query, keep_blank_values=True),
    "getScheme": lambda value: value.parts.scheme,
    "ip": lambda value: Ip(value.interface.ip),
    "isGlobalUnicast": _is_global,
    "isLinkLocalMulticast": _is_link_local_multicast,
    "isLinkLocalUnicast": lambda value: value.address.is_link_local,
    "isLoopback": lambda value: value.address.is_loopback,
    "isUnspecified": lambda value: value.address.is_unspecified,
    "masked": lambda value: Cidr(ipaddress.ip_interface(str(value.interface.network))),
    "prefixLength": lambda value: value.interface.network.prefixlen,
}
FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "cidr": _cidr,
    "ip": _ip,
    "ip.isCanonical": lambda text: str(_ip(text)) == text,
    "isCIDR": _is(_cidr),
    "isIP": _is(_ip),
    "isURL": _is(_url),
    "url": _url,
}
