"""Upstream servers as values: where they are, and whether they are asked in clear text or over TLS. Pure.

Comes in: what a user wrote. Goes out: a Server, or UsageError.
"""

from __future__ import annotations

import ipaddress
import re
import socket

import msgspec

from netloom.errors import UsageError

DNS_PORT = 53
TLS_PORT = 853
"""RFC 7858 section 3.1."""
_TLS = "tls://"
_SERVER_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


class Server(msgspec.Struct, frozen=True):
    """An upstream server. With ``tls`` its certificate must be for ``name``, or for its address where that is empty."""

    address: str
    port: int = DNS_PORT
    tls: bool = False
    name: str = ""

    @property
    def family(self) -> socket.AddressFamily:
        """Family of its sockets."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{_TLS if self.tls else ''}{host}:{self.port}{f'#{self.name}' if self.name else ''}"


def parse_server(text: str) -> Server:
    """``192.0.2.1``, ``192.0.2.1:5353``, ``2001:db8::1``, ``[2001:db8::1]:5353``, ``tls://192.0.2.1``, ``tls://192.0.2.1:853#dns.example``.

    Raises:
        UsageError: the text is none of these.
    """
    tls = text.startswith(_TLS)
    place, hash_sign, name = text.removeprefix(_TLS).partition("#")
    host, port = place, str(TLS_PORT if tls else DNS_PORT)
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        port = rest.removeprefix(":") if rest else port if bracket else ""
    elif place.count(":") == 1:
        host, _, port = place.partition(":")
    try:
        address = str(ipaddress.ip_address(host))
        number = int(port) if port.isascii() and port.isdecimal() else 0
    except ValueError:
        number = 0
    is_named = not hash_sign or (tls and _SERVER_NAME.fullmatch(name) is not None)
    if not 0 < number < 65536 or not is_named:
        raise UsageError(
            f"upstream {text!r}: no address with a port",
            "write 192.0.2.1, 192.0.2.1:53, [2001:db8::1]:53, or tls://192.0.2.1#dns.example for DNS over TLS",
        )
    return Server(address, number, tls, name)
