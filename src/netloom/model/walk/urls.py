"""URLs as destinations: what of a request a gateway looks at.

Comes in: ``https://shop.example/cart?x=1`` as a user types it, method and headers besides. Goes out: a ``Url``, an ``Asked``. Not here: which
gateway answers (``gateways.py``).
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

import msgspec

from netloom.errors import UsageError
from netloom.model.names.records import is_domain_name
from netloom.units import Addr, parse_addr

PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "grpc": 80, "grpcs": 443}
"""Schemes that gateways know, and their ports."""
_ENCRYPTED = frozenset({"https", "wss", "grpcs"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_WRITE = "write http://host/path or https://host:port/path"


class Url(msgspec.Struct, frozen=True):
    """Where a request goes (RFC 3986), its parts as a gateway compares them."""

    scheme: str
    host: str
    """A name in lower case, or an address without brackets."""
    port: int
    path: str
    query: str = ""

    @property
    def is_encrypted(self) -> bool:
        """Whether a TLS handshake comes first."""
        return self.scheme in _ENCRYPTED

    @property
    def address(self) -> Addr | None:
        """The host, where it is an address."""
        return parse_addr(self.host)

    @property
    def queries(self) -> tuple[tuple[str, str], ...]:
        """Parameters in order."""
        return tuple(parse_qsl(self.query, keep_blank_values=True))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}{f'?{self.query}' if self.query else ''}"


class Asked(msgspec.Struct, frozen=True):
    """What of a request is not in its URL."""

    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    """Names in lower case."""


def is_url(text: str) -> bool:
    """Whether a destination is written as a URL."""
    return "://" in text


def read_url(text: str) -> Url:
    """The parts of a URL.

    Raises:
        UsageError: it is none that a gateway could be asked for.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{text!r}: no URL: {error}", _WRITE) from None
    if parts.scheme not in PORTS:
        raise UsageError(f"{text!r}: gateways have no scheme {parts.scheme!r}", f"use {', '.join(PORTS)}")
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"{text!r}: names a user", "leave it out: gateways do not look at it")
    host = (parts.hostname or "").removesuffix(".")
    if parse_addr(host) is None and not is_domain_name(host):
        raise UsageError(f"{text!r}: {host!r} is neither a name nor an address", _WRITE)
    if port == 0:
        raise UsageError(f"{text!r}: no port 0", "use 1 to 65535")
    return Url(parts.scheme, host, port or PORTS[parts.scheme], parts.path or "/", parts.query)


def read_asked(method: str, headers: list[str]) -> Asked:
    """Method and headers as options give them: ``GET``, ``name: value``.

    Raises:
        UsageError: one of them is none.
    """
    if not _TOKEN.fullmatch(method):
        raise UsageError(f"--method {method!r}: no method", "write GET, POST, ...")
    return Asked(method.upper(), tuple(_read_header(text) for text in headers))


def _read_header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not _TOKEN.fullmatch(name) or "\r" in value or "\n" in value:
        raise UsageError(f"--header {text!r}: no header", "write 'name: value'")
    return name.lower(), value.strip()
