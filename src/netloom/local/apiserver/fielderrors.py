"""Errors about one field of a document, worded as the API words them (apimachinery validation/field). Pure.

Comes in: path, type, value and detail. Goes out: text for people and a Cause for Status. Not here: the rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.status import Cause

_WORDS = {
    "FieldValueRequired": "Required value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "FieldValueNotFound": "Not found",
    "FieldValueTypeInvalid": "Invalid value",
}
_WITHOUT_VALUE = {"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong", "FieldValueTooMany"}


class FieldError(msgspec.Struct, frozen=True):
    """One thing that is wrong with one field.

    ``field`` is a path such as ``spec.ports[0].port`` or ``metadata.labels``; ``type`` a word of meta/v1 CauseType;
    ``value`` the offending value; ``message`` the detail, without field and value.
    """

    field: str
    type: str
    value: Json
    message: str

    @property
    def body(self) -> str:
        """Type, value and detail: ``Invalid value: 70000: must be between 1 and 65535, inclusive``."""
        words = _WORDS[self.type]
        if self.type not in _WITHOUT_VALUE:
            words += f": {_shown(self.value)}"
        return f"{words}: {self.message}" if self.message else words

    @property
    def text(self) -> str:
        """Path and body, one line."""
        return f"{self.field}: {self.body}" if self.field else self.body

    @property
    def cause(self) -> Cause:
        """For a Status of reason Invalid."""
        return Cause(self.type, self.body, self.field)


def _shown(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def required(field: str, message: str = "") -> FieldError:
    """A field that must be there."""
    return FieldError(field, "FieldValueRequired", "", message)


def invalid(field: str, value: Json, message: str) -> FieldError:
    """A value that the field cannot have."""
    return FieldError(field, "FieldValueInvalid", value, message)


def not_supported(field: str, value: Json, supported: Iterable[str]) -> FieldError:
    """A word that is not among the field's words."""
    words = ", ".join(json.dumps(word) for word in sorted(supported))
    return FieldError(field, "FieldValueNotSupported", value, f"supported values: {words}")


def duplicate(field: str, value: Json) -> FieldError:
    """A value that another item of the list has already."""
    return FieldError(field, "FieldValueDuplicate", value, "")


def forbidden(field: str, message: str) -> FieldError:
    """A field that may not be set, or not be changed."""
    return FieldError(field, "FieldValueForbidden", "", message)


def too_long(field: str, limit: int) -> FieldError:
    """Text of more bytes than the limit."""
    return FieldError(field, "FieldValueTooLong", "", f"may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> FieldError:
    """A list of more items than the limit."""
    return FieldError(field, "FieldValueTooMany", count, f"{count}: must have at most {limit} items")


def mapping(value: Json) -> Mapping[str, Any]:
    """The value where it is an object, else an empty one; its wrong type is told by schema.type_errors."""
    return value if isinstance(value, dict) else {}


def items(value: Json) -> list[Any]:
    """The value where it is a list, else an empty one; its wrong type is told by schema.type_errors."""
    return value if isinstance(value, list) else []


def value_at(document: Mapping[str, Any], field: str) -> Any:  # noqa: ANN401 - a JSON value
    """The value at a path such as ``spec.cidrs[1]``; empty where the path leads nowhere, or to no text or number."""
    value: Any = document
    for part in field.replace("[", ".").replace("]", "").split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, Mapping):
            value = value.get(part)
    return value if isinstance(value, str | int) else ""
