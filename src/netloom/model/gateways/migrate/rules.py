"""Rules of an HTTPRoute for one path: the main Ingress' backend, and beside it the canary's share by header, cookie and weight.

Comes in: a path, its match and filters, the canary. Goes out: rules, most particular first. Not here: hosts, listeners.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.model.gateways import regexes
from netloom.model.gateways.migrate.made import Made, is_header
from netloom.model.gateways.migrate.paths import PathMade
from netloom.model.gateways.migrate.read import Old, OldBackend, OldPath
from netloom.units import ObjectKey

Rule = dict[str, Any]
_MOST_WEIGHT = 1_000_000
Ports = Mapping[tuple[ObjectKey, str], int]


class Canary(msgspec.Struct, frozen=True):
    """The canary Ingress of a path, and its backend there."""

    old: Old
    backend: OldBackend


def backend_ref(backend: OldBackend, ports: Ports, weight: int | None = None) -> Rule | None:
    """A reference to a Service; None where its port is a name that nobody has told the number of."""
    port = ports.get((backend.service, backend.port), 0) if isinstance(backend.port, str) else backend.port
    if not port:
        return None
    found: Rule = {"name": backend.service.name, "port": port}
    if weight is not None:
        found["weight"] = weight
    return found


def matches_of(path: PathMade, host: str, *more: Rule) -> list[Rule]:
    """The match of a path, with headers; a wildcard stands for one label, as it did."""
    headers = list(more)
    if host.startswith("*."):
        value = rf"[^.:]+{re.escape(host[1:])}(:[0-9]+)?"
        headers.append({"type": "RegularExpression", "name": "Host", "value": value})
    match: Rule = {"path": path.path}
    if headers:
        match["headers"] = headers
    return [match]


def rules_of(
    path: OldPath, made_path: PathMade, base: Rule, canary: Canary | None, ports: Ports, made: Made
) -> list[Rule]:
    """The rules; ``base`` has filters and timeouts."""
    main = None if path.backend is None else backend_ref(path.backend, ports)
    if main is None:
        return []
    plain = {**base, "matches": matches_of(made_path, path.host), "backendRefs": [main]}
    if canary is None:
        return [plain]
    other = backend_ref(canary.backend, ports)
    if other is None:
        return [plain]
    found: list[Rule] = []
    for header, is_canary in _tellers(canary.old, made):
        ref = other if is_canary else main
        found.append({**base, "matches": matches_of(made_path, path.host, header), "backendRefs": [ref]})
    total = min(canary.old.number("canary-weight-total", 100), _MOST_WEIGHT) or 100
    weight = min(canary.old.number("canary-weight"), total)
    if weight:
        plain["backendRefs"] = [{**main, "weight": max(total - weight, 0)}, {**other, "weight": weight}]
    return [*found, plain]


def _tellers(old: Old, made: Made) -> list[tuple[Rule, bool]]:
    """Headers that decide for the canary, or against it; header before cookie."""
    said = old.said
    found: list[tuple[Rule, bool]] = []
    name = said.get("canary-by-header", "")
    if name and not is_header(name):
        made.lose(old, "canary-by-header", "is no name of a header: it decides nothing")
        name = ""
    if name and (value := said.get("canary-by-header-value", "")):
        found.append(({"name": name, "value": value}, True))
    elif name and (pattern := said.get("canary-by-header-pattern", "")):
        whole = _whole(pattern)
        if problem := regexes.trouble(whole):
            made.lose(old, "canary-by-header-pattern", f"{problem}: the header decides nothing")
        else:
            found.append(({"type": "RegularExpression", "name": name, "value": whole}, True))
    elif name:
        found += [({"name": name, "value": "always"}, True), ({"name": name, "value": "never"}, False)]
    if cookie := said.get("canary-by-cookie", ""):
        for value, is_canary in (("always", True), ("never", False)):
            pattern = rf"(.*;\s*)?{re.escape(cookie)}={value}(\s*;.*)?"
            header = {"type": "RegularExpression", "name": "Cookie", "value": pattern}
            found.append((header, is_canary))
    return found


def _whole(pattern: str) -> str:
    """A pattern that is found anywhere, as one of the whole value."""
    start = "" if pattern.startswith("^") else ".*"
    end = "" if pattern.endswith("$") and not pattern.endswith("\\$") else ".*"
    inner = pattern.removeprefix("^")
    return f"{start}(?:{inner.removesuffix('$') if not end else inner}){end}"
