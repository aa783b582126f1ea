"""Routes of one Ingress, host by host: to backends, to HTTPS, to another path, host or place.

Comes in: Ingresses, listeners. Goes out: routes, and which there are. Not here: the rules of one path (``rules.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from netloom.model.gateways.hostnames import is_hostname, is_precise
from netloom.model.gateways.migrate import filters
from netloom.model.gateways.migrate.doorway import Doorway
from netloom.model.gateways.migrate.made import Made, Weight
from netloom.model.gateways.migrate.outcome import Boundary
from netloom.model.gateways.migrate.paths import PathMade, path_of
from netloom.model.gateways.migrate.policies import timeouts_of
from netloom.model.gateways.migrate.read import Old, OldBackend, OldPath
from netloom.model.gateways.migrate.rules import Canary, Ports, Rule, backend_ref, matches_of, rules_of
from netloom.units import ObjectKey

_MOST_RULES = 16
_MOST_NAMES = 16
_SERVICE = re.compile(r"\.?[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*")
_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_EVERYTHING = PathMade({"type": "PathPrefix", "value": "/"})
_ROOT = PathMade({"type": "Exact", "value": "/"})
_WITHIN_HOST = tuple(one for one in Boundary if one is not Boundary.OTHER_HOST)
_GRPC = ("GRPC", "GRPCS")
_TLS = ("HTTPS", "GRPCS")


class HostRoutes:
    """Makes the routes of Ingresses.

    Args:
        olds: all Ingresses, canaries too, the oldest first.
        door: the listeners.
        ports: numbers of named ports.
        config_maps: data of ConfigMaps.
        made: what is made goes there.
    """

    def __init__(
        self,
        olds: Sequence[Old],
        door: Doorway,
        ports: Ports,
        config_maps: Mapping[ObjectKey, Mapping[str, str]],
        made: Made,
    ) -> None:
        self._door, self._ports, self._config_maps, self._made = door, ports, config_maps, made
        self._canaries: dict[tuple[str, str], Canary] = {}
        self._patterns = {
            host
            for one in olds
            for host in one.hosts
            if one.is_on("use-regex") or one.said.get("rewrite-target")
        }
        self._taken: dict[tuple[str, str, str], Old] = {}
        self._defaults: dict[str, Old] = {}
        self._hosts = {host for one in olds for host in one.hosts}
        self._has_any = any(
            not one.is_on("canary") and ("" in one.hosts or (not one.hosts and one.default)) for one in olds
        )
        self._tls_verified: set[OldBackend] = set()
        for one in olds:
            for path in one.paths if one.is_on("canary") else ():
                if path.backend is not None:
                    self._canaries.setdefault((path.host, path.path), Canary(one, path.backend))

    def make(self, old: Old) -> list[tuple[str, str]]:
        """Routes of an Ingress; kind and name of those that go to backends."""
        found: list[tuple[str, str]] = []
        hosts = old.hosts or (("",) if old.default is not None else ())
        base = self._base(old)
        redirect = filters.redirect_of(old, self._made)
        for host in hosts:
            name = (
                old.key.name
                if len(hosts) == 1
                else f"{old.key.name}-{host.replace('*', 'any') or 'any-host'}"
            )
            if old.is_on("ssl-passthrough") and host:
                self._pass(old, host, name)
            paths = self._paths(old, host)
            found += self._host(old, host, name, paths, base, redirect)
            self._around(old, host, name)
            self._fall_through(old, host, [path for path, _ in paths])
        return found

    def _fall_through(self, old: Old, host: str, paths: Sequence[OldPath]) -> None:
        """Rules of any host are asked for what no path of a host takes: Gateway API has no end of a host's rules."""
        is_whole = any(path.path == "/" and path.kind != "Exact" for path in paths)
        if host and self._has_any and not is_whole:
            says = f"what no path of {host} takes goes to the rules of any host; it was answered with 404"
            self._made.change(old, "spec.rules", host, says, _WITHIN_HOST, (host, ""))

    def _base(self, old: Old) -> Rule:
        timeouts = timeouts_of(old, self._made)
        return {"timeouts": timeouts} if timeouts else {}

    def _paths(self, old: Old, host: str) -> list[tuple[OldPath, PathMade]]:
        """Paths that are this Ingress' own: an older one may have taken some."""
        found = []
        for path in (path for path in old.paths if path.host == host):
            place = (host, path.path, "Exact" if path.kind == "Exact" else "")
            first = self._taken.setdefault(place, old)
            if first is not old:
                says = f"Ingress {first.key} is older and has this host and path"
                edges = (Boundary.PLAIN,)
                self._made.change(old, path.field, f"{host}{path.path}", says, edges, (host, path.path))
                continue
            made = path_of(old, path, self._made, is_pattern=host in self._patterns)
            if made is not None:
                found.append((path, made))
        has_root = any(path.path == "/" and path.kind != "Exact" for path, _ in found)
        if old.default is not None and self._defaults.setdefault(host, old) is old and not has_root:
            found.append((OldPath(host, "/", "Prefix", old.default, "spec.defaultBackend"), _EVERYTHING))
        return found

    def _host(
        self,
        old: Old,
        host: str,
        name: str,
        paths: list[tuple[OldPath, PathMade]],
        base: Rule,
        redirect: filters.Filter | None,
    ) -> list[tuple[str, str]]:
        secure = self._door.secure(host)
        is_https = secure is not None and secure.secret is not None
        to_https = old.is_on("force-ssl-redirect") or (is_https and old.is_on("ssl-redirect", otherwise=True))
        if redirect is not None:
            rules = [{"matches": matches_of(made, host), "filters": [redirect]} for _, made in paths]
            return self._write(old, host, name, rules, http=True, https=True)
        if to_https and paths:
            rules = [
                {"matches": matches_of(made, host), "filters": [filters.to_https()]} for _, made in paths
            ]
            self._write(old, host, f"{name}-to-https", rules, http=True, https=False)
        if old.said.get("backend-protocol", "").upper() in _TLS:
            self._verify(old, paths)
        if old.said.get("backend-protocol", "").upper() in _GRPC:
            return self._grpc(old, host, name, paths, http=not to_https)
        rules = []
        for path, made in paths:
            done = filters.filters_of(old, made.replaced, self._config_maps, self._made)
            with_filters = {**base, "filters": done} if done else base
            canary = self._canaries.get((host, path.path))
            own = rules_of(path, made, with_filters, canary, self._ports, self._made)
            if not own:
                self._unnamed(old, path)
            rules += own
        return self._write(old, host, name, rules, http=not to_https, https=True)

    def _write(
        self, old: Old, host: str, name: str, rules: list[Rule], *, http: bool, https: bool
    ) -> list[tuple[str, str]]:
        parents = self._door.parents(host, http=http, https=https)
        found = []
        for number in range(0, len(rules) if parents else 0, _MOST_RULES):
            own = name if not number else f"{name}-{number // _MOST_RULES + 1}"
            spec: dict[str, Any] = {"parentRefs": parents, "rules": rules[number : number + _MOST_RULES]}
            if names := self._names(old, host):
                spec["hostnames"] = names
            self._made.add_route("HTTPRoute", ObjectKey(old.key.namespace, own), spec)
            found.append(("HTTPRoute", own))
        return found

    def _names(self, old: Old, host: str) -> list[str]:
        aliases = [
            part.strip().lower() for part in old.said.get("server-alias", "").split(",") if part.strip()
        ]
        if not all(map(is_hostname, aliases)):
            self._made.lose(old, "server-alias", "only host names can be said: the others are left out")
        known = [alias for alias in aliases if is_hostname(alias) and alias not in self._hosts]
        return [host, *known][:_MOST_NAMES] if host else known[:_MOST_NAMES]

    def _around(self, old: Old, host: str, name: str) -> None:
        """Redirects beside the rules: of the root, and of the host's other name."""
        root = old.said.get("app-root", "")
        if root and not root.startswith("/"):
            self._made.lose(old, "app-root", "does not begin with /: nothing is made of it")
        elif root:
            says = "the query is kept; it was dropped"
            kept = Weight.CHANGED
            self._made.lose(old, "app-root", says, weight=kept, boundaries=(Boundary.QUERY,))
            rule = {"matches": matches_of(_ROOT, host), "filters": [filters.to_path(root, 302)]}
            self._write(old, host, f"{name}-app-root", [rule], http=True, https=True)
        if old.is_on("from-to-www-redirect") and host and not host.startswith("*."):
            other = host.removeprefix("www.") if host.startswith("www.") else f"www.{host}"
            if other not in self._hosts:
                rule = {"matches": matches_of(_EVERYTHING, ""), "filters": [filters.to_host(host, 308)]}
                spec = {
                    "parentRefs": self._door.parents(other, http=True, https=True),
                    "hostnames": [other],
                    "rules": [rule],
                }
                self._made.add_route("HTTPRoute", ObjectKey(old.key.namespace, f"{name}-other-name"), spec)

    def _pass(self, old: Old, host: str, name: str) -> None:
        backend = next((path.backend for path in old.paths if path.host == host), None)
        ref = None if backend is None else backend_ref(backend, self._ports)
        parents = self._door.parents(host, http=False, https=True)
        if ref is not None:
            spec = {"parentRefs": parents, "hostnames": [host], "rules": [{"backendRefs": [ref]}]}
            self._made.add_route("TLSRoute", ObjectKey(old.key.namespace, name), spec)

    def _grpc(
        self, old: Old, host: str, name: str, paths: list[tuple[OldPath, PathMade]], *, http: bool
    ) -> list[tuple[str, str]]:
        rules = []
        for path, _ in paths:
            ref = None if path.backend is None else backend_ref(path.backend, self._ports)
            service, _, method = path.path.strip("/").partition("/")
            if ref is None:
                self._unnamed(old, path)
                continue
            if (service and not _SERVICE.fullmatch(service)) or (method and not _METHOD.fullmatch(method)):
                says = "is no /service or /service/method of gRPC: it is left out"
                self._made.leave_out(old, f"{path.field}.path", path.path, says, (path.host, path.path))
                continue
            rule: Rule = {"backendRefs": [ref]}
            if service:
                said = {"service": service, **({"method": method} if method else {})}
                rule["matches"] = [{"method": said}]
            rules.append(rule)
        parents = self._door.parents(host, http=http, https=True)
        if not rules or not parents:
            return []
        spec: dict[str, Any] = {"parentRefs": parents, "rules": rules[:_MOST_RULES]}
        if names := self._names(old, host):
            spec["hostnames"] = names
        self._made.add_route("GRPCRoute", ObjectKey(old.key.namespace, name), spec)
        return [("GRPCRoute", name)]

    def _verify(self, old: Old, paths: list[tuple[OldPath, PathMade]]) -> None:
        """Backends that speak TLS: never verified before, always from now on."""
        for backend in (path.backend for path, _ in paths):
            if backend is None or backend in self._tls_verified:
                continue
            self._tls_verified.add(backend)
            said = old.said.get("proxy-ssl-name", "")
            name = said if is_precise(said) else f"{backend.service.name}.{backend.service.namespace}.svc"
            spec = {
                "targetRefs": [{"group": "", "kind": "Service", "name": backend.service.name}],
                "validation": {"hostname": name, "wellKnownCACertificates": "System"},
            }
            key = ObjectKey(backend.service.namespace, backend.service.name)
            self._made.add("gateway.networking.k8s.io/v1", "BackendTLSPolicy", key, spec)
            says = f"the certificate of Service {backend.service} must be for {name} and of an authority that the system knows; name another in caCertificateRefs"
            self._made.lose(old, "backend-protocol", says)

    def _unnamed(self, old: Old, path: OldPath) -> None:
        if path.backend is None:
            says = "names no Service: requests went nowhere, and do"
        else:
            says = f"port {path.backend.port} is a name: give the Service's manifest, too"
        edges = (Boundary.PLAIN,)
        self._made.change(
            old, f"{path.field}.backend", str(path.backend), says, edges, (path.host, path.path)
        )
