"""Expressions as values: what the parser makes and the evaluator reads. Pure data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec


class CelError(ValueError):
    """An expression that cannot be read, or has no value; the message says why."""


class Literal(msgspec.Struct, frozen=True):
    """A value that is written out."""

    value: Any


class Name(msgspec.Struct, frozen=True):
    """A variable."""

    name: str
    at: int = 0


class Select(msgspec.Struct, frozen=True):
    """A field; ``optional``: ``operand.?field``, which has a value or none."""

    operand: Expr
    field: str
    optional: bool = False


class Index(msgspec.Struct, frozen=True):
    """An item of a list or map; ``optional``: ``operand[?index]``."""

    operand: Expr
    index: Expr
    optional: bool = False


class Call(msgspec.Struct, frozen=True):
    """A function, operator or macro. Operators are functions with their sign as a name, such as ``+``, ``?:`` and ``in``."""

    target: Expr | None
    function: str
    arguments: tuple[Expr, ...]
    at: int = 0


class ListOf(msgspec.Struct, frozen=True):
    """A list that is written out; each item, and whether it is optional."""

    items: tuple[tuple[Expr, bool], ...]


class MapOf(msgspec.Struct, frozen=True):
    """A map that is written out; each key with its value, and whether they are optional."""

    entries: tuple[tuple[Expr, Expr, bool], ...]


Expr = Literal | Name | Select | Index | Call | ListOf | MapOf


def parts(expr: Expr) -> tuple[Expr, ...]:
    """The expressions that an expression is made of."""
    match expr:
        case Select():
            return (expr.operand,)
        case Index():
            return (expr.operand, expr.index)
        case Call():
            return (*(() if expr.target is None else (expr.target,)), *expr.arguments)
        case ListOf():
            return tuple(item for item, _ in expr.items)
        case MapOf():
            return tuple(part for key, value, _ in expr.entries for part in (key, value))
        case _:
            return ()


def names_in(expr: Expr) -> Iterator[Name]:
    """All names in an expression."""
    if isinstance(expr, Name):
        yield expr
    for part in parts(expr):
        yield from names_in(part)
