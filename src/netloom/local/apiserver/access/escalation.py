"""Nobody gives what they do not have: rules for who writes roles and bindings.

Comes in: who writes, and the role or binding before and after. Goes out: nothing, or 403. Source: Kubernetes docs, "Using RBAC
Authorization: privilege escalation prevention and bootstrapping" (verbs ``escalate`` and ``bind``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import msgspec

from netloom.local.apiserver import kinds, status
from netloom.local.apiserver.access.attributes import Attributes
from netloom.local.apiserver.access.authorizer import Authorizer
from netloom.local.apiserver.access.identity import Identity
from netloom.local.apiserver.access.rules import Rule, rules_of
from netloom.local.apiserver.access.written import GROUP
from netloom.local.apiserver.kind import Kind

_ROLES = (kinds.ROLES, kinds.CLUSTER_ROLES)
_BINDINGS = (kinds.ROLE_BINDINGS, kinds.CLUSTER_ROLE_BINDINGS)
_MOST_TOLD = 200
"""A refusal names no more than this many permissions."""
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
    write = _Write(authorizer, identity, kind, new, old)
    if kind in _ROLES:
        _check_role(write)
    elif kind in _BINDINGS:
        _check_binding(write)


class _Write(msgspec.Struct, frozen=True):
    """Who writes what, in place of what."""

    authorizer: Authorizer
    identity: Identity
    kind: Kind
    new: Mapping[str, Any]
    old: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """Of what is written."""
        name: str = self.new["metadata"]["name"]
        return name

    @property
    def namespace(self) -> str:
        """Of what is written; empty where it has none."""
        namespace: str = self.new["metadata"].get("namespace", "")
        return namespace

    def may(self, verb: str, kind: Kind, name: str) -> bool:
        """Whether the writer may do this with a role."""
        wanted = Attributes(verb, GROUP, "v1", kind.plural, "", self.namespace, name)
        return self.authorizer.allow(self.identity, wanted)

    def missing(self, rules: Iterable[Rule]) -> list[Rule]:
        """What the rules give and the writer does not have; the first of it where that is much."""
        held = self.authorizer.roles.grants(self.identity, self.namespace)
        return list(islice((one for rule in rules for one in held.missing(rule)), _MOST_TOLD))

    def require(self, rules: Iterable[Rule]) -> None:
        """Refuse to give what the writer does not have; raises ApiError."""
        missing = self.missing(rules)
        if missing:
            why = f"{_who(self.identity)} is attempting to grant RBAC permissions not currently held:{_told(missing)}"
            raise status.forbidden(self.kind, self.name, why)


def _check_role(write: _Write) -> None:
    new, old = write.new, write.old
    if write.may("escalate", write.kind, write.name):
        return
    before = old or {}
    if new.get("aggregationRule") and new.get("aggregationRule") != before.get("aggregationRule"):
        missing = write.missing(_EVERYTHING)
        if missing:
            who = _who(write.identity)
            why = f"must have cluster-admin privileges to use an aggregationRule: {who}{_told(missing)}"
            raise status.forbidden(write.kind, write.name, why)
    if old is not None and (new.get("rules") or []) == (old.get("rules") or []):
        return
    write.require(rules_of(new))


def _check_binding(write: _Write) -> None:
    new, old = write.new, write.old
    if old is not None and all(new.get(f) == old.get(f) for f in ("roleRef", "subjects")):
        return
    ref = new.get("roleRef") or {}
    name, of_cluster = ref.get("name", ""), ref.get("kind") == "ClusterRole"
    resource = kinds.CLUSTER_ROLES if of_cluster else kinds.ROLES
    if write.may("bind", resource, name):
        return
    rules = write.authorizer.roles.rules_of_role("" if of_cluster else write.namespace, name)
    if rules is None:
        raise status.not_found(resource, name)
    write.require(rules)


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
