"""Field selectors: ``metadata.name=web,status.phase!=Failed``. Pure.

Comes in: the text of ``fieldSelector`` and a kind. Goes out: a matcher over the values that `values` picked from a
document. Not here: label selectors (netloom.api.selectors). Source: apimachinery ``fields``, and each kind's own list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.local.apiserver.kind import Face, Kind
from netloom.local.apiserver.status import bad_request

_COMMON = ("metadata.name", "metadata.namespace")
_TERM = re.compile(r"(?P<field>[^=!,\\]+)(?P<op>==|!=|=)(?P<value>(?:[^,=\\]|\\[,=\\])*)\Z")
_SEPARATOR = re.compile(r"(?<!\\),")
_ESCAPE = re.compile(r"\\([,=\\])")


class FieldTerm(msgspec.Struct, frozen=True):
    """One condition of a field selector."""

    field: str
    equal: bool
    value: str


class FieldSelector(msgspec.Struct, frozen=True):
    """All terms must hold; none at all selects everything."""

    terms: tuple[FieldTerm, ...] = ()

    def matches(self, values: Mapping[str, str]) -> bool:
        """True where every term holds for these values."""
        return all((values.get(t.field, "") == t.value) is t.equal for t in self.terms)

    def only_name(self) -> str:
        """The name that ``metadata.name=`` demands, or nothing."""
        return next((t.value for t in self.terms if t.equal and t.field == "metadata.name"), "")


def parse(kind: Kind, text: str) -> FieldSelector:
    """A ``fieldSelector`` query parameter, for a kind.

    Raises:
        ApiError: 400, the text is no selector or names a field that this kind cannot be selected by.
    """
    terms = []
    for part in _SEPARATOR.split(text):
        if not part.strip():
            continue
        term = _TERM.match(part.strip())
        if term is None:
            raise bad_request(
                f"invalid field selector {text!r}: can't understand {part!r}; write field=value"
            )
        field = term["field"].strip()
        if field not in _COMMON and field not in kind.selectable:
            raise bad_request(f"field label not supported: {field}")
        if isinstance(kind, Face):
            field = dict(kind.renamed).get(field, field)
        terms.append(FieldTerm(field, term["op"] != "!=", _ESCAPE.sub(r"\1", term["value"])))
    return FieldSelector(tuple(terms))


def values(kind: Kind, document: Mapping[str, Any]) -> dict[str, str]:
    """What field selectors can ask of this document, as text, beside its name and namespace."""
    return {field: _value(document, field) for field in kind.recorded}


def _value(document: Mapping[str, Any], field: str) -> str:
    if field == "source":  # core/v1 events: the component, wherever the writer put it
        source = document.get("source")
        component = source.get("component") if isinstance(source, dict) else None
        return str(component or document.get("reportingComponent") or "")
    if field == "status.successful":  # of Jobs: how many pods
        field = "status.succeeded"
    found: Any = document
    for step in field.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    match found:
        case None:
            return _UNSET.get(field, "")
        case bool():
            return "true" if found else "false"
        case list():
            return ",".join(
                str(item.get("ip", "")) if isinstance(item, dict) else str(item) for item in found
            )
        case _:
            return str(found)


_UNSET = {"spec.hostNetwork": "false", "spec.unschedulable": "false", "status.replicas": "0",
          "status.succeeded": "0"}  # fmt: skip
