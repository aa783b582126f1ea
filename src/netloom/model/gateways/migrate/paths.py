"""A path of an Ingress as a match of an HTTPRoute, with the rewrite that belongs to it.

Comes in: a path, and whether its host's paths were patterns (use-regex or rewrite-target on any Ingress of the host). Goes out: a ``PathMade``, or None
where Gateway API cannot say it. Not here: backends, canaries.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from netloom.model.gateways import regexes
from netloom.model.gateways.migrate.made import Made
from netloom.model.gateways.migrate.outcome import Boundary
from netloom.model.gateways.migrate.read import Old, OldPath

_PLAIN = re.compile(r"/[-\w./~%@:,=+&!]*")
_REST = re.compile(
    r"(?P<prefix>(/[-\w.~%]+)*)(?P<tail>\(/\|\$\)\(\.\*\)|/\?\(\.\*\)|/\(\.\*\)|\(/\.\*\)|\(/\|\$\))\$?"
)
_LITERAL = re.compile(r"/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*")
_NEVER = re.compile(r"//|/\.\.?(?:/|$)|%2[fF]")
"""What paths of HTTPRoutes are, and what they never have."""
_LONGEST = 1024
_GROUP = {"(/|$)(.*)": "2", "/?(.*)": "1", "/(.*)": "1", "(/.*)": "1"}


class PathMade(msgspec.Struct, frozen=True):
    """A match and, where the path is rewritten, how."""

    path: dict[str, str]
    replaced: dict[str, Any] | None = None


def path_of(old: Old, path: OldPath, made: Made, *, is_pattern: bool) -> PathMade | None:
    """The match for a path; ``made`` hears of edges that differ."""
    if not is_pattern:
        return _plain(old, path, made)
    target = old.said.get("rewrite-target", "")
    return _rewritten(old, path, target, made) if target else _pattern(old, path, made)


def _is_literal(text: str) -> bool:
    return len(text) <= _LONGEST and _LITERAL.fullmatch(text) is not None and not _NEVER.search(text)


def _plain(old: Old, path: OldPath, made: Made) -> PathMade | None:
    if not _is_literal(path.path):
        says = "is no path that a route can name; if it is a pattern, use-regex is missing: it is left out"
        made.leave_out(old, f"{path.field}.path", path.path, says, (path.host, path.path))
        return None
    if path.kind == "Exact":
        return PathMade({"type": "Exact", "value": path.path})
    if path.kind != "Prefix" and path.path != "/":
        is_dir = path.path.endswith("/")
        says = (
            f"{path.path.rstrip('/')} without its final slash is taken, too"
            if is_dir
            else f"was any path that begins so; {path.path}-more is no longer taken"
        )
        edges = (Boundary.SHORTER, Boundary.SLASH) if is_dir else (Boundary.LONGER,)
        made.change(old, f"{path.field}.path", path.path, says, edges, (path.host, path.path))
    return PathMade({"type": "PathPrefix", "value": path.path})


def _pattern(old: Old, path: OldPath, made: Made) -> PathMade | None:
    if path.path == "/":
        return PathMade({"type": "PathPrefix", "value": "/"})
    if _PLAIN.fullmatch(path.path) and _is_literal(path.path):
        _words_count(old, path, made)
        return PathMade({"type": "PathPrefix", "value": path.path})
    return _expression(old, path, made)


def _expression(old: Old, path: OldPath, made: Made) -> PathMade | None:
    text = path.path.removeprefix("^")
    value = f"(?i){text[:-1]}" if text.endswith("$") else f"(?i){text}.*"
    if problem := regexes.trouble(value):
        made.lose(
            old, "use-regex", f"{path.path} {problem}: the path is left out", place=(path.host, path.path)
        )
        return None
    return PathMade({"type": "RegularExpression", "value": value})


def _rewritten(old: Old, path: OldPath, target: str, made: Made) -> PathMade | None:
    if not target.startswith("/"):
        made.lose(
            old,
            "rewrite-target",
            "does not begin with /: its paths are left out",
            place=(path.host, path.path),
        )
        return None
    if "$" not in target:
        whole = {"path": {"type": "ReplaceFullPath", "replaceFullPath": target}}
        found = _pattern(old, path, made)
        return None if found is None else PathMade(found.path, whole)
    shape = _REST.fullmatch(path.path)
    group = _GROUP.get(shape["tail"]) if shape else None
    base = target.removesuffix(f"${group}") if group else target
    if shape is None or group is None or "$" in base or base == target:
        if _is_whole(path.path, target):
            return _expression(old, path, made)
        says = f"{path.path} takes parts that no filter can put together again: the path is left out"
        made.lose(old, "rewrite-target", says, place=(path.host, path.path))
        return None
    return _moved(old, path, shape, base, made)


def _is_whole(path: str, target: str) -> bool:
    """The target is the path as it was: ``/(.*)`` and ``/$1``."""
    return target == "/$1" and path.removeprefix("^").removesuffix("$") in ("/(.*)", "/?(.*)")


def _moved(old: Old, path: OldPath, shape: re.Match[str], base: str, made: Made) -> PathMade:
    prefix, tail = shape["prefix"], shape["tail"]
    edges = [Boundary.CASE]
    said = ["capitals count"]
    if tail == "/?(.*)" and prefix:
        edges.append(Boundary.LONGER)
        said.append(f"{prefix}-more is no longer taken")
    if tail in ("/(.*)", "(/.*)") and prefix:
        edges.append(Boundary.PLAIN)
        said.append(f"{prefix} without its final slash is taken, too")
    to = base.rstrip("/") or "/"
    if to != "/" and base.endswith("/"):
        edges.append(Boundary.PLAIN)
        said.append(f"{prefix or '/'} becomes {to} without a final slash")
    made.change(old, f"{path.field}.path", path.path, "; ".join(said), edges, (path.host, path.path))
    match = {"type": "PathPrefix", "value": prefix or "/"}
    if to == (prefix or "/"):
        return PathMade(match)
    return PathMade(match, {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": to}})


def _words_count(old: Old, path: OldPath, made: Made) -> None:
    says = f"was a pattern as all of its host: capitals count, and {path.path}-more is no longer taken"
    place = (path.host, path.path)
    made.change(old, f"{path.field}.path", path.path, says, (Boundary.CASE, Boundary.LONGER), place)
