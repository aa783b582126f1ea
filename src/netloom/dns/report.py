"""Reads together what the rooms of a DNS process have counted. In: the rooms. Out: DnsCounts. Not here: what becomes of it."""

from __future__ import annotations

import asyncio

from netloom.dns.cache import AnswerCache
from netloom.dns.counters import Counters
from netloom.dns.counts import NAMES_SHOWN, DnsCounts, NameCounts
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.upstream import Resolvers
from netloom.dns.zone import Zone

_AT_ONCE = 2_000
"""So many answers are looked through while queries wait."""
_SETTLE_S = 5.0


class CountsReport:
    """All counts of one process."""

    def __init__(
        self,
        *,
        counters: Counters,
        names: NameCounts,
        prepared: PreparedAnswers,
        cache: AnswerCache,
        zone: Zone,
        resolvers: Resolvers,
    ) -> None:
        self._counters = counters
        self._names = names
        self._prepared = prepared
        self._cache = cache
        self._zone = zone
        self._resolvers = resolvers

    async def run(self) -> None:
        """Count what was ready and used, a little at a time, until cancelled."""
        while True:
            await asyncio.sleep(_SETTLE_S)
            for _ in self._prepared.settling(self._names.note_prepared):
                await asyncio.sleep(0)

    def read(self) -> DnsCounts:
        """As they are now; with very many answers ready, uses of these as they were some seconds ago."""
        if len(self._prepared) <= _AT_ONCE:
            self._prepared.settle(self._names.note_prepared)
        down = {str(server) for group in self._resolvers.groups for server in group.health.down}
        return DnsCounts(
            counts=self._counters.as_dict(),
            upstream_seconds=self._counters.upstream_seconds.distribution,
            reply_seconds=self._counters.reply_seconds.distribution,
            names=self._names.most(NAMES_SHOWN),
            cache_entries=len(self._cache),
            cache_bytes=self._cache.size,
            zone_names=len(self._zone),
            down=tuple(sorted(down)),
        )
