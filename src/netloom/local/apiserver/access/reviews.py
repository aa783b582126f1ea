"""Questions about users, answered and never stored: whose token is this, may they, what may they, who am I.

Comes in: documents of authentication.k8s.io/v1 and authorization.k8s.io/v1. Goes out: the same with their status. Source: their
API reference; Kubernetes docs, "Authorization: checking API access".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from netloom.local.apiserver import status
from netloom.local.apiserver.access.attributes import Attributes, OfResource
from netloom.local.apiserver.access.authenticate import Authenticator
from netloom.local.apiserver.access.authorizer import Authorizer
from netloom.local.apiserver.access.identity import Identity, extra_of
from netloom.local.apiserver.access.rules import Rule
from netloom.local.apiserver.access.tokens import BadToken
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.status import Cause

T = TypeVar("T")

AUTHENTICATION = "authentication.k8s.io"
AUTHORIZATION = "authorization.k8s.io"


class _Terms(msgspec.Struct, frozen=True, rename="camel"):
    raw_selector: str = ""
    requirements: tuple[dict[str, Any], ...] = ()


class _Resource(OfResource, frozen=True, rename="camel"):
    field_selector: _Terms = _Terms()
    label_selector: _Terms = _Terms()


class _Path(msgspec.Struct, frozen=True):
    verb: str = ""
    path: str = ""


class _Access(msgspec.Struct, frozen=True, rename="camel"):
    resource_attributes: _Resource | None = None
    non_resource_attributes: _Path | None = None
    user: str = ""
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, tuple[str, ...]] = {}


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    audiences: tuple[str, ...] = ()


class _Rules(msgspec.Struct, frozen=True):
    namespace: str = ""


class Reviews:
    """Answers reviews; the caller has seen to it that they may be asked."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._answers: dict[str, Callable[[str, Json, Identity, str], dict[str, Any]]] = {
            "TokenReview": self._token,
            "SelfSubjectReview": self._self,
            "SubjectAccessReview": self._access,
            "LocalSubjectAccessReview": self._local_access,
            "SelfSubjectAccessReview": self._self_access,
            "SelfSubjectRulesReview": self._rules,
        }

    def answer(
        self, kind: str, body: Mapping[str, Any], identity: Identity, namespace: str
    ) -> dict[str, Any]:
        """The review with its status.

        Raises:
            ApiError: 400, 422.
        """
        group = AUTHENTICATION if kind in ("TokenReview", "SelfSubjectReview") else AUTHORIZATION
        said = (body.get("apiVersion") or f"{group}/v1", body.get("kind") or kind)
        if said != (f"{group}/v1", kind):
            raise status.bad_request(f"{said[0]}, Kind={said[1]} is not {group}/v1, Kind={kind}")
        spec = body.get("spec") or {}
        if kind in ("SubjectAccessReview", "LocalSubjectAccessReview") and isinstance(spec, dict):
            spec = {("groups" if name == "group" else name): value for name, value in spec.items()}
        answered = self._answers[kind](kind, spec, identity, namespace)
        metadata = {"namespace": namespace} if namespace else {}
        shown = {} if kind == "SelfSubjectReview" else {"spec": body.get("spec") or {}}
        return {"kind": kind, "apiVersion": f"{group}/v1", "metadata": metadata, **shown, "status": answered}

    def _token(self, kind: str, spec: Json, identity: Identity, namespace: str) -> dict[str, Any]:
        asked = _converted(kind, spec, _Token)
        if not asked.token:
            raise _required(kind, "spec.token", "token is required for TokenReview in authentication")
        try:
            found, audiences = self._authenticator.review(asked.token, asked.audiences)
        except BadToken as error:
            return {"user": {}, "error": f"[invalid bearer token, {error.problem}]"}
        return {"authenticated": True, "user": found.user_info(), "audiences": list(audiences)}

    @staticmethod
    def _self(kind: str, spec: Json, identity: Identity, namespace: str) -> dict[str, Any]:
        return {"userInfo": identity.user_info()}

    def _access(self, kind: str, spec: Json, identity: Identity, namespace: str) -> dict[str, Any]:
        asked = _converted(kind, spec, _Access)
        if not asked.user and not asked.groups:
            raise _required(kind, "spec.user", "at least one of user or group must be specified")
        user = Identity(asked.user, asked.groups, asked.uid, extra_of(asked.extra))
        return self._decided(user, _attributes(kind, asked))

    def _local_access(self, kind: str, spec: Json, identity: Identity, namespace: str) -> dict[str, Any]:
        asked = _converted(kind, spec, _Access)
        resource = asked.resource_attributes
        if resource is None:
            raise _required(kind, "spec.resourceAttributes", "must be specified")
        if resource.namespace != namespace:
            raise status.bad_request(f"spec.resourceAttributes.namespace must match namespace: {namespace}")
        return self._access(kind, spec, identity, namespace)

    def _self_access(self, kind: str, spec: Json, identity: Identity, namespace: str) -> dict[str, Any]:
        return self._decided(identity, _attributes(kind, _converted(kind, spec, _Access)))

    def _decided(self, user: Identity, wanted: Attributes) -> dict[str, Any]:
        decision = self._authorizer.decide(user, wanted)
        found: dict[str, Any] = {"allowed": decision.allowed}
        if decision.reason:
            found["reason"] = decision.reason
        return found

    def _rules(self, kind: str, spec: Json, identity: Identity, namespace: str) -> dict[str, Any]:
        asked = _converted(kind, spec, _Rules)
        if not asked.namespace:
            raise status.bad_request("no namespace on request")
        rules = self._authorizer.roles.rules(identity, asked.namespace)
        if identity.is_master:
            rules = [Rule(("*",), ("*",), ("*",)), Rule(("*",), non_resource_urls=("*",)), *rules]
        missing = self._authorizer.roles.missing(identity, asked.namespace)
        found: dict[str, Any] = {
            "resourceRules": [r.document() for r in rules if not r.non_resource_urls],
            "nonResourceRules": [r.document() for r in rules if r.non_resource_urls],
            "incomplete": bool(missing) or bool(identity.node),
        }
        if identity.node:
            found["evaluationError"] = "node authorizer does not support user rule resolution"
        elif missing:
            found["evaluationError"] = missing
        return found


