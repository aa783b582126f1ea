"""The agent's process: signals, the loop, the exit code."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal

from netloom.agent.config import AgentConfig
from netloom.agent.wiring import serve
from netloom.clock import SystemClock
from netloom.errors import NetloomError

log = logging.getLogger(__name__)


def run(config: AgentConfig) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. What is in the kernel stays in force."""
    # with 100,000 objects a full collection takes long, and nothing here is cyclic for long;
    # the engine enables collections when the first load is in force
    gc.set_threshold(50_000, 50, 1_000)
    gc.disable()
    code = 0
    try:
        asyncio.run(_until_signal(config))
    except* NetloomError as group:
        for error in _leaves(group):
            log.error("%s", error)  # noqa: TRY400 - says all in one line
        code = 1
    return code


async def _until_signal(config: AgentConfig) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve(config, clock=SystemClock()), name="agent")
        await stopped.wait()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [e for m in group.exceptions for e in (_leaves(m) if isinstance(m, BaseExceptionGroup) else [m])]
