"""Ingresses beside Gateways: their doors, pools, statuses and findings, made anew when anything that they may depend on changed.

Comes in: what changed of the estate. Goes out: ``IngressChange``. Not here: what an Ingress means (``ingress.py``).
"""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.model.gateways.built import StatusKey
from netloom.model.gateways.estate import Estate, Touched
from netloom.model.gateways.plan import Door
from netloom.model.gateways.pool_state import Wishes
from netloom.model.provenance import Finding


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
        self.doors: tuple[Door, ...] = ()

    def update(self, touched: Touched) -> IngressChange:
        """Make them anew if anything was touched that they may depend on."""
        return IngressChange()
