"""One client that asks more than the server can answer is let in only with its fair share, so that the others lose nothing.

Comes in: how many queries each client has sent, and how full the sockets are. Goes out: filters at the sockets: what is refused there
costs the sender, not the server. As long as the sockets are read as fast as they fill, nobody is limited.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping, Sequence

from netloom.dns.clients import Client, Clients
from netloom.dns.counters import Counters
from netloom.errors import KernelError
from netloom.linux.mmsg import backlog
from netloom.linux.socket_filter import SENDERS_LIMIT, limit_senders

LOOK_S = 0.02
"""In this time a flood fills a good part of a socket's buffer, and not all of it."""
_FULL = 0.25
_SHARE_OF_CAPACITY = 0.7
"""What clients may have together while some are limited; the rest is for reading and for what comes up anew."""
_LEAST = 0.001
_QUIET_LOOKS = 25
"""So many looks without need pass before those who are limited may have more. Twice as many after each flood that came back."""
_QUIET_LOOKS_LIMIT = 1_500
_LOOKS = 10

log = logging.getLogger(__name__)


def fair_share(counts: Sequence[int], capacity: float) -> float:
    """So much each may have for all to have ``capacity`` together, when who asks less leaves the rest to others (max-min fairness)."""
    left = capacity
    ordered = sorted(counts)
    for index, count in enumerate(ordered):
        share = left / (len(ordered) - index)
        if count > share:
            return share
        left -= count
    return float("inf")


class FloodGuard:
    """Looks at the sockets from time to time."""

    def __init__(self, *, sockets: Sequence[socket.socket], clients: Clients, counters: Counters) -> None:
        self._sockets = tuple(sockets)
        self._clients = clients
        self._counters = counters
        self._seen: dict[bytes, tuple[Client, int]] = {}
        self._shares: dict[bytes, float] = {}
        self._quiet = 0
        self._patience = _QUIET_LOOKS
        self._wake = asyncio.Event()

    def hurry(self) -> None:
        """A batch was full: whoever reads may be too slow."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled. Costs nothing while queries are read as fast as they come."""
        try:
            while True:
                await self._wake.wait()
                self._counts()  # what came until now was read in time
                for _ in range(_LOOKS):
                    self._wake.clear()
                    await asyncio.sleep(LOOK_S)
                    self.look(max(backlog(s) for s in self._sockets))
                if self._shares:
                    self._wake.set()
                else:
                    self._patience = max(_QUIET_LOOKS, self._patience // 2)
        finally:
            if self._shares:
                self._apply({})

    def look(self, fullness: float) -> None:
        """One look: ``fullness`` is that of the fullest socket."""
        counts = self._counts()
        if not counts:
            if self._shares:
                self._calm()
            return
        if fullness < _FULL and not self._shares:
            return
        fair = fair_share(list(counts.values()), sum(counts.values()) * _SHARE_OF_CAPACITY)
        shares = dict(self._shares)
        if fullness >= _FULL and len(counts) > 1:
            self._quiet = 0
            for address, count in counts.items():
                if count > fair:
                    shares[address] = max(_LEAST, shares.get(address, 1.0) * fair / count)
            if len(shares) > len(self._shares):
                self._patience = min(self._patience * 2, _QUIET_LOOKS_LIMIT)
                self._note(shares)
        elif fullness < _FULL:
            self._calm()
            return
        self._apply(shares)

    def _calm(self) -> None:
        """Nobody has to wait. After a while those who are limited may have more, step by step, until they are free."""
        self._quiet += 1
        if self._quiet < self._patience:
            return
        self._quiet = 0
        self._apply({a: share * 2 for a, share in self._shares.items() if share < 0.5})

    def _counts(self) -> dict[bytes, int]:
        """Queries of each client since the last look."""
        counts = {}
        seen: dict[bytes, tuple[Client, int]] = {}
        for address, client in self._clients.by_address.items():
            former = self._seen.get(address)
            before = former[1] if former is not None and former[0] is client else 0
            seen[address] = (client, client.queries)
            if client.queries > before:
                counts[address] = client.queries - before
        self._seen = seen
        return counts

    def _apply(self, shares: Mapping[bytes, float]) -> None:
        if shares == self._shares:
            return
        self._shares = dict(list(shares.items())[-SENDERS_LIMIT:])
        self._counters.limited_clients = len(self._shares)
        for sock in self._sockets:
            size = 16 if sock.family == socket.AF_INET6 else 4
            try:
                limit_senders(sock, {a: s for a, s in self._shares.items() if len(a) == size})
            except KernelError as error:
                log.warning("%s", error)

    def _note(self, shares: Mapping[bytes, float]) -> None:
        for address in shares.keys() - self._shares.keys():
            self._counters.floods += 1
            client = self._clients.by_address.get(address)
            family = socket.AF_INET6 if len(address) == 16 else socket.AF_INET
            who = (client.pod if client is not None else "") or "no pod"
            log.warning(
                "%s (%s) asks more than can be answered: it is let in with its share",
                socket.inet_ntop(family, address),
                who,
            )
