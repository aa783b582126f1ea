"""Strategic merge patch: JSON merge patch that merges lists by key, as the schema says. Pure.

Comes in: kind, document, decoded patch. Goes out: a new document. Directives: ``$patch`` (merge, replace, delete),
``$retainKeys``, ``$deleteFromPrimitiveList/<field>``, ``$setElementOrder/<field>``. Not here: computing such a patch
(clients do). Source: Kubernetes API conventions, "Strategic Merge Patch", and apimachinery's behaviour on ordering.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from netloom.local.apiserver import schema
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.patch import BadPatch
from netloom.local.apiserver.schema import Node

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"

Order = list[Any]


def strategic_merge(gvk: str, document: dict[str, Any], patch: Json) -> dict[str, Any]:
    """The document after the patch.

    Raises:
        BadPatch: 400, the patch is no object or has a directive that cannot be obeyed; 422, an item has no merge key.
    """
    if not isinstance(patch, dict):
        raise BadPatch(400, "", "a strategic merge patch must be an object")
    merged: dict[str, Any] = _merge_map(schema.root(gvk), document, patch, "")
    return merged


def _merge_map(node: Node, live: dict[str, Any], patch: dict[str, Any], path: str) -> dict[str, Any]:
    match patch.get(_DIRECTIVE, "merge"):
        case "replace":
            replacement: dict[str, Any] = _plain(
                {name: value for name, value in patch.items() if name != _DIRECTIVE}
            )
            return replacement
        case "delete":
            return {}
        case "merge":
            pass
        case other:
            raise BadPatch(400, f"{path}.{_DIRECTIVE}".lstrip("."), f"unknown directive {other!r}",
                           "one of merge, replace, delete")  # fmt: skip
    merged = dict(live)
    _retain(merged, patch, path)
    orders = {name.removeprefix(_ORDER): value for name, value in patch.items() if name.startswith(_ORDER)}
    for name, value in patch.items():
        if name.startswith(_DELETE_FROM):
            field = name.removeprefix(_DELETE_FROM)
            gone = _a_list(value, f"{path}.{name}")
            if isinstance(merged.get(field), list):
                merged[field] = [item for item in merged[field] if item not in gone]
        elif not name.startswith("$"):
            _merge_member(_child(node, name), merged, name, value, f"{path}.{name}".lstrip("."))
    for field, order in orders.items():
        below = f"{path}.{field}".lstrip(".")
        if isinstance(merged.get(field), list):
            merged[field] = _in_order(_child(node, field), merged[field], live.get(field), order, below)
    return merged


def _child(node: Node, name: str) -> Node:
    if node.shape == "object":
        return node.fields.get(name, schema.ANY)
    return node.element if node.shape == "map" else schema.ANY


def _merge_member(node: Node, merged: dict[str, Any], name: str, value: Json, path: str) -> None:
    live = merged.get(name)
    if value is None:
        merged.pop(name, None)
    elif isinstance(value, dict) and isinstance(live, dict):
        merged[name] = _merge_map(node, live, value, path)
    elif isinstance(value, dict):
        # nothing to merge with; directives inside still have to be obeyed or dropped
        merged[name] = _merge_map(node, {}, value, path)
    elif isinstance(value, list) and node.merge:
        merged[name] = _merge_list(node, live if isinstance(live, list) else [], value, path)
    else:
        merged[name] = _plain(value)


def _retain(merged: dict[str, Any], patch: dict[str, Any], path: str) -> None:
    if _RETAIN not in patch:
        return
    kept = _a_list(patch[_RETAIN], f"{path}.{_RETAIN}")
    extra = [
        name
        for name, value in patch.items()
        if not name.startswith("$") and value is not None and name not in kept
    ]
    if extra:
        raise BadPatch(400, f"{path}.{_RETAIN}".lstrip("."), f"{', '.join(extra)}: set by the patch and not retained",
                       "list every field that the patch sets")  # fmt: skip
    for name in [name for name in merged if name not in kept]:
        del merged[name]


def _merge_list(node: Node, live: list[Any], patch: list[Any], path: str) -> list[Any]:
    if not node.merge_key:
        both = list(dict.fromkeys([*_scalars(live, path), *_scalars(patch, path)]))
        return _interleave(both, set(patch), patch, live, lambda item: item)
    key = node.merge_key
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return [_plain(item) for item in patch if not (isinstance(item, dict) and _DIRECTIVE in item)]
    names = [_name(item, key, f"{path}[{number}]") for number, item in enumerate(patch)]
    deleted = {name for name, item in zip(names, patch, strict=True) if item.get(_DIRECTIVE) == "delete"}
    merged = [item for item in live if not (isinstance(item, dict) and _hashable(item.get(key)) in deleted)]
    wanted: Order = []
    for number, (name, item) in enumerate(zip(names, patch, strict=True)):
        if item.get(_DIRECTIVE) == "delete":
            continue
        wanted.append(name)
        position = next(
            (i for i, old in enumerate(merged) if isinstance(old, dict) and old.get(key) == name), None
        )
        if position is None:
            merged.append(_merge_map(node.element, {}, item, f"{path}[{number}]"))
        else:
            merged[position] = _merge_map(node.element, merged[position], item, f"{path}[{number}]")
    return _interleave(merged, set(wanted), wanted, _names(live, key), lambda item: _item_name(item, key))


def _in_order(node: Node, merged: list[Any], live: Json, order: Json, path: str) -> list[Any]:
    wanted = _a_list(order, f"{path}: {_ORDER}")
    live = live if isinstance(live, list) else []
    if not node.merge:
        return merged
    if not node.merge_key:
        return _interleave(merged, set(_scalars(wanted, path)), wanted, live, lambda item: item)
    key = node.merge_key
    names = [_name(item, key, f"{path}[{number}]") for number, item in enumerate(wanted)]
    return _interleave(merged, set(names), names, _names(live, key), lambda item: _item_name(item, key))


def _interleave(
    items: list[Any], ours: set[Any], wanted: Order, before: Order, name: Callable[[Json], Json]
) -> list[Any]:
    """Items of the patch in the patch's order, the others in the document's; between the two the document decides."""
    rank = {_hashable(n): i for i, n in reversed(list(enumerate(wanted)))}
    place = {_hashable(n): i for i, n in reversed(list(enumerate(before)))}
    patched = sorted((item for item in items if name(item) in ours), key=lambda item: rank[name(item)])
    others = sorted((i for i in items if name(i) not in ours), key=lambda i: place.get(name(i), len(place)))
    result: list[Any] = []
    while patched and others:
        left, right = place.get(name(others[0])), place.get(name(patched[0]))
        first = others if left is not None and right is not None and left < right else patched
        result.append(first.pop(0))
    return result + patched + others


def _plain(value: Json) -> Json:
    """A value of the patch as it is stored: no nulls, no directives."""
    if isinstance(value, dict):
        return {n: _plain(v) for n, v in value.items() if v is not None and not n.startswith("$")}
    if isinstance(value, list):
        return [
            _plain(item)
            for item in value
            if not (isinstance(item, dict) and item.get(_DIRECTIVE) in ("delete", "replace"))
        ]
    return copy.deepcopy(value)


def _a_list(value: Json, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadPatch(400, path.lstrip("."), "must be a list")
    return value


def _scalars(items: Iterable[Any], path: str) -> list[Any]:
    found = list(items)
    if any(isinstance(item, dict | list) for item in found):
        raise BadPatch(422, path, "the items of this list are scalars")
    return found


def _hashable(value: Json) -> Json:
    return str(value) if isinstance(value, dict | list) else value


def _item_name(item: Json, key: str) -> Json:
    return _hashable(item.get(key)) if isinstance(item, dict) else None


def _names(items: list[Any], key: str) -> Order:
    return [_item_name(item, key) for item in items]


def _name(item: Json, key: str, path: str) -> Json:
    if not isinstance(item, dict):
        raise BadPatch(422, path, f"must be an object with {key!r}")
    if item.get(key) is None or isinstance(item[key], dict | list):
        raise BadPatch(
            422, path, f"does not contain declared merge key: {key}", f"name the item by its {key}"
        )
    return item[key]
