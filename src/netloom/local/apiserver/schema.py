"""Types of the API's fields, and what in a document does not fit them. Pure.

Comes in: schema.json beside this file (written by tools/generate_schema.py) and raw documents. Goes out: nodes that
tell how a field is typed, merged and owned; unknown fields; values of the wrong type. Not here: rules on values
(validate.py), defaults (defaults.py). Kinds are named by apiVersion and kind in one word: ``apps/v1/Deployment``.

Lists and maps follow the ``x-kubernetes-*`` extensions of the API: a list is ``atomic`` (one value), a ``set`` of
scalars, or a ``map`` whose items are named by keys; ``merge_key`` and ``retain_keys`` are those of strategic merge patch.
"""

from __future__ import annotations

import base64
import binascii
import functools
import importlib.resources
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from netloom.api.quantity import QUANTITY
from netloom.local.apiserver.fielderrors import FieldError
from netloom.local.apiserver.jsonvalue import Json

_STRUCTURED = {"object", "map", "list"}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z")


class FieldData(msgspec.Struct, frozen=True):
    """A field as schema.json has it; ``type`` is a scalar's name, a type's key, ``[]element`` or ``{}element``."""

    type: str
    required: bool = False
    text: str = ""
    keys: tuple[str, ...] = ()
    key_defaults: dict[str, str] = {}
    is_set: bool = False
    merge: bool = False
    merge_key: str = ""
    retain_keys: bool = False
    atomic: bool = False


class TypeData(msgspec.Struct, frozen=True):
    """A type as schema.json has it."""

    fields: dict[str, FieldData]
    text: str = ""
    atomic: bool = False


class KindData(msgspec.Struct, frozen=True):
    """A kind as schema.json has it."""

    gvk: str
    type: str


class SchemaData(msgspec.Struct, frozen=True):
    """The whole of schema.json; ``packages`` gives the OpenAPI prefix for the first word of a type's key."""

    source: str
    packages: dict[str, str]
    kinds: tuple[KindData, ...]
    types: dict[str, TypeData]


class Node:
    """How one place in a document is typed.

    Attributes:
        shape: ``object`` (fields of its own), ``map``, ``list``, ``any``, or a scalar: string, bool, int32, int64,
            number, time, microtime, quantity, int-or-string, bytes.
        fields: of an object, by name.
        element: of a list or map.
        type_key: of an object, its type; else empty.
        list_type: ``atomic``, ``set`` or ``map``, for a list.
        keys: names of the items of a list that is a map; ``key_defaults`` for those that may be left out.
        atomic: an object, map or list that has one owner as a whole.
        is_open: an object that may have fields that it does not name.
        merge, merge_key, retain_keys: patch strategy of strategic merge patch.
    """

    __slots__ = ("atomic", "element", "fields", "is_open", "key_defaults", "keys", "list_type", "merge", "merge_key",
                 "required", "retain_keys", "shape", "text", "type_key")  # fmt: skip

    def __init__(self, shape: str) -> None:
        self.shape = shape
        self.fields: dict[str, Node] = {}
        self.required: tuple[str, ...] = ()
        self.element: Node = self
        self.type_key = ""
        self.list_type = "atomic"
        self.keys: tuple[str, ...] = ()
        self.key_defaults: Mapping[str, str] = {}
        self.atomic = False
        self.is_open = False
        self.merge = False
        self.merge_key = ""
        self.retain_keys = False
        self.text = ""


ANY = Node("any")
"""A place whose content the schema says nothing about."""


class _Builder:
    """Turns the data into nodes; the fields of a type are made once and shared."""

    def __init__(self, data: SchemaData) -> None:
        self._data = data
        self._fields: dict[str, dict[str, Node]] = {}

    def of_type(self, key: str) -> Node:
        """An object of a type."""
        node = Node("object")
        described = self._data.types[key]
        node.type_key = key
        node.atomic = described.atomic
        node.text = described.text
        node.required = tuple(name for name, field in described.fields.items() if field.required)
        if key not in self._fields:
            # noted before it is filled: a type may contain itself
            self._fields[key] = {}
            self._fields[key].update({name: self._of_field(f) for name, f in described.fields.items()})
        node.fields = self._fields[key]
        return node

    def _of_expression(self, expression: str) -> Node:
        for prefix, shape in (("[]", "list"), ("{}", "map")):
            if expression.startswith(prefix):
                node = Node(shape)
                node.element = self._of_expression(expression[2:])
                return node
        return self.of_type(expression) if "." in expression else Node(expression)

    def _of_field(self, field: FieldData) -> Node:
        node = self._of_expression(field.type)
        node.text = field.text or node.text
        node.atomic = node.atomic or field.atomic
        node.merge, node.merge_key, node.retain_keys = field.merge, field.merge_key, field.retain_keys
        if node.shape == "list":
            node.keys, node.key_defaults = field.keys, field.key_defaults
            node.list_type = "map" if field.keys else "set" if field.is_set else "atomic"
            node.atomic = node.list_type == "atomic"
        return node


@functools.cache
def data() -> SchemaData:
    """schema.json, decoded on first use."""
    content = importlib.resources.files("netloom.local.apiserver").joinpath("schema.json").read_bytes()
    return msgspec.json.decode(content, type=SchemaData)


@functools.cache
def _roots() -> dict[str, Node]:
    builder = _Builder(data())
    return {kind.gvk: builder.of_type(kind.type) for kind in data().kinds}


