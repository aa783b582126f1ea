"""Rules in CEL of structural schemas (``x-kubernetes-validations``): what they say of documents. Pure.

Comes in: schemas; documents that are in order otherwise, and what they replace. Goes out: FieldErrors. A rule that names ``oldSelf`` is about changes, and asked only where
there is an old value that the new one follows. All rules of a request share one budget. Not here: the language (cel/), and rules that are none (celcheck.py). Source: apiextensions.k8s.io/v1
ValidationRule; "Custom resources", validation rules.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from netloom.local.apiserver.custom.cel import times
from netloom.local.apiserver.custom.cel.evaluate import Evaluator
from netloom.local.apiserver.custom.cel.functions import FUNCTIONS
from netloom.local.apiserver.custom.cel.macros import OutOfBudgetError
from netloom.local.apiserver.custom.cel.parser import parse
from netloom.local.apiserver.custom.cel.syntax import CelError, names_in
from netloom.local.apiserver.custom.cel.types import NONE, Optional
from netloom.local.apiserver.fielderrors import FieldError, invalid, mapping
from netloom.local.apiserver.jsonvalue import Json

Schema = Mapping[str, Any]
RULES = "x-kubernetes-validations"
_LONGEST_EXPRESSION_MESSAGE = 5120
_MISSING: object = object()


def errors(schema: Schema, document: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[FieldError]:
    """What the rules say against a document; ``old`` is the one that it replaces."""
    if not _has_rules(schema):
        return []
    asking = _Asking()
    new = _bound(schema, document)
    before = _MISSING if old is None else _bound(schema, old)
    return list(asking.of(schema, new, before, ""))


def _has_rules(schema: Schema) -> bool:
    if schema.get(RULES):
        return True
    members = mapping(schema.get("properties")).values()
    others = (schema.get("items"), schema.get("additionalProperties"))
    return any(_has_rules(one) for one in (*members, *others) if isinstance(one, Mapping))


class _Asking:
    """Asks the rules of one document, until the budget of the request is used up."""

    def __init__(self) -> None:
        self._evaluator = Evaluator()
        self._spent = False

    def of(self, schema: Schema, value: Json, old: Json, path: str) -> Iterator[FieldError]:
        if value is None:
            return
        for rule in schema.get(RULES) or ():
            if self._spent:
                return
            yield from self._ask(rule, value, old, path)
        if isinstance(value, Mapping):
            members, others = mapping(schema.get("properties")), schema.get("additionalProperties")
            for name, member in value.items():
                below = members.get(name, others)
                if isinstance(below, Mapping):
                    before = old.get(name, _MISSING) if isinstance(old, Mapping) else _MISSING
                    yield from self.of(below, member, before, f"{path}.{name}" if path else name)
        elif isinstance(value, list) and isinstance(below := schema.get("items"), Mapping):
            followed = _followed(schema, old)
            for number, item in enumerate(value):
                before = followed.get(_key(schema, item), _MISSING)
                yield from self.of(below, item, before, f"{path}[{number}]")

    def _ask(self, rule: Mapping[str, Any], value: Json, old: Json, path: str) -> Iterator[FieldError]:
        names = {"self": value}
        optional = bool(rule.get("optionalOldSelf"))
        if is_about_change(rule["rule"]):
            if old is _MISSING and not optional:
                return
            there = old is not _MISSING
            names["oldSelf"] = (Optional(has=True, value=old) if there else NONE) if optional else old
        elif old is not _MISSING and value == old:
            return  # what an update does not change is not held against it
        try:
            holds = self._evaluator.value(parse(rule["rule"]), names)
        except OutOfBudgetError:
            self._spent = True
            yield invalid(
                path,
                _shown(value),
                "validation failed due to running out of cost budget, no further validation rules will be run",
            )
            return
        except CelError as error:
            yield invalid(path, _shown(value), f"{error} evaluating rule: {self._message(rule, names)}")
            return
        if holds is not True:
            yield self._refusal(rule, names, path)

    def _refusal(self, rule: Mapping[str, Any], names: dict[str, Any], path: str) -> FieldError:
        reason = rule.get("reason") or "FieldValueInvalid"
        where = path + str(rule.get("fieldPath") or "")
        shown = "" if reason in {"FieldValueForbidden", "FieldValueRequired"} else _shown(names["self"])
        return FieldError(where.lstrip("."), reason, shown, self._message(rule, names))

    def _message(self, rule: Mapping[str, Any], names: dict[str, Any]) -> str:
        if expression := rule.get("messageExpression"):
            try:
                told = self._evaluator.value(parse(expression), names)
            except CelError:
                told = ""
            if isinstance(told, str) and told.strip() and "\n" not in told:
                return told[:_LONGEST_EXPRESSION_MESSAGE]
        return str(rule.get("message") or f"failed rule: {rule['rule'].strip()}")


def _shown(value: Json) -> Json:
    if isinstance(value, Mapping):
        return "object"
    return (
        "array" if isinstance(value, list) else value if isinstance(value, str | int | float) else str(value)
    )


def _key(schema: Schema, item: Json) -> str:
    keys = schema.get("x-kubernetes-list-map-keys")
    return repr([item.get(name) for name in keys]) if keys and isinstance(item, Mapping) else ""


def _followed(schema: Schema, old: Json) -> dict[str, Json]:
    """Items of the old list by their keys; of other lists nobody can tell which item follows which."""
    if not schema.get("x-kubernetes-list-map-keys") or not isinstance(old, list):
        return {}
    return {_key(schema, item): item for item in old}


def _bound(schema: Schema, value: Json) -> Json:
    """A value as rules see it: texts of certain formats are times, durations and bytes, numbers are doubles."""
    if isinstance(value, Mapping):
        members, others = mapping(schema.get("properties")), mapping(schema.get("additionalProperties"))
        return {name: _bound(mapping(members.get(name, others)), member) for name, member in value.items()}
    if isinstance(value, list):
        return [_bound(mapping(schema.get("items")), item) for item in value]
    if isinstance(value, str) and schema.get("type") == "string":
        return _text(value, str(schema.get("format") or ""))
    if schema.get("type") == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return int(value) if schema.get("type") == "integer" and isinstance(value, float) else value


def _text(value: str, wanted: str) -> Json:
    try:
        match wanted:
            case "date-time":
                return times.timestamp(value)
            case "date":
                return times.timestamp(f"{value}T00:00:00Z")
            case "duration":
                return times.duration(value)
            case "byte":
                return FUNCTIONS["base64.decode"](value)
    except ValueError:
        return value  # the format itself was looked at before; what it allows beyond ours stays a text
    return value


@functools.lru_cache(maxsize=4096)
def is_about_change(text: str) -> bool:
    """The rule names the old value."""
    try:
        return any(name.name == "oldSelf" for name in names_in(parse(text)))
    except CelError:
        return False
