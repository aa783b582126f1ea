"""Functions of expressions by name: those of CEL, and those that Kubernetes adds. Pure.

Goes out: ``FUNCTIONS`` called as ``f(x)``, ``METHODS`` called as ``x.f(y)``. A function that is called with values of other types raises what Python raises; the
evaluator tells it as CEL does. Source: the CEL specification, "Functions"; Kubernetes, "Common Expression Language", libraries.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Callable, Mapping

from netloom.local.apiserver.custom.cel import lists, network, quantities, texts, times
from netloom.local.apiserver.custom.cel.operators import since_epoch
from netloom.local.apiserver.custom.cel.syntax import CelError
from netloom.local.apiserver.custom.cel.types import (
    NONE,
    Duration,
    Optional,
    TypeValue,
    UInt,
    Value,
    compare,
    equal,
    integer,
    is_number,
    no_overload,
    type_name,
)

Function = Callable[..., Value]


def _int(value: Value) -> int:
    match value:
        case bool():
            raise no_overload("int", value)
        case int():
            return integer(int(value))
        case float():
            return integer(int(value))
        case str():
            return integer(int(value, 10))
        case dt.datetime():
            return since_epoch(value)
    raise no_overload("int", value)


def _uint(value: Value) -> UInt:
    if isinstance(value, str) or is_number(value):
        found = UInt(int(value))
        integer(found)
        return found
    raise no_overload("uint", value)


def _double(value: Value) -> float:
    if isinstance(value, str) or is_number(value):
        return float(value)
    raise no_overload("double", value)


def _string(value: Value) -> str:  # noqa: PLR0911 - one for each type
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(int(value))
        case float():
            return texts.number(value)
        case bytes():
            return value.decode()
        case Duration():
            return times.duration_text(value)
        case dt.datetime():
            return times.timestamp_text(value)
        case network.Ip() | network.Cidr():
            return str(value)
    raise no_overload("string", value)


def _bool(value: Value) -> bool:
    if isinstance(value, bool):
        return value
    words = {"1": True, "t": True, "T": True, "true": True, "TRUE": True, "True": True,
             "0": False, "f": False, "F": False, "false": False, "FALSE": False, "False": False}  # fmt: skip
    if value in words:
        return words[value]
    raise CelError(f"strconv.ParseBool: parsing {value!r}: invalid syntax")


def _bytes(value: Value) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _size(value: Value) -> int:
    if isinstance(value, str | bytes | list | Mapping):
        return len(value)
    raise no_overload("size", value)


def _of_non_zero(value: Value) -> Optional:
    empty = value is None or (not isinstance(value, Optional) and value in (0, "", b"", [], {}, False))
    return NONE if empty else Optional(has=True, value=value)


def _held(value: Value) -> Optional:
    if not isinstance(value, Optional):
        raise no_overload("value", value)
    return value


def _value_of(value: Value) -> Value:
    if not _held(value).has:
        raise CelError("optional.none() dereference")
    return value.value


def _or_value(value: Value, other: Value) -> Value:
    return value.value if _held(value).has else other


def _or(value: Value, other: Value) -> Value:
    return value if _held(value).has else other


def _numbers(values: tuple[Value, ...]) -> list[Value]:
    found = values[0] if len(values) == 1 and isinstance(values[0], list) else list(values)
    if not found or not all(map(is_number, found)):
        raise no_overload("math", *values)
    return list(found)


def _greatest(*values: Value) -> Value:
    return max(_numbers(values))


def _least(*values: Value) -> Value:
    return min(_numbers(values))


def _sign(value: Value) -> Value:
    return type(value)(compare(value, 0))


def _round(value: float) -> float:
    return math.copysign(math.floor(abs(value) + 0.5), value)


def _base64(value: Value) -> str:
    return base64.b64encode(_bytes(value)).decode()


FUNCTIONS: Mapping[str, Function] = {
    "bool": _bool,
    "bytes": _bytes,
    "double": _double,
    "dyn": lambda value: value,
    "int": _int,
    "size": _size,
    "string": _string,
    "type": lambda value: TypeValue(type_name(value)),
    "uint": _uint,
    "optional.none": lambda: NONE,
    "optional.of": lambda value: Optional(has=True, value=value),
    "optional.ofNonZeroValue": _of_non_zero,
    "math.abs": lambda value: integer(abs(value)) if isinstance(value, int) else abs(value),
    "math.ceil": lambda value: float(math.ceil(value)),
    "math.floor": lambda value: float(math.floor(value)),
    "math.greatest": _greatest,
    "math.isFinite": math.isfinite,
    "math.isInf": math.isinf,
    "math.isNaN": math.isnan,
    "math.least": _least,
    "math.round": _round,
    "math.sign": _sign,
    "math.trunc": lambda value: float(math.trunc(value)),
    "base64.decode": lambda value: base64.b64decode(value, validate=True),
    "base64.encode": _base64,
    **lists.FUNCTIONS,
    **network.FUNCTIONS,
    **quantities.FUNCTIONS,
    **texts.FUNCTIONS,
    **times.FUNCTIONS,
}

_METHODS: tuple[Mapping[str, Function], ...] = (
    lists.METHODS, network.METHODS, quantities.METHODS, texts.METHODS, times.METHODS,
    {
        "size": _size,
        "hasValue": lambda value: _held(value).has,
        "or": _or,
        "orValue": _or_value,
        "value": _value_of,
    },
)  # fmt: skip


def _first_that_fits(functions: list[Function]) -> Function:
    """The function that knows a value of this type, of several with one name."""

    def method(target: Value, *arguments: Value) -> Value:
        for function in functions[:-1]:
            try:
                return function(target, *arguments)
            except (TypeError, AttributeError, lists.NotThisTypeError):
                continue
        return functions[-1](target, *arguments)

    return method


def _joined() -> dict[str, Function]:
    found: dict[str, list[Function]] = {}
    for group in _METHODS:
        for name, function in group.items():
            found.setdefault(name, []).append(function)
    return {
        name: several[0] if len(several) == 1 else _first_that_fits(several)
        for name, several in found.items()
    }


METHODS: Mapping[str, Function] = _joined()
__all__ = ["FUNCTIONS", "METHODS", "equal"]
