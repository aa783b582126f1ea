"""How long a pod may still take to end: a limit that may be drawn closer while it ends. Time is the loop's.

In: seconds (``metadata.deletionGracePeriodSeconds``). Out: work that is waited for no longer. Not here: what ends, and how.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Grace:
    """A time limit from now on.

    Args:
        seconds: how long it lasts, unless somebody shortens it.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time() + seconds
        self._over = asyncio.Event()
        self._timer = self._loop.call_at(self._at, self._over.set)

    @property
    def is_over(self) -> bool:
        """No time is left."""
        return self._loop.time() >= self._at

    def shorten(self, seconds: float) -> None:
        """Only so long from now; a longer time changes nothing."""
        at = self._loop.time() + seconds
        if at < self._at:
            self._timer.cancel()
            self._at = at
            self._timer = self._loop.call_at(at, self._over.set)

    def close(self) -> None:
        """It is no longer needed."""
        self._timer.cancel()

    async def wait(self, work: Coroutine[Any, Any, object], *, at_least_s: float = 0.0) -> bool:
        """Wait for something until it is done or the time is over, when it is cancelled.

        Args:
            work: raises nothing.
            at_least_s: seconds that it gets in any case.

        Returns:
            Whether it was done in time.
        """
        async with asyncio.TaskGroup() as group:
            doing = group.create_task(work, name="in time")
            limit = group.create_task(self._until_over(at_least_s), name="time limit")
            await asyncio.wait((doing, limit), return_when=asyncio.FIRST_COMPLETED)
            done = doing.done()
            doing.cancel()
            limit.cancel()
        return done

    async def _until_over(self, at_least_s: float) -> None:
        await asyncio.sleep(at_least_s)
        await self._over.wait()
