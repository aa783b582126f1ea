"""Pruning and defaulting by structural schemas: what is dropped from a document, and what is written into it. Pure.

Comes in: a schema and a document of a defined kind. Goes out: a copy without what the schema does not specify; the paths of that; a copy with
defaults. ``apiVersion``, ``kind`` and ``metadata`` are known everywhere, and in embedded resources. Not here: whether values are allowed
(values.py). Source: apiextensions.k8s.io/v1; "Custom resources", pruning, defaulting and nullable.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from netloom.local.apiserver.custom.nodes import metadata_node
from netloom.local.apiserver.jsonvalue import Json

Schema = Mapping[str, Any]
_KEEPS = "x-kubernetes-preserve-unknown-fields"
_EMBEDS = "x-kubernetes-embedded-resource"
_TYPE_META = frozenset({"apiVersion", "kind", "metadata"})
_EMPTY: Schema = {}


def pruned(schema: Schema, document: dict[str, Any]) -> dict[str, Any]:
    """The document without unspecified fields; parts that lose nothing are shared with the old one."""
    found: dict[str, Any] = _pruned(schema, document, is_resource=True)
    return found


def unknown_fields(schema: Schema, document: Mapping[str, Any]) -> list[str]:
    """Paths of the fields that pruning drops, such as ``spec.ports[0].prot``."""
    return list(_unknown(schema, document, "", is_resource=True))


def unknown_fields_of(schema: Schema, value: Json) -> list[str]:
    """The same for a value somewhere in a document, such as a default."""
    return list(_unknown(schema, value, ""))


def _members(
    schema: Schema, value: dict[str, Any], *, is_resource: bool
) -> Iterator[tuple[str, Json, Schema | None]]:
    """Each field with its schema: None where the schema has no place for it; an empty one where anything may be in it."""
    named, others = schema.get("properties") or _EMPTY, schema.get("additionalProperties")
    is_resource = is_resource or bool(schema.get(_EMBEDS))
    for name, member in value.items():
        if is_resource and name in _TYPE_META:
            yield name, member, _EMPTY
        elif name in named:
            yield name, member, named[name]
        elif others is True or (isinstance(others, Mapping) and not others):
            yield name, member, {_KEEPS: True}
        elif isinstance(others, Mapping):
            yield name, member, others
        else:
            yield name, member, {_KEEPS: True} if schema.get(_KEEPS) else None


def _pruned(schema: Schema, value: Json, *, is_resource: bool = False) -> Json:
    if isinstance(value, dict):
        kept = {}
        for name, member, below in _members(schema, value, is_resource=is_resource):
            if below is None:
                continue
            if below is _EMPTY:
                kept[name] = _known_metadata(member) if name == "metadata" else member
            else:
                kept[name] = _pruned(below, member) if isinstance(member, dict | list) else member
        return kept
    if isinstance(value, list):
        items = schema.get("items")
        if not isinstance(items, Mapping):
            return value
        return [_pruned(items, item) for item in value]
    return value


def _known_metadata(metadata: Json) -> Json:
    if not isinstance(metadata, dict):
        return metadata
    known = metadata_node().fields
    return {name: value for name, value in metadata.items() if name in known}


def _unknown(schema: Schema, value: Json, path: str, *, is_resource: bool = False) -> Iterator[str]:
    if isinstance(value, dict):
        for name, member, below in _members(schema, value, is_resource=is_resource):
            here = f"{path}.{name}" if path else name
            if below is None:
                yield here
            elif below is _EMPTY:
                if name == "metadata" and isinstance(member, dict):
                    known = metadata_node().fields
                    yield from (f"{here}.{field}" for field in member if field not in known)
            elif isinstance(member, dict | list):
                yield from _unknown(below, member, here)
    elif isinstance(value, list) and isinstance(items := schema.get("items"), Mapping):
        for number, item in enumerate(value):
            yield from _unknown(items, item, f"{path}[{number}]")


def filled(schema: Schema, document: dict[str, Any]) -> dict[str, Any]:
    """The document with defaults. A null that its place does not allow is no value where there is a default for it."""
    found: dict[str, Any] = _filled(schema, document)
    return found


def filled_value(schema: Schema, value: Json) -> Json:
    """The same for a value somewhere in a document, such as a default."""
    return _filled(schema, copy.deepcopy(value))


def _filled(schema: Schema, value: Json) -> Json:
    if isinstance(value, dict):
        return _filled_object(schema, value)
    if isinstance(value, list) and isinstance(items := schema.get("items"), Mapping):
        return [_filled(items, item) for item in value]
    return value


def _filled_object(schema: Schema, value: dict[str, Any]) -> dict[str, Any]:
    named, others = schema.get("properties") or _EMPTY, schema.get("additionalProperties")
    found = {}
    for name, member in value.items():
        below = named.get(name, others)
        if not isinstance(below, Mapping):
            found[name] = member
        elif member is not None or below.get("nullable") or "default" not in below:
            found[name] = _filled(below, member) if isinstance(member, dict | list) else member
    for name, below in named.items():
        if name not in found and "default" in below:
            found[name] = _filled(below, copy.deepcopy(below["default"]))
    return found
