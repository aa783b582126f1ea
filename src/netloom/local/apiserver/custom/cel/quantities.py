"""Functions of quantities and semantic versions. Pure. Source: Kubernetes' quantity and semver libraries; Semantic Versioning 2.0.0."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal

import msgspec

from netloom.api import quantity
from netloom.local.apiserver.custom.cel.lists import NotThisTypeError
from netloom.local.apiserver.custom.cel.syntax import CelError
from netloom.local.apiserver.custom.cel.types import MAX_INT, MIN_INT, Value

_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:[0-9A-Za-z-]+)(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?\Z"
)


class Quantity(msgspec.Struct, frozen=True):
    """An amount."""

    amount: Decimal


class Version(msgspec.Struct, frozen=True):
    """A semantic version."""

    numbers: tuple[int, int, int]
    stage: str

    @property
    def rank(self) -> tuple[object, ...]:
        """By this versions are ordered."""
        parts = tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in self.stage.split("."))
        return (*self.numbers, not self.stage, parts)


def _quantity(text: str) -> Quantity:
    found = quantity.parse(text) if isinstance(text, str) and len(text) <= 64 else None
    if found is None:
        raise CelError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    return Quantity(found)


def _version(text: str, *_normalize: bool) -> Version:
    match = _VERSION.match(text) if len(text) <= 256 else None
    if match is None:
        raise CelError(f"No Major.Minor.Patch elements found in {text!r}")
    return Version((int(match[1]), int(match[2]), int(match[3])), match[4] or "")


def _is(made: Callable[..., object]) -> Callable[..., bool]:
    def check(text: Value) -> bool:
        if not isinstance(text, str):
            raise TypeError("not a text")
        try:
            made(text)
        except CelError:
            return False
        return True

    return check


def _order(left: Value, right: Value) -> int:
    if isinstance(left, Version) and isinstance(right, Version):
        a, b = left.rank, right.rank
        return int(a > b) - int(a < b)
    if isinstance(left, Quantity) and isinstance(right, Quantity):
        return int(left.amount > right.amount) - int(left.amount < right.amount)
    raise NotThisTypeError("no such overload")


def _changed(left: Value, right: Value, sign: int) -> Quantity:
    other = right.amount if isinstance(right, Quantity) else Decimal(right)
    return Quantity(left.amount + sign * other)


def _is_integer(value: Quantity) -> bool:
    return value.amount == value.amount.to_integral_value() and MIN_INT <= value.amount <= MAX_INT


def _as_integer(value: Quantity) -> int:
    if not _is_integer(value):
        raise CelError("cannot convert value to integer")
    return int(value.amount)


METHODS: Mapping[str, Callable[..., Value]] = {
    "add": lambda left, right: _changed(left, right, 1),
    "asApproximateFloat": lambda value: float(value.amount),
    "asInteger": _as_integer,
    "compareTo": _order,
    "isGreaterThan": lambda left, right: _order(left, right) > 0,
    "isInteger": _is_integer,
    "isLessThan": lambda left, right: _order(left, right) < 0,
    "major": lambda value: value.numbers[0],
    "minor": lambda value: value.numbers[1],
    "patch": lambda value: value.numbers[2],
    "sign": lambda value: int(value.amount > 0) - int(value.amount < 0),
    "sub": lambda left, right: _changed(left, right, -1),
}
FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "isQuantity": _is(_quantity),
    "isSemver": _is(_version),
    "quantity": _quantity,
    "semver": _version,
}
