"""Work that goes on until this process is told to end. In: a coroutine; out: its end, cancelled, or its error."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Do the work until SIGTERM or SIGINT cancels it; a second signal does not disturb its end.

    Raises:
        ExceptionGroup: the work failed.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(work)
        await stopped.wait()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
