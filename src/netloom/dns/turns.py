"""Queries that take more than a look-up wait here, and clients take turns: who asks much waits for himself, not for others.

Comes in: queries that nothing was ready for. Goes out: calls of the server, a few at a time, so that the sockets are read in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter

import msgspec

from netloom.dns.clients import Client
from netloom.dns.counters import Counters
from netloom.dns.server import QueryServer

CLIENT_LIMIT = 512
"""Queries of one client that may wait; what comes beyond is lost, as datagrams may be."""
TOTAL_LIMIT = 16_384
_AT_ONCE = 16
"""Some half a millisecond of work."""


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """One query."""

    data: bytes
    send: Callable[[bytes], None]
    since: float
    """On the clock of ``perf_counter``."""


class QueryTurns:
    """Hands queries to the server, client by client."""

    def __init__(self, *, server: QueryServer, counters: Counters) -> None:
        self._server = server
        self._counters = counters
        self._clients: deque[Client] = deque()
        self._total = 0
        self._scheduled = False

    def add(self, client: Client, data: bytes, send: Callable[[bytes], None]) -> None:
        """Have a query answered when it is this client's turn."""
        if len(client.waiting) >= CLIENT_LIMIT or self._total >= TOTAL_LIMIT:
            self._counters.dropped += 1
            return
        if not client.waiting:
            self._clients.append(client)
        client.waiting.append(Waiting(data, send, perf_counter()))
        self._total += 1
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        for _ in range(min(_AT_ONCE, self._total)):
            client = self._clients.popleft()
            one: Waiting = client.waiting.popleft()
            self._total -= 1
            if client.waiting:
                self._clients.append(client)
            self._server.handle(one.data, client, one.send, stream=False)
            self._counters.reply_seconds.observe(perf_counter() - one.since)
        if self._total:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)
