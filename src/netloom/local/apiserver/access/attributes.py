"""What a request wants, in the words that roles are written in. Pure.

Comes in: method, path and options. Goes out: Attributes. A watch by ``?watch=true`` is the verb ``watch``, a list that
selects one object by its name names that object. Source: Kubernetes docs, "Authorization: determine the request verb".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

_ONE = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_MANY = {"GET": "list", "HEAD": "list", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "deletecollection"}  # fmt: skip
_ANY_METHOD = {"GET": "get", "HEAD": "head", "POST": "post", "PUT": "put", "PATCH": "patch", "DELETE": "delete", "OPTIONS": "options"}  # fmt: skip
_TRUE = frozenset({"1", "t", "T", "true", "True", "TRUE"})


class OfResource(msgspec.Struct, frozen=True):
    """What is wanted of which resource, as requests and reviews say it (authorization.k8s.io/v1 ResourceAttributes)."""

    verb: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


class Attributes(OfResource, frozen=True):
    """One request as an authorizer sees it; ``path`` is set where it is for no resource."""

    path: str = ""
    field_selector: str = ""

    @property
    def kind_of_thing(self) -> str:
        """Resource and subresource, as a role says them."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def of_request(method: str, path: str, parts: Sequence[str], query: Mapping[str, str]) -> Attributes:
    """What a request to the path wants; ``parts`` are its decoded pieces."""
    match parts:
        case ["api", version, *rest] if rest:
            return _resource(method, "", version, rest, query)
        case ["apis", group, version, *rest] if rest:
            return _resource(method, group, version, rest, query)
        case _:
            return Attributes(_ANY_METHOD.get(method, method.lower()), path=path)


def _resource(
    method: str, group: str, version: str, parts: Sequence[str], query: Mapping[str, str]
) -> Attributes:
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        # a namespace is in the namespace of its name: who may do all there may read it
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in {"status", "finalize"}:
            parts = parts[2:]
    resource, name, subresource = parts[0], *_two(parts[1:])
    verb = (_ONE if name else _MANY).get(method, method.lower())
    selector = query.get("fieldSelector", "")
    if not name and verb in {"list", "deletecollection"}:
        if verb == "list" and query.get("watch") in _TRUE:
            verb = "watch"
        name = _named(selector)
    elif verb == "get" and query.get("watch") in _TRUE and not subresource:
        verb = "watch"
    return Attributes(verb, group, version, resource, subresource, namespace, name, "", selector)


def _two(parts: Sequence[str]) -> tuple[str, str]:
    return (parts[0] if parts else "", parts[1] if len(parts) > 1 else "")


def _named(selector: str) -> str:
    for term in selector.split(","):
        for sign in ("==", "="):
            field, found, value = term.partition(sign)
            if found and field.strip() == "metadata.name":
                return value.strip()
    return ""
