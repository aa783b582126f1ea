"""What a rule does to requests and answers: headers, paths, redirects, CORS, copies. Values of the plan become lines of a lane.

Comes in: parts of a rule. Goes out: lines. Not here: who may ask (``access.py``), where requests go (``lanes.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from netloom.gateway.haproxy.quote import header_value, is_token, literal, word
from netloom.model.gateways.paths import normal
from netloom.model.gateways.plan import Cors, HeaderChange, Mirror, PathChange, Redirect, Rewrite

PORTS = {"http": 80, "https": 443}
"""Of a scheme, where none is said."""
_EMPTY = "%[var(txn.nothing)]"
"""A format must not be empty; one of a variable that nobody sets gives nothing."""
_CODES = (301, 302, 303, 307, 308)


def header_lines(way: str, change: HeaderChange) -> Iterator[str]:
    """Changes of headers.

    Args:
        way: ``http-request`` or ``http-response``.
        change: names that no header can have are left out.
    """
    for name in change.remove:
        if is_token(name):
            yield f"{way} del-header {word(name)}"
    for verb, pairs in (("set-header", change.set), ("add-header", change.add)):
        for name, value in pairs:
            if is_token(name):
                yield f"{way} {verb} {word(name)} {word(literal(header_value(value))) if header_value(value) else _EMPTY}"


def changes(change: HeaderChange, name: str) -> bool:
    """A header, named in lower case, is among those that are set, added to or removed."""
    told = (*change.remove, *(one for one, _ in (*change.set, *change.add)))
    return any(one.lower() == name for one in told)


def rewrite_lines(rewrite: Rewrite) -> Iterator[str]:
    """What the backend is asked in place of what the client asked. The query stays."""
    if header_value(rewrite.hostname):
        yield "http-request set-header x-forwarded-host %[req.hdr(host)] if { req.hdr(host) -m found }"
        yield f"http-request set-header host {word(literal(header_value(rewrite.hostname)))}"
    if rewrite.path is not None:
        yield from _rest_lines(rewrite.path)
        yield f"http-request set-path {_path_format(rewrite.path)}"


def _rest_lines(path: PathChange) -> Iterator[str]:
    """What follows the prefix goes into a variable: nothing, or ``/`` and more."""
    if path.prefix is None:
        return
    length = len(normal(path.prefix).rstrip("/"))
    if not path.value.rstrip("/"):
        yield "http-request set-var(txn.rest) str(/)"
    yield f"http-request set-var(txn.rest) path,bytes({length}) if {{ path,length gt {length} }}"


def _path_format(path: PathChange) -> str:
    if path.prefix is None:
        return word(literal(header_value(path.value)))
    return word(literal(header_value(path.value.rstrip("/"))) + "%[var(txn.rest)]")


def redirect_lines(redirect: Redirect, scheme: str, port: int) -> Iterator[str]:
    """The answer that sends the client elsewhere (HTTPRequestRedirectFilter).

    Args:
        redirect: what the filter says.
        scheme: ``http`` or ``https``: how the request came.
        port: of the listener.
    """
    target = redirect.port if redirect.port is not None else (None if redirect.scheme else port)
    to_scheme = redirect.scheme or scheme
    suffix = "" if target is None or target == PORTS.get(to_scheme) else f":{target}"
    host = (
        literal(header_value(redirect.hostname)) if redirect.hostname else "%[req.hdr(host),host_only,lower]"
    )
    if redirect.path is None:
        path = "%[pathq]"
    else:
        yield from _rest_lines(redirect.path)
        yield "http-request set-var-fmt(txn.query) ?%[query] if { query -m found }"
        path = ""
    where = word(f"{literal(to_scheme)}://{host}{suffix}{path}")
    if redirect.path is not None:
        where += _path_format(redirect.path) + "%[var(txn.query)]"
    code = redirect.status if redirect.status in _CODES else 302
    yield f"http-request redirect location {where} code {code}"


def cors_lines(cors: Cors) -> Iterator[str]:
    """Questions of browsers are answered here, and answers say who may read them (Fetch standard, 3.2)."""
    yield f"acl cors_origin req.fhdr(origin) -m reg -i -- {word(_origins(cors.origins))}"
    yield "http-request set-var(txn.origin) req.fhdr(origin) if cors_origin"
    is_open = "*" in cors.origins and not cors.credentials
    allowed = "*" if is_open else "%[var(txn.origin)]"
    if not is_open:
        yield "http-after-response add-header vary origin"
    yield f"http-after-response set-header access-control-allow-origin {allowed} if {{ var(txn.origin) -m found }}"
    yield "http-after-response del-header access-control-allow-origin unless { var(txn.origin) -m found }"
    if cors.credentials:
        yield "http-after-response set-header access-control-allow-credentials true if { var(txn.origin) -m found }"
    if cors.expose:
        yield (
            f"http-after-response set-header access-control-expose-headers {_list(cors.expose)} "
            "if { var(txn.origin) -m found }"
        )
    yield from _preflight_lines(cors)


def _preflight_lines(cors: Cors) -> Iterator[str]:
    asked = (
        "{ method OPTIONS } { req.hdr(origin) -m found } { req.hdr(access-control-request-method) -m found }"
    )
    methods = _answer(cors.methods, "access-control-request-method", is_reflected=cors.credentials)
    headers = _answer(cors.headers, "access-control-request-headers", is_reflected=cors.credentials)
    words = f"hdr access-control-max-age {int(cors.max_age_s)}"
    if methods:
        words += f" hdr access-control-allow-methods {methods}"
    if headers:
        words += f" hdr access-control-allow-headers {headers}"
    yield f"http-request return status 204 {words} if {asked} {{ var(txn.origin) -m found }}"
    yield f"http-request return status 204 if {asked}"


def _answer(allowed: tuple[str, ...], asked: str, *, is_reflected: bool) -> str:
    """``*`` means nothing to a browser that sends credentials: it is told what it asked for."""
    if "*" in allowed and is_reflected:
        return f"%[req.hdr({asked})]"
    return _list(allowed)


def _list(values: Iterable[str]) -> str:
    joined = ", ".join(header_value(value) for value in values)
    return word(literal(joined)) if joined else ""


def _origins(origins: Iterable[str]) -> str:
    one_of = "|".join(
        "[^/ ]+" if origin == "*" else re.escape(origin).replace(r"\*", "[^/ ]+") for origin in origins
    )
    if "*" in origins:
        return "^.+$"
    return f"^(?:{one_of})$" if one_of else "^$"


def mirror_line(mirror: Mirror, lane: str) -> str:
    """A copy goes to another lane; nobody waits for it."""
    if mirror.numerator >= mirror.denominator:
        return f"http-request lua.netloom_mirror {lane}"
    share = int(mirror.numerator * 1_000_000 / max(mirror.denominator, 1))
    return f"http-request lua.netloom_mirror {lane} if {{ rand(1000000) lt {share} }}"


WAIT_FOR_A_BODY = "http-request wait-for-body time 1s if { req.hdr(content-length) -m found } or { req.hdr(transfer-encoding) -m found }"
"""Before a copy is made: what has come of the body by then is in it, as far as a buffer holds it."""
