"""Macros of expressions, and operators that decide themselves which of their sides have to be known. Pure.

Comes in: a call whose arguments are not evaluated yet, and who evaluates. Goes out: its value. Source: the CEL specification, "Macros" and "Logical
Operators"; cel-go's two-variable comprehensions and optional values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from netloom.local.apiserver.custom.cel.operators import field_name
from netloom.local.apiserver.custom.cel.syntax import Call, CelError, Expr, Name, Select
from netloom.local.apiserver.custom.cel.types import NONE, Optional, Value, no_overload

Names = Mapping[str, Value]


class OutOfBudgetError(CelError):
    """All steps are used up."""


class Evaluating(Protocol):
    """Who evaluates what is in a macro."""

    def value(self, expr: Expr, names: Names) -> Value:
        """The value of an expression; raises CelError."""

    def truth(self, expr: Expr, names: Names) -> bool:
        """The value of a condition; raises CelError."""

    def spend(self, steps: int) -> None:
        """Take steps from the budget; raises OutOfBudgetError."""


def _if(on: Evaluating, expr: Call, names: Names) -> Value:
    condition, yes, no = expr.arguments
    return on.value(yes if on.truth(condition, names) else no, names)


def _and(on: Evaluating, expr: Call, names: Names) -> bool:
    return _either(on, expr, names, decisive=False)


def _or(on: Evaluating, expr: Call, names: Names) -> bool:
    return _either(on, expr, names, decisive=True)


def _either(on: Evaluating, expr: Call, names: Names, *, decisive: bool) -> bool:
    return _decided(on, ((side, names) for side in expr.arguments), decisive=decisive)


def _decided(on: Evaluating, conditions: Iterable[tuple[Expr, Names]], *, decisive: bool) -> bool:
    """All conditions count: what one decides, an error of another does not undo."""
    error: CelError | None = None
    for condition, names in conditions:
        try:
            if on.truth(condition, names) is decisive:
                return decisive
        except OutOfBudgetError:
            raise
        except CelError as found:
            error = found
    if error is not None:
        raise error
    return not decisive


def _has(on: Evaluating, expr: Call, names: Names) -> bool:
    field = expr.arguments[0]
    if not isinstance(field, Select):
        raise CelError("invalid argument to has() macro")
    operand = on.value(field.operand, names)
    if isinstance(operand, Optional):
        operand = operand.value if operand.has else {}
    return isinstance(operand, Mapping) and field_name(field.field) in operand


def _scopes(on: Evaluating, expr: Call, names: Names) -> Iterator[tuple[Value, dict[str, Value]]]:
    """Each key or item of what a macro runs over, with the variables inside."""
    if expr.target is None:
        raise CelError(f"undeclared reference to '{expr.function}'")
    over = on.value(expr.target, names)
    variables = [argument.name for argument in expr.arguments[:-1] if isinstance(argument, Name)]
    if not isinstance(over, list | Mapping):
        raise no_overload(expr.function, over)
    pairs = enumerate(over) if isinstance(over, list) else over.items()
    for key, item in pairs:
        on.spend(1)
        one = key if isinstance(over, Mapping) else item
        inside = (one,) if len(variables) == 1 else (key, item)
        yield key, {**names, **dict(zip(variables, inside, strict=False))}


def _all(on: Evaluating, expr: Call, names: Names) -> bool:
    return _any(on, expr, names, wanted=False)


def _exists(on: Evaluating, expr: Call, names: Names) -> bool:
    return _any(on, expr, names, wanted=True)


def _any(on: Evaluating, expr: Call, names: Names, *, wanted: bool) -> bool:
    condition = expr.arguments[-1]
    return _decided(on, ((condition, inside) for _, inside in _scopes(on, expr, names)), decisive=wanted)


def _exists_one(on: Evaluating, expr: Call, names: Names) -> bool:
    return sum(on.truth(expr.arguments[-1], inside) for _, inside in _scopes(on, expr, names)) == 1


def _filter(on: Evaluating, expr: Call, names: Names) -> list[Value]:
    variable, condition = expr.arguments
    return [
        inside[variable.name]
        for _, inside in _scopes(on, expr, names)
        if isinstance(variable, Name) and on.truth(condition, inside)
    ]


def _map(on: Evaluating, expr: Call, names: Names) -> list[Value]:
    return [on.value(expr.arguments[-1], inside) for _, inside in _scopes(on, expr, names)]


def _map_filtered(on: Evaluating, expr: Call, names: Names) -> list[Value]:
    variable, condition, found = expr.arguments
    call = Call(expr.target, "map", (variable, found))
    return [on.value(found, inside) for _, inside in _scopes(on, call, names) if on.truth(condition, inside)]


def _transform_list(on: Evaluating, expr: Call, names: Names) -> list[Value]:
    return [value for _, value in _transformed(on, expr, names)]


def _transform_map(on: Evaluating, expr: Call, names: Names) -> dict[Any, Value]:
    return dict(_transformed(on, expr, names))


def _transformed(on: Evaluating, expr: Call, names: Names) -> Iterator[tuple[Value, Value]]:
    *variables, found = expr.arguments
    condition = variables.pop() if len(variables) == 3 else None
    call = Call(expr.target, expr.function, (*variables, found))
    for key, inside in _scopes(on, call, names):
        if condition is None or on.truth(condition, inside):
            yield key, on.value(found, inside)


def _opt_map(on: Evaluating, expr: Call, names: Names) -> Value:
    return _inside(on, expr, names, lambda value: Optional(has=True, value=value))


def _opt_flat_map(on: Evaluating, expr: Call, names: Names) -> Value:
    return _inside(on, expr, names, lambda value: value)


def _inside(on: Evaluating, expr: Call, names: Names, made: Callable[[Value], Value]) -> Value:
    variable, found = expr.arguments
    held = on.value(expr.target, names) if expr.target is not None else None
    if not isinstance(held, Optional) or not isinstance(variable, Name):
        raise no_overload(expr.function, held)
    if not held.has:
        return NONE
    return made(on.value(found, {**names, variable.name: held.value}))


Lazy = Callable[[Evaluating, Call, Names], Value]
LAZY: Mapping[tuple[str, bool, int], Lazy] = {
    ("?:", False, 3): _if,
    ("&&", False, 2): _and,
    ("||", False, 2): _or,
    ("has", False, 1): _has,
    ("all", True, 2): _all,
    ("all", True, 3): _all,
    ("exists", True, 2): _exists,
    ("exists", True, 3): _exists,
    ("exists_one", True, 2): _exists_one,
    ("existsOne", True, 2): _exists_one,
    ("exists_one", True, 3): _exists_one,
    ("existsOne", True, 3): _exists_one,
    ("filter", True, 2): _filter,
    ("map", True, 2): _map,
    ("map", True, 3): _map_filtered,
    ("transformList", True, 3): _transform_list,
    ("transformList", True, 4): _transform_list,
    ("transformMap", True, 3): _transform_map,
    ("transformMap", True, 4): _transform_map,
    ("optMap", True, 2): _opt_map,
    ("optFlatMap", True, 2): _opt_flat_map,
}
"""Macros and what decides itself which of its arguments have to be known: by name, whether it has a target, and how many arguments."""
