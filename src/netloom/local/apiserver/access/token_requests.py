"""Tokens on demand: ``serviceaccounts/token``.

Comes in: an account of the store and a TokenRequest. Goes out: the same with a token in its status, bound to the pod, Secret or
Node that it names. Nothing is stored. Source: authentication.k8s.io/v1 TokenRequest.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from netloom.clock import Clock, rfc3339
from netloom.local.apiserver import kinds, status
from netloom.local.apiserver.access.identity import Identity, account_user
from netloom.local.apiserver.access.tokens import Keys
from netloom.local.apiserver.history import Record
from netloom.local.apiserver.status import ApiError, Cause
from netloom.local.apiserver.store import Store

GVK = "authentication.k8s.io/v1/TokenRequest"
_HOUR = 3600
_SHORTEST, _LONGEST = 600, 1 << 32
_BINDABLE = {("v1", "Pod"): kinds.PODS, ("v1", "Secret"): kinds.SECRETS, ("v1", "Node"): kinds.NODES}


class _Ref(msgspec.Struct, frozen=True, rename="camel"):
    kind: str = ""
    api_version: str = ""
    name: str = ""
    uid: str = ""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    audiences: tuple[str, ...] | None = None
    expiration_seconds: int | None = None
    bound_object_ref: _Ref | None = None


class TokenRequests:
    """Gives tokens.

    Args:
        store: where the accounts are, and what tokens are bound to.
        keys: sign.
        clock: the time.
        audiences: of tokens that name none.
    """

    def __init__(self, *, store: Store, keys: Keys, clock: Clock, audiences: Sequence[str]) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._audiences = tuple(audiences)

    def answer(self, account: Record, body: Mapping[str, Any], identity: Identity) -> dict[str, Any]:
        """The TokenRequest with its status.

        Raises:
            ApiError: 400, 403 (a node without a pod of its own), 404 and 409 (what it is to be bound to), 422.
        """
        try:
            spec = msgspec.convert(body.get("spec") or {}, _Spec)
        except msgspec.ValidationError as error:
            text = str(error).replace("$.", "spec.").replace("$", "spec")
            raise status.bad_request(
                f'TokenRequest in version "v1" cannot be handled as a TokenRequest: {text}'
            ) from error
        seconds = _lifetime(spec, account.name)
        bound = self._bound(account, spec.bound_object_ref, identity)
        audiences = spec.audiences or self._audiences
        now = int(self._clock.wall())
        token = self._keys.sign(
            {
                "aud": list(audiences),
                "exp": now + seconds,
                "iat": now,
                "iss": self._keys.issuer,
                "jti": str(uuid.uuid4()),
                "kubernetes.io": bound,
                "nbf": now,
                "sub": account_user(account.namespace, account.name),
            }
        )
        asked: dict[str, Any] = {"audiences": list(audiences), "expirationSeconds": seconds}
        ref = spec.bound_object_ref
        asked["boundObjectRef"] = (
            {"kind": ref.kind, "apiVersion": ref.api_version, "name": ref.name, "uid": ref.uid}
            if ref is not None
            else None
        )
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": account.name,
                "namespace": account.namespace,
                "creationTimestamp": rfc3339(now),
            },
            "spec": asked,
            "status": {"token": token, "expirationTimestamp": rfc3339(now + seconds)},
        }

    def _bound(self, account: Record, ref: _Ref | None, identity: Identity) -> dict[str, Any]:
        claim: dict[str, Any] = {
            "namespace": account.namespace,
            "serviceaccount": {"name": account.name, "uid": account.uid},
        }
        if identity.node and (ref is None or ref.kind != "Pod"):
            raise status.forbidden(
                kinds.SERVICE_ACCOUNTS,
                account.name,
                f"node '{identity.node}' can only ask for tokens of its pods",
            )
        if ref is None:
            return claim
        record = self._referenced(account, ref)
        document = record.document()
        if record.kind is kinds.PODS:
            node = self._check_pod(account, document, identity)
            if node is not None:
                claim["node"] = {"name": node.name, "uid": node.uid}
        claim[ref.kind.lower()] = {"name": record.name, "uid": record.uid}
        return claim

    def _referenced(self, account: Record, ref: _Ref) -> Record:
        kind = _BINDABLE.get((ref.api_version, ref.kind))
        if kind is None:
            problem = f"cannot bind token to object of type {ref.api_version}, Kind={ref.kind}"
            raise status.invalid(
                "TokenRequest",
                "authentication.k8s.io",
                account.name,
                [Cause("FieldValueInvalid", f"Invalid value: {problem}", "spec.boundObjectRef")],
            )
        record = self._store.get(kind, account.namespace if kind.namespaced else "", ref.name)
        if record is None:
            raise status.not_found(kind, ref.name)
        if ref.uid and ref.uid != record.uid:
            why = (
                f"the UID in the bound object reference ({ref.uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise status.conflict(kind, ref.name, why)
        return record

    def _check_pod(self, account: Record, pod: Mapping[str, Any], identity: Identity) -> Record | None:
        """The node that the pod is bound to, if there is one."""
        spec = pod.get("spec") or {}
        if spec.get("serviceAccountName") != account.name:
            why = f"cannot bind token for serviceaccount {account.name!r} to pod running with different serviceaccount name."
            raise ApiError(400, "BadRequest", why)
        node = spec.get("nodeName", "")
        if identity.node and identity.node != node:
            raise status.forbidden(
                kinds.SERVICE_ACCOUNTS,
                account.name,
                f"node '{identity.node}' can only ask for tokens of its pods",
            )
        return self._store.get(kinds.NODES, "", node) if node else None


def _lifetime(spec: _Spec, name: str) -> int:
    """Seconds, within the bounds; one hour where none are asked for."""
    seconds = _HOUR if spec.expiration_seconds is None else spec.expiration_seconds
    problem = ""
    if seconds < _SHORTEST:
        problem = "may not specify a duration less than 10 minutes"
    elif seconds > _LONGEST:
        problem = "may not specify a duration larger than 2^32 seconds"
    if problem:
        cause = Cause("FieldValueInvalid", f"Invalid value: {seconds}: {problem}", "spec.expirationSeconds")
        raise status.invalid("TokenRequest", "authentication.k8s.io", name, [cause])
    return seconds
