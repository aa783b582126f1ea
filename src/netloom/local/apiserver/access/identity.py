"""A user as the API knows one, and the names that Kubernetes reserves. Pure.

Source: Kubernetes docs, "Authenticating": user name, uid, groups and extra fields; names that begin with ``system:`` are its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

ANONYMOUS = "system:anonymous"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
MASTERS = "system:masters"
"""Members are never asked for a role: nobody can lock them out."""
NODES = "system:nodes"
NODE_PREFIX = "system:node:"
ACCOUNTS = "system:serviceaccounts"
ACCOUNT_PREFIX = "system:serviceaccount:"

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
POD_NAME = "authentication.kubernetes.io/pod-name"
POD_UID = "authentication.kubernetes.io/pod-uid"
NODE_NAME = "authentication.kubernetes.io/node-name"
NODE_UID = "authentication.kubernetes.io/node-uid"

Extra = tuple[tuple[str, tuple[str, ...]], ...]


class Identity(msgspec.Struct, frozen=True):
    """Who asks. Hashable: what it may do is looked up by it."""

    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Extra = ()

    @property
    def subject(self) -> tuple[str, tuple[str, ...]]:
        """What roles are bound to: uid and extra fields grant nothing."""
        return self.user, self.groups

    @property
    def is_master(self) -> bool:
        """May do everything."""
        return MASTERS in self.groups

    @property
    def node(self) -> str:
        """The node that this is, or empty."""
        if NODES in self.groups and self.user.startswith(NODE_PREFIX):
            return self.user.removeprefix(NODE_PREFIX)
        return ""

    def user_info(self) -> dict[str, Any]:
        """As authentication.k8s.io/v1 UserInfo."""
        found: dict[str, Any] = {"username": self.user}
        if self.uid:
            found["uid"] = self.uid
        if self.groups:
            found["groups"] = list(self.groups)
        if self.extra:
            found["extra"] = {key: list(values) for key, values in self.extra}
        return found


NOBODY = Identity(ANONYMOUS, (UNAUTHENTICATED,))
"""Who shows nothing."""


def authenticated(user: str, groups: Iterable[str], *, uid: str = "", extra: Extra = ()) -> Identity:
    """A user whose credentials were good: they belong to all authenticated ones, too."""
    told = tuple(dict.fromkeys(groups))
    if AUTHENTICATED not in told:
        told = (*told, AUTHENTICATED)
    return Identity(user, told, uid, extra)


def account_user(namespace: str, name: str) -> str:
    """The user name of a service account."""
    return f"{ACCOUNT_PREFIX}{namespace}:{name}"


def account_groups(namespace: str) -> tuple[str, ...]:
    """The groups of every service account of a namespace."""
    return ACCOUNTS, f"{ACCOUNTS}:{namespace}"


def account_of(user: str) -> tuple[str, str] | None:
    """Namespace and name of the service account that a user is, or None."""
    if not user.startswith(ACCOUNT_PREFIX):
        return None
    namespace, colon, name = user.removeprefix(ACCOUNT_PREFIX).partition(":")
    return (namespace, name) if colon and namespace and name and ":" not in name else None


def extra_of(values: Mapping[str, Iterable[str]]) -> Extra:
    """Extra fields in the order of their keys."""
    return tuple((key, tuple(values[key])) for key in sorted(values))
