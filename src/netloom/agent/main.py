"""The agent's process: signals, the loop, the exit code."""

from __future__ import annotations

import asyncio
import gc
import logging

from netloom.agent.config import AgentConfig
from netloom.agent.wiring import serve
from netloom.clock import SystemClock
from netloom.errors import NetloomError
from netloom.linux.signals import until_signal

log = logging.getLogger(__name__)


def run(config: AgentConfig) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. What is in the kernel stays in force."""
    # with 100,000 objects a full collection takes long, and nothing here is cyclic for long;
    # the engine enables collections when the first load is in force
    gc.set_threshold(2_000, 20, 1_000)
    gc.disable()
    code = 0
    try:
        asyncio.run(until_signal(serve(config, clock=SystemClock())))
    except* NetloomError as group:
        for error in _leaves(group):
            log.error("%s", error)  # noqa: TRY400 - says all in one line
        code = 1
    return code


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [e for m in group.exceptions for e in (_leaves(m) if isinstance(m, BaseExceptionGroup) else [m])]
