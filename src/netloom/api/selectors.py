"""Label selectors, compiled once. Pure.

The text grammar (``a=b,c!=d,e in (x,y),!f``) is that of the API's ``labelSelector`` query parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from netloom.api.meta import LabelSelector
from netloom.errors import UsageError

_TERM = re.compile(
    r"\s*(?:(?P<absent>!)\s*(?P<key0>[^\s=!,()]+)"
    r"|(?P<key>[^\s=!,()]+)\s*(?:(?P<op>==|=|!=)\s*(?P<value>[^\s,()]*)|\s(?P<setop>in|notin)\s*\((?P<values>[^)]*)\))?)\s*(?:,|$)"
)


class Requirement(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """One condition: ``operator`` is In, NotIn, Exists or DoesNotExist (meta/v1 LabelSelectorOperator)."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        # The same in every process: names in a kernel are made of it, and the order of a set is not.
        return f"Requirement({self.key!r}, {self.operator!r}, {sorted(self.values)!r})"

    def __str__(self) -> str:
        match self.operator, sorted(self.values):
            case "In", [value]:
                return f"{self.key}={value}"
            case "NotIn", [value]:
                return f"{self.key}!={value}"
            case (("In" | "NotIn"), values):
                return f"{self.key} {self.operator.lower()} ({','.join(values)})"
            case "Exists", _:
                return self.key
            case _:
                return f"!{self.key}"

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True where the labels satisfy this condition; NotIn also holds where the key is absent."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case _:
                return self.key not in labels


class Selector(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """All requirements must hold; none at all selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True where every requirement holds."""
        return all(r.matches(labels) for r in self.requirements)


def in_order(requirements: Iterable[Requirement]) -> Selector:
    """The selector of these requirements in one order, none twice: equal where they mean the same, however they were written."""
    found = tuple(requirements)
    if len(found) > 1:
        found = tuple(sorted(set(found), key=lambda r: (r.key, r.operator, sorted(r.values))))
    return Selector(found)


def from_labels(labels: Mapping[str, str]) -> Selector:
    """The selector of a Service's ``spec.selector``: every pair must be there."""
    return Selector(tuple(Requirement(k, "In", frozenset((v,))) for k, v in sorted(labels.items())))


def from_selector(selector: LabelSelector) -> Selector:
    """A meta/v1 LabelSelector, compiled."""
    expressions = tuple(
        Requirement(e.key, e.operator, frozenset(e.values)) for e in selector.match_expressions
    )
    return Selector(from_labels(selector.match_labels).requirements + expressions)


def parse(text: str) -> Selector:
    """A ``labelSelector`` query parameter.

    Raises:
        UsageError: the text is no selector.
    """
    requirements = []
    position = 0
    while position < len(text):
        term = _TERM.match(text, position)
        if term is None or term.end() == position:
            raise UsageError(
                f"labelSelector {text!r}: cannot be read from {text[position:]!r} on",
                "write key=value, key in (a,b), key, !key",
            )
        position = term.end()
        requirements.append(_requirement(term))
    return Selector(tuple(requirements))


def _requirement(term: re.Match[str]) -> Requirement:
    if term["absent"]:
        return Requirement(term["key0"], "DoesNotExist")
    if term["op"]:
        return Requirement(term["key"], "NotIn" if term["op"] == "!=" else "In", frozenset((term["value"],)))
    if term["setop"]:
        values = frozenset(v.strip() for v in term["values"].split(","))
        return Requirement(term["key"], "In" if term["setop"] == "in" else "NotIn", values)
    return Requirement(term["key"], "Exists")
