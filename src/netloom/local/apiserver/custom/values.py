"""Structural schemas held against documents: types, bounds, formats, junctors, lists and embedded resources. Pure.

Comes in: a defined kind, a document with defaults, the one that it replaces. Goes out: FieldErrors, worded as kube-apiserver words them. What an update
does not change is not held against it (ratcheting: CRDValidationRatcheting). Rules in CEL are asked only where all else is in order
(celrules.py). Source: apiextensions.k8s.io/v1 JSONSchemaProps; JSON Schema Validation 00, chapter 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from netloom.local.apiserver import bounds, validate_names
from netloom.local.apiserver.custom import celrules, formats, patterns
from netloom.local.apiserver.custom.served import CustomKind
from netloom.local.apiserver.fielderrors import (
    FieldError,
    duplicate,
    invalid,
    mapping,
    not_supported,
    required,
    too_many,
)
from netloom.local.apiserver.jsonvalue import Json

Errors = Iterator[FieldError]
Schema = Mapping[str, Any]
UNSET: object = object()
"""There was no value before, or none that this one follows."""
_MOST = 100
"""Errors that one answer tells."""


def errors(kind: CustomKind, document: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[FieldError]:
    """What is wrong with a document of a defined kind."""
    schema = kind.version_data.schema
    found = list(
        validate_names.metadata(
            mapping(document.get("metadata")),
            namespaced=kind.namespaced,
            name_problem=validate_names.subdomain_problem,
        )
    )
    for error in of_value(schema, document, UNSET if old is None else old, ""):
        found.append(error)
        if len(found) >= _MOST:
            return found
    return found or celrules.errors(schema, document, old)


def of_value(schema: Schema, value: Json, old: object, path: str) -> Errors:
    """What is wrong with a value at a path; ``old`` is the one that it replaces, or UNSET."""
    if old is not UNSET and value == old and type(value) is type(old):
        return
    if wrong := _mistyped(schema, value, path):
        yield wrong
        return
    match value:
        case dict():
            yield from _of_object(schema, value, old, path)
        case list():
            yield from _of_list(schema, value, old, path)
        case str():
            yield from _of_text(schema, value, path)
        case bool() | None:
            pass
        case _:
            yield from _of_number(schema, value, path)
    if value is not None and "enum" in schema and value not in schema["enum"]:
        yield not_supported(path, value, map(_text, schema["enum"]))
    yield from _of_junctors(schema, value, path)


def _mistyped(schema: Schema, value: Json, path: str) -> FieldError | None:
    if schema.get("x-kubernetes-int-or-string"):
        wanted = "integer,string"
        fits = isinstance(value, str) or _is_integer(value)
    else:
        wanted = schema.get("type", "")
        fits = not wanted or _TYPES[wanted](value)
    if fits or (value is None and schema.get("nullable")):
        return None
    shown = _type_of(value)
    why = f'{path} in body must be of type {wanted}: "{shown}"'
    return FieldError(path, "FieldValueTypeInvalid", shown, why)


def _is_integer(value: Json) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


_TYPES: Mapping[str, Callable[[Json], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


def _type_of(value: Json) -> str:
    if value is None:
        return "null"
    return next(name for name, fits in _TYPES.items() if fits(value))


def _text(value: Json) -> str:
    return value if isinstance(value, str) else repr(value)


def _of_object(schema: Schema, value: dict[str, Any], old: object, path: str) -> Errors:
    for name in schema.get("required") or ():
        if name not in value:
            yield required(_below(path, name))
    count, least, most = len(value), schema.get("minProperties", 0), schema.get("maxProperties")
    if count < least:
        yield invalid(path, count, f"{path} in body should have at least {least} properties")
    if most is not None and count > most:
        yield too_many(path, count, most)
    if schema.get("x-kubernetes-embedded-resource"):
        yield from _of_resource(value, path)
    before = old if isinstance(old, dict) else {}
    members, others = schema.get("properties") or {}, schema.get("additionalProperties")
    for name, member in value.items():
        below = members.get(name, others)
        if isinstance(below, Mapping) and (path or name != "metadata"):
            yield from of_value(below, member, before.get(name, UNSET), _below(path, name))
    if not path and isinstance(value.get("metadata"), dict) and "metadata" in members:
        yield from of_value(members["metadata"], value["metadata"], before.get("metadata", UNSET), "metadata")


def _of_resource(value: dict[str, Any], path: str) -> Errors:
    for name in ("apiVersion", "kind"):
        if not isinstance(value.get(name), str) or not value[name]:
            yield required(_below(path, name), "must not be empty")
    metadata = value.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        shown = _type_of(metadata)
        here = _below(path, "metadata")
        yield FieldError(
            here, "FieldValueTypeInvalid", shown, f'{here} in body must be of type object: "{shown}"'
        )
    elif metadata:
        yield from validate_names.labels(_below(path, "metadata.labels"), metadata.get("labels"))


def _of_list(schema: Schema, value: list[Any], old: object, path: str) -> Errors:
    yield from bounds.of_list(schema, value, path)
    if bounds.has_too_many(schema, value):
        return
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    listed = schema.get("x-kubernetes-list-type", "atomic")
    before = (
        {_key(keys, item): item for item in old if isinstance(item, dict)}
        if keys and isinstance(old, list)
        else {}
    )
    items = schema.get("items")
    seen: set[str] = set()
    for number, item in enumerate(value):
        here, key = f"{path}[{number}]", _key(keys, item)
        if isinstance(items, Mapping):
            yield from of_value(items, item, before.get(key, UNSET), here)
        if listed == "atomic":
            continue
        if key in seen:
            yield duplicate(
                here, {name: item.get(name) for name in keys} if keys and isinstance(item, dict) else item
            )
        seen.add(key)
    if schema.get("uniqueItems") and len({_key((), item) for item in value}) < len(value):
        yield invalid(path, value, f"{path} in body shouldn't contain duplicates")


def _key(keys: tuple[str, ...] | list[str], item: Json) -> str:
    """What tells items of a map or set apart, as a text."""
    if keys and isinstance(item, dict):
        return repr([item.get(name) for name in keys])
    return repr(item)


def _of_text(schema: Schema, value: str, path: str) -> Errors:
    yield from bounds.of_text(schema, value, path, patterns.compiled)
    wanted = schema.get("format")
    if wanted and not formats.fits(wanted, value):
        yield invalid(path, value, f'{path} in body must be of type {wanted}: "{value}"')


_BITS = {"int32": 31, "int64": 63}


def _of_number(schema: Schema, value: float, path: str) -> Errors:
    here = f"{path} in body should be"
    if "minimum" in schema:
        least = schema["minimum"]
        if schema.get("exclusiveMinimum") and value <= least:
            yield invalid(path, value, f"{here} greater than {least}")
        elif value < least:
            yield invalid(path, value, f"{here} greater than or equal to {least}")
    if "maximum" in schema:
        most = schema["maximum"]
        if schema.get("exclusiveMaximum") and value >= most:
            yield invalid(path, value, f"{here} less than {most}")
        elif value > most:
            yield invalid(path, value, f"{here} less than or equal to {most}")
    step = schema.get("multipleOf")
    if step and not math.isclose(value / step, round(value / step), rel_tol=1e-9, abs_tol=1e-9):
        yield invalid(path, value, f"{here} a multiple of {step}")
    bits = _BITS.get(schema.get("format", ""))
    if bits and not -(1 << bits) <= value < 1 << bits:
        yield invalid(path, value, f'{path} in body must be of type {schema["format"]}: "{value}"')


def _of_junctors(schema: Schema, value: Json, path: str) -> Errors:
    named = f'"{path}"'
    if parts := schema.get("allOf"):
        failed = [error for part in parts for error in of_value(part, value, UNSET, path)]
        yield from failed
        if failed:
            yield invalid(path, _shown(value), f"{named} must validate all the schemas (allOf)")
    if (parts := schema.get("anyOf")) and not any(_holds(part, value) for part in parts):
        yield invalid(path, _shown(value), f"{named} must validate at least one schema (anyOf)")
    if parts := schema.get("oneOf"):
        count = sum(_holds(part, value) for part in parts)
        if count != 1:
            told = f"Found {count} valid alternatives" if count else "Found none valid"
            why = f"{named} must validate one and only one schema (oneOf). {told}"
            yield invalid(path, _shown(value), why)
    if (part := schema.get("not")) is not None and _holds(part, value):
        yield invalid(path, _shown(value), f"{named} must not validate the schema (not)")


def _holds(schema: Schema, value: Json) -> bool:
    return next(of_value(schema, value, UNSET, ""), None) is None


def _shown(value: Json) -> Json:
    return value if not isinstance(value, dict | list) else _type_of(value)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
