"""How names outside of the cluster are answered: upstream servers, stubs, fixed names, rewrites, the cache. Values, and their reading.

Comes in: a configuration as a user wrote it. Goes out: checked values, or UsageError with the field at fault. Not here: CoreDNS's own
language (``corefile``), any asking.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.dns.cache import CacheSettings
from netloom.dns.servers import Server, parse_server
from netloom.dns.wire import Malformed, encode_name
from netloom.errors import UsageError
from netloom.units import Addr


class Policy(enum.Enum):
    """In which order healthy servers are asked; the words of CoreDNS ``forward``."""

    SEQUENTIAL = "sequential"
    RANDOM = "random"
    ROUND_ROBIN = "round_robin"


class Stub(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Servers that are asked about one domain; none: its names are refused."""

    servers: tuple[str, ...] = ()
    policy: Policy = Policy.SEQUENTIAL


class RewriteKind(enum.Enum):
    """What of a name must agree."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    SUBSTRING = "substring"
    REGEX = "regex"


class Rewrite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A name that is answered as if another had been asked; ``{1}`` in ``target`` is the first group of a ``regex``."""

    name: str
    target: str
    kind: RewriteKind = RewriteKind.EXACT


class OutsideSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it. Servers are written ``192.0.2.1``, ``192.0.2.1:5353``, ``[2001:db8::1]:53``, ``tls://192.0.2.1#dns.example``."""

    upstreams: tuple[str, ...] = ()
    """Servers for all names that nothing else says anything of, in order."""
    policy: Policy = Policy.SEQUENTIAL
    attempt_s: float = 0.3
    """So long a server may be silent before the next one is asked as well."""
    stubs: dict[str, Stub] = {}
    """By domain; the longest that a name is in counts."""
    except_domains: tuple[str, ...] = ()
    """Domains that upstream servers are never asked about."""
    hosts: dict[str, tuple[str, ...]] = {}
    """Addresses of fixed names."""
    hosts_ttl_s: int = 3600
    hosts_reverse: bool = True
    """Whether these addresses lead back to their names."""
    rewrites: tuple[Rewrite, ...] = ()
    """The first that fits counts."""
    cache: CacheSettings = CacheSettings()


class Group(msgspec.Struct, frozen=True):
    """Servers that are asked in one order."""

    servers: tuple[Server, ...] = ()
    policy: Policy = Policy.SEQUENTIAL


class Checked(msgspec.Struct, frozen=True):
    """Settings whose every name and address is one."""

    others: Group
    stubs: Mapping[bytes, Group]
    hosts: Mapping[bytes, tuple[Addr, ...]]
    rewrites: tuple[tuple[Rewrite, re.Pattern[str]], ...]
    settings: OutsideSettings


def checked(settings: OutsideSettings) -> Checked:
    """The settings with names and addresses parsed.

    Raises:
        UsageError: names the field that is wrong.
    """
    if not 0.01 <= settings.attempt_s <= 5:
        raise UsageError(f"dns: attempt_s: {settings.attempt_s} is out of range", "use 0.01 to 5 seconds")
    for field in ("entries", "max_bytes", "positive_s", "negative_s", "stale_s"):
        value: Any = getattr(settings.cache, field)
        if value < 0:
            raise UsageError(f"dns: cache.{field}: {value} is less than nothing", "use 0 or more")
    stubs = {
        _name(f"stubs[{domain}]", domain): Group(
            _servers(f"stubs[{domain}].servers", stub.servers), stub.policy
        )
        for domain, stub in settings.stubs.items()
    }
    for domain in settings.except_domains:
        stubs.setdefault(_name("except_domains", domain), Group())
    return Checked(
        others=Group(_servers("upstreams", settings.upstreams), settings.policy),
        stubs=stubs,
        hosts={_name("hosts", name): _addresses(f"hosts[{name}]", at) for name, at in settings.hosts.items()},
        rewrites=tuple((one, _pattern(f"rewrites[{i}]", one)) for i, one in enumerate(settings.rewrites)),
        settings=settings,
    )


def _servers(field: str, texts: tuple[str, ...]) -> tuple[Server, ...]:
    try:
        return tuple(dict.fromkeys(map(parse_server, texts)))
    except UsageError as error:
        raise UsageError(f"dns: {field}: {error.problem}", error.hint) from None


def _name(field: str, text: str) -> bytes:
    try:
        return encode_name(text)
    except Malformed as error:
        raise UsageError(f"dns: {field}: {error.problem}", "write a name such as example.org") from None


def _addresses(field: str, texts: tuple[str, ...]) -> tuple[Addr, ...]:
    try:
        return tuple(ipaddress.ip_address(text) for text in texts)
    except ValueError as error:
        raise UsageError(f"dns: {field}: {error}", "write addresses such as 192.0.2.1") from None


def _pattern(field: str, rewrite: Rewrite) -> re.Pattern[str]:
    name, plain = rewrite.name.lower(), re.escape(rewrite.name.lower().removesuffix("."))
    text = {
        RewriteKind.EXACT: f"^{plain}$",
        RewriteKind.PREFIX: f"^{plain}",
        RewriteKind.SUFFIX: f"{plain}$",
        RewriteKind.SUBSTRING: plain,
        RewriteKind.REGEX: name,
    }[rewrite.kind]
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"dns: {field}.name: {rewrite.name!r} is no regular expression: {error}") from None
