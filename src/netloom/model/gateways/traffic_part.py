"""Statuses and Findings of TrafficPolicies, following what they are for.

Comes in: what changed of the estate. Goes out: statuses, Findings. Not here: what a policy means (``traffic.py``).
"""

from __future__ import annotations

from typing import Any

from netloom.model.gateways.built import StatusKey
from netloom.model.gateways.estate import Estate, Touched
from netloom.model.gateways.pools import PoolRefs
from netloom.model.provenance import Finding

_CAUSES = {"policies", "gateways", "http_routes", "grpc_routes", "ingresses", "services", "secrets"}


class TrafficPart:
    """All TrafficPolicies."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._told: set[StatusKey] = set()
        self._found: set[StatusKey] = set()

    def update(self, touched: Touched) -> tuple[tuple[StatusKey, dict[str, Any] | None], ...]:
        """Statuses that may be others now; None: of a policy that is gone."""
        if not (self._estate.traffic or self._told) or _CAUSES.isdisjoint(touched):
            return ()
        pools = PoolRefs(self._estate.services)
        found = self._estate.policies.statuses(self._estate.view(), pools)
        told = {StatusKey("TrafficPolicy", key): status for key, status in found.items()}
        gone = self._told - told.keys()
        self._told = set(told)
        return (*told.items(), *((key, None) for key in gone))

    def findings(self, touched: Touched) -> tuple[tuple[StatusKey, tuple[Finding, ...]], ...]:
        """Findings that may be others now, by policy."""
        if "policies" not in touched:
            return ()
        found = {StatusKey("TrafficPolicy", k): f for k, f in self._estate.policies.findings().items()}
        gone = self._found - found.keys()
        self._found = set(found)
        return (*found.items(), *((key, ()) for key in gone))
