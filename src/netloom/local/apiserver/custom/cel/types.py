"""Values of expressions that Python has no type for, and how values compare. Pure.

Null, booleans, 64-bit integers, doubles, texts, bytes, lists and maps are Python's own. Source: the CEL specification, "Values" and "Equality".
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.local.apiserver.custom.cel.syntax import CelError

Value = Any
MAX_INT = (1 << 63) - 1
MIN_INT = -(1 << 63)
MAX_UINT = (1 << 64) - 1


class UInt(int):
    """An integer without a sign."""


class Duration(msgspec.Struct, frozen=True, order=True):
    """A time that passes, in nanoseconds."""

    ns: int


class Optional(msgspec.Struct, frozen=True):
    """A value, or none."""

    has: bool
    value: Value = None


NONE = Optional(has=False)


class TypeValue(msgspec.Struct, frozen=True):
    """A type as a value."""

    name: str


def type_name(value: Value) -> str:
    """The name of a value's type, as ``type()`` tells it."""
    for types, name in (
        (bool, "bool"), (UInt, "uint"), (int, "int"), (float, "double"), (str, "string"), (bytes, "bytes"), (list, "list"),
        (Mapping, "map"), (type(None), "null_type"), (Duration, "google.protobuf.Duration"),
        (dt.datetime, "google.protobuf.Timestamp"), (Optional, "optional_type"), (TypeValue, "type"),
    ):  # fmt: skip
        if isinstance(value, types):
            return name
    return type(value).__name__.lower()


def is_number(value: Value) -> bool:
    """An integer or double; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(left: Value, right: Value) -> bool:
    """Equality of CEL: numbers by value whatever their type, others only with their own type."""
    if is_number(left) and is_number(right):
        return bool(left == right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    return type(left) is type(right) and bool(left == right)


def compare(left: Value, right: Value) -> int:
    """Less, the same or greater, as -1, 0 and 1.

    Raises:
        CelError: these two have no order.
    """
    ordered = (str, bytes, Duration, dt.datetime, bool)
    if (is_number(left) and is_number(right)) or (type(left) is type(right) and isinstance(left, ordered)):
        return int(left > right) - int(left < right)
    raise no_overload("_<_", left, right)


def no_overload(function: str, *arguments: Value) -> CelError:
    """There is no such function of values of these types."""
    return CelError(f"no such overload: {function}({', '.join(map(type_name, arguments))})")


def integer(value: int) -> int:
    """A number that fits into 64 bits.

    Raises:
        CelError: it does not.
    """
    if isinstance(value, UInt):
        if not 0 <= value <= MAX_UINT:
            raise CelError("unsigned integer overflow")
    elif not MIN_INT <= value <= MAX_INT:
        raise CelError("integer overflow")
    return value
