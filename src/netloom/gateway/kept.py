"""An engine that is started when it is wanted, and again when it has ended. In: how to make one; plans. Out: what came of them.

An engine ends where this node cannot have one: HAProxy is not installed, the disk is full. That ends nothing else: whoever brings a plan is
told why, and with the next plan, or the next try of the same, it is started anew. Not here: the engine (``engine.py``), and trying again
(``turns.py``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from netloom.errors import NetloomError, Unavailable
from netloom.gateway.applied import Applied
from netloom.metrics import Sample
from netloom.model.gateways.plan import Plan

log = logging.getLogger(__name__)

_LAST_WORDS_S = 0.5
"""How long an engine that failed has to say that it ended, and why."""


class Runs(Protocol):
    """What an engine is."""

    async def run(self) -> None:
        """Until cancelled, or it cannot go on."""

    async def apply(self, plan: Plan) -> Applied:
        """Return when the plan is in force."""

    def samples(self) -> Iterable[Sample]:
        """What is to be seen from outside."""


class KeptEngine:
    """One engine at a time.

    Args:
        make: makes one.
    """

    def __init__(self, make: Callable[[], Runs]) -> None:
        self._make = make
        self._engine: Runs | None = None
        self._wanted = asyncio.Event()
        self._begun = asyncio.Event()
        self._ended = asyncio.Event()
        self._why: NetloomError | None = None

    async def run(self) -> None:
        """Run engines until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self._why = None
            self._engine = self._make()
            self._ended.clear()
            self._begun.set()
            try:
                await self._engine.run()
            except* NetloomError as group:
                self._why = _first(group)
                log.warning("the engine of gateways ended: %s", self._why)
            finally:
                self._engine = None
                self._begun.clear()
                self._ended.set()

    async def apply(self, plan: Plan) -> Applied:
        """Return when the plan is in force.

        Raises:
            NetloomError: it is not; says why.
        """
        if self._engine is None:
            self._wanted.set()
            await self._begun.wait()
        engine = self._engine
        if engine is None:
            raise self._why or Unavailable("the engine of gateways ended")
        try:
            return await engine.apply(plan)
        except NetloomError as error:
            await self._last_words()
            raise self._why or error from error

    async def _last_words(self) -> None:
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._ended.wait()
        except TimeoutError:
            return

    def samples(self) -> Iterable[Sample]:
        """What is to be seen from outside; nothing while none runs."""
        return () if self._engine is None else self._engine.samples()


def _first(group: BaseExceptionGroup[BaseException]) -> NetloomError:
    for error in group.exceptions:
        if isinstance(error, NetloomError):
            return error
        if isinstance(error, BaseExceptionGroup):
            return _first(error)
    raise TypeError(group)
