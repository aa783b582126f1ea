"""Label selectors (meta/v1 LabelSelector), read strictly.

A selector that cannot be read as a whole comes with the requirements that could be: it selects at least what was meant. Who
would accept by it must not use it; who closes by it must.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from netloom.api.selectors import Requirement, Selector, in_order
from netloom.model.policy.reading.document import Document, short
from netloom.model.policy.state import PodPeers

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
"""The control plane gives every namespace this label with its name, and keeps it so (well-known labels)."""
_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME}")
_VALUE = re.compile(rf"({_NAME})?")
"""Keys and values of labels (meta/v1 ObjectMeta.labels)."""
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


class ReadSelector(msgspec.Struct, frozen=True):
    """What a selector surely requires."""

    selector: Selector
    is_whole: bool
    """False: it requires more than could be read."""


def read_selector(document: Document, value: object, field: str) -> ReadSelector:
    """A selector as JSON."""
    before = len(document.findings)
    requirements = [*_read(document, value, field)]
    return ReadSelector(in_order(requirements), len(document.findings) == before)


def _read(document: Document, value: object, field: str) -> Iterator[Requirement]:
    given = document.mapping(value, field, ("matchLabels", "matchExpressions"))
    if given is None and isinstance(value, dict):
        given = value
    if given is None:
        return
    labels = given.get("matchLabels")
    if isinstance(labels, dict):
        for key, label in labels.items():
            if _is(_KEY, key) and _is(_VALUE, label):
                yield Requirement(key, "In", frozenset((label,)))
            else:
                document.note(f"{field}.matchLabels[{key}]", f"{short(label)} is no label", "quote the value")
    elif labels is not None:
        document.note(f"{field}.matchLabels", f"is no object: {short(labels)}", "write key: value")
    expressions = given.get("matchExpressions")
    if expressions is not None:
        for number, one in enumerate(document.items(expressions, f"{field}.matchExpressions") or ()):
            requirement = _expression(document, one, f"{field}.matchExpressions[{number}]")
            if requirement is not None:
                yield requirement


def _expression(document: Document, value: object, field: str) -> Requirement | None:
    given = document.mapping(value, field, ("key", "operator", "values"))
    if given is None:
        return None
    key, operator = given.get("key"), given.get("operator")
    if not _is(_KEY, key):
        document.note(f"{field}.key", f"{short(key)} is no label's key", "name a label")
        return None
    if operator not in _OPERATORS:
        document.note(
            f"{field}.operator", f"{short(operator)} is no operator", f"use {', '.join(_OPERATORS)}"
        )
        return None
    values = document.items(given.get("values", []), f"{field}.values")
    if values is None:
        return None
    wants_values = operator in {"In", "NotIn"}
    if not all(_is(_VALUE, one) for one in values) or bool(values) is not wants_values:
        problem = "must be labels' values, at least one" if wants_values else f"must be empty for {operator}"
        document.note(f"{field}.values", problem)
        return None
    return Requirement(str(key), str(operator), frozenset(map(str, values)))


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def pod_peers(namespaces: Selector, pods: Selector) -> PodPeers:
    """Pods of the namespaces that a selector matches; one that names a namespace is the same as that namespace."""
    match namespaces.requirements:
        case (Requirement(key="kubernetes.io/metadata.name", operator="In", values=names),) if (
            len(names) == 1
        ):
            (name,) = names
            return PodPeers(namespace=name, pods=pods)
        case _:
            return PodPeers(namespaces=namespaces, pods=pods)
