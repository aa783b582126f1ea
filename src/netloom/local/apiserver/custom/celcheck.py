"""Rules in CEL as definitions bring them: whether they can be asked at all. Pure.

Comes in: a place of a schema with its rules. Goes out: FieldErrors. Names, functions and fields must be there; types of expressions and what they will cost are
not looked at. Not here: asking (celrules.py). Source: apiextensions.k8s.io/v1 ValidationRule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netloom.local.apiserver.custom import paths
from netloom.local.apiserver.custom.cel import evaluate
from netloom.local.apiserver.custom.cel.operators import field_name
from netloom.local.apiserver.custom.cel.parser import parse
from netloom.local.apiserver.custom.cel.syntax import Call, CelError, Expr, Index, Name, Select, parts
from netloom.local.apiserver.custom.celrules import RULES, is_about_change
from netloom.local.apiserver.fielderrors import FieldError, invalid, items, mapping, not_supported, required

Schema = Mapping[str, Any]
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_LONGEST_MESSAGE = 2048
_TEXT: Schema = {"type": "string"}
_METADATA: Schema = {"type": "object", "properties": {"name": _TEXT, "generateName": _TEXT}}
_RESOURCE: Schema = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": _METADATA}
_ANYTHING: Schema = {}
_OVER_ITEMS = frozenset({"all", "exists", "exists_one", "existsOne", "filter", "map"})


def problems(schema: Schema, path: str, *, at_root: bool = False) -> Iterator[FieldError]:
    """What is wrong with the rules of one place of a schema."""
    rules = items(schema.get(RULES))
    if rules and (at_root or schema.get("x-kubernetes-embedded-resource")):
        schema = {**schema, "properties": {**mapping(schema.get("properties")), **_RESOURCE}}
    for number, rule in enumerate(rules):
        yield from _of_rule(mapping(rule), schema, f"{path}.{RULES}[{number}]")


def _of_rule(rule: Mapping[str, Any], schema: Schema, path: str) -> Iterator[FieldError]:
    text = str(rule.get("rule") or "")
    old = _ANYTHING if rule.get("optionalOldSelf") else schema
    if not text.strip():
        yield required(f"{path}.rule", "rule is not specified")
    elif problem := _problem(text, schema, old):
        yield invalid(f"{path}.rule", text, f"compilation failed: {problem}")
    elif rule.get("optionalOldSelf") and not is_about_change(text):
        why = "option optionalOldSelf may only be set if the rule uses oldSelf"
        yield invalid(f"{path}.optionalOldSelf", True, why)
    expression = str(rule.get("messageExpression") or "")
    if expression and (problem := _problem(expression, schema, old)):
        yield invalid(
            f"{path}.messageExpression", expression, f"messageExpression compilation failed: {problem}"
        )
    message = str(rule.get("message") or "")
    if "\n" in message.strip() and not expression:
        yield invalid(f"{path}.message", message, "message must not contain line breaks")
    if len(message) > _LONGEST_MESSAGE:
        yield invalid(
            f"{path}.message", message[:10], f"message must have a maximum length of {_LONGEST_MESSAGE}"
        )
    if "message" in rule and not message.strip():
        yield invalid(f"{path}.message", message, "message must be non-empty if specified")
    if "\n" in text and not message and not expression:
        yield required(f"{path}.message", "message must be specified if rule contains line breaks")
    if rule.get("reason") and rule["reason"] not in _REASONS:
        yield not_supported(f"{path}.reason", rule["reason"], _REASONS)
    where = str(rule.get("fieldPath") or "")
    if where and not paths.is_simple(where):
        try:
            paths.path(where)
        except paths.BadPath as bad:
            yield invalid(f"{path}.fieldPath", where, f"fieldPath must be a valid path: {bad}")


def _problem(text: str, schema: Schema, old: Schema) -> str:
    try:
        return next(_Checking().of(parse(text), {"self": schema, "oldSelf": old}), "")
    except CelError as error:
        return str(error)
    except RecursionError:
        return "the expression is too long"


class _Checking:
    """Looks through an expression for names, functions and fields that nothing declares."""

    def of(self, expr: Expr, known: Mapping[str, Schema]) -> Iterator[str]:
        if isinstance(expr, Name):
            if expr.name not in known and not evaluate.is_namespace(expr.name):
                yield f"undeclared reference to '{expr.name}'"
        elif isinstance(expr, Call):
            yield from self._of_call(expr, known)
        else:
            for part in parts(expr):
                yield from self.of(part, known)
        if isinstance(expr, Select) and not expr.optional:
            yield from self._of_field(expr, known)

    def _of_call(self, expr: Call, known: Mapping[str, Schema]) -> Iterator[str]:
        if not evaluate.is_known(expr):
            yield f"undeclared reference to '{expr.function}'"
            return
        if expr.target is not None:
            yield from self.of(expr.target, known)
        if evaluate.is_macro(expr) and expr.target is not None:
            known = {**known, **self._variables(expr, self.schema_of(expr.target, known))}
        for argument in expr.arguments:
            yield from self.of(argument, known)

    @staticmethod
    def _variables(expr: Call, over: Schema) -> dict[str, Schema]:
        names = [argument.name for argument in expr.arguments[:-1] if isinstance(argument, Name)]
        found = dict.fromkeys(names, _ANYTHING)
        if names and expr.function in _OVER_ITEMS and over.get("type") == "array":
            found[names[-1]] = mapping(over.get("items"))
        return found

    def _of_field(self, expr: Select, known: Mapping[str, Schema]) -> Iterator[str]:
        where = self.schema_of(expr.operand, known)
        members = where.get("properties")
        is_open = where.get("x-kubernetes-preserve-unknown-fields") or where.get("additionalProperties")
        if members and not is_open and field_name(expr.field) not in members:
            yield f"undefined field '{expr.field}'"

    def schema_of(self, expr: Expr, known: Mapping[str, Schema]) -> Schema:
        """The schema of an expression's value, where that is easily told; else one that says nothing."""
        match expr:
            case Name():
                return known.get(expr.name, _ANYTHING)
            case Select():
                where = self.schema_of(expr.operand, known)
                found = mapping(where.get("properties")).get(
                    field_name(expr.field), where.get("additionalProperties")
                )
                return mapping(found)
            case Index():
                where = self.schema_of(expr.operand, known)
                return mapping(where.get("items") or where.get("additionalProperties"))
            case Call() if expr.function == "filter" and expr.target is not None:
                return self.schema_of(expr.target, known)
            case _:
                return _ANYTHING
