"""Writes what is in force on this node into its Lease. In: ``Acks``; out: one small patch when a number has changed.

At once, if the last write is long enough ago; else what changed meanwhile goes with the next. The pause grows with the number
of nodes, so that the whole cluster writes about as often whatever its size, and less often where it is large. A write that fails is repeated and disturbs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from netloom.agent import acks_lease
from netloom.clock import Clock, micro_time
from netloom.engine.acks import Acks
from netloom.errors import NetloomError, Unavailable
from netloom.kube.client import KubeClient
from netloom.kube.leases import keep_lease
from netloom.metrics import Sample, counter

log = logging.getLogger(__name__)

WRITES_PER_S = 100.0
"""What all nodes together write at most, about."""
_LEAST_PAUSE_S = 0.02
_MANY = 50.0
"""Nodes that write once a second each: from 25 on the square of their number counts, for each also has more to answer."""
_WRITE_S = 5.0
_RETRY_S = (0.05, 5.0)


class AckPublisher:
    """Keeps one node's Lease.

    Args:
        client: an open client.
        node: name of the Node.
        uid: gives the uid of the Node object, empty while it is not known.
        nodes: gives the number of nodes of the cluster.
        acks: what is in force here.
        clock: the time, for people.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        node: str,
        uid: Callable[[], str],
        nodes: Callable[[], int],
        acks: Acks,
        clock: Clock,
    ) -> None:
        self._client = client
        self._node = node
        self._uid = uid
        self._nodes = nodes
        self._acks = acks
        self._clock = clock
        self._changed = asyncio.Event()
        self._written: tuple[str, dict[str, str]] = ("", {})
        self._writes = 0
        self._failures = 0
        acks.follow(self._changed.set)

    @property
    def pause_s(self) -> float:
        """Seconds between two writes at least."""
        nodes = self._nodes()
        return max(_LEAST_PAUSE_S, nodes / WRITES_PER_S, (nodes / _MANY) ** 2 if nodes > _MANY / 2 else 0.0)

    def look(self) -> None:
        """The Node may be another object now."""
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        retry_s = _RETRY_S[0]
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                if await self.turn():
                    # not a wait for something that has an event: the pause is what coalesces
                    await asyncio.sleep(self.pause_s)
                retry_s = _RETRY_S[0]
            except NetloomError as error:
                self._failures += 1
                level = logging.WARNING if retry_s == _RETRY_S[0] else logging.DEBUG
                log.log(level, "what is in force is not told, again in %.2f s: %s", retry_s, error)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, _RETRY_S[1])
                self._changed.set()

    async def turn(self) -> bool:
        """Write, if there is anything new to tell; whether there was.

        Raises:
            NetloomError: the API server did not take it.
        """
        uid, versions = self._uid(), dict(self._acks.versions)
        if not uid or not versions or (uid, versions) == self._written:
            return False
        body = acks_lease.body(self._node, uid, versions, renewed=micro_time(self._clock.wall()))
        key = acks_lease.key_of(self._node)
        try:
            async with asyncio.timeout(_WRITE_S):
                await keep_lease(self._client, key, body, body)
        except TimeoutError as error:
            raise Unavailable(
                f"Lease {key}: no answer within {_WRITE_S:g} s", "look whether the API server runs"
            ) from error
        self._written = (uid, versions)
        self._writes += 1
        return True

    def samples(self) -> tuple[Sample, ...]:
        """What is to be seen from outside."""
        return (
            counter(
                "netloom_acks_written_total", "Times that this node told what it has in force.", self._writes
            ),
            counter(
                "netloom_acks_failed_total", "Times that the API server did not take it.", self._failures
            ),
        )
