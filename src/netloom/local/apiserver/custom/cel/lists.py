"""Functions of lists and sets. Pure. Source: Kubernetes' list library; cel-go's sets, and slice, flatten, distinct, sort and range of its lists."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import cmp_to_key, reduce

from netloom.local.apiserver.custom.cel.operators import OPERATORS
from netloom.local.apiserver.custom.cel.syntax import CelError
from netloom.local.apiserver.custom.cel.types import Value, compare, equal

_LONGEST = 10_000


class NotThisTypeError(CelError):
    """Another function of this name may know the value."""


def of_list(value: Value) -> list[Value]:
    """The value, where it is a list.

    Raises:
        NotThisTypeError: it is none.
    """
    if not isinstance(value, list):
        raise NotThisTypeError("no such overload")
    return value


def _is_sorted(values: Value) -> bool:
    found = of_list(values)
    return all(compare(a, b) <= 0 for a, b in itertools.pairwise(found))


def _sum(values: Value) -> Value:
    found = of_list(values)
    return reduce(OPERATORS["+"], found[1:], found[0]) if found else 0


def _extreme(values: Value, sign: int) -> Value:
    found = of_list(values)
    if not found:
        raise CelError("min and max are called on an empty list")
    return reduce(lambda a, b: b if compare(b, a) * sign > 0 else a, found)


def _index(values: Value, item: Value) -> int:
    return next((number for number, one in enumerate(of_list(values)) if equal(one, item)), -1)


def _last_index(values: Value, item: Value) -> int:
    found = of_list(values)
    return next((n for n in range(len(found) - 1, -1, -1) if equal(found[n], item)), -1)


def _has(values: list[Value], item: Value) -> bool:
    return any(equal(one, item) for one in values)


def _contains(values: Value, others: Value) -> bool:
    return all(_has(of_list(values), other) for other in of_list(others))


def _intersects(values: Value, others: Value) -> bool:
    return any(_has(of_list(values), other) for other in of_list(others))


def _distinct(values: Value) -> list[Value]:
    found: list[Value] = []
    for one in of_list(values):
        if not _has(found, one):
            found.append(one)
    return found


def _flatten(values: Value, depth: int = 1) -> list[Value]:
    found: list[Value] = []
    for one in of_list(values):
        if isinstance(one, list):
            found.extend(_flatten(one, depth - 1) if depth > 1 else one)
        else:
            found.append(one)
    return found


def _slice(values: Value, start: int, end: int) -> list[Value]:
    found = of_list(values)
    if not 0 <= start <= end <= len(found):
        raise CelError(f"cannot slice({start}, {end}), list is length {len(found)}")
    return found[start:end]


def _range(count: int) -> list[Value]:
    if not 0 <= count <= _LONGEST:
        raise CelError(f"lists.range is limited to {_LONGEST}")
    return list(range(count))


METHODS: Mapping[str, Callable[..., Value]] = {
    "distinct": _distinct,
    "flatten": _flatten,
    "indexOf": _index,
    "isSorted": _is_sorted,
    "lastIndexOf": _last_index,
    "max": lambda values: _extreme(values, 1),
    "min": lambda values: _extreme(values, -1),
    "reverse": lambda values: of_list(values)[::-1],
    "slice": _slice,
    "sort": lambda values: sorted(of_list(values), key=cmp_to_key(compare)),
    "sum": _sum,
}
FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "lists.range": _range,
    "sets.contains": _contains,
    "sets.equivalent": lambda left, right: _contains(left, right) and _contains(right, left),
    "sets.intersects": _intersects,
}
