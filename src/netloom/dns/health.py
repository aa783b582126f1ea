"""Which upstream servers answer. Comes in: what happened to questions. Goes out: an order in which to ask, and probes of those that are down.

A server that left a question unanswered is down: it is asked after all others, and by a probe of our own, again and again, until it
answers. A packet that was lost costs it half a second. Not here: how questions are sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from netloom.dns.cache import Question
from netloom.dns.exchange import Failed
from netloom.dns.servers import Server

log = logging.getLogger(__name__)

_PROBE_S = (0.5, 1.0, 2.0, 5.0)
"""Seconds before the first, second ... probe of a server that is down."""
_PROBE_TIMEOUT_S = 1.0
PROBE = Question(b"\0", 2)
"""The root's name servers: every server that can resolve has something to say to that."""

Exchange = Callable[[Question, Server], Awaitable[bytes]]


class Health:
    """The servers of one group.

    Args:
        servers: in the order of preference.
        exchange: sends a probe.
    """

    def __init__(self, servers: Sequence[Server], exchange: Exchange) -> None:
        self._servers = tuple(servers)
        self._exchange = exchange
        self._down: set[Server] = set()
        self._some_down = asyncio.Event()

    @property
    def down(self) -> frozenset[Server]:
        """Those that do not answer."""
        return frozenset(self._down)

    def order(self) -> tuple[Server, ...]:
        """Those that answer first; within each part in the order of preference."""
        return tuple(sorted(self._servers, key=lambda server: server in self._down))

    def answered(self, server: Server) -> None:
        """It said something, be it that it cannot help."""
        if server in self._down:
            self._down.remove(server)
            log.info("upstream %s answers again", server)

    def silent(self, server: Server) -> None:
        """It did not answer in time, or nobody is there."""
        if server not in self._down:
            self._down.add(server)
            log.info("upstream %s does not answer: the others are asked first", server)
            self._some_down.set()

    async def run(self) -> None:
        """Probe what is down, until cancelled."""
        while True:
            await self._some_down.wait()
            probes = 0
            while self._down:
                await asyncio.sleep(_PROBE_S[min(probes, len(_PROBE_S) - 1)])
                probes += 1
                for server in self.down:
                    await self._probe(server)
            self._some_down.clear()

    async def _probe(self, server: Server) -> None:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await self._exchange(PROBE, server)
        except Failed as failed:
            if failed.answered:
                self.answered(server)
            return
        except TimeoutError:
            return
        self.answered(server)
