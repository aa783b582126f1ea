"""Ingresses beside Gateways: their doors, pools, statuses and findings, made anew when anything that they may depend on changed.

Comes in: what changed of the estate. Goes out: ``IngressChange``. Not here: what an Ingress means (``ingress.py``).
"""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.model.gateways.built import StatusKey
from netloom.model.gateways.estate import Estate, Touched
from netloom.model.gateways.ingress import ingress_doors
from netloom.model.gateways.ingress_reads import IngressReads
from netloom.model.gateways.plan import Door
from netloom.model.gateways.pool_state import Wishes
from netloom.model.gateways.pools import PoolRefs
from netloom.model.provenance import Finding

_WISHER = "Ingress"
_CAUSES = {"ingresses", "ingress_classes", "services", "secrets", "policies", "now"}


class IngressChange(msgspec.Struct, frozen=True):
    """What an update of Ingresses changed."""

    is_changed: bool = False
    """Of the doors."""
    wishes: Wishes = {}
    statuses: tuple[tuple[StatusKey, dict[str, Any] | None], ...] = ()
    findings: tuple[tuple[object, tuple[Finding, ...]], ...] = ()


class IngressPart:
    """All Ingresses of ours."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._told: set[StatusKey] = set()
        self._reads = IngressReads()
        self.doors: tuple[Door, ...] = ()

    def update(self, touched: Touched) -> IngressChange:
        """Make them anew if anything was touched that they may depend on."""
        is_there = bool(self._estate.kinds["ingresses"] or self._told)
        if not is_there or _CAUSES.isdisjoint(touched):
            return IngressChange()
        if "policies" in touched:
            self._reads.forget_all()
        self._reads.forget(touched.get("services", set()))
        self._reads.keep_only(self._estate.kinds["ingresses"].keys())
        pools = PoolRefs(self._estate.services)
        built = ingress_doors(self._estate.view(), pools, self._estate.policies, self._reads)
        is_changed = built.doors != self.doors
        self.doors = built.doors
        told = {StatusKey("Ingress", key): status for key, status in built.statuses.items()}
        gone = self._told - told.keys()
        self._told = set(told)
        return IngressChange(
            is_changed,
            {_WISHER: dict(pools.wishes)},
            (*told.items(), *((key, None) for key in gone)),
            ((_WISHER, built.findings),),
        )
