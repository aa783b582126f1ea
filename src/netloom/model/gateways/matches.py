"""Matches of HTTPRoutes and GRPCRoutes, and how much each takes precedence.

Comes in: matches as written. Goes out: ``Ranked`` matches, or what is wrong with them. Not here: routes with overlapping host names (``hosts.py``),
what becomes of a request.

The specification leaves the place of regular expressions open. Here they come after exact paths and before prefixes, the longer pattern first: a
prefix ``/`` would hide all of them otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from netloom.api.gateway_routes import GRPCMatch, GRPCMethodMatch, HTTPMatch, PathMatch
from netloom.api.gateway_routes import ValueMatch as GivenValue
from netloom.model.gateways import regexes
from netloom.model.gateways.filters import HEADER_NAME
from netloom.model.gateways.plan import Match, PathKind, ValueMatch
from netloom.model.gateways.troubles import UNSUPPORTED, Trouble

Rank = tuple[int, int, int, int, int]
"""Less is more specific. The same length for both kinds of routes, though they never share a host."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_KINDS = {kind.value: kind for kind in PathKind}
_CLASS = {PathKind.EXACT: 0, PathKind.REGEX: 1, PathKind.PREFIX: 2}
_PATH = re.compile(r"/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*")
_NEVER = re.compile(r"//|/\.\.?(?:/|$)|%2[fF]")
_LONGEST = 1024
_SERVICE = re.compile(r"\.?[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*")
_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


class Ranked(msgspec.Struct, frozen=True, gc=False):
    """A match and its precedence."""

    match: Match
    rank: Rank


_EVERYTHING = Ranked(Match(), (2, -1, 1, 0, 0))
_EVERY_CALL = Ranked(Match(), (0, 0, 0, 0, 0))


def http_matches(given: Sequence[HTTPMatch], field: str, invalid: list[Trouble]) -> tuple[Ranked, ...]:
    """Matches of a rule of an HTTPRoute; none means every request."""
    if not given:
        return (_EVERYTHING,)
    return tuple(_http(one, f"{field}.matches[{i}]", invalid) for i, one in enumerate(given))


def grpc_matches(given: Sequence[GRPCMatch], field: str, invalid: list[Trouble]) -> tuple[Ranked, ...]:
    """Matches of a rule of a GRPCRoute; none means every call."""
    if not given:
        return (_EVERY_CALL,)
    return tuple(_grpc(one, f"{field}.matches[{i}]", invalid) for i, one in enumerate(given))


def _http(given: HTTPMatch, at: str, invalid: list[Trouble]) -> Ranked:
    kind = _KINDS.get(given.path.type)
    if kind is None:
        problem = f'"{given.path.type}" is not known; use Exact, PathPrefix or RegularExpression'
        invalid.append(Trouble(f"{at}.path.type", UNSUPPORTED, problem))
        kind = PathKind.EXACT
    path = _path(given.path, kind, at, invalid)
    if given.method and given.method not in METHODS:
        invalid.append(Trouble(f"{at}.method", UNSUPPORTED, f'"{given.method}" is no method that is known'))
    headers = _values(given.headers, f"{at}.headers", invalid, is_header=True) if given.headers else ()
    queries = (
        _values(given.query_params, f"{at}.queryParams", invalid, is_header=False)
        if given.query_params
        else ()
    )
    rank = (_CLASS[kind], -len(path), 0 if given.method else 1, -len(headers), -len(queries))
    return Ranked(Match(kind, path, given.method, headers, queries), rank)


def _path(given: PathMatch, kind: PathKind, at: str, invalid: list[Trouble]) -> str:
    """The path or pattern; a final slash of a prefix says nothing (HTTPRoute, PathMatchPathPrefix)."""
    value = given.value
    if kind is PathKind.REGEX:
        problem = regexes.trouble(value)
        if problem:
            invalid.append(Trouble(f"{at}.path.value", UNSUPPORTED, f'"{value[:64]}" {problem}'))
        return value
    if len(value) > _LONGEST or _PATH.fullmatch(value) is None or _NEVER.search(value):
        problem = f'"{value[:64]}" is no path; it starts with /, and has no //, /./, /../, %2F or #'
        invalid.append(Trouble(f"{at}.path.value", UNSUPPORTED, problem))
    return value.rstrip("/") or "/" if kind is PathKind.PREFIX else value


def _values(
    given: Iterable[GivenValue], at: str, invalid: list[Trouble], *, is_header: bool
) -> tuple[ValueMatch, ...]:
    """Of equal names only the first counts; names of headers are equal in any case."""
    found: dict[str, ValueMatch] = {}
    for index, one in enumerate(given):
        where = f"{at}[{index}]"
        name = one.name.lower() if is_header else one.name
        is_regex = one.type == "RegularExpression"
        if one.type not in ("Exact", "RegularExpression"):
            problem = f'"{one.type}" is not known; use Exact or RegularExpression'
            invalid.append(Trouble(f"{where}.type", UNSUPPORTED, problem))
        elif HEADER_NAME.fullmatch(one.name) is None:
            invalid.append(Trouble(f"{where}.name", UNSUPPORTED, f'"{one.name}" is no name'))
        elif not one.value:
            invalid.append(Trouble(f"{where}.value", UNSUPPORTED, "is empty"))
        elif is_regex and (problem := regexes.trouble(one.value)):
            invalid.append(Trouble(f"{where}.value", UNSUPPORTED, f'"{one.value[:64]}" {problem}'))
        elif name not in found:
            found[name] = ValueMatch(name, one.value, is_regex)
    return tuple(found.values())


def _grpc(given: GRPCMatch, at: str, invalid: list[Trouble]) -> Ranked:
    headers = _values(given.headers, f"{at}.headers", invalid, is_header=True) if given.headers else ()
    method = given.method
    if method is None:
        return Ranked(Match(headers=headers), (0, 0, 0, -len(headers), 0))
    kind, path = _call(method, f"{at}.method", invalid)
    rank = (0, -len(method.service), -len(method.method), -len(headers), 0)
    return Ranked(Match(kind, path, "", headers), rank)


def _call(given: GRPCMethodMatch, at: str, invalid: list[Trouble]) -> tuple[PathKind, str]:
    """A method as the path that it has in HTTP/2: ``/service/method``."""
    service, method = given.service, given.method
    if not service and not method:
        invalid.append(Trouble(at, UNSUPPORTED, "one of service and method is needed"))
    if given.type == "RegularExpression":
        for field, value in (("service", service), ("method", method)):
            if value and (problem := regexes.trouble(value)):
                invalid.append(Trouble(f"{at}.{field}", UNSUPPORTED, f'"{value[:64]}" {problem}'))
        return PathKind.REGEX, f"/{_or_any(service)}/{_or_any(method)}"
    if given.type != "Exact":
        problem = f'"{given.type}" is not known; use Exact or RegularExpression'
        invalid.append(Trouble(f"{at}.type", UNSUPPORTED, problem))
    if service and _SERVICE.fullmatch(service) is None:
        invalid.append(Trouble(f"{at}.service", UNSUPPORTED, f'"{service}" is no name of a service'))
    if method and _METHOD.fullmatch(method) is None:
        invalid.append(Trouble(f"{at}.method", UNSUPPORTED, f'"{method}" is no name of a method'))
    if not method:
        return PathKind.PREFIX, f"/{service}"
    if not service:
        return PathKind.REGEX, f"/[^/]+/{method}"
    return PathKind.EXACT, f"/{service}/{method}"


def _or_any(pattern: str) -> str:
    return f"(?:{pattern})" if pattern else "[^/]+"
