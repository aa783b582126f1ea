"""Aggregated ClusterRoles follow the roles that they are added up from. In: ClusterRoles; out: their `rules`. Which, says apiserver/access."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from netloom.errors import NotFound
from netloom.kube.resources import CLUSTER_ROLES
from netloom.local.apiserver.access.aggregation import rules_for
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Loaded
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey


class ClusterRole(Loaded, frozen=True, rename="camel"):
    """rbac.authorization.k8s.io/v1 ClusterRole."""

    rules: tuple[dict[str, Any], ...] | None = None
    aggregation_rule: dict[str, Any] | None = None


class AggregationLoop:
    """Writes the rules of aggregated ClusterRoles; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers) -> None:
        self._client = informers.client
        self._roles = informers.of(CLUSTER_ROLES, ClusterRole)
        self.queue: WorkQueue[ObjectKey] = WorkQueue("aggregation", self.sync)
        self._roles.on_change(self._changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """One turn for one role."""
        role = self._roles.get(key)
        if role is None or role.is_terminating:
            return None
        everything = [msgspec.to_builtins(one) for one in self._roles.items.values()]
        rules = rules_for(msgspec.to_builtins(role), everything)
        if rules is not None and rules != list(role.rules or ()):
            with contextlib.suppress(NotFound):
                await self._client.patch(CLUSTER_ROLES, key, {"rules": rules})
        return None

    def _changed(self, _old: ClusterRole | None, _new: ClusterRole | None) -> None:
        for role in self._roles.items.values():
            if role.aggregation_rule:
                self.queue.mark(role.key)
