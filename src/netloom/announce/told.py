"""Which nodes are gone, told by a node's speaker to its agent. Over the speaker's socket: a list whenever it changes.

Comes in: what the speaker holds. Goes out: the same, at the agent. A speaker that is gone itself holds nobody gone, after a short while in which another may
begin. Not here: what follows from it (the model), and how a death is noticed (``members``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import msgspec

from netloom.errors import NetloomError
from netloom.linux.questions import follow
from netloom.metrics import Sample, gauge

log = logging.getLogger(__name__)

QUESTION = "gone"
_RETRY_S = (0.05, 0.2, 1.0)
_REMEMBERED_S = 2.5
"""So long what a speaker has told stays, when it ends: the next one needs a moment to hear the others."""


class GoneFeed:
    """The speaker's end: tells each follower, from now on.

    Args:
        on_follower: hears of each that begins; the agent does when everything is in force.
    """

    def __init__(self, on_follower: Callable[[], None]) -> None:
        self._on_follower = on_follower
        self._names: tuple[str, ...] | None = None
        self._news: set[asyncio.Event] = set()

    def tell(self, names: frozenset[str]) -> None:
        """These are gone now."""
        told = tuple(sorted(names))
        if told != self._names:
            self._names = told
            for event in self._news:
                event.set()

    async def follow(self) -> AsyncGenerator[tuple[str, ...], None]:
        """The names, now and whenever they change."""
        self._on_follower()
        news = asyncio.Event()
        self._news.add(news)
        try:
            if self._names is not None:
                yield self._names
            while True:
                await news.wait()
                news.clear()
                if self._names is not None:
                    yield self._names
        finally:
            self._news.discard(news)


class ToldGone:
    """The agent's end.

    Args:
        path: the speaker's socket; empty: there is no speaker.
        on_change: hears of the names of all that are gone, each time.
    """

    def __init__(self, path: str, on_change: Callable[[frozenset[str]], None]) -> None:
        self._path = path
        self._on_change = on_change
        self._forgetting: asyncio.TimerHandle | None = None
        self._problem = ""
        self._has_forgotten = self._is_heard = False

    async def run(self) -> None:
        """Until cancelled; the speaker may come, go and come again."""
        failures = 0
        while self._path:
            self._problem = "it has ended"
            try:
                async with contextlib.aclosing(follow(Path(self._path), QUESTION)) as told:
                    async for document in told:
                        failures = 0
                        self._stop_forgetting()
                        self._on_change(msgspec.json.decode(document, type=frozenset[str]))
            except (NetloomError, msgspec.MsgspecError) as error:
                self._problem = str(error)
            self._forget_soon()
            await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
            failures += 1

    def samples(self) -> Iterator[Sample]:
        """For the page of metrics; nothing where there is no speaker to hear."""
        if self._path:
            text = "Whether this node's speaker tells which nodes are dead."
            yield gauge("netloom_speaker_heard", text, 1 if self._is_heard else 0)

    def _forget_soon(self) -> None:
        if self._forgetting is None:
            loop = asyncio.get_running_loop()
            self._forgetting = loop.call_later(_REMEMBERED_S, self._forget)

    def _forget(self) -> None:
        log.warning("the speaker tells of no dead nodes, nobody is held dead by its word: %s", self._problem)
        self._has_forgotten, self._is_heard = True, False
        self._on_change(frozenset())

    def _stop_forgetting(self) -> None:
        if self._has_forgotten:
            log.info("the speaker tells of dead nodes again")
        self._has_forgotten, self._is_heard = False, True
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
