"""How long a text and a list may be, as a schema says it. Pure.

Comes in: a schema, a value of the right type. Goes out: FieldErrors, worded as kube-apiserver words them. Source: apiextensions.k8s.io/v1
JSONSchemaProps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from netloom.local.apiserver.fielderrors import FieldError, invalid, too_long, too_many

Errors = Iterator[FieldError]

LONGEST_TEXT = 10_000
"""Characters of a text that a pattern is tried on; a longer one does not match."""


def of_text(
    schema: Mapping[str, Any], value: str, path: str, compiled: Callable[[str], re.Pattern[str]]
) -> Errors:
    """``minLength``, ``maxLength`` and ``pattern``; ``compiled`` reads the pattern."""
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        yield too_long(path, schema["maxLength"])
    if len(value) < schema.get("minLength", 0):
        yield invalid(path, value, f"{path} in body should be at least {schema['minLength']} chars long")
    if "pattern" in schema and len(value) > LONGEST_TEXT:
        why = f"{path} is longer than the {LONGEST_TEXT} characters that a pattern is tried on"
        yield invalid(path, f"{value[:64]}...", why)
    elif "pattern" in schema and not compiled(schema["pattern"]).search(value):
        yield invalid(path, value, f"{path} in body should match '{schema['pattern']}'")


def of_list(schema: Mapping[str, Any], value: list[Any], path: str) -> Errors:
    """``minItems`` and ``maxItems``."""
    least = schema.get("minItems", 0)
    if len(value) < least:
        yield invalid(path, len(value), f"{path} in body should have at least {least} items")
    if has_too_many(schema, value):
        yield too_many(path, len(value), schema["maxItems"])


def has_too_many(schema: Mapping[str, Any], value: list[Any]) -> bool:
    """Whether a list is so long that nobody looks at its items."""
    most = schema.get("maxItems")
    return most is not None and len(value) > most
