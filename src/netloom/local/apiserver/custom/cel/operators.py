"""Operators of expressions, and how fields and items are found. Pure. Source: the CEL specification, "List of Standard Definitions"."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping

from netloom.local.apiserver.custom.cel.syntax import CelError
from netloom.local.apiserver.custom.cel.types import (
    MIN_INT,
    Duration,
    UInt,
    Value,
    compare,
    equal,
    integer,
    is_number,
    no_overload,
)

_LONGEST = 1 << 20
"""Letters or items that an addition may make."""
_ESCAPED = re.compile(r"__(underscores|dot|dash|slash|[a-z]+)__")
_LETTERS = {"underscores": "__", "dot": ".", "dash": "-", "slash": "/"}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def field_name(name: str) -> str:
    """A field as documents name it: ``x__dash__y`` is ``x-y``, ``__namespace__`` is ``namespace`` (Kubernetes' escaping)."""
    if "__" not in name:
        return name
    return _ESCAPED.sub(lambda match: _LETTERS.get(match[1], match[1]), name)


def member_of(operand: Value, field: str) -> Value:
    """A field of a map.

    Raises:
        CelError: there is none.
    """
    if not isinstance(operand, Mapping):
        raise no_overload(f"select '{field}'", operand)
    name = field_name(field)
    if name not in operand:
        raise CelError(f"no such key: {name}")
    return operand[name]


def item_of(operand: Value, index: Value) -> Value:
    """An item of a list or map.

    Raises:
        CelError: there is none.
    """
    if isinstance(operand, list) and is_number(index):
        if index != int(index) or not 0 <= index < len(operand):
            raise CelError(f"index out of bounds: {index}")
        return operand[int(index)]
    if isinstance(operand, Mapping):
        if index not in operand:
            raise CelError(f"no such key: {index}")
        return operand[index]
    raise no_overload("_[_]", operand, index)


def _add(left: Value, right: Value) -> Value:
    if is_number(left) and is_number(right):
        return _number("_+_", left, right, lambda a, b: a + b)
    match left, right:
        case (str(), str()) | (bytes(), bytes()) | (list(), list()):
            if len(left) + len(right) > _LONGEST:
                raise CelError("the result is too large")
            return left + right
        case Duration(), Duration():
            return Duration(integer(left.ns + right.ns))
        case dt.datetime(), Duration():
            return left + dt.timedelta(microseconds=right.ns / 1000)
        case Duration(), dt.datetime():
            return right + dt.timedelta(microseconds=left.ns / 1000)
    raise no_overload("_+_", left, right)


def _subtract(left: Value, right: Value) -> Value:
    if is_number(left) and is_number(right):
        return _number("_-_", left, right, lambda a, b: a - b)
    match left, right:
        case Duration(), Duration():
            return Duration(integer(left.ns - right.ns))
        case dt.datetime(), Duration():
            return left - dt.timedelta(microseconds=right.ns / 1000)
        case dt.datetime(), dt.datetime():
            return Duration(round((left - right) / dt.timedelta(microseconds=1)) * 1000)
    raise no_overload("_-_", left, right)


def _number(name: str, left: Value, right: Value, made: Callable[[Value, Value], Value]) -> Value:
    """Arithmetic of two numbers of one type."""
    if type(left) is not type(right) or not is_number(left):
        raise no_overload(name, left, right)
    found = made(left, right)
    return found if isinstance(found, float) else integer(type(left)(found))


def _multiply(left: Value, right: Value) -> Value:
    return _number("_*_", left, right, lambda a, b: a * b)


def _divide(left: Value, right: Value) -> Value:
    if isinstance(left, float) and isinstance(right, float):
        return left / right if right else math.copysign(math.inf, left) if left else math.nan
    if is_number(right) and not right:
        raise CelError("division by zero")
    return _number("_/_", left, right, lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1))


def _rest(left: Value, right: Value) -> Value:
    if isinstance(left, float) or (is_number(right) and not right):
        raise CelError("modulus by zero") if right == 0 else no_overload("_%_", left, right)
    return _number("_%_", left, right, lambda a, b: abs(a) % abs(b) * (-1 if a < 0 else 1))


def _negative(value: Value) -> Value:
    if isinstance(value, Duration):
        return Duration(-value.ns)
    if not is_number(value) or isinstance(value, UInt):
        raise no_overload("-_", value)
    if value == MIN_INT:
        raise CelError("integer overflow")
    return -value


def _not(value: Value) -> bool:
    if not isinstance(value, bool):
        raise no_overload("!_", value)
    return not value


def _in(item: Value, where: Value) -> bool:
    if isinstance(where, list):
        return any(equal(item, one) for one in where)
    if isinstance(where, Mapping):
        return not isinstance(item, list | dict) and item in where
    raise no_overload("@in", item, where)


OPERATORS: Mapping[str, Callable[..., Value]] = {
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "/": _divide,
    "%": _rest,
    "neg": _negative,
    "!": _not,
    "in": _in,
    "==": equal,
    "!=": lambda left, right: not equal(left, right),
    "<": lambda left, right: compare(left, right) < 0,
    "<=": lambda left, right: compare(left, right) <= 0,
    ">": lambda left, right: compare(left, right) > 0,
    ">=": lambda left, right: compare(left, right) >= 0,
}


def since_epoch(time: dt.datetime) -> int:
    """Seconds since 1970."""
    return int((time - _EPOCH).total_seconds())
