"""What an expression is worth. Pure.

Comes in: an expression and the variables that it may name. Goes out: a value, or a CelError. Each step costs, and an Evaluator has a budget for all that it is
asked: a rule can take neither the server's time nor its memory. Source: the CEL specification, "Evaluation", "Macros"; cel-go's optional values and
two-variable comprehensions, as Kubernetes allows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from netloom.local.apiserver.custom.cel.functions import FUNCTIONS, METHODS
from netloom.local.apiserver.custom.cel.macros import LAZY, Names, OutOfBudgetError
from netloom.local.apiserver.custom.cel.operators import OPERATORS, item_of, member_of
from netloom.local.apiserver.custom.cel.syntax import (
    Call,
    CelError,
    Expr,
    Index,
    ListOf,
    Literal,
    MapOf,
    Name,
    Select,
)
from netloom.local.apiserver.custom.cel.types import NONE, Optional, TypeValue, Value, no_overload

BUDGET = 500_000
"""Steps that the rules of one request may take together: about a second. The largest Gateway that there can be takes an eighth."""
_TYPES = {
    name: TypeValue(name)
    for name in ("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint")
}
_NAMESPACES = ("base64", "format", "ip", "lists", "math", "optional", "sets", "strings")
"""Names before a function that are no values, such as ``math.greatest``."""
_PER_LETTERS = 64


class Evaluator:
    """Evaluates expressions until its budget is used up."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._left = budget

    def value(self, expr: Expr, names: Names) -> Value:  # noqa: PLR0911 - one for each kind of expression
        """The value of an expression.

        Raises:
            CelError: it has none, or the budget is used up.
        """
        self.spend(1)
        match expr:
            case Literal():
                return expr.value
            case Name():
                return _named(expr.name, names)
            case Select():
                return self._select(expr, names)
            case Call():
                return self._call(expr, names)
            case Index():
                return self._index(expr, names)
            case ListOf():
                return list(self._items(expr, names))
            case MapOf():
                return self._entries(expr, names)

    def spend(self, steps: int) -> None:
        """Take steps from the budget.

        Raises:
            OutOfBudgetError: it is used up.
        """
        self._left -= steps
        if self._left < 0:
            raise OutOfBudgetError("operation cancelled: actual cost limit exceeded")

    def _select(self, expr: Select, names: Names) -> Value:
        operand = self.value(expr.operand, names)
        if expr.optional or isinstance(operand, Optional):
            return _maybe(operand, lambda value: member_of(value, expr.field))
        return member_of(operand, expr.field)

    def _index(self, expr: Index, names: Names) -> Value:
        operand, index = self.value(expr.operand, names), self.value(expr.index, names)
        if expr.optional or isinstance(operand, Optional):
            return _maybe(operand, lambda value: self._apply("_[?_]", item_of, (value, index)))
        return self._apply("_[_]", item_of, (operand, index))

    def _items(self, expr: ListOf, names: Names) -> Iterator[Value]:
        for item, optional in expr.items:
            value = self.value(item, names)
            if not optional:
                yield value
            elif not isinstance(value, Optional):
                raise no_overload("[?_]", value)
            elif value.has:
                yield value.value

    def _entries(self, expr: MapOf, names: Names) -> dict[Any, Value]:
        found = {}
        for entry, item, optional in expr.entries:
            key, value = self.value(entry, names), self.value(item, names)
            if not isinstance(key, str | int | bool) or (optional and not isinstance(value, Optional)):
                raise no_overload("{_: _}", key, value)
            if not optional:
                found[key] = value
            elif value.has:
                found[key] = value.value
        return found

    def _call(self, expr: Call, names: Names) -> Value:
        if lazy := LAZY.get((expr.function, expr.target is not None, len(expr.arguments))):
            return lazy(self, expr, names)
        if operator := OPERATORS.get(expr.function):
            return self._apply(f"_{expr.function}_", operator, self._values(expr, names))
        space = expr.target.name if isinstance(expr.target, Name) and expr.target.name not in names else ""
        if expr.target is None or space in _NAMESPACES:
            return self._function(f"{space}.{expr.function}" if space else expr.function, expr, names)
        target = self.value(expr.target, names)
        method = METHODS.get(expr.function)
        if method is None:
            raise CelError(f"undeclared reference to '{expr.function}'")
        return self._apply(expr.function, method, (target, *self._values(expr, names)))

    def _function(self, name: str, expr: Call, names: Names) -> Value:
        function = FUNCTIONS.get(name)
        if function is None:
            raise CelError(f"undeclared reference to '{name}'")
        return self._apply(name, function, self._values(expr, names))

    def _apply(self, name: str, function: Callable[..., Value], values: tuple[Value, ...]) -> Value:
        # what a function looks at costs, too
        self.spend(
            sum(len(value) // _PER_LETTERS for value in values if isinstance(value, str | bytes | list))
        )
        try:
            return function(*values)
        except CelError:
            raise
        except (TypeError, AttributeError) as error:
            raise no_overload(name, *values) from error
        except (ValueError, ArithmeticError) as error:
            raise CelError(str(error)) from error

    def _values(self, expr: Call, names: Names) -> tuple[Value, ...]:
        return tuple(self.value(argument, names) for argument in expr.arguments)

    def truth(self, expr: Expr, names: Names) -> bool:
        """The value of a condition.

        Raises:
            CelError: it is no boolean.
        """
        found = self.value(expr, names)
        if not isinstance(found, bool):
            raise no_overload("_&&_", found)
        return found


def is_macro(call: Call) -> bool:
    """The call names variables of its own."""
    return (call.function, call.target is not None, len(call.arguments)) in LAZY and call.target is not None


def is_known(call: Call) -> bool:
    """There is a function, operator or macro of this name."""
    if (call.function, call.target is not None, len(call.arguments)) in LAZY or call.function in OPERATORS:
        return True
    if call.target is None:
        return call.function in FUNCTIONS
    if isinstance(call.target, Name) and f"{call.target.name}.{call.function}" in FUNCTIONS:
        return True
    return call.function in METHODS


def is_namespace(name: str) -> bool:
    """The name is that of a group of functions, or of a type."""
    return name in _NAMESPACES or name in _TYPES


def _named(name: str, names: Names) -> Value:
    if name in names:
        return names[name]
    if name in _TYPES:
        return _TYPES[name]
    raise CelError(f"undeclared reference to '{name}'")


def _maybe(operand: Value, found: Callable[[Value], Value]) -> Optional:
    """What an optional selection finds: a value, or none where there is none."""
    if isinstance(operand, Optional):
        if not operand.has:
            return NONE
        operand = operand.value
    try:
        return Optional(has=True, value=found(operand))
    except CelError:
        return NONE
