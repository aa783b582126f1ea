"""Keys that need work: deduplicated, one writer a key, failed ones again after a while. In: marks; out: sync(key) calls.

A key that is marked while it is being worked on is worked on again afterwards, never at the same time. An exception of
one key is logged, and the key comes back with growing distance; no other key notices. Not here: what the work is.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

from netloom.errors import NetloomError, Unavailable
from netloom.kube.status import Conflict, Denied

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
Sync = Callable[[K], Awaitable[float | None]]
"""One turn for one key; a number asks for another turn after so many seconds."""

_RETRY_S = (0.01, 30.0)
"""First and longest distance between the attempts of a key that fails."""


class _Ordered(Generic[K]):
    """Keys of which the least is taken first; as much of a deque as is used here."""

    def __init__(self, order: Callable[[K], tuple[Any, ...]]) -> None:
        self._order = order
        self._heap: list[tuple[tuple[Any, ...], int, K]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._heap)

    def append(self, key: K) -> None:
        """One more; of equals the first that came is first."""
        self._number += 1
        heapq.heappush(self._heap, (self._order(key), self._number, key))

    def popleft(self) -> K:
        """The least."""
        return heapq.heappop(self._heap)[2]


class WorkQueue(Generic[K]):
    """One loop's keys.

    Args:
        name: of the loop, for logs and task names.
        sync: one turn for one key.
        rest_s: how long a key rests after its turn, at least; it rests as long as the turn took where that is more.
            The first mark is served at once, a burst of marks costs a few turns. 0: no rest.
        order: of keys that wait, the least is next; None: the first that came.
        rng: jitter of retries.
    """

    def __init__(
        self,
        name: str,
        sync: Sync[K],
        *,
        rest_s: float = 0.0,
        order: Callable[[K], tuple[Any, ...]] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self._sync = sync
        self._rest_s = rest_s
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._waiting: deque[K] | _Ordered[K] = deque() if order is None else _Ordered(order)
        self._dirty: set[K] = set()
        self._working: set[K] = set()
        self._resting: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._some = asyncio.Event()
        self._idle = asyncio.Event()

    def mark(self, key: K) -> None:
        """This key needs work."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working and key not in self._resting:
            self._waiting.append(key)
            self._some.set()

    def mark_soon(self, key: K, within_s: float) -> None:
        """This key needs work, but others first: it waits so long, unless it is on its way already."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working and key not in self._resting:
            loop = asyncio.get_running_loop()
            self._resting[key] = loop.call_later(within_s, self._rested, key)

    def mark_after(self, key: K, delay_s: float) -> None:
        """This key needs work in a while; an earlier time that is already set stays."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + delay_s:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(delay_s, self._ring, key)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Nothing is marked and nothing is being worked on; marks for later do not count."""
        return not self._dirty and not self._working

    async def drained(self) -> None:
        """Wait until the queue is idle."""
        while not self.is_idle:
            self._idle.clear()
            await self._idle.wait()

    async def run(self, *, workers: int = 4) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for i in range(workers):
                    group.create_task(self._work(), name=f"{self.name}-{i}")
        finally:
            for timer in (*self._timers.values(), *self._resting.values()):
                timer.cancel()
            self._timers.clear()
            self._resting.clear()

    async def turn(self) -> None:
        """Wait for a key and work on it once."""
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        key = self._waiting.popleft()
        self._dirty.discard(key)
        self._working.add(key)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            again_s = await self._sync(key)
        except Exception as error:  # noqa: BLE001 - the boundary of the loop: one key's failure is its own
            self._failed(key, error)
        else:
            self._failures.pop(key, None)
            if again_s is not None:
                self.mark_after(key, again_s)
        finally:
            self._working.discard(key)
            if self._rest_s:
                rest = max(self._rest_s, loop.time() - began)
                self._resting[key] = loop.call_later(rest, self._rested, key)
            else:
                self._rested(key)

    def _rested(self, key: K) -> None:
        self._resting.pop(key, None)
        if key in self._dirty:
            self._waiting.append(key)
            self._some.set()
        elif self.is_idle:
            self._idle.set()

    async def _work(self) -> None:
        while True:
            await self.turn()

    def _ring(self, key: K) -> None:
        self._timers.pop(key, None)
        self.mark(key)

    def _failed(self, key: K, error: Exception) -> None:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        first, longest = _RETRY_S
        delay = min(longest, first * 2.0 ** min(count, 20)) * (0.5 + 0.5 * self._rng.random())
        if not isinstance(error, NetloomError):
            # A fault of ours: always with its stack.
            log.error("%s %s: failed, again in %.2f s", self.name, key, delay, exc_info=error)
        elif count == 0 and isinstance(error, Conflict | Unavailable | Denied):
            log.debug("%s %s: %s; again in %.2f s", self.name, key, error, delay)
        elif count in {0, 3} or count % 10 == 0:
            log.warning("%s %s: %s; again in %.2f s", self.name, key, error, delay)
        self.mark_after(key, delay)
