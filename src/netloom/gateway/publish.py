"""Tells the cluster what the gateway of this node has in force. In: what it is now; out: one Lease, written when it has become another.

A write waits a little for the next change: thousands of endpoints may change in a second. Nothing is written while nothing changes;
there is no heartbeat. That a node has followed what changed nothing, such as statuses that were written, is told later than all else. Not here: what the Lease says (``in_force.py``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from netloom.clock import Clock, micro_time
from netloom.errors import NetloomError
from netloom.gateway import in_force
from netloom.gateway.in_force import Told
from netloom.kube.client import KubeClient
from netloom.kube.leases import keep_lease
from netloom.metrics import Sample, counter

log = logging.getLogger(__name__)

_PAUSE_S = 0.05
_LATER_S = 0.5
_RETRY_S = (0.05, 5.0)


class Publisher:
    """Keeps one node's Lease.

    Args:
        client: an open client.
        node: name of the Node.
        uid: gives the uid of the Node object, empty while it is not known.
        told: gives what is in force now.
        kinds: what versions may be told of.
        clock: the time, for people.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        node: str,
        uid: Callable[[], str],
        told: Callable[[], Told],
        kinds: Iterable[str],
        clock: Clock,
    ) -> None:
        self._client = client
        self._node = node
        self._uid = uid
        self._told = told
        self._kinds = tuple(kinds)
        self._clock = clock
        self._changed = asyncio.Event()
        self._is_news = asyncio.Event()
        self._written: tuple[str, Told] | None = None
        self._writes = 0
        self._failures = 0

    def look(self, *, is_news: bool = True) -> None:
        """It may have become another; ``is_news``: something else is in force than before."""
        self._changed.set()
        if is_news:
            self._is_news.set()

    async def run(self) -> None:
        """Write until cancelled."""
        retry_s = _RETRY_S[0]
        while True:
            await self._changed.wait()
            await self._news(_LATER_S)
            self._changed.clear()
            self._is_news.clear()
            try:
                if await self.turn():
                    # not a wait for something that has an event: the pause is what coalesces
                    await asyncio.sleep(_PAUSE_S)
                retry_s = _RETRY_S[0]
            except NetloomError as error:
                self._failures += 1
                level = logging.WARNING if retry_s == _RETRY_S[0] else logging.DEBUG
                log.log(level, "what is in force is not told, again in %.2f s: %s", retry_s, error)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, _RETRY_S[1])
                self.look()

    async def _news(self, patience_s: float) -> None:
        try:
            async with asyncio.timeout(patience_s):
                await self._is_news.wait()
        except TimeoutError:
            return

    async def turn(self) -> bool:
        """Write, if there is anything new to tell; whether there was.

        Raises:
            NetloomError: the API server did not take it.
        """
        uid, told = self._uid(), self._told()
        if not uid or (uid, told) == self._written:
            return False
        renewed = micro_time(self._clock.wall())
        body = in_force.body(self._node, uid, told, kinds=self._kinds, renewed=renewed)
        key = in_force.key_of(self._node)
        await keep_lease(self._client, key, body, in_force.without_nulls(body))
        self._written = (uid, told)
        self._writes += 1
        return True

    def samples(self) -> tuple[Sample, ...]:
        """What is to be seen from outside."""
        text = "Times that the gateway of this node told what it has in force."
        yielded = counter("netloom_gateway_acks_written_total", text, self._writes)
        text = "Times that the API server did not take it."
        return yielded, counter("netloom_gateway_acks_failed_total", text, self._failures)
