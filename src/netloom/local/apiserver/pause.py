"""The pause between two turns of what the server does beside requests. In: what ends it, its length; out: nothing, later."""

from __future__ import annotations

import asyncio
import contextlib


async def pause(wake: asyncio.Event, at_most_s: float | None) -> None:
    """Until there is something to do, or for so many seconds; None: however long that takes."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await wake.wait()
