"""What a plan does to one request, decided by reading it: the reference that engines are compared with.

Comes in: a plan, a door of it, a request. Goes out: a ``Decision``. Not here: what an engine is told (``gateway/``), which way a packet takes to the
door (``model/walk``). Pure and slow: nothing here is for traffic.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import parse_qsl

import msgspec

from netloom.model.gateways import paths
from netloom.model.gateways.hostnames import covers, of_authority
from netloom.model.gateways.plan import (
    Certificate,
    Door,
    Host,
    Listener,
    Match,
    PathChange,
    PathKind,
    Plan,
    Redirect,
    Rule,
    Share,
    Stream,
    Transport,
    ValueMatch,
)
from netloom.units import Addr

_WELL_KNOWN = {"http": 80, "https": 443}
_BAD, _NOT_FOUND, _FORBIDDEN, _MISDIRECTED, _NO_BACKEND, _NO_ENDPOINT = 400, 404, 403, 421, 500, 503


class Action(enum.Enum):
    """What becomes of a request or connection."""

    FORWARD = "forward"
    """One of the shares has it."""
    REDIRECT = "redirect"
    ANSWER = "answer"
    """The gateway answers with ``status``."""
    PREFLIGHT = "preflight"
    """The gateway answers a browser's question (CORS)."""
    REFUSE = "refuse"
    """The connection is closed: no listener takes it, or nothing of its kind is there."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it arrives."""

    host: str = ""
    """``Host`` header or ``:authority``, perhaps with a port."""
    path: str = "/"
    """Without the query."""
    query: str = ""
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    server_name: str | None = None
    """Of the ClientHello; None: the same as ``host``. Empty: none was sent."""
    client: Addr | None = None
    """None: one that is let in everywhere."""

    @property
    def sni(self) -> str:
        """The server name of the TLS handshake."""
        return of_authority(self.host) if self.server_name is None else of_authority(self.server_name)

    def header(self, name: str) -> str | None:
        """Values of the header, joined as RFC 9110 section 5.3 has it; None where it is absent."""
        if name == "host":
            return self.host
        found = [value for given, value in self.headers if given.lower() == name]
        return ", ".join(found) if found else None

    def parameter(self, name: str) -> str | None:
        """First value of the query parameter."""
        pairs = parse_qsl(self.query, keep_blank_values=True)
        return next((value for given, value in pairs if given == name), None)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan does to a request, and which part of it says so."""

    action: Action
    status: int = 0
    """Of an answer that the gateway gives itself."""
    listener: Listener | None = None
    certificate: Certificate | None = None
    """Shown to the client."""
    host: Host | None = None
    rule: Rule | None = None
    stream: Stream | None = None
    shares: tuple[Share, ...] = ()
    """Who may get it; those of weight 0 are left out."""
    location: str = ""
    """Of a redirect."""
    path: str = ""
    """What the backend is asked."""
    authority: str = ""
    """The host that the backend is asked for."""


def decide(plan: Plan, door: Door, request: Request) -> Decision:
    """What happens to a request that arrives at this door of the plan; the same answer for the same arguments."""
    request = normalised(request)
    is_bad = paths.is_refused(request.path)
    if door.transport is Transport.HTTP:
        listener = _listener_for(door.listeners, of_authority(request.host))
        if is_bad or listener is None:
            return Decision(action=Action.ANSWER, status=_BAD if is_bad else _NOT_FOUND)
        return _answer(plan, door, listener, request, None)
    listener = _listener_for(door.listeners, request.sni if door.transport is Transport.TLS else "")
    if listener is None:
        return Decision(action=Action.REFUSE)
    shown = _certificate(listener, request.sni)
    if listener.is_stream:
        return _carry(listener, request, shown)
    best = _listener_for(door.listeners, of_authority(request.host))
    if is_bad or best is not listener:
        # RFC 9110 section 15.5.20, and Gateway ``spec.listeners[].hostname``
        status = _BAD if is_bad else _NOT_FOUND if best is None else _MISDIRECTED
        return Decision(action=Action.ANSWER, status=status, listener=listener, certificate=shown)
    return _answer(plan, door, listener, request, shown)


def normalised(request: Request) -> Request:
    """As rules see it, and backends."""
    return msgspec.structs.replace(
        request, path=paths.normal(request.path), query=paths.decoded(request.query)
    )


def matches(match: Match, request: Request) -> bool:
    """Whether everything that the match says holds of a request whose path is normal (``paths.py``)."""
    return (
        _path_matches(match, request.path)
        and match.method in ("", request.method)
        and all(_value_matches(one, request.header(one.name)) for one in match.headers)
        and all(_value_matches(one, request.parameter(one.name)) for one in match.queries)
    )


def changed_path(change: PathChange | None, path: str) -> str:
    """The path after a change; HTTPRoute ``replacePrefixMatch`` has the table of cases."""
    if change is None:
        return path
    if change.prefix is None:
        return change.value or "/"
    rest = path[len(paths.normal(change.prefix).rstrip("/")) :]
    return change.value.rstrip("/") + rest or "/"


def location_of(redirect: Redirect, door: Door, request: Request) -> str:
    """The ``Location`` of a redirect; ports that the scheme implies are left out (HTTPRequestRedirectFilter ``port``)."""
    own = "https" if door.transport is Transport.TLS else "http"
    scheme = redirect.scheme or own
    port = redirect.port or (_WELL_KNOWN.get(scheme, door.port) if redirect.scheme else door.port)
    authority = redirect.hostname or of_authority(request.host)
    if port != _WELL_KNOWN.get(scheme):
        authority += f":{port}"
    query = f"?{request.query}" if request.query else ""
    return f"{scheme}://{authority}{changed_path(redirect.path, request.path)}{query}"


def _listener_for(listeners: Iterable[Listener], name: str) -> Listener | None:
    """The first that means this name: they stand from special to general."""
    return next((one for one in listeners if covers(one.hostname, name)), None)


def _certificate(listener: Listener, name: str) -> Certificate | None:
    """The one with the longest name that means this server name, else the first."""
    if listener.tls is None or not listener.tls.certificates:
        return None
    best: tuple[int, int, Certificate] | None = None
    for index, certificate in enumerate(listener.tls.certificates):
        for own in certificate.names:
            if own == name or (own.startswith("*.") and name.partition(".")[2] == own[2:]):
                found = (len(own.removeprefix("*")), -index, certificate)
                if best is None or found[:2] > best[:2]:
                    best = found
    return listener.tls.certificates[0] if best is None else best[2]


def _carry(listener: Listener, request: Request, shown: Certificate | None) -> Decision:
    stream = next((s for s in listener.streams if covers(s.hostname, request.sni)), None)
    shares = () if stream is None else tuple(s for s in stream.shares if s.weight)
    return Decision(
        action=Action.FORWARD if shares else Action.REFUSE,
        listener=listener,
        certificate=shown,
        stream=stream,
        shares=shares,
    )


def _answer(
    plan: Plan, door: Door, listener: Listener, request: Request, shown: Certificate | None
) -> Decision:
    name = of_authority(request.host)
    host = next((one for one in listener.hosts if covers(one.name, name)), None)
    rule = None if host is None else next((one for one in host.rules if matches(one.match, request)), None)
    if rule is None:
        return Decision(
            action=Action.ANSWER, status=_NOT_FOUND, listener=listener, certificate=shown, host=host
        )
    action, status, location = _verdict(rule, door, request)
    rewrite = rule.rewrite
    is_forwarded = action is Action.FORWARD
    return Decision(
        action=action,
        status=status,
        listener=listener,
        certificate=shown,
        host=host,
        rule=rule,
        shares=tuple(s for s in rule.shares if s.weight) if is_forwarded else (),
        location=location,
        path=changed_path(rewrite.path if rewrite else None, request.path) if is_forwarded else "",
        authority=((rewrite.hostname if rewrite else "") or request.host) if is_forwarded else "",
    )


def _verdict(rule: Rule, door: Door, request: Request) -> tuple[Action, int, str]:
    allowed = rule.traffic.allow
    if allowed and request.client is not None and not any(request.client in one for one in allowed):
        return Action.ANSWER, _FORBIDDEN, ""
    if rule.fault:
        return Action.ANSWER, rule.fault, ""
    if rule.cors is not None and _is_preflight(request):
        return Action.PREFLIGHT, 204, ""
    if rule.redirect is not None:
        return Action.REDIRECT, rule.redirect.status, location_of(rule.redirect, door, request)
    if not any(share.weight for share in rule.shares):
        return Action.ANSWER, _NO_ENDPOINT if rule.is_grpc else _NO_BACKEND, ""
    return Action.FORWARD, 0, ""


def _is_preflight(request: Request) -> bool:
    """Fetch standard, CORS-preflight request."""
    return (
        request.method == "OPTIONS"
        and request.header("origin") is not None
        and request.header("access-control-request-method") is not None
    )


def _path_matches(match: Match, path: str) -> bool:
    if match.path_kind is PathKind.REGEX:
        return _is_full_match(match.path, path)
    own = paths.normal(match.path)
    if match.path_kind is PathKind.EXACT:
        return path == own
    prefix = own.rstrip("/")
    return path == prefix or path.startswith(prefix + "/")


def _value_matches(match: ValueMatch, value: str | None) -> bool:
    if value is None:
        return False
    return _is_full_match(match.value, value) if match.is_regex else value == match.value


def _is_full_match(pattern: str, text: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is not None and compiled.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """None for a pattern that is none: it matches nothing. A plan made of objects has none of these (``regexes.py``)."""
    try:
        return re.compile(pattern)
    except re.error:
        return None
