"""Rules for Role, ClusterRole, RoleBinding and ClusterRoleBinding. Pure.

Comes in: a document with defaults, and the one it replaces. Goes out: FieldErrors. Not here: whether somebody may give what
they have not themselves (authorization). Source: API reference of rbac.authorization.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import invalid, items, mapping, not_supported, required
from netloom.local.apiserver.validate_names import Errors

GROUP = "rbac.authorization.k8s.io"

_MOST = 10_000
"""Permissions that one rule may be: a few kilobytes of words multiply to millions."""
_MOST_TOGETHER = 100_000

Document = Mapping[str, Any]


def path_segment_problem(text: str) -> str:
    """What keeps a text from being the name of a role or binding, which may be such as ``system:node``."""
    if text in (".", ".."):
        return f"may not be {text!r}"
    for letter in "/%":
        if letter in text:
            return f"may not contain {letter!r}"
    return ""


def role(document: Document) -> Errors:
    """A Role."""
    yield from _rules(document, namespaced=True)


def cluster_role(document: Document) -> Errors:
    """A ClusterRole."""
    yield from _rules(document, namespaced=False)
    if document.get("aggregationRule") is not None:
        path = "aggregationRule.clusterRoleSelectors"
        selectors = items(mapping(document["aggregationRule"]).get("clusterRoleSelectors"))
        if not selectors:
            yield required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")
        for number, selector in enumerate(selectors):
            yield from names.label_selector(f"{path}[{number}]", selector)


def _rules(document: Document, *, namespaced: bool) -> Errors:
    together = 0
    for number, item in enumerate(items(document.get("rules"))):
        rule, path = mapping(item), f"rules[{number}]"
        count = _permissions(rule)
        together += count
        if count > _MOST:
            yield invalid(
                path, count, f"verbs, groups, resources and names must be at most {_MOST} combinations"
            )
        if not rule.get("verbs"):
            yield required(f"{path}.verbs", "verbs must contain at least one value")
        if urls := rule.get("nonResourceURLs"):
            if namespaced:
                why = "namespaced rules cannot apply to non-resource URLs"
                yield invalid(f"{path}.nonResourceURLs", urls, why)
            if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
                why = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid(f"{path}.nonResourceURLs", urls, why)
            continue
        if not rule.get("apiGroups"):
            yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{path}.resources", "resource rules must supply at least one resource")
    if together > _MOST_TOGETHER:
        yield invalid("rules", together, f"rules must be at most {_MOST_TOGETHER} combinations together")


def _permissions(rule: Document) -> int:
    """How many combinations of its words a rule is."""
    verbs, groups, resources, names_, urls = (
        len(items(rule.get(field)))
        for field in ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
    )
    return verbs * groups * resources * max(1, names_) + verbs * urls


def role_binding(document: Document, old: Document | None) -> Errors:
    """A RoleBinding."""
    yield from _binding(document, old, ("ClusterRole", "Role"))


def cluster_role_binding(document: Document, old: Document | None) -> Errors:
    """A ClusterRoleBinding."""
    yield from _binding(document, old, ("ClusterRole",))


def _binding(document: Document, old: Document | None, kinds: tuple[str, ...]) -> Errors:
    reference = mapping(document.get("roleRef"))
    if reference.get("apiGroup") != GROUP:
        yield not_supported("roleRef.apiGroup", reference.get("apiGroup", ""), (GROUP,))
    if reference.get("kind") not in kinds:
        yield not_supported("roleRef.kind", reference.get("kind", ""), kinds)
    yield from names.named("roleRef.name", reference.get("name"), path_segment_problem)
    for number, item in enumerate(items(document.get("subjects"))):
        yield from _subject(f"subjects[{number}]", mapping(item), namespaced="Role" in kinds)
    if old is not None and document.get("roleRef") != old.get("roleRef"):
        yield invalid("roleRef", document.get("roleRef"), "cannot change roleRef")


def _subject(path: str, subject: Document, *, namespaced: bool) -> Errors:
    if not subject.get("name"):
        yield required(f"{path}.name")
    match subject.get("kind"):
        case "ServiceAccount":
            yield from names.optional(f"{path}.name", subject.get("name"), names.subdomain_problem)
            if subject.get("apiGroup"):
                yield not_supported(f"{path}.apiGroup", subject["apiGroup"], ("",))
            if not namespaced and not subject.get("namespace"):
                yield required(f"{path}.namespace")
        case "User" | "Group":
            if subject.get("apiGroup") != GROUP:
                yield not_supported(f"{path}.apiGroup", subject.get("apiGroup", ""), (GROUP,))
        case other:
            yield not_supported(f"{path}.kind", other or "", ("Group", "ServiceAccount", "User"))