def known(gvk: str) -> bool:
    """Whether there is a schema for this kind."""
    return gvk in _roots()


def root(gvk: str) -> Node:
    """The schema of a kind; ANY for a kind without one."""
    return _roots().get(gvk, ANY)


def gvk_of(document: Mapping[str, Any]) -> str:
    """Kind of a document: apiVersion and kind, in one word."""
    return f"{document.get('apiVersion', '')}/{document.get('kind', '')}"


def unknown_fields(gvk: str, document: Mapping[str, Any]) -> list[str]:
    """Paths of fields that the kind does not have, such as ``spec.template.spec.containers[0].imagee``.

    kube-apiserver words each as ``unknown field "<path>"``: as a Warning, or in a 400 beginning with
    ``strict decoding error:``, by the query parameter fieldValidation.
    """
    node = root(gvk)
    # nearly all documents are in order: paths are made only for those that are not
    return [] if _all_known(node, document) else list(_unknown(node, document, ""))


def _all_known(node: Node, value: Json) -> bool:
    fields = node.fields
    if node.shape == "object":
        if not isinstance(value, dict):
            return True
        for name, member in value.items():
            found = fields.get(name)
            if found is None or (isinstance(member, dict | list) and not _all_known(found, member)):
                return False
    elif node.element.shape in _STRUCTURED:
        if isinstance(value, dict) and node.shape == "map":
            return all(_all_known(node.element, member) for member in value.values())
        if isinstance(value, list) and node.shape == "list":
            return all(_all_known(node.element, member) for member in value)
    return True


def _unknown(node: Node, value: Json, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        if node.shape == "object":
            for name, member in value.items():
                found = node.fields.get(name)
                below = f"{path}.{name}" if path else name
                if found is None:
                    yield below
                elif isinstance(member, dict | list):
                    yield from _unknown(found, member, below)
        elif node.shape == "map" and node.element.shape in _STRUCTURED:
            for name, member in value.items():
                yield from _unknown(node.element, member, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and node.shape == "list" and node.element.shape in _STRUCTURED:
        for number, member in enumerate(value):
            yield from _unknown(node.element, member, f"{path}[{number}]")


def type_errors(gvk: str, document: Mapping[str, Any]) -> list[FieldError]:
    """Values that are not of their field's type, as FieldValueTypeInvalid; null fits everywhere.

    kube-apiserver answers 400 to these (the document cannot be decoded); the messages here also name the field.
    """
    node = root(gvk)
    return [] if _all_fit(node, document) else list(_mistyped(node, document, ""))


def _all_fit(node: Node, value: Json) -> bool:
    if value is None:
        return True
    shape = node.shape
    if shape == "object":
        if not isinstance(value, dict):
            return False
        fields = node.fields
        return all(_all_fit(fields[name], member) for name, member in value.items() if name in fields)
    if shape == "map":
        return isinstance(value, dict) and all(_all_fit(node.element, member) for member in value.values())
    if shape == "list":
        return isinstance(value, list) and all(_all_fit(node.element, member) for member in value)
    return shape == "any" or _CHECKS[shape](value)


_WORDS = {
    "object": "an object", "map": "an object", "list": "a list", "string": "a string", "bool": "true or false",
    "int32": "an integer of 32 bits", "int64": "an integer of 64 bits", "number": "a number",
    "time": "a time such as 2026-01-02T15:04:05Z", "microtime": "a time such as 2026-01-02T15:04:05.000000Z",
    "quantity": "a quantity such as 500m, 1.5 or 64Mi", "int-or-string": "an integer or a string",
    "bytes": "base64 text",
}  # fmt: skip


def _mistyped(node: Node, value: Json, path: str) -> Iterator[FieldError]:
    if value is None or node.shape == "any":
        return
    if node.shape == "object" and isinstance(value, dict):
        for name, member in value.items():
            if (found := node.fields.get(name)) is not None:
                yield from _mistyped(found, member, f"{path}.{name}" if path else name)
    elif node.shape == "map" and isinstance(value, dict):
        for name, member in value.items():
            yield from _mistyped(node.element, member, f"{path}[{name}]")
    elif node.shape == "list" and isinstance(value, list):
        for number, member in enumerate(value):
            yield from _mistyped(node.element, member, f"{path}[{number}]")
    elif not fits(node.shape, value):
        yield FieldError(path, "FieldValueTypeInvalid", value, f"must be {_WORDS[node.shape]}")


def _is_int(value: Json, bits: int) -> bool:
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)
    )


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_quantity(value: Json) -> bool:
    return _is_number(value) or (isinstance(value, str) and QUANTITY.match(value) is not None)


def _is_time(value: Json) -> bool:
    return isinstance(value, str) and _TIME.match(value) is not None


def _is_base64(text: Json) -> bool:
    if not isinstance(text, str):
        return False
    try:
        base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


_CHECKS: Mapping[str, Callable[[Json], bool]] = {
    "string": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int32": lambda value: _is_int(value, 32),
    "int64": lambda value: _is_int(value, 64),
    "int-or-string": lambda value: isinstance(value, str) or _is_int(value, 32),
    "number": _is_number,
    "quantity": _is_quantity,
    "time": _is_time,
    "microtime": _is_time,
    "bytes": _is_base64,
}


def fits(shape: str, value: Json) -> bool:
    """Whether a value that is not null is of a scalar type."""
    check = _CHECKS.get(shape)
    return check is not None and check(value)