def _attributes(kind: str, asked: _Access) -> Attributes:
    resource, path = asked.resource_attributes, asked.non_resource_attributes
    if (resource is None) == (path is None):
        problem = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        cause = Cause("FieldValueInvalid", f"Invalid value: {problem}", "spec.resourceAttributes")
        raise status.invalid(kind, AUTHORIZATION, "", [cause])
    if path is not None:
        return Attributes(path.verb, path=path.path)
    assert resource is not None  # noqa: S101 - one of both is there
    return Attributes(
        resource.verb, resource.group, resource.version, resource.resource, resource.subresource, resource.namespace,
        resource.name, "", _selector(resource.field_selector),
    )  # fmt: skip


def _selector(terms: _Terms) -> str:
    if terms.raw_selector:
        return terms.raw_selector
    return ",".join(
        f"{r.get('key')}={values[0]}"
        for r in terms.requirements
        if r.get("operator") == "In" and len(values := r.get("values") or []) == 1
    )


def _converted(kind: str, spec: Json, type_: type[T]) -> T:
    try:
        return msgspec.convert(spec, type_)
    except msgspec.ValidationError as error:
        text = str(error).replace("$.", "spec.").replace("$", "spec")
        raise status.bad_request(f'{kind} in version "v1" cannot be handled as a {kind}: {text}') from error


def _required(kind: str, field: str, text: str) -> status.ApiError:
    group = AUTHENTICATION if kind == "TokenReview" else AUTHORIZATION
    return status.invalid(kind, group, "", [Cause("FieldValueRequired", f"Required value: {text}", field)])
