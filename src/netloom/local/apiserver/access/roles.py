"""The roles and bindings of the store, and what they come to for one user.

Comes in: events of the store. Goes out: for a user, Grants for the whole cluster and for a namespace; compiled at the first
question, kept until a role or a binding changes. Not here: what nodes may (nodes.py), who may write roles (escalation.py).
Source: Kubernetes docs, "Using RBAC Authorization".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from netloom.local.apiserver import kinds
from netloom.local.apiserver.access.attributes import Attributes
from netloom.local.apiserver.access.identity import Identity, account_user
from netloom.local.apiserver.access.rules import Grants, Rule, rules_of
from netloom.local.apiserver.history import Event
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.store import Store

_KINDS = (kinds.ROLES, kinds.CLUSTER_ROLES, kinds.ROLE_BINDINGS, kinds.CLUSTER_ROLE_BINDINGS)
_USERS_KEPT = 4096
"""Users whose grants are kept compiled; who comes after that makes room by dropping all."""

Subject = tuple[str, str]
"""``User`` or ``Group``, and the name; a service account is a user."""


class Bound(msgspec.Struct, frozen=True):
    """One binding, as far as a subject is concerned."""

    namespace: str
    """Where it holds; empty: everywhere, and for what has no namespace."""
    role: tuple[str, str]
    """Namespace and name; a ClusterRole has no namespace."""
    told: str
    """Its kind and name, for people."""


class _Compiled:
    """What a user may do."""

    __slots__ = ("everywhere", "within")

    def __init__(self, everywhere: Grants, within: dict[str, Grants]) -> None:
        self.everywhere = everywhere
        self.within = within


class Roles:
    """Answers from the roles and bindings that are stored now."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rules: dict[tuple[str, str], tuple[Rule, ...]] = {}
        self._bound: dict[Subject, set[Bound]] = {}
        self._by_binding: dict[tuple[str, str], list[tuple[Subject, Bound]]] = {}
        self._compiled: dict[tuple[str, tuple[str, ...]], _Compiled] = {}
        for kind in _KINDS:
            for record in store.scan(kind):
                self._learn(kind, record.namespace, record.name, record.document())
        store.listen(self._changed)

    def allow(self, identity: Identity, wanted: Attributes) -> bool:
        """Some binding of the user leads to a rule that covers the request."""
        compiled = self._compiled.get(identity.subject) or self._compile(identity)
        if compiled.everywhere.allow(wanted):
            return True
        if not wanted.namespace or wanted.path:
            return False
        grants = compiled.within.get(wanted.namespace)
        return grants is not None and grants.allow(wanted)

    def reason(self, identity: Identity, wanted: Attributes) -> str:
        """Which binding and which role allow the request, in kube-apiserver's words; empty where none does."""
        for subject, bound in self._bindings_of(identity):
            if bound.namespace and bound.namespace != wanted.namespace:
                continue
            if Grants(self._rules.get(bound.role, ())).allow(wanted):
                namespace, name = bound.role
                kind = "Role" if namespace else "ClusterRole"
                shown = _shown(subject)
                return f'RBAC: allowed by {bound.told} of {kind} "{name}" to {shown}'
        return ""

    def missing(self, identity: Identity, namespace: str) -> str:
        """The first role that the user's bindings name and that is not there, as an error would say it; or empty."""
        for _, bound in self._bindings_of(identity):
            if bound.role not in self._rules and bound.namespace in {"", namespace}:
                kind = "role" if bound.role[0] else "clusterrole"
                return f'{kind}.rbac.authorization.k8s.io "{bound.role[1]}" not found'
        return ""

    def grants(self, identity: Identity, namespace: str) -> Grants:
        """All that the user may do in a namespace, that of the whole cluster among it; for checks that are rare."""
        return Grants(self.rules(identity, namespace))

    def rules(self, identity: Identity, namespace: str) -> list[Rule]:
        """The rules that hold for the user in a namespace (empty: only those that hold everywhere)."""
        found: dict[Rule, None] = {}
        for _, bound in self._bindings_of(identity):
            if not bound.namespace or bound.namespace == namespace:
                found.update(dict.fromkeys(self._rules.get(bound.role, ())))
        return list(found)

    def rules_of_role(self, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """The rules of a Role, or without a namespace of a ClusterRole; None where there is none."""
        return self._rules.get((namespace, name))

    def _compile(self, identity: Identity) -> _Compiled:
        everywhere: list[Rule] = []
        within: dict[str, list[Rule]] = {}
        for _, bound in self._bindings_of(identity):
            rules = self._rules.get(bound.role, ())
            (within.setdefault(bound.namespace, []) if bound.namespace else everywhere).extend(rules)
        if len(self._compiled) >= _USERS_KEPT:
            self._compiled.clear()
        compiled = _Compiled(Grants(everywhere), {n: Grants(rules) for n, rules in within.items()})
        self._compiled[identity.subject] = compiled
        return compiled

    def _bindings_of(self, identity: Identity) -> Iterator[tuple[Subject, Bound]]:
        for subject in (("User", identity.user), *(("Group", group) for group in identity.groups)):
            for bound in sorted(self._bound.get(subject, ()), key=lambda b: (b.namespace, b.told)):
                yield subject, bound

    def _changed(self, event: Event) -> None:
        record = event.record
        if record.kind in _KINDS:
            self._learn(
                record.kind, record.namespace, record.name, None if event.deleted else record.document()
            )

    def _learn(self, kind: Kind, namespace: str, name: str, document: Mapping[str, Any] | None) -> None:
        self._compiled.clear()
        key = (namespace, name)
        if kind in (kinds.ROLES, kinds.CLUSTER_ROLES):
            if document is None:
                self._rules.pop(key, None)
            else:
                self._rules[key] = rules_of(document)
            return
        for subject, bound in self._by_binding.pop(key, ()):
            self._bound[subject].discard(bound)
        if document is None:
            return
        bound = Bound(namespace, _role_of(document, namespace), f"{kind.kind} {_quoted(namespace, name)}")
        found = [(s, bound) for s in _subjects(document, namespace)]
        self._by_binding[key] = found
        for subject, _ in found:
            self._bound.setdefault(subject, set()).add(bound)


def _quoted(namespace: str, name: str) -> str:
    return f'"{name}/{namespace}"' if namespace else f'"{name}"'


def _shown(subject: Subject) -> str:
    kind, name = subject
    return f'{kind} "{name}"'


def _role_of(document: Mapping[str, Any], namespace: str) -> tuple[str, str]:
    ref = document.get("roleRef") or {}
    return (namespace if ref.get("kind") == "Role" else "", str(ref.get("name", "")))


def _subjects(document: Mapping[str, Any], namespace: str) -> Iterator[Subject]:
    for one in document.get("subjects") or ():
        name = str(one.get("name", ""))
        match one.get("kind"):
            case "User" | "Group" as kind:
                yield kind, name
            case "ServiceAccount":
                where = one.get("namespace") or namespace
                if where:
                    yield "User", account_user(where, name)
