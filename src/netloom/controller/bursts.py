"""Writes that come in bursts and may fail: together after a moment, again after a while. In: whether there is something. Out: turns."""

from __future__ import annotations

import abc
import asyncio

_LINGER_S = 0.02
"""Seconds in which what changes together comes together."""
_RETRY_S = (0.2, 10.0)


class Bursts(abc.ABC):
    """Something that writes what is due, in turns. ``_some`` is set where there is."""

    def __init__(self) -> None:
        self._some = asyncio.Event()

    async def run(self) -> None:
        """Write until cancelled."""
        retry_s = _RETRY_S[0]
        while True:
            await self._some.wait()
            # not a wait for something that has an event: what changes together is written together
            await asyncio.sleep(_LINGER_S)
            if await self.turn():
                retry_s = _RETRY_S[0]
                continue
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, _RETRY_S[1])
            self._some.set()

    @abc.abstractmethod
    async def turn(self) -> bool:
        """Write what differs; whether nothing failed. What failed is still to be written."""
