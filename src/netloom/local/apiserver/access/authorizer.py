"""May they? Nodes by what belongs to them, everybody by roles, ``system:masters`` always.

Comes in: an Identity and Attributes. Goes out: a Decision, or 403 in kube-apiserver's words. Source: Kubernetes docs,
"Authorization": modes Node and RBAC, the first that allows counts.
"""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.local.apiserver.access.attributes import Attributes
from netloom.local.apiserver.access.identity import Identity
from netloom.local.apiserver.access.nodes import Nodes
from netloom.local.apiserver.access.roles import Roles
from netloom.local.apiserver.status import ApiError
from netloom.local.apiserver.store import Store


class Decision(msgspec.Struct, frozen=True):
    """Whether, and why; the reason of a refusal may be empty: nothing allows it."""

    allowed: bool
    reason: str = ""


class Authorizer:
    """Decides from what the store holds now."""

    def __init__(self, store: Store) -> None:
        self.roles = Roles(store)
        self._nodes = Nodes(store)

    def allow(self, identity: Identity, wanted: Attributes) -> bool:
        """The request may be answered."""
        if identity.is_master:
            return True
        if identity.node and not self._nodes.refusal(identity, wanted):
            return True
        return self.roles.allow(identity, wanted)

    def decide(self, identity: Identity, wanted: Attributes) -> Decision:
        """The same with its reason, which costs more."""
        if identity.is_master:
            return Decision(allowed=True)
        refusal = ""
        if identity.node:
            refusal = self._nodes.refusal(identity, wanted)
            if not refusal:
                return Decision(allowed=True)
        if self.roles.allow(identity, wanted):
            return Decision(allowed=True, reason=self.roles.reason(identity, wanted))
        missing = self.roles.missing(identity, wanted.namespace)
        told = [refusal] if refusal else []
        if missing:
            told.append(f"RBAC: {missing}")
        return Decision(allowed=False, reason=", ".join(told))

    def require(self, identity: Identity, wanted: Attributes) -> None:
        """Let the request through.

        Raises:
            ApiError: 403.
        """
        if not self.allow(identity, wanted):
            raise forbidden(identity, wanted, self.decide(identity, wanted).reason)


def forbidden(identity: Identity, wanted: Attributes, reason: str = "") -> ApiError:
    """403: who may not do what, where."""
    why = f": {reason}" if reason else ""
    if wanted.path:
        message = f'forbidden: User "{identity.user}" cannot {wanted.verb} path "{wanted.path}"{why}'
        return ApiError(403, "Forbidden", message)
    qualified = f"{wanted.resource}.{wanted.group}" if wanted.group else wanted.resource
    subject = f'{qualified} "{wanted.name}"' if wanted.name else qualified
    where = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
    details: dict[str, Any] = {"name": wanted.name} if wanted.name else {}
    if wanted.group:
        details["group"] = wanted.group
    details["kind"] = wanted.resource
    return ApiError(
        403,
        "Forbidden",
        f'{subject} is forbidden: User "{identity.user}" cannot {wanted.verb} resource '
        f'"{wanted.kind_of_thing}" in API group "{wanted.group}" {where}{why}',
        details,
    )
