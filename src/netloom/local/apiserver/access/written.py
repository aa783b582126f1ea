"""Roles written in short lines, one a rule. Pure.

``get list watch @apps,batch: deployments jobs =name`` reads: these verbs, on these resources of these groups (none: the
core group), for objects of these names (none: all). ``get @/: /version /api/*`` is about URLs of no resource.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from netloom.local.apiserver.access.rules import Rule

GROUP = "rbac.authorization.k8s.io"
AGGREGATE = f"{GROUP}/aggregate-to-"


def rule(line: str) -> Rule:
    """The rule of a line."""
    before, _, after = line.partition(": ")
    words = before.split()
    groups = [w[1:].split(",") for w in words if w.startswith("@")]
    verbs = tuple(w for w in words if not w.startswith("@"))
    things = after.split()
    if groups and groups[0] == ["/"]:
        return Rule(verbs, non_resource_urls=tuple(things))
    named = tuple(w[1:] for w in things if w.startswith("="))
    resources = tuple(w for w in things if not w.startswith("="))
    return Rule(verbs, tuple(groups[0]) if groups else ("",), resources, named)


def cluster_role(name: str, lines: Iterable[str], labels: dict[str, str] | None = None) -> dict[str, Any]:
    """A ClusterRole with these rules."""
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "rules": [rule(line).document() for line in lines],
    }


def aggregated(name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """A ClusterRole whose rules are those of all that are labelled for it."""
    return {
        **cluster_role(name, (), labels),
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {f"{AGGREGATE}{name}": "true"}}]},
    }


def role(namespace: str, name: str, lines: Iterable[str]) -> dict[str, Any]:
    """A Role with these rules."""
    written = cluster_role(name, lines)
    return {**written, "kind": "Role", "metadata": {**written["metadata"], "namespace": namespace}}


def subject(text: str) -> dict[str, str]:
    """``user:NAME``, ``group:NAME`` or ``account:NAMESPACE:NAME``."""
    kind, _, name = text.partition(":")
    if kind == "account":
        namespace, _, name = name.partition(":")
        return {"kind": "ServiceAccount", "namespace": namespace, "name": name}
    return {"kind": kind.capitalize(), "apiGroup": GROUP, "name": name}


def cluster_binding(name: str, *subjects: str, role_name: str = "") -> dict[str, Any]:
    """Gives the ClusterRole of the same name, or ``role_name``, to the subjects everywhere."""
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": {}},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role_name or name},
        "subjects": [subject(s) for s in subjects],
    }


def binding(namespace: str, name: str, *subjects: str) -> dict[str, Any]:
    """Gives the Role of the same name to the subjects."""
    written = cluster_binding(name, *subjects)
    return {
        **written,
        "kind": "RoleBinding",
        "metadata": {**written["metadata"], "namespace": namespace},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": name},
    }
