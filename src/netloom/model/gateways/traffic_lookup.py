"""How rules find the TrafficPolicies that are about them: the face between routes and what reads the policies.

Comes in: nothing. Goes out: ``TrafficLookup``. Not here: reading a TrafficPolicy.
"""

from __future__ import annotations

from typing import Protocol

from netloom.model.gateways.plan import Traffic
from netloom.model.gateways.pools import PoolRefs
from netloom.units import ObjectKey


class TrafficLookup(Protocol):
    """TrafficPolicies of a cluster, read."""

    def named(self, key: ObjectKey, pools: PoolRefs) -> Traffic | str:
        """The policy that a filter names, with its pools wished; a text: why it cannot be used."""
        ...

    def about(self, kind: str, key: ObjectKey, section: str, pools: PoolRefs) -> Traffic | str | None:
        """What policies say that are attached to this object, or to this rule of it; a text: why requests must be refused."""
        ...

    def joined(self, first: Traffic, second: Traffic) -> Traffic:
        """Both; where both say something, ``first`` counts."""
        ...
