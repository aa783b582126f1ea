"""Rules for where a pod wants to run: affinity to nodes and to other pods. Pure.

Comes in: ``affinity`` of a pod's spec. Goes out: FieldErrors. Not here: taints and spreading (validate_pods.py). Source: API
reference of core/v1 Affinity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import forbidden, invalid, items, mapping, required
from netloom.local.apiserver.validate_names import Errors

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_HEAVIEST = 100

Document = Mapping[str, Any]


def affinity(path: str, value: Document) -> Errors:
    """All of a pod's affinity."""
    yield from _node_affinity(f"{path}.nodeAffinity", mapping(value.get("nodeAffinity")))
    for field in ("podAffinity", "podAntiAffinity"):
        found, here = mapping(value.get(field)), f"{path}.{field}"
        for number, item in enumerate(items(found.get(_REQUIRED))):
            yield from _pod_term(f"{here}.{_REQUIRED}[{number}]", mapping(item))
        for number, item in enumerate(items(found.get(_PREFERRED))):
            yield from _weight(f"{here}.{_PREFERRED}[{number}].weight", mapping(item).get("weight"))
            term = mapping(mapping(item).get("podAffinityTerm"))
            yield from _pod_term(f"{here}.{_PREFERRED}[{number}].podAffinityTerm", term)


def _node_affinity(path: str, value: Document) -> Errors:
    if value.get(_REQUIRED) is not None:
        here = f"{path}.{_REQUIRED}.nodeSelectorTerms"
        terms = items(mapping(value[_REQUIRED]).get("nodeSelectorTerms"))
        if not terms:
            yield required(here, "must have at least one node selector term")
        for number, item in enumerate(terms):
            yield from node_term(f"{here}[{number}]", mapping(item))
    for number, item in enumerate(items(value.get(_PREFERRED))):
        here = f"{path}.{_PREFERRED}[{number}]"
        yield from _weight(f"{here}.weight", mapping(item).get("weight"))
        yield from node_term(f"{here}.preference", mapping(mapping(item).get("preference")))


def _weight(path: str, value: object) -> Errors:
    if not isinstance(value, int) or not 1 <= value <= _HEAVIEST:
        yield invalid(path, value, "must be in the range 1-100")


def node_term(path: str, term: Document) -> Errors:
    """One term of a node selector, of pods and of volumes."""
    for number, item in enumerate(items(term.get("matchExpressions"))):
        yield from _node_requirement(f"{path}.matchExpressions[{number}]", mapping(item))
    for number, item in enumerate(items(term.get("matchFields"))):
        here, wanted = f"{path}.matchFields[{number}]", mapping(item)
        if wanted.get("key") != "metadata.name":
            yield invalid(f"{here}.key", wanted.get("key"), "not a valid field selector key")
        if wanted.get("operator") not in ("In", "NotIn"):
            yield invalid(f"{here}.operator", wanted.get("operator"), "not a valid selector operator")
        if len(items(wanted.get("values"))) != 1:
            why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            yield required(f"{here}.values", why)


def _node_requirement(path: str, wanted: Document) -> Errors:
    values = items(wanted.get("values"))
    match wanted.get("operator"):
        case "In" | "NotIn":
            if not values:
                yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        case "Exists" | "DoesNotExist":
            if values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield forbidden(f"{path}.values", why)
        case "Gt" | "Lt":
            if len(values) != 1:
                why = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                yield required(f"{path}.values", why)
        case other:
            yield invalid(f"{path}.operator", other, "not a valid selector operator")
    yield from names.named(f"{path}.key", wanted.get("key"), names.qualified_name_problem)


def _pod_term(path: str, term: Document) -> Errors:
    yield from names.label_selector(f"{path}.labelSelector", term.get("labelSelector"))
    yield from names.label_selector(f"{path}.namespaceSelector", term.get("namespaceSelector"))
    for number, namespace in enumerate(items(term.get("namespaces"))):
        yield from names.named(f"{path}.namespaces[{number}]", namespace, names.label_problem)
    if not term.get("topologyKey"):
        yield required(f"{path}.topologyKey", "can not be empty")
    yield from names.optional(f"{path}.topologyKey", term.get("topologyKey"), names.qualified_name_problem)
