"""Work that goes on until this process is told to end. In: a coroutine. Out: its end, cancelled, or its error; or an exit code, with the log told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from netloom.errors import NetloomError

log = logging.getLogger(__name__)


def serve_until_signal(work: Coroutine[Any, Any, None]) -> int:
    """Do the work in a loop of its own until SIGTERM or SIGINT; the exit code. Errors of ours are in the log, a line each."""
    code = 0
    try:
        asyncio.run(until_signal(work))
    except* NetloomError as group:
        for error in _leaves(group):
            log.error("%s", error)  # noqa: TRY400 - says all in one line
        code = 1
    return code


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


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [e for m in group.exceptions for e in (_leaves(m) if isinstance(m, BaseExceptionGroup) else [m])]
