"""Pools as they are now: those that anybody wishes, each made anew only when its Service or its slices changed.

Comes in: wishes of routes and Ingresses, what changed of the estate. Goes out: pools. Not here: what a pool has (``endpoints.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netloom.model.gateways.endpoints import pool_of
from netloom.model.gateways.estate import Estate, Touched
from netloom.model.gateways.plan import Pool
from netloom.model.gateways.pools import PoolWish
from netloom.model.gateways.routes import RouteKey
from netloom.units import ObjectKey

Wisher = RouteKey | str
"""Who wishes for a pool: a route, a Gateway by its policies, or ``Ingress`` for all of them."""
Wishes = Mapping[Wisher, Mapping[str, PoolWish]]


class PoolState:
    """All pools that are wished."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self.pools: dict[str, Pool] = {}
        """A new mapping whenever any of it is another."""
        self._wishers: dict[str, dict[Wisher, PoolWish]] = {}
        self._wished: dict[Wisher, Mapping[str, PoolWish]] = {}
        self._by_service: dict[ObjectKey, set[str]] = {}

    def update(self, touched: Touched, *wishes: Wishes) -> bool:
        """Whether any pool is another. ``wishes``: what each wisher wants now, of those who want something else than before."""
        dirty: set[str] = set()
        for given in wishes:
            for wisher, wanted in given.items():
                dirty |= self._wish(wisher, wanted)
        for service in (*touched.get("services", ()), *touched.get("endpoints", ())):
            dirty |= self._by_service.get(service, set())
        changed = {key: new for key, new in self._made(dirty) if self.pools.get(key) != new}
        if not changed:
            return False
        pools = {**self.pools, **{key: pool for key, pool in changed.items() if pool is not None}}
        for key, pool in changed.items():
            if pool is None:
                del pools[key]
        self.pools = pools
        return True

    def _wish(self, wisher: Wisher, wanted: Mapping[str, PoolWish]) -> set[str]:
        before = self._wished.get(wisher, {})
        for key, wish in before.items():
            if key not in wanted:
                users = self._wishers[key]
                del users[wisher]
                if not users:
                    del self._wishers[key]
                    self._by_service[wish.service].discard(key)
        for key, wish in wanted.items():
            self._wishers.setdefault(key, {})[wisher] = wish
            self._by_service.setdefault(wish.service, set()).add(key)
        if wanted:
            self._wished[wisher] = wanted
        else:
            self._wished.pop(wisher, None)
        return {*before, *wanted}

    def _made(self, keys: Iterable[str]) -> Iterable[tuple[str, Pool | None]]:
        estate = self._estate
        for key in keys:
            users = self._wishers.get(key)
            if users is None:
                yield key, None
                continue
            # All wishes of one key are equal once everybody concerned has been asked: they follow from the same objects.
            wish = next(iter(users.values()))
            slices = estate.slices_of.get(wish.service, {})
            yield key, pool_of(wish, estate.services.get(wish.service), slices.values())
