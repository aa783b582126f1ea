"""The reference: what the retired controller did to one request, as its documentation words it. Pure and slow.

It is apart from what turns Ingresses into routes on purpose: nothing is shared but the reading of documents, or a comparison would prove nothing.

Comes in: Ingresses, a sample. Goes out: an ``Outcome``. Left out: whatever never changes which backend gets what (buffers, logs, ciphers).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from netloom.model.gateways.migrate.outcome import Outcome, Sample, shares_of
from netloom.model.gateways.migrate.read import Old, OldBackend
from netloom.units import ObjectKey

_PORTS = {"http": 80, "https": 443}
_CORS_METHODS = "GET, PUT, POST, DELETE, PATCH, OPTIONS"


class _Location(msgspec.Struct, frozen=True):
    """What nginx calls a location: a path of a server, and whose annotations hold there."""

    path: str
    kind: str
    """Exact, Begins (nginx's prefix: any string), Pattern."""
    old: Old
    backend: OldBackend | None
    raw: str


class Retired:
    """The Ingresses of one controller.

    Args:
        olds: all of them.
        ports: numbers of named ports of Services.
    """

    def __init__(self, olds: Iterable[Old], ports: Mapping[tuple[ObjectKey, str], int]) -> None:
        ordered = sorted(olds, key=lambda one: one.age)
        self._ports = ports
        self._mains = [one for one in ordered if not one.is_on("canary")]
        self._canaries = [one for one in ordered if one.is_on("canary")]
        self._aliases = {
            alias.strip().lower(): host
            for one in self._mains
            for host in one.hosts
            for alias in one.said.get("server-alias", "").split(",")
            if alias.strip() and not alias.strip().startswith("~")
        }
        self._hosts = {host for one in self._mains for host in one.hosts if host}

    def outcome(self, sample: Sample) -> Outcome:
        """What becomes of a request."""
        name = sample.host.lower().partition(":")[0]
        other = name.removeprefix("www.") if name.startswith("www.") else f"www.{name}"
        if name not in self._hosts and self._redirects_www(other):
            return Outcome(status=308, location=f"{sample.scheme}://{other}{_uri(sample)}")
        server = self._server(name)
        locations = self._locations(server)
        passed = next(
            (one for one in self._mains if server in one.hosts and one.is_on("ssl-passthrough")), None
        )
        if passed is not None and sample.scheme == "https":
            backend = next((p.backend for p in passed.paths if p.host == server and p.backend), None)
            return Outcome(backends=self._alone(backend), terms=("passthrough",))
        if sample.path == "/" and (root := self._app_root(server)):
            return Outcome(status=302, location=f"{sample.scheme}://{sample.host}{root}")
        location = _find(locations, sample.path)
        if location is None:
            return Outcome(status=404)
        return self._at(location, server, sample)

    def _redirects_www(self, host: str) -> bool:
        return any(host in one.hosts and one.is_on("from-to-www-redirect") for one in self._mains)

    def _server(self, name: str) -> str:
        """The host whose locations count; empty: the catch-all server."""
        if name in self._hosts:
            return name
        if name in self._aliases:
            return self._aliases[name]
        wildcard = "*." + name.partition(".")[2]
        return wildcard if wildcard in self._hosts else ""

    def _app_root(self, server: str) -> str:
        return next(
            (one.said["app-root"] for one in self._mains if server in one.hosts and one.said.get("app-root")),
            "",
        )

    def _locations(self, server: str) -> list[_Location]:
        """Locations of a server in the order in which nginx asks them: exact, then patterns or prefixes, long before short."""
        is_pattern = any(
            server in one.hosts and (one.is_on("use-regex") or one.said.get("rewrite-target"))
            for one in (*self._mains, *self._canaries)
        )
        found: dict[tuple[str, str], _Location] = {}
        for one in self._mains:
            for path in one.paths:
                if path.host == server:
                    for text, kind in _nginx_paths(path.path, path.kind, is_pattern=is_pattern):
                        found.setdefault((text, kind), _Location(text, kind, one, path.backend, path.path))
        whole = ("/", "Pattern" if is_pattern else "Begins")
        for one in self._mains:
            is_about = server in one.hosts or (not one.hosts and not server)
            if one.default is not None and is_about and whole not in found:
                found[whole] = _Location(*whole, one, one.default, "/")
        return sorted(found.values(), key=lambda where: (where.kind != "Exact", -len(where.path)))

    def _at(self, location: _Location, server: str, sample: Sample) -> Outcome:
        old = location.old
        if answer := _redirect(old, sample) or self._before(old, server, sample):
            return answer
        backends = self._backends(location, server, sample)
        if not backends:
            return Outcome(status=503)
        prefix = old.said.get("x-forwarded-prefix", "")
        return Outcome(
            backends=backends,
            path=_rewritten(location, sample.path),
            host=old.said.get("upstream-vhost") or sample.host,
            headers=(("x-forwarded-prefix", prefix),) if prefix else (),
            terms=tuple(sorted(_terms(old))),
        )

    def _before(self, old: Old, server: str, sample: Sample) -> Outcome | None:
        """An answer that is given before any backend is chosen."""
        if sample.method == "OPTIONS" and old.is_on("enable-cors"):
            return Outcome(status=204)
        if sample.scheme == "http" and self._to_https(old, server):
            return Outcome(status=308, location=f"https://{sample.host.partition(':')[0]}{_uri(sample)}")
        if not _is_let_in(old, sample):
            return Outcome(status=403)
        if old.said.get("auth-type") == "basic" and not sample.header("authorization"):
            return Outcome(status=401)
        return None

    def _to_https(self, old: Old, server: str) -> bool:
        if old.is_on("force-ssl-redirect"):
            return True
        has_tls = any(server in one.hosts and one.has_tls(server) for one in self._mains)
        return has_tls and old.is_on("ssl-redirect", otherwise=True)

    def _alone(self, backend: OldBackend | None) -> tuple[tuple[str, int], ...]:
        return () if backend is None else shares_of({self._name(backend): 1})

    def _backends(self, location: _Location, server: str, sample: Sample) -> tuple[tuple[str, int], ...]:
        if location.backend is None:
            return ()
        main = self._name(location.backend)
        for canary in self._canaries:
            for path in canary.paths:
                if (path.host, path.path) == (server, location.raw) and path.backend is not None:
                    share = _canary_share(canary, sample)
                    return shares_of({main: 1000 - share, self._name(path.backend): share})
        return shares_of({main: 1})

    def _name(self, backend: OldBackend) -> str:
        port = backend.port
        number = self._ports.get((backend.service, port), port) if isinstance(port, str) else port
        return f"{backend.service}:{number}"


def _nginx_paths(path: str, kind: str, *, is_pattern: bool) -> Sequence[tuple[str, str]]:
    if is_pattern:
        return ((path, "Pattern"),)
    if kind == "Exact":
        return ((path, "Exact"),)
    if kind == "Prefix" and path != "/":
        bare = path.rstrip("/")
        return ((bare, "Exact"), (f"{bare}/", "Begins"))
    return ((path, "Begins"),)


def _find(locations: Iterable[_Location], path: str) -> _Location | None:
    for one in locations:
        if one.kind == "Exact":
            if path == one.path:
                return one
        elif one.kind == "Begins":
            if path.startswith(one.path):
                return one
        elif _begins(one.path, path):
            return one
    return None


def _begins(pattern: str, path: str) -> re.Match[str] | None:
    """The match of a location's pattern; one that is none matches nothing."""
    try:
        return re.match(pattern, path, re.IGNORECASE)
    except re.error:
        return None


def _uri(sample: Sample) -> str:
    return sample.path + (f"?{sample.query}" if sample.query else "")


def _redirect(old: Old, sample: Sample) -> Outcome | None:
    for name, status in (("permanent-redirect", 301), ("temporal-redirect", 302)):
        if target := old.said.get(name, ""):
            code = old.said.get(f"{name}-code", "")
            target = target.replace("$request_uri", _uri(sample)).replace("$scheme", sample.scheme)
            return Outcome(status=int(code) if code.isdigit() else status, location=target)
    return None


def _is_let_in(old: Old, sample: Sample) -> bool:
    ranges = old.networks()
    return not ranges or sample.client is None or any(sample.client in one for one in ranges)


def _rewritten(location: _Location, path: str) -> str:
    target = location.old.said.get("rewrite-target", "")
    if not target:
        return path
    found = re.search(location.path, path, re.IGNORECASE)
    if found is None:
        return path
    groups = (found.group(0), *found.groups(default=""))

    def group(match: re.Match[str]) -> str:
        number = int(match[1])
        return groups[number] if number < len(groups) else ""

    return re.sub(r"\$(\d)", group, target)


def _canary_share(canary: Old, sample: Sample) -> int:
    """Thousandths of such requests that the canary gets: header, then cookie, then weight."""
    said = canary.said
    header = said.get("canary-by-header", "")
    if header:
        value = sample.header(header)
        if wanted := said.get("canary-by-header-value", ""):
            if value == wanted:
                return 1000
        elif pattern := said.get("canary-by-header-pattern", ""):
            if value and _finds(pattern, value):
                return 1000
        elif value in ("always", "never"):
            return 1000 if value == "always" else 0
    if cookie := said.get("canary-by-cookie", ""):
        pairs = dict(part.strip().partition("=")[::2] for part in sample.header("cookie").split(";"))
        if pairs.get(cookie) in ("always", "never"):
            return 1000 if pairs[cookie] == "always" else 0
    total = canary.number("canary-weight-total", 100) or 100
    return min(1000, 1000 * canary.number("canary-weight") // total)


def _finds(pattern: str, text: str) -> re.Match[str] | None:
    """Where a pattern is found; one that is none is found nowhere."""
    try:
        return re.search(pattern, text)
    except re.error:
        return None


def _terms(old: Old) -> Iterable[str]:
    said = old.said
    if size := said.get("proxy-body-size", ""):
        bytes_ = _size(size)
        if bytes_:
            yield f"body up to {bytes_}"
    for name, period in (("limit-rps", 1), ("limit-rpm", 60)):
        if old.number(name) and not (name == "limit-rpm" and old.number("limit-rps")):
            yield f"{said[name]} requests in {period} s"
    if said.get("affinity") == "cookie":
        yield f"cookie {said.get('session-cookie-name') or 'INGRESSCOOKIE'}"
    if url := said.get("auth-url", ""):
        yield f"asks {_asked(url)}"
    if said.get("backend-protocol", "HTTP").upper() in ("GRPC", "GRPCS"):
        yield "HTTP/2"
    if tries := old.number("proxy-next-upstream-tries"):
        yield f"{tries - 1} more tries"
    if mirror := said.get("mirror-target", ""):
        yield f"mirrored to {_asked(mirror.partition('$')[0].rstrip('/'))}"
    if read := said.get("proxy-read-timeout", "").strip().removesuffix("s"):
        yield f"answered in {read} s"
    if old.is_on("enable-cors"):
        methods = said.get("cors-allow-methods") or _CORS_METHODS
        origins = said.get("cors-allow-origin") or "*"
        yield f"CORS {_list(origins)} {_list(methods)}"


def _list(text: str) -> str:
    return ",".join(sorted(part.strip() for part in text.split(",") if part.strip()))


def _asked(url: str) -> str:
    """``http://auth.shop.svc.cluster.local:8080/ask`` as ``shop/auth:8080/ask``."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    host, _, port = authority.partition(":")
    service, _, more = host.partition(".")
    namespace = more.partition(".")[0]
    return f"{namespace}/{service}:{port or _PORTS.get(scheme, 80)}{slash}{path}"


def _size(text: str) -> int:
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    text = text.strip().lower()
    unit = units.get(text[-1:], 1)
    number = text[:-1] if text[-1:] in units else text
    return int(number) * unit if number.isascii() and number.isdigit() else 0
