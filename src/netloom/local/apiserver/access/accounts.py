"""Service accounts as users: what a token says, held against what the store has now.

Comes in: tokens. Goes out: identities, or BadToken where the account, or the pod, Secret or Node that the token is bound to, is gone
or has become another. Source: Kubernetes docs, "Managing Service Accounts: token validation".
"""

from __future__ import annotations

import base64
import calendar
import time

from netloom.clock import Clock
from netloom.local.apiserver import kinds
from netloom.local.apiserver.access.identity import (
    CREDENTIAL_ID,
    NODE_NAME,
    NODE_UID,
    POD_NAME,
    POD_UID,
    Identity,
    account_groups,
    account_user,
    authenticated,
    extra_of,
)
from netloom.local.apiserver.access.tokens import LEGACY_ISSUER, BadToken, Bound, Claims, Keys, Ref
from netloom.local.apiserver.history import Record
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.store import Store

_GRACE_S = 60.0
"""A bound token stays good for so long after the time at which its pod is to be gone, for its last requests."""
TOKEN_SECRET = "kubernetes.io/service-account-token"  # noqa: S105 - a type of Secrets


class Accounts:
    """Reads tokens for one store."""

    def __init__(self, *, store: Store, keys: Keys, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock

    def identity(self, token: str, audiences: frozenset[str]) -> tuple[Identity, tuple[str, ...]]:
        """Who shows the token, and for which of these audiences it is.

        Raises:
            BadToken: it is not good, or for none of them.
        """
        claims = self._keys.read(token, self._clock.wall())
        if claims.iss == LEGACY_ISSUER:
            return self._legacy(token, claims), tuple(sorted(audiences))
        meant = tuple(a for a in claims.audiences if a in audiences)
        if not meant:
            raise BadToken("the token is for another audience")
        return self._bound(claims), meant

    def _bound(self, claims: Claims) -> Identity:
        bound = claims.kubernetes
        if bound is None:
            raise BadToken("the token names no service account")
        namespace, account = bound.namespace, bound.serviceaccount
        self._alive(kinds.SERVICE_ACCOUNTS, namespace, account)
        extra: dict[str, tuple[str, ...]] = {}
        if claims.jti:
            extra[CREDENTIAL_ID] = (f"JTI={claims.jti}",)
        if bound.pod is not None:
            self._alive(kinds.PODS, namespace, bound.pod)
            extra |= {POD_NAME: (bound.pod.name,), POD_UID: (bound.pod.uid,)}
        elif bound.secret is not None:
            self._alive(kinds.SECRETS, namespace, bound.secret)
        if bound.node is not None:
            if bound.pod is None:
                self._alive(kinds.NODES, "", bound.node)
            extra |= _node_extra(bound)
        return authenticated(
            account_user(namespace, account.name),
            account_groups(namespace),
            uid=account.uid,
            extra=extra_of(extra),
        )

    def _legacy(self, token: str, claims: Claims) -> Identity:
        namespace = claims.legacy_namespace
        account = Ref(claims.legacy_name, claims.legacy_uid)
        self._alive(kinds.SERVICE_ACCOUNTS, namespace, account)
        secret = self._store.get(kinds.SECRETS, namespace, claims.legacy_secret)
        if secret is None or secret.deleting:
            raise BadToken("the Secret of the token is gone")
        if (secret.document().get("data") or {}).get("token") != _base64(token):
            raise BadToken("the Secret has another token")
        return authenticated(
            account_user(namespace, account.name), account_groups(namespace), uid=account.uid
        )

    def _alive(self, kind: Kind, namespace: str, ref: Ref) -> None:
        record = self._store.get(kind, namespace, ref.name)
        if record is None or (ref.uid and record.uid != ref.uid):
            raise BadToken(f"{kind.kind} {ref.name} of the token is gone")
        if record.deleting and self._clock.wall() > _gone_at(record) + _GRACE_S:
            raise BadToken(f"{kind.kind} {ref.name} of the token is being deleted")


def _gone_at(record: Record) -> float:
    stamp = record.document()["metadata"].get("deletionTimestamp", "")
    try:
        return float(calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return 0.0


def _node_extra(bound: Bound) -> dict[str, tuple[str, ...]]:
    if bound.node is None:
        return {}
    found: dict[str, tuple[str, ...]] = {NODE_NAME: (bound.node.name,)}
    if bound.node.uid:
        found[NODE_UID] = (bound.node.uid,)
    return found


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
