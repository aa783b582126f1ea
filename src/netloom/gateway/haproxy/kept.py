"""What was made of hosts and pools before: a plan that differs in one route from the one before costs that route.

Comes in: hosts and pools of a plan. Goes out: what they come to, from before where they are the very same objects. Not here: how it is made
(``routes.py``, ``lanes.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.gateway.haproxy.lanes import Lanes
from netloom.gateway.haproxy.routes import HostTold, Routes, Shares
from netloom.model.gateways.plan import Endpoint, Host, Pool
from netloom.model.provenance import Source


class Asked(msgspec.Struct, frozen=True):
    """A host at its place."""

    pattern: str
    listener: int
    scheme: str
    port: int


class HostMade(msgspec.Struct, frozen=True):
    """What a host has come to, and what that depends on."""

    host: Host | None
    told: HostTold
    lanes: Lanes
    shares: Shares
    pools: tuple[tuple[str, Pool | None], ...]
    """Pools that were looked at, without their endpoints."""


class Kept:
    """Of one engine, from plan to plan."""

    def __init__(self) -> None:
        self._hosts: dict[tuple[int, Asked], HostMade] = {}
        self._used: dict[tuple[int, Asked], HostMade] = {}
        self._pools: dict[str, tuple[Pool, Pool, tuple[Endpoint, ...]]] = {}
        self._refused: frozenset[Source | str] = frozenset()
        self.meanings: Mapping[str, Pool] = {}
        """Pools without their endpoints; the same object as long as it means the same."""
        self.endpoints: Mapping[str, tuple[Endpoint, ...]] = {}
        """Those that get requests."""

    def begin(self, pools: Mapping[str, Pool], refused: frozenset[Source | str]) -> None:
        """A making begins: with these pools, and without what was refused."""
        if refused != self._refused:
            self._hosts = {}
            self._refused = refused
        self._used = {}
        found: dict[str, tuple[Pool, Pool, tuple[Endpoint, ...]]] = {}
        for key, pool in pools.items():
            former = self._pools.get(key)
            if former is None or former[0] is not pool:
                meaning = msgspec.structs.replace(pool, endpoints=())
                endpoints = serving(pool)
                if former is not None:
                    meaning = former[1] if former[1] == meaning else meaning
                    endpoints = former[2] if former[2] == endpoints else endpoints
                former = (pool, meaning, endpoints)
            found[key] = former
        self._pools = found
        self.meanings = {key: one[1] for key, one in found.items()}
        self.endpoints = {key: one[2] for key, one in found.items()}

    def end(self) -> None:
        """It is over; what it did not use is not kept."""
        self._hosts = self._used

    def host(self, host: Host | None, asked: Asked) -> HostMade:
        """What a host comes to."""
        key = (id(host), asked)
        former = self._hosts.get(key)
        if former is None or former.host is not host or not self._holds(former):
            former = self._made(host, asked)
        self._used[key] = former
        return former

    def _holds(self, former: HostMade) -> bool:
        meanings = self.meanings
        return all(meanings.get(key) is meaning for key, meaning in former.pools)

    def _made(self, host: Host | None, asked: Asked) -> HostMade:
        lanes, shares = Lanes(self.meanings, self._refused), Shares()
        routes = Routes(lanes, shares, asked.scheme, asked.port, self._refused)
        told = routes.host(host, asked.pattern, asked.listener)
        return HostMade(
            host, told, lanes, shares, tuple((key, self.meanings.get(key)) for key in lanes.looked)
        )


def serving(pool: Pool) -> tuple[Endpoint, ...]:
    """Endpoints that get requests: those that drain only where there are no others (KEP-1669)."""
    return tuple(e for e in pool.endpoints if not e.is_draining) or pool.endpoints
