"""Sets of fields, as ``metadata.managedFields`` has them, and what follows from them for a document. Pure.

Comes in: schema nodes, documents, fieldsV1. Goes out: sets of paths, differences of two documents, documents merged and
pruned. Not here: managers and conflicts (managers.py, apply.py). Source: meta/v1 FieldsV1; structured-merge-diff's rules.

A path is a tuple of fieldsV1 keys: ``f:<field>``, ``k:<keys of a list item as JSON>``, ``v:<scalar of a set as JSON>``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec

from netloom.local.apiserver import schema
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.schema import Node

Path = tuple[str, ...]
Paths = frozenset[Path]

# Go structs that are always there: their own path is never owned, only what is in them. Clients compare managedFields
# of other servers with ours; nothing else depends on it.
_ALWAYS_THERE = {"f:metadata", "f:spec", "f:status", "f:template", "f:strategy", "f:loadBalancer", "f:nodeInfo",
                 "f:daemonEndpoints", "f:containers"}  # fmt: skip


def decode(fields_v1: Json) -> Paths:
    """The paths of a fieldsV1 value; what is not understood is left out."""
    return frozenset(_decoded(fields_v1, ()))


def _decoded(node: Json, path: Path) -> Iterator[Path]:
    if not isinstance(node, dict):
        return
    for key, below in node.items():
        if key == ".":
            yield path
        elif below:
            yield from _decoded(below, (*path, key))
        else:
            yield (*path, key)


def holds(fields_v1: Json, path: Path) -> bool:
    """Whether a fieldsV1 value has this path, without decoding the whole of it."""
    node = fields_v1
    for step in path:
        node = node.get(step) if isinstance(node, dict) else None
        if node is None:
            return False
    return isinstance(node, dict) and (not node or "." in node)


def encode(paths: Iterable[Path]) -> dict[str, Any]:
    """The fieldsV1 value of a set of paths."""
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for key in path:
            node = node.setdefault(key, {})
        node["."] = {}
    return _compact(tree)


def _compact(tree: dict[str, Any]) -> dict[str, Any]:
    return {k: {} if below.keys() == {"."} else _compact(below) for k, below in tree.items()} if tree else {}


def text(path: Path) -> str:
    """A path for people: ``.spec.containers[name="web"].image``."""
    words = []
    for step in path:
        kind, rest = step[:2], step[2:]
        if kind == "f:":
            words.append(f".{rest}")
        elif kind == "k:":
            keys = json.loads(rest)
            words.append("[" + ",".join(f"{name}={json.dumps(value)}" for name, value in keys.items()) + "]")
        else:
            words.append(f"[={rest}]")
    return "".join(words)


def item_key(node: Node, item: Json) -> str | None:
    """The path step of an item of a list that is a set or a map; None where the item lacks a key."""
    if node.list_type == "set":
        return "v:" + msgspec.json.encode(item).decode()
    if not isinstance(item, dict):
        return None
    keys = {name: item.get(name, node.key_defaults.get(name)) for name in sorted(node.keys)}
    if any(value is None or isinstance(value, dict | list) for value in keys.values()):
        return None
    return "k:" + msgspec.json.encode(keys).decode()


def is_granular(node: Node, value: Json) -> bool:
    """Whether the members of this value have owners of their own."""
    if isinstance(value, dict):
        return node.shape in ("object", "map", "any") and not node.atomic
    return isinstance(value, list) and node.shape == "list" and not node.atomic


def child(node: Node, step: str) -> Node:
    """The schema one step further."""
    if node.shape == "object":
        return node.fields.get(step[2:], schema.ANY)
    return node.element if node.shape in ("map", "list") else schema.ANY


def members(node: Node, value: Json) -> dict[str, Any]:
    """Path step to member, of a granular value; of items with equal keys the first counts."""
    if isinstance(value, dict):
        return {f"f:{name}": member for name, member in value.items()}
    found: dict[str, Any] = {}
    for item in value or ():
        key = item_key(node, item)
        if key is not None:
            found.setdefault(key, item)
    return found


def paths_of(node: Node, document: Json) -> Paths:
    """The fields that a manager owns by applying this document."""
    return frozenset(_owned(node, document, ()))


def _owned(node: Node, value: Json, path: Path) -> Iterator[Path]:
    if not is_granular(node, value):
        yield path
        return
    is_list = isinstance(value, list)
    for step, member in members(node, value).items():
        below, here = child(node, step), (*path, step)
        # an item of a list and a key of a map are owned themselves, a named field only through what is in it
        if is_list or member == {} or (node.shape != "object" and is_granular(below, member)):
            yield here
        if not (is_list and node.list_type == "set"):
            yield from _owned(below, member, here)


class Difference(msgspec.Struct, frozen=True):
    """What differs between two documents, as paths: of the new one for ``added`` and ``modified``, else of the old."""

    added: Paths
    modified: Paths
    removed: Paths

    def __bool__(self) -> bool:
        return bool(self.added or self.modified or self.removed)

    @property
    def written(self) -> Paths:
        """Fields to which the new document gave a value."""
        return self.added | self.modified


class _Comparison:
    def __init__(self) -> None:
        self.added: set[Path] = set()
        self.modified: set[Path] = set()
        self.removed: set[Path] = set()

    def compare(self, node: Node, old: Json, new: Json, path: Path) -> None:
        if old is new or (old == new and old is not None):
            return
        sides = [side for side in (old, new) if side is not None]
        granular = all(is_granular(node, side) for side in sides) and len({type(side) for side in sides}) == 1
        empty = not old and not new
        if granular and not empty:
            before, after = members(node, old), members(node, new)
            for step in dict.fromkeys((*before, *after)):
                self.compare(child(node, step), before.get(step), after.get(step), (*path, step))
            if path and path[-1] in _ALWAYS_THERE and (node.type_key or node.shape != "object"):
                return
        if old is None:
            self.added.add(path)
        elif new is None:
            self.removed.add(path)
        elif not granular:
            self.modified.add(path)


def compare(node: Node, old: Json, new: Json) -> Difference:
    """The difference of two documents; None stands for a document that is not there."""
    comparison = _Comparison()
    comparison.compare(node, old, new, ())
    gone = frozenset({()})
    return Difference(
        added=frozenset(comparison.added) - gone,
        modified=frozenset(comparison.modified) - gone,
        removed=frozenset(comparison.removed) - gone,
    )


def merge(node: Node, live: Json, applied: Json) -> Json:
    """The live document with the applied one laid over it; nothing is taken away."""
    if not (is_granular(node, applied) and is_granular(node, live) and type(live) is type(applied)):
        return applied
    if isinstance(applied, dict):
        merged = dict(live)
        for name, value in applied.items():
            merged[name] = merge(child(node, f"f:{name}"), live[name], value) if name in live else value
        return merged
    return _merge_items(node, live, applied)


def _merge_items(node: Node, live: list[Any], applied: list[Any]) -> list[Any]:
    """Items of both, in the applied order; items that only the live list has stay between the neighbours they had."""
    ours, theirs = members(node, applied), members(node, live)
    merged: list[Any] = []
    done: set[str | None] = set()
    waiting = iter(ours.items())
    for item in live:
        key = item_key(node, item)
        if key not in ours:
            merged.append(item)
            continue
        while key not in done:
            step, value = next(waiting)
            merged.append(merge(node.element, theirs[step], value) if step in theirs else value)
            done.add(step)
            if step in theirs:
                # one shared item of ours for one of theirs, so that live-only items keep their place
                break
    merged.extend(merge(node.element, theirs[s], v) if s in theirs else v for s, v in waiting)
    return merged


def with_named_parents(node: Node, paths: Iterable[Path]) -> Paths:
    """The paths, and every field of an object that leads to one of them (not: map keys and list items)."""
    found: set[Path] = set(paths)
    for path in tuple(found):
        here = node
        for depth, step in enumerate(path[:-1], 1):
            if here.shape == "object":
                found.add(path[:depth])
            here = child(here, step)
    return frozenset(found)


def without(node: Node, document: Json, paths: Collection[Path]) -> Json:
    """The document without these fields, with all that is in them; containers on the way are copied."""
    if not paths:
        return document
    tree: dict[str, Any] = {}
    for path in paths:
        branch = tree
        for step in path:
            branch = branch.setdefault(step, {})
        branch["."] = {}
    return _pruned(node, document, tree)


def _pruned(node: Node, value: Json, tree: dict[str, Any]) -> Json:
    if not is_granular(node, value):
        return value
    if isinstance(value, dict):
        kept = {}
        for name, member in value.items():
            below = tree.get(f"f:{name}")
            if below is None:
                kept[name] = member
            elif "." not in below:
                kept[name] = _pruned(child(node, f"f:{name}"), member, below)
        return kept
    items = []
    for item in value:
        below = tree.get(item_key(node, item) or "")
        if below is None:
            items.append(item)
        elif "." not in below:
            items.append(_pruned(node.element, item, below))
    return items


def problems(node: Node, document: Json, path: Path = ()) -> Iterator[str]:
    """What keeps a document from being applied: undeclared fields, list items without keys or with equal ones."""
    if not is_granular(node, document):
        return
    if isinstance(document, list):
        seen: set[str] = set()
        for item in document:
            step = item_key(node, item)
            if step is None:
                yield f"{text(path)}: an item lacks a key; each needs {', '.join(node.keys)}"
                continue
            if step in seen:
                yield f"{text(path)}: duplicate entries for key {text((step,))}"
            seen.add(step)
            yield from problems(node.element, item, (*path, step))
        return
    for name, member in document.items():
        here = (*path, f"f:{name}")
        if node.shape == "object" and name not in node.fields and not node.is_open:
            yield f"{text(here)}: field not declared in schema"
        else:
            yield from problems(child(node, f"f:{name}"), member, here)
