"""The logs of stand-in containers: bounded rings in memory, of this start and of the one before.

A line is kept as it came (a tuple is enough) and made into text when somebody reads it: most lines nobody reads.
"""

from __future__ import annotations

import asyncio
from collections import deque

from netloom.clock import Clock
from netloom.local.runner.standins.feed import LogLine

MAX_LINES = 1000
"""Lines kept of one container's life; the oldest go first."""
MAX_TEXT = 1000
"""Characters kept of one line."""


class Log:
    """One container's log since its start."""

    __slots__ = ("_changed", "_clock", "_lines", "count", "ended")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lines: deque[tuple[float, tuple[str, ...]]] = deque(maxlen=MAX_LINES)
        self._changed: asyncio.Event | None = None
        self.count = 0
        """Lines ever written."""
        self.ended = False

    def write(self, *parts: str) -> None:
        """Add a line; the parts are joined by blanks when it is read."""
        self._lines.append((self._clock.wall(), parts))
        self.count += 1
        self._wake()

    def end(self) -> None:
        """Nothing more will be written."""
        self.ended = True
        self._wake()

    def lines(self, *, after: int = 0, tail: int | None = None, since: float | None = None) -> list[LogLine]:
        """Lines written after the first ``after`` ones, as far as they are still kept.

        Args:
            after: a former value of ``count``.
            tail: at most that many, the newest.
            since: only those written at this wall-clock time or later.
        """
        new = min(len(self._lines), self.count - after)
        if tail is not None:
            new = min(new, max(tail, 0))
        start = len(self._lines) - new
        found = [self._lines[i] for i in range(start, len(self._lines))]
        return [
            LogLine(wall, " ".join(parts)[:MAX_TEXT])
            for wall, parts in found
            if since is None or wall >= since
        ]

    async def more(self, after: int) -> None:
        """Wait until there are lines after the first ``after`` ones, or the log has ended."""
        while self.count <= after and not self.ended:
            if self._changed is None:
                self._changed = asyncio.Event()
            await self._changed.wait()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
