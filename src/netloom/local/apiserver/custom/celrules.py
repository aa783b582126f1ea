"""Rules in CEL of structural schemas (``x-kubernetes-validations``), asked where a document is in order otherwise. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netloom.local.apiserver.fielderrors import FieldError


def errors(
    schema: Mapping[str, Any], document: Mapping[str, Any], old: Mapping[str, Any] | None
) -> list[FieldError]:
    """What the rules say against a document."""
    return []


def problems(schema: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    """What is wrong with the rules of one place of a schema."""
    yield from ()
