"""Structural schemas: defaults and rules of kinds that other clusters have from CustomResourceDefinitions. Pure.

Comes in: a schema (definitions.py) and a document whose types fit. Goes out: the document with defaults; FieldErrors, worded as a server
words them that has the definition. Rules in CEL are held by functions of the same meaning (structural_rules.py), and asked only
where the schema itself has nothing to say. Source: apiextensions.k8s.io/v1.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from netloom.local.apiserver import bounds
from netloom.local.apiserver.definitions import Schema
from netloom.local.apiserver.fielderrors import (
    FieldError,
    duplicate,
    invalid,
    not_supported,
    required,
    too_many,
)
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.structural_rules import ABOUT_CHANGE, RULES

Errors = Iterator[FieldError]


def fill_defaults(schema: Schema, value: Json) -> None:
    """Write the defaults of a schema into a value, in place."""
    if isinstance(value, dict):
        for name, member in (schema.get("properties") or {}).items():
            if name not in value and "default" in member:
                value[name] = copy.deepcopy(member["default"])
            if name in value:
                fill_defaults(member, value[name])
    elif isinstance(value, list):
        for item in value:
            fill_defaults(schema.get("items") or {}, item)


def errors(schema: Schema, document: Mapping[str, Any], old: Mapping[str, Any] | None) -> Errors:
    """What is wrong with a document; ``old`` is the one that it replaces."""
    found = list(_of(schema, document, ""))
    yield from found or _ruled(schema, document, old, "")


def _of(schema: Schema, value: Json, path: str) -> Errors:
    match value:
        case dict():
            yield from _of_object(schema, value, path)
        case list():
            yield from _of_list(schema, value, path)
        case str():
            yield from bounds.of_text(schema, value, path, _pattern)
        case int() if not isinstance(value, bool):
            yield from _of_number(schema, value, path)
    if "enum" in schema and value not in schema["enum"]:
        yield not_supported(path, value, map(str, schema["enum"]))


def _of_object(schema: Schema, value: dict[str, Any], path: str) -> Errors:
    for name in schema.get("required") or ():
        if value.get(name) is None:
            yield required(_below(path, name))
    most = schema.get("maxProperties")
    if most is not None and len(value) > most:
        yield too_many(path, len(value), most)
    members = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    for name, member in value.items():
        found = members.get(name, others)
        if found is not None and member is not None and name != "metadata":
            yield from _of(found, member, _below(path, name))


def _of_list(schema: Schema, value: list[Any], path: str) -> Errors:
    yield from bounds.of_list(schema, value, path)
    if bounds.has_too_many(schema, value):
        return
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    is_set = schema.get("x-kubernetes-list-type") == "set"
    seen: list[Json] = []
    for number, item in enumerate(value):
        here = f"{path}[{number}]"
        yield from _of(schema.get("items") or {}, item, here)
        if not keys and not is_set:
            continue
        key = {name: item.get(name) for name in keys} if keys and isinstance(item, dict) else item
        if key in seen:
            yield duplicate(here, key)
        seen.append(key)


@functools.cache
def _pattern(text: str) -> re.Pattern[str]:
    """A pattern of RE2 in Python's words: there, ``$`` is the very end."""
    return re.compile(re.sub(r"(?<!\\)\$(?=$|\||\))", r"\\Z", text))


def _of_number(schema: Schema, value: int, path: str) -> Errors:
    if value < schema.get("minimum", value):
        why = f"{path} in body should be greater than or equal to {schema['minimum']}"
        yield invalid(path, value, why)
    elif value > schema.get("maximum", value):
        yield invalid(path, value, f"{path} in body should be less than or equal to {schema['maximum']}")


def _ruled(schema: Schema, value: Json, old: Json, path: str) -> Errors:
    for rule in schema.get("x-kubernetes-validations") or ():
        message = rule["message"]
        if message in ABOUT_CHANGE:
            if old is not None and not ABOUT_CHANGE[message](value, old):
                yield invalid(path, value, message)
        elif not RULES[message](value):
            yield invalid(path, value if isinstance(value, str | int) else _shape(value), message)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name, member in (schema.get("properties") or {}).items():
            if value.get(name) is not None and name != "metadata":
                yield from _ruled(member, value[name], before.get(name), _below(path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _ruled(schema.get("items") or {}, item, None, f"{path}[{number}]")


def _shape(value: Json) -> str:
    return "array" if isinstance(value, list) else "object"


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
