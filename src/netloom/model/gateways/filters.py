"""Filters of rules and of backends of HTTPRoutes and GRPCRoutes.

Comes in: filters as written, whose they are. Goes out: ``Filtered``: what they come to, what makes the rule invalid, what could not be resolved. Not
here: matches, backends of the rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from netloom.api.gateway_routes import CORSFilter, Filter, HeaderFilter, PathModifier, RequestMirror
from netloom.api.gateway_routes import RequestRedirect as RedirectFilter
from netloom.api.gateway_routes import URLRewrite as RewriteFilter
from netloom.model.gateways.backends import Backends, Use
from netloom.model.gateways.grants import Referrer
from netloom.model.gateways.hostnames import is_precise
from netloom.model.gateways.plan import (
    Cors,
    HeaderChange,
    Mirror,
    PathChange,
    PathKind,
    Redirect,
    Rewrite,
    Traffic,
)
from netloom.model.gateways.traffic_lookup import TrafficLookup
from netloom.model.gateways.troubles import INCOMPATIBLE, INVALID_KIND, UNSUPPORTED, Trouble
from netloom.units import ObjectKey

HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}")
_VALUE = re.compile(r"[\t -~]{0,4096}")
_PATH = re.compile(r"[!-~]{0,1024}")
_ORIGIN = re.compile(r"\*|https?://(\*|[*a-zA-Z0-9.\-]+)(:[0-9]{1,5})?")
_STATUSES = (301, 302, 303, 307, 308)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"})
_ONCE = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "CORS")
_OF_GRPC = frozenset({"RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"})
_OF_BACKENDS = frozenset({"RequestHeaderModifier", "ResponseHeaderModifier"})
_OURS = ("netloom.io", "TrafficPolicy")
_UNRESOLVED = 500


class Filtered(msgspec.Struct, gc=False):
    """What filters come to."""

    request: HeaderChange = HeaderChange()
    response: HeaderChange = HeaderChange()
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    cors: Cors | None = None
    mirrors: list[Mirror] = []
    traffic: Traffic | None = None
    fault: int = 0
    """A filter cannot be resolved, and must not be skipped: what requests get instead."""
    invalid: list[Trouble] = []
    """The rule cannot be done as written (Accepted, PartiallyInvalid)."""
    unresolved: list[Trouble] = []
    """Condition ResolvedRefs."""


class FilterReader:
    """Reads the filters of one route."""

    def __init__(self, referrer: Referrer, backends: Backends, traffic: TrafficLookup, use: Use) -> None:
        self._referrer = referrer
        self._backends = backends
        self._traffic = traffic
        self._use = use
        self._is_grpc = referrer.kind == "GRPCRoute"

    def of_rule(self, filters: Iterable[Filter], kinds: Iterable[PathKind], field: str) -> Filtered:
        """Filters of a rule; ``kinds`` are those of its matches."""
        found = Filtered()
        seen: set[str] = set()
        for index, one in enumerate(filters):
            at = f"{field}.filters[{index}]"
            if one.type in _ONCE and one.type in seen:
                found.invalid.append(Trouble(at, INCOMPATIBLE, f"repeats {one.type}"))
                continue
            seen.add(one.type)
            if self._is_grpc and one.type not in _OF_GRPC:
                found.invalid.append(
                    Trouble(f"{at}.type", UNSUPPORTED, f'"{one.type}" is no filter of a GRPCRoute')
                )
                continue
            self._take(one, found, at)
        if {"RequestRedirect", "URLRewrite"} <= seen:
            problem = "RequestRedirect and URLRewrite exclude each other"
            found.invalid.append(Trouble(f"{field}.filters", INCOMPATIBLE, problem))
        changes = (c.path for c in (found.redirect, found.rewrite) if c is not None)
        if any(c is not None and c.prefix is not None for c in changes):
            found.invalid += _prefix_trouble(kinds, field)
        return found

    def of_backend(self, filters: Iterable[Filter], field: str) -> Filtered:
        """Filters of a backendRef: changes of headers."""
        found = Filtered()
        for index, one in enumerate(filters):
            at = f"{field}.filters[{index}]"
            if one.type in _OF_BACKENDS:
                self._take(one, found, at)
            else:
                problem = f'"{one.type}" is not supported at a backend; put it at the rule'
                found.invalid.append(Trouble(f"{at}.type", UNSUPPORTED, problem))
        return found

    def _take(self, one: Filter, found: Filtered, at: str) -> None:
        match one.type:
            case "RequestHeaderModifier":
                found.request = _headers(one.request_header_modifier, f"{at}.requestHeaderModifier", found)
            case "ResponseHeaderModifier":
                found.response = _headers(one.response_header_modifier, f"{at}.responseHeaderModifier", found)
            case "RequestRedirect":
                found.redirect = _redirect(one.request_redirect, f"{at}.requestRedirect", found)
            case "URLRewrite":
                found.rewrite = _rewrite(one.url_rewrite, f"{at}.urlRewrite", found)
            case "RequestMirror":
                self._mirror(one.request_mirror, f"{at}.requestMirror", found)
            case "CORS":
                found.cors = _cors(one.cors, f"{at}.cors", found)
            case "ExtensionRef":
                self._extend(one, f"{at}.extensionRef", found)
            case _:
                found.invalid.append(
                    Trouble(f"{at}.type", UNSUPPORTED, f'"{one.type}" is no filter that is known')
                )

    def _mirror(self, mirror: RequestMirror | None, at: str, found: Filtered) -> None:
        if mirror is None:
            found.invalid.append(_missing(at))
            return
        part = mirror.fraction
        numerator = part.numerator if part else 100 if mirror.percent is None else mirror.percent
        denominator = part.denominator if part else 100
        if part is not None and mirror.percent is not None:
            found.invalid.append(Trouble(at, UNSUPPORTED, "percent and fraction exclude each other"))
        elif denominator < 1 or not 0 <= numerator <= denominator:
            found.invalid.append(
                Trouble(at, UNSUPPORTED, f"{numerator}/{denominator} is no part of requests")
            )
        backend = self._backends.resolve(mirror.backend_ref, self._referrer, self._use, f"{at}.backendRef")
        if backend.trouble is not None:
            found.unresolved.append(backend.trouble)
        if backend.pool and numerator:
            found.mirrors.append(Mirror(backend.pool, numerator, denominator))

    def _extend(self, one: Filter, at: str, found: Filtered) -> None:
        """A filter that cannot be resolved must not be skipped (HTTPRouteFilter ``type``)."""
        ref = one.extension_ref
        if ref is None:
            found.invalid.append(_missing(at))
            return
        if (ref.group, ref.kind) != _OURS:
            problem = f"{ref.group}/{ref.kind} is not known; TrafficPolicy of netloom.io is"
            found.unresolved.append(Trouble(at, INVALID_KIND, problem))
            found.fault = _UNRESOLVED
            return
        key = ObjectKey(self._referrer.namespace, ref.name)
        policy = self._traffic.named(key, self._backends.pools)
        if isinstance(policy, str):
            found.unresolved.append(Trouble(at, "FilterNotFound", policy))
            found.fault = _UNRESOLVED
        else:
            found.traffic = policy if found.traffic is None else self._traffic.joined(found.traffic, policy)


def _prefix_trouble(kinds: Iterable[PathKind], field: str) -> list[Trouble]:
    if all(kind is PathKind.PREFIX for kind in kinds):
        return []
    return [
        Trouble(f"{field}.filters", UNSUPPORTED, "ReplacePrefixMatch needs matches of type PathPrefix only")
    ]


def _missing(at: str) -> Trouble:
    return Trouble(at, UNSUPPORTED, "is what the filter's type needs, and is absent")


def _headers(given: HeaderFilter | None, at: str, found: Filtered) -> HeaderChange:
    """Only one action for a header name is permitted (HTTPHeaderFilter)."""
    if given is None:
        found.invalid.append(_missing(at))
        return HeaderChange()
    seen: set[str] = set()
    names = [
        *((f"{at}.set[{i}]", h.name, h.value) for i, h in enumerate(given.set)),
        *((f"{at}.add[{i}]", h.name, h.value) for i, h in enumerate(given.add)),
        *((f"{at}.remove[{i}]", name, "") for i, name in enumerate(given.remove)),
    ]
    for where, name, value in names:
        if HEADER_NAME.fullmatch(name) is None:
            found.invalid.append(Trouble(where, UNSUPPORTED, f'"{name}" is no header name'))
        elif _VALUE.fullmatch(value) is None:
            found.invalid.append(
                Trouble(where, UNSUPPORTED, f"the value of {name} has characters that no header may have")
            )
        elif name.lower() in seen:
            found.invalid.append(Trouble(where, UNSUPPORTED, f"{name} has an action already"))
        seen.add(name.lower())
    return HeaderChange(
        tuple(given.remove),
        tuple((h.name, h.value) for h in given.set),
        tuple((h.name, h.value) for h in given.add),
    )


def _path_change(given: PathModifier | None, at: str, found: Filtered) -> PathChange | None:
    """The prefix is put in with each match; here it is empty where there will be one."""
    if given is None:
        return None
    is_full = given.type == "ReplaceFullPath"
    value = given.replace_full_path if is_full else given.replace_prefix_match
    if given.type not in ("ReplaceFullPath", "ReplacePrefixMatch") or value is None:
        problem = f'type "{given.type}" needs replaceFullPath or replacePrefixMatch'
        found.invalid.append(Trouble(at, UNSUPPORTED, problem))
        return None
    if _PATH.fullmatch(value) is None or (value and not value.startswith("/")):
        found.invalid.append(Trouble(at, UNSUPPORTED, f'"{value}" is no path'))
        return None
    return PathChange(value, None if is_full else "")


def _redirect(given: RedirectFilter | None, at: str, found: Filtered) -> Redirect | None:
    if given is None:
        found.invalid.append(_missing(at))
        return None
    if given.scheme not in (None, "http", "https"):
        found.invalid.append(Trouble(f"{at}.scheme", UNSUPPORTED, f'"{given.scheme}" is not http or https'))
    if given.status_code not in _STATUSES:
        problem = f"{given.status_code} is none of {', '.join(map(str, _STATUSES))}"
        found.invalid.append(Trouble(f"{at}.statusCode", UNSUPPORTED, problem))
    if given.hostname is not None and not is_precise(given.hostname):
        found.invalid.append(Trouble(f"{at}.hostname", UNSUPPORTED, f'"{given.hostname}" is no host name'))
    if given.port is not None and not 1 <= given.port <= 65535:
        found.invalid.append(Trouble(f"{at}.port", UNSUPPORTED, f"{given.port} is no port"))
    path = _path_change(given.path, f"{at}.path", found)
    return Redirect(given.status_code, given.scheme or "", given.hostname or "", given.port, path)


def _rewrite(given: RewriteFilter | None, at: str, found: Filtered) -> Rewrite | None:
    if given is None:
        found.invalid.append(_missing(at))
        return None
    if given.hostname is not None and not is_precise(given.hostname):
        found.invalid.append(Trouble(f"{at}.hostname", UNSUPPORTED, f'"{given.hostname}" is no host name'))
    return Rewrite(given.hostname or "", _path_change(given.path, f"{at}.path", found))


def _cors(given: CORSFilter | None, at: str, found: Filtered) -> Cors | None:
    if given is None:
        found.invalid.append(_missing(at))
        return None
    for field, values, is_sound in (
        ("allowOrigins", given.allow_origins, lambda o: _ORIGIN.fullmatch(o) is not None),
        ("allowMethods", given.allow_methods, _METHODS.__contains__),
        ("allowHeaders", given.allow_headers, lambda h: HEADER_NAME.fullmatch(h) is not None),
        ("exposeHeaders", given.expose_headers, lambda h: HEADER_NAME.fullmatch(h) is not None),
    ):
        for index, value in enumerate(values):
            if not is_sound(value):
                found.invalid.append(
                    Trouble(f"{at}.{field}[{index}]", UNSUPPORTED, f'"{value}" cannot be used')
                )
        if "*" in values and len(values) > 1:
            found.invalid.append(Trouble(f"{at}.{field}", UNSUPPORTED, "* stands alone or not at all"))
    if given.max_age < 1:
        found.invalid.append(
            Trouble(f"{at}.maxAge", UNSUPPORTED, f"{given.max_age} is no time; use 1 or more")
        )
    return Cors(
        given.allow_origins,
        given.allow_methods,
        given.allow_headers,
        given.expose_headers,
        given.max_age,
        given.allow_credentials,
    )
