"""Requests that try the boundaries of Ingresses: every host and path as written, longer, shorter, in capitals, with headers, cookies, clients.

Comes in: Ingresses, hosts with TLS. Goes out: samples, each once. Not here: what becomes of them.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator

from msgspec.structs import replace

from netloom.model.gateways.migrate.outcome import Boundary, Sample
from netloom.model.gateways.migrate.read import Old, OldPath
from netloom.units import Addr

_NOWHERE = "/no-such-path-7c1f"
_LITERAL = re.compile(r"\^?(?P<path>(/[-\w.~%]*)*)")
_ORIGIN = (("Origin", "https://app.example"), ("Access-Control-Request-Method", "PUT"))


def samples_of(olds: Iterable[Old], secure: Container[str]) -> tuple[Sample, ...]:
    """All samples; ``secure`` are the hosts that are asked with TLS, too."""
    ordered = list(olds)
    found: dict[Sample, None] = {}
    for one in ordered:
        for sample in _of_ingress(one, ordered):
            for scheme in ("http", "https") if _is_in(sample, secure) else ("http",):
                if scheme == "http" and sample.boundary is Boundary.PREFLIGHT and _is_in(sample, secure):
                    # browsers do not follow redirects of their questions: only where requests end counts
                    continue
                found.setdefault(replace(sample, scheme=scheme), None)
    requests: dict[object, Sample] = {}
    for sample in found:
        asked = (
            sample.scheme,
            sample.host,
            sample.path,
            sample.query,
            sample.method,
            sample.headers,
            sample.client,
        )
        requests.setdefault(asked, sample)
    return tuple(requests.values())


def literal(path: str) -> str:
    """The part of a path before anything of a pattern: ``/api`` of ``/api(/|$)(.*)``."""
    found = _LITERAL.match(path)
    text = found["path"] if found else "/"
    return text if text in (path, "/") else text.rstrip("/") or "/"


def _is_in(sample: Sample, secure: Container[str]) -> bool:
    wildcard = "*." + sample.host.partition(".")[2]
    return sample.host in secure or (sample.boundary is not Boundary.DEEPER_HOST and wildcard in secure)


def _of_ingress(old: Old, olds: Iterable[Old]) -> Iterator[Sample]:
    is_pattern = {
        host for one in olds for host in one.hosts if one.is_on("use-regex") or one.said.get("rewrite-target")
    }
    for path in old.paths:
        for sample in _of_path(old, path, is_pattern=path.host in is_pattern):
            yield replace(sample, ingress=str(old.key))
    for host in old.hosts or ("",):
        name = _host(host)
        plain = Sample(host=name, about=(host, ""), ingress=str(old.key))
        yield replace(plain, path=_NOWHERE, boundary=Boundary.NOWHERE)
        yield replace(plain, path="/", boundary=Boundary.NOWHERE)
        yield replace(plain, host="unknown.invalid", boundary=Boundary.OTHER_HOST)
        yield replace(plain, host=f"deeper.{name}", boundary=Boundary.DEEPER_HOST)
        if old.is_on("from-to-www-redirect") and host:
            other = name.removeprefix("www.") if name.startswith("www.") else f"www.{name}"
            yield replace(plain, host=other, path="/a", query="b=1", boundary=Boundary.OTHER_HOST)
        for alias in old.said.get("server-alias", "").split(","):
            if alias.strip() and not alias.strip().startswith("~"):
                yield replace(plain, host=alias.strip().lower(), boundary=Boundary.OTHER_HOST)


def _of_path(old: Old, path: OldPath, *, is_pattern: bool) -> Iterator[Sample]:
    base = literal(path.path)
    bare = base.rstrip("/")
    plain = Sample(host=_host(path.host), path=base, about=(path.host, path.path))
    yield plain
    yield replace(plain, path=f"{bare}/", boundary=Boundary.SLASH)
    yield replace(plain, path=f"{bare}/below/it", boundary=Boundary.BELOW)
    yield replace(plain, path=f"{bare}/below/", boundary=Boundary.BELOW)
    yield replace(plain, query="a=1&b=%2F", boundary=Boundary.QUERY)
    for method in ("POST", "DELETE"):
        yield replace(plain, method=method, boundary=Boundary.METHOD)
    if bare:
        yield replace(plain, path=f"{bare}more", boundary=Boundary.LONGER)
        yield replace(plain, path=bare[:-1] or "/", boundary=Boundary.SHORTER)
        if is_pattern and bare.upper() != bare:
            yield replace(plain, path=bare.upper(), boundary=Boundary.CASE)
    if old.is_on("canary"):
        yield from _of_canary(old, plain)
    if old.is_on("enable-cors"):
        yield replace(plain, method="OPTIONS", boundary=Boundary.METHOD)
        yield replace(plain, method="OPTIONS", headers=_ORIGIN, boundary=Boundary.PREFLIGHT)
    for client in _clients(old):
        yield replace(plain, client=client, boundary=Boundary.CLIENT)


def _of_canary(old: Old, plain: Sample) -> Iterator[Sample]:
    header, cookie = old.said.get("canary-by-header", ""), old.said.get("canary-by-cookie", "")
    values = ("always", "never", "maybe", *filter(None, (old.said.get("canary-by-header-value", ""),)))
    headers = [(header, value) for value in values] if header else []
    cookies = [
        ("Cookie", text)
        for value in ("always", "never", "maybe")
        for text in (f"{cookie}={value}", f"a=1; {cookie}={value}; b=2", f"x{cookie}={value}")
    ]
    for one in headers:
        yield replace(plain, headers=(one,), boundary=Boundary.HEADER)
    for one in cookies if cookie else ():
        yield replace(plain, headers=(one,), boundary=Boundary.COOKIE)
    for one in headers:
        for other in cookies[:6:3] if cookie else ():
            yield replace(plain, headers=(one, other), boundary=Boundary.COOKIE)


def _clients(old: Old) -> Iterator[Addr]:
    for network in old.networks():
        yield network.network_address
        yield network.broadcast_address
        for outside in (int(network.network_address) - 1, int(network.broadcast_address) + 1):
            if 0 < outside < 2**network.max_prefixlen - 1:
                yield type(network.network_address)(outside)


def _host(host: str) -> str:
    if not host:
        return "any.invalid"
    return f"one.{host.removeprefix('*.')}" if host.startswith("*.") else host
