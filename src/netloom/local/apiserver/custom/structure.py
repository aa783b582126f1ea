"""Schemas of definitions: whether they are structural, sound, and their defaults allowed by themselves. Pure.

Comes in: an ``openAPIV3Schema`` and its path. Goes out: FieldErrors. Source: apiextensions.k8s.io/v1 JSONSchemaProps; "Extend the Kubernetes API with
CustomResourceDefinitions", specifying a structural schema. Rules in CEL are parsed here, and looked at in celcheck.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netloom.local.apiserver.custom import celcheck, filling, patterns, values
from netloom.local.apiserver.fielderrors import (
    FieldError,
    forbidden,
    invalid,
    items,
    mapping,
    not_supported,
    required,
)
from netloom.local.apiserver.jsonvalue import Json

Errors = Iterator[FieldError]
Schema = Mapping[str, Any]
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_NEVER = ("$ref", "$schema", "additionalItems", "definitions", "dependencies", "id", "patternProperties")
_JUNCTORS = ("allOf", "anyOf", "oneOf")
_NOT_IN_JUNCTORS = (
    "additionalProperties", "default", "description", "nullable", "title", "type", "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string", "x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
)  # fmt: skip
_ONLY_METADATA = {"name", "generateName"}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_DEEPEST = 128
_MOST_ERRORS = 100


def errors(schema: Schema, path: str) -> list[FieldError]:
    """What is wrong with the schema of a version."""
    found = []
    for error in _of_root(schema, path):
        found.append(error)
        if len(found) >= _MOST_ERRORS:
            break
    return found


def type_at(schema: Schema, simple: str) -> str:
    """The type at a simple path such as ``.spec.color``; empty where the schema has no such place."""
    here = schema
    for name in simple.lstrip(".").split("."):
        here = mapping(mapping(here.get("properties")).get(name))
    return str(here.get("type") or "")


def _of_root(schema: Schema, path: str) -> Errors:
    if schema.get("type") != "object":
        why = "must be object at the root" if schema.get("type") else "must not be empty at the root"
        yield (invalid if schema.get("type") else _required)(f"{path}.type", schema.get("type"), why)
    if schema.get("nullable"):
        yield forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    metadata = mapping(mapping(schema.get("properties")).get("metadata"))
    for name in mapping(metadata.get("properties")):
        if name not in _ONLY_METADATA:
            why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            yield forbidden(f"{path}.properties[metadata].properties[{name}]", why)
    found = list(_of(schema, path, 0))
    yield from found
    if not found:  # defaults are looked at through a schema that can be trusted
        yield from _of_defaults(schema, path)


def _required(path: str, _value: Json, why: str) -> FieldError:
    return required(path, why)


def _of(schema: Schema, path: str, depth: int) -> Errors:
    if depth > _DEEPEST:
        yield invalid(path, depth, f"schemas are at most {_DEEPEST} levels deep")
        return
    yield from _of_words(schema, path)
    yield from _of_extensions(schema, path)
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if depth and not schema.get("type") and not free:
        yield required(f"{path}.type", "must not be empty for specified object fields and array items")
    yield from _of_junctors(schema, path, depth)
    yield from celcheck.problems(schema, path, at_root=not depth)
    for name, member in mapping(schema.get("properties")).items():
        yield from _of(mapping(member), f"{path}.properties[{name}]", depth + 1)
    others = schema.get("additionalProperties")
    if isinstance(others, Mapping):
        yield from _of(others, f"{path}.additionalProperties", depth + 1) if others else ()
    if isinstance(schema.get("items"), Mapping):
        yield from _of(schema["items"], f"{path}.items", depth + 1)


def _of_words(schema: Schema, path: str) -> Errors:
    type_ = schema.get("type")
    if type_ and type_ not in _TYPES:
        yield not_supported(f"{path}.type", type_, _TYPES)
    for word in _NEVER:
        if schema.get(word):
            yield forbidden(f"{path}.{word}", f"{word} is not supported")
    if schema.get("properties") and schema.get("additionalProperties"):
        yield forbidden(
            f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
        )
    if schema.get("additionalProperties") is False:
        yield forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
    if (schema.get("properties") or schema.get("additionalProperties")) and type_ not in {"object", None}:
        yield invalid(
            f"{path}.type", type_, "must be object if properties or additionalProperties are specified"
        )
    if isinstance(schema.get("items"), list):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    elif type_ == "array" and "items" not in schema:
        yield required(f"{path}.items", "must be specified")
    elif "items" in schema and type_ != "array":
        yield invalid(f"{path}.type", type_, "must be array if items is specified")
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden(f"{path}.uniqueItems", why)
    yield from _of_pattern(schema, path)


def _of_pattern(schema: Schema, path: str) -> Errors:
    if pattern := schema.get("pattern"):
        try:
            patterns.compiled(pattern)
        except patterns.BadPattern as bad:
            yield invalid(f"{path}.pattern", pattern, f"must be a valid regular expression, but isn't: {bad}")


def _of_extensions(schema: Schema, path: str) -> Errors:
    type_ = schema.get("type")
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    if schema.get("x-kubernetes-int-or-string") and type_:
        why = "must be false if type is not empty"
        yield invalid(f"{path}.x-kubernetes-int-or-string", True, why)
    if schema.get("x-kubernetes-embedded-resource"):
        if type_ != "object":
            yield invalid(f"{path}.type", type_, "must be object if x-kubernetes-embedded-resource is true")
        if not schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
            yield required(f"{path}.properties", why)
    yield from _of_list(schema, path)
    kind = schema.get("x-kubernetes-map-type")
    if kind is not None and kind not in {"granular", "atomic"}:
        yield not_supported(f"{path}.x-kubernetes-map-type", kind, ("atomic", "granular"))
    if kind is not None and type_ != "object":
        yield invalid(f"{path}.type", type_, "must be object if x-kubernetes-map-type is specified")


def _of_list(schema: Schema, path: str) -> Errors:
    kind, keys = schema.get("x-kubernetes-list-type"), items(schema.get("x-kubernetes-list-map-keys"))
    if keys and kind != "map":
        yield invalid(
            f"{path}.x-kubernetes-list-type", kind, "must be map if x-kubernetes-list-map-keys is non-empty"
        )
    if kind is None:
        return
    below = mapping(schema.get("items"))
    if kind not in {"atomic", "set", "map"}:
        yield not_supported(f"{path}.x-kubernetes-list-type", kind, ("atomic", "map", "set"))
    if schema.get("type") != "array":
        yield invalid(
            f"{path}.type", schema.get("type"), "must be array if x-kubernetes-list-type is specified"
        )
    if kind == "set":
        yield from _of_set(below, path)
    elif kind == "map":
        yield from _of_map(below, keys, path)


def _of_map(below: Schema, keys: list[Any], path: str) -> Errors:
    if not keys:
        why = "must not be empty if x-kubernetes-list-type is map"
        yield required(f"{path}.x-kubernetes-list-map-keys", why)
    if below.get("type") != "object":
        yield invalid(
            f"{path}.items.type",
            below.get("type"),
            "must be object if parent array's x-kubernetes-list-type is map",
        )
    members = mapping(below.get("properties"))
    for number, key in enumerate(keys):
        here = f"{path}.x-kubernetes-list-map-keys[{number}]"
        if key not in members:
            yield invalid(here, key, "entries must all be names of item properties")
        elif members[key].get("type") in {"object", "array"}:
            yield invalid(
                f"{path}.items.properties[{key}].type",
                members[key]["type"],
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            )
        elif key not in items(below.get("required")) and "default" not in members[key]:
            why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{path}.items.properties[{key}].default", why)


def _of_set(below: Schema, path: str) -> Errors:
    if below.get("nullable"):
        yield forbidden(f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is set")
    if below.get("type") == "object" and below.get("x-kubernetes-map-type") != "atomic":
        why = "must be atomic as item of a list with x-kubernetes-list-type=set"
        yield invalid(f"{path}.items.x-kubernetes-map-type", below.get("x-kubernetes-map-type"), why)
    if below.get("type") == "array" and below.get("x-kubernetes-list-type", "atomic") != "atomic":
        why = "must be atomic as item of a list with x-kubernetes-list-type=set"
        yield invalid(f"{path}.items.x-kubernetes-list-type", below.get("x-kubernetes-list-type"), why)


def _of_junctors(schema: Schema, path: str, depth: int) -> Errors:
    for word in _JUNCTORS:
        for number, part in enumerate(items(schema.get(word))):
            yield from _of_part(mapping(part), schema, f"{path}.{word}[{number}]", depth + 1)
    if (part := schema.get("not")) is not None:
        yield from _of_part(mapping(part), schema, f"{path}.not", depth + 1)


def _of_part(part: Schema, whole: Schema, path: str, depth: int) -> Errors:
    """A part of a junctor says what values are, never what there is: that is said outside."""
    if depth > _DEEPEST:
        yield invalid(path, depth, f"schemas are at most {_DEEPEST} levels deep")
        return
    if not (whole.get("x-kubernetes-int-or-string") and _is_int_or_string(part)):
        for word in _NOT_IN_JUNCTORS:
            if part.get(word):
                yield forbidden(f"{path}.{word}", "must be empty to be structural")
    yield from _of_pattern(part, path)
    outside = mapping(whole.get("properties"))
    for name, member in mapping(part.get("properties")).items():
        if name not in outside and not whole.get("x-kubernetes-preserve-unknown-fields"):
            yield required(
                f"{path.rpartition('.')[0]}.properties[{name}]",
                f"because it is defined in {path}.properties[{name}]",
            )
        yield from _of_part(
            mapping(member), mapping(outside.get(name)), f"{path}.properties[{name}]", depth + 1
        )
    if isinstance(below := part.get("items"), Mapping):
        yield from _of_part(below, mapping(whole.get("items")), f"{path}.items", depth + 1)
    for word in _JUNCTORS:
        for number, one in enumerate(items(part.get(word))):
            yield from _of_part(mapping(one), whole, f"{path}.{word}[{number}]", depth + 1)
    if (one := part.get("not")) is not None:
        yield from _of_part(mapping(one), whole, f"{path}.not", depth + 1)


def _is_int_or_string(part: Schema) -> bool:
    """One of the two types, or both in one anyOf: the two ways of writing them that are allowed."""
    return part in _INT_OR_STRING or part.get("anyOf") == _INT_OR_STRING


def _of_defaults(schema: Schema, path: str, *, in_metadata: bool = False) -> Errors:
    if "default" in schema:
        here, value = f"{path}.default", schema["default"]
        if in_metadata:
            yield forbidden(here, "must not be set in top-level metadata")
        elif value is not None or not schema.get("nullable"):
            if filling.unknown_fields_of(schema, value):
                yield invalid(here, value, "must not have unspecified fields")
            yield from values.of_value(schema, filling.filled_value(schema, value), values.UNSET, here)
    for name, member in mapping(schema.get("properties")).items():
        below = f"{path}.properties[{name}]"
        yield from _of_defaults(
            member, below, in_metadata=in_metadata or below.endswith("Schema.properties[metadata]")
        )
    for word in ("items", "additionalProperties"):
        if isinstance(inner := schema.get(word), Mapping):
            yield from _of_defaults(inner, f"{path}.{word}", in_metadata=in_metadata)
