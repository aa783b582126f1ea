"""All admission, in its order.

Comes in: documents between defaults and the store, and who writes them (nobody: the server itself). Goes out: the documents,
changed in place, or 403. The plugins are modules beside this one, and access/escalation.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from netloom.local.apiserver import kinds, status, strategy
from netloom.local.apiserver.access import escalation
from netloom.local.apiserver.access.attributes import Attributes
from netloom.local.apiserver.access.authorizer import Authorizer
from netloom.local.apiserver.access.identity import Identity
from netloom.local.apiserver.admission import limits, node_restriction, priorities, service_accounts
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.store import Store

_OF_NODES = (kinds.LEASES, kinds.CSI_NODES)
"""A node has one of its own name of these."""


class Admission:
    """Asked before every write of a client."""

    def __init__(
        self,
        *,
        store: Store,
        authorizer: Authorizer,
        ca: str,
        new_suffix: Callable[[], str],
        toleration_s: int | None,
    ) -> None:
        self.furniture = service_accounts.furniture(ca)
        """What a new namespace has."""
        self._store = store
        self._authorizer = authorizer
        self._new_suffix = new_suffix
        self._toleration_s = toleration_s

    def creating(
        self, kind: Kind, document: dict[str, Any], user: Identity | None, *, by_apply: bool
    ) -> None:
        """A new object: fill in what clusters add, refuse what they do not take. Who makes one by a patch must be allowed to create.

        Raises:
            ApiError: 403, 404.
        """
        name = document["metadata"].get("name", "")
        if user is not None:
            if by_apply:
                namespace = document["metadata"].get("namespace", "")
                wanted = Attributes("create", kind.group, kind.version, kind.plural, "", namespace, name)
                self._authorizer.require(user, wanted)
            self._check(kind, document, None, user)
        if kind is kinds.PODS:
            self._pod(name, document)
        elif kind is kinds.PERSISTENT_VOLUME_CLAIMS:
            self._refuse(kind, name, limits.claim_problem(document, self._ranges(document)))
        elif kind is kinds.PRIORITY_CLASSES:
            self._refuse(kind, name, priorities.second_default(document, self._classes()))

    def updating(
        self, kind: Kind, document: dict[str, Any], old: dict[str, Any], user: Identity | None
    ) -> None:
        """A change.

        Raises:
            ApiError: 403, 404.
        """
        if user is not None:
            self._check(kind, document, old, user)
        if kind is kinds.PRIORITY_CLASSES:
            name = document["metadata"]["name"]
            self._refuse(kind, name, priorities.second_default(document, self._classes()))

    def _check(
        self, kind: Kind, document: dict[str, Any], old: dict[str, Any] | None, user: Identity
    ) -> None:
        escalation.check(self._authorizer, user, kind, document, old)
        if not user.node:
            return
        name = document["metadata"].get("name", "")
        if kind is kinds.NODES:
            self._refuse(kind, name, node_restriction.node_problem(user.node, document, old))
        elif kind is kinds.PODS and old is None:
            self._refuse(kind, name, node_restriction.pod_problem(user.node, document))
        elif kind in _OF_NODES and old is None:
            self._refuse(kind, name, node_restriction.name_problem(user.node, document))

    def _pod(self, name: str, document: dict[str, Any]) -> None:
        namespace = document["metadata"].get("namespace", "")
        if service_accounts.is_mirror(document):
            self._refuse(kinds.PODS, name, service_accounts.mirror_problem(document))
        else:
            account_name = service_accounts.account_name(document)
            account = self._store.get(kinds.SERVICE_ACCOUNTS, namespace, account_name)
            if account is None:
                missing = f'serviceaccount "{account_name}" not found'
                why = f"error looking up service account {namespace}/{account_name}: {missing}"
                raise status.forbidden(kinds.PODS, name, why)
            service_accounts.admit(document, account.document(), self._new_suffix)
        self._refuse(kinds.PODS, name, priorities.admit(document, self._classes()))
        self._refuse(kinds.PODS, name, limits.admit_pod(document, self._ranges(document)))
        if self._toleration_s is not None:
            strategy.fill_tolerations(document, self._toleration_s)

    def _ranges(self, document: dict[str, Any]) -> Iterator[dict[str, Any]]:
        namespace = document["metadata"].get("namespace", "")
        return (record.document() for record in self._store.scan(kinds.LIMIT_RANGES, namespace))

    def _classes(self) -> Iterator[dict[str, Any]]:
        return (record.document() for record in self._store.scan(kinds.PRIORITY_CLASSES))

    @staticmethod
    def _refuse(kind: Kind, name: str, why: str) -> None:
        if why:
            raise status.forbidden(kind, name, why)
