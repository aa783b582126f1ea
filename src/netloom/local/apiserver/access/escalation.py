"""Nobody gives what they do not have: rules for who writes roles and bindings.

Comes in: who writes, and the role or binding before and after. Goes out: nothing, or 403. Source: Kubernetes docs, "Using RBAC
Authorization: privilege escalation prevention and bootstrapping" (verbs ``escalate`` and ``bind``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from netloom.local.apiserver import kinds, status
from netloom.local.apiserver.access.attributes import Attributes
from netloom.local.apiserver.access.authorizer import Authorizer
from netloom.local.apiserver.access.identity import Identity
from netloom.local.apiserver.access.rules import Rule, rules_of
from netloom.local.apiserver.access.written import GROUP
from netloom.local.apiserver.kind import Kind

_ROLES = (kinds.ROLES, kinds.CLUSTER_ROLES)
_BINDINGS = (kinds.ROLE_BINDINGS, kinds.CLUSTER_ROLE_BINDINGS)
_EVERYTHING = (Rule(("*",), ("*",), ("*",)), Rule(("*",), non_resource_urls=("*",)))


def check(
    authorizer: Authorizer,
    identity: Identity,
    kind: Kind,
    new: Mapping[str, Any],
    old: Mapping[str, Any] | None,
) -> None:
    """Let a write of a role or a binding through.

    Raises:
        ApiError: 403, it would give what the writer does not have; 404, the role of a binding is not there.
    """
    if identity.is_master:
        return
    if kind in _ROLES:
        _check_role(authorizer, identity, kind, new, old)
    elif kind in _BINDINGS:
        _check_binding(authorizer, identity, kind, new, old)


def _check_role(
    authorizer: Authorizer,
    identity: Identity,
    kind: Kind,
    new: Mapping[str, Any],
    old: Mapping[str, Any] | None,
) -> None:
    name, namespace = new["metadata"]["name"], new["metadata"].get("namespace", "")
    wanted = Attributes("escalate", GROUP, "v1", kind.plural, "", namespace, name)
    if authorizer.allow(identity, wanted):
        return
    before = old or {}
    if new.get("aggregationRule") and new.get("aggregationRule") != before.get("aggregationRule"):
        missing = _missing(authorizer, identity, namespace, _EVERYTHING)
        if missing:
            why = f"must have cluster-admin privileges to use an aggregationRule: {_who(identity)}{_told(missing)}"
            raise status.forbidden(kind, name, why)
    if old is not None and (new.get("rules") or []) == (old.get("rules") or []):
        return
    _require(authorizer, identity, kind, name, namespace, rules_of(new))


def _check_binding(
    authorizer: Authorizer,
    identity: Identity,
    kind: Kind,
    new: Mapping[str, Any],
    old: Mapping[str, Any] | None,
) -> None:
    if old is not None and all(new.get(f) == old.get(f) for f in ("roleRef", "subjects")):
        return
    name, namespace = new["metadata"]["name"], new["metadata"].get("namespace", "")
    ref = new.get("roleRef") or {}
    of_cluster = ref.get("kind") == "ClusterRole"
    resource = kinds.CLUSTER_ROLES if of_cluster else kinds.ROLES
    wanted = Attributes("bind", GROUP, "v1", resource.plural, "", namespace, ref.get("name", ""))
    if authorizer.allow(identity, wanted):
        return
    rules = authorizer.roles.rules_of_role("" if of_cluster else namespace, ref.get("name", ""))
    if rules is None:
        raise status.not_found(resource, ref.get("name", ""))
    _require(authorizer, identity, kind, name, namespace, rules)


def _require(
    authorizer: Authorizer, identity: Identity, kind: Kind, name: str, namespace: str, rules: Iterable[Rule]
) -> None:
    missing = _missing(authorizer, identity, namespace, rules)
    if missing:
        why = f"{_who(identity)} is attempting to grant RBAC permissions not currently held:{_told(missing)}"
        raise status.forbidden(kind, name, why)


def _missing(authorizer: Authorizer, identity: Identity, namespace: str, rules: Iterable[Rule]) -> list[Rule]:
    held = authorizer.roles.grants(identity, namespace)
    return [one for rule in rules for one in held.missing(rule)]


def _who(identity: Identity) -> str:
    groups = " ".join(f'"{g}"' for g in identity.groups)
    return f'user "{identity.user}" (groups=[{groups}])'


def _told(missing: Iterable[Rule]) -> str:
    verbs: dict[Rule, list[str]] = {}
    for one in missing:
        verbs.setdefault(Rule((), *_places(one)), []).extend(one.verbs)
    lines = []
    for place, found in verbs.items():
        fields = (
            ("APIGroups", place.api_groups),
            ("Resources", place.resources),
            ("ResourceNames", place.resource_names),
            ("NonResourceURLs", place.non_resource_urls),
            ("Verbs", tuple(dict.fromkeys(found))),
        )
        shown = ", ".join(f"{f}:[{_words(values)}]" for f, values in fields if values)
        lines.append(f"\n{{{shown}}}")
    return "".join(lines)


def _places(rule: Rule) -> tuple[tuple[str, ...], ...]:
    return rule.api_groups, rule.resources, rule.resource_names, rule.non_resource_urls


def _words(values: Iterable[str]) -> str:
    return " ".join(f'"{v}"' for v in values)
