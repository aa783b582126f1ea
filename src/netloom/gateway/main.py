"""The gateway's process: signals, the loop, the exit code. Not here: what the parts do, and how they are joined (``wiring.py``)."""

from __future__ import annotations

import asyncio
import gc
import logging

from netloom.clock import SystemClock
from netloom.errors import NetloomError
from netloom.gateway.config import GatewayConfig
from netloom.gateway.wiring import serve
from netloom.linux.signals import until_signal

log = logging.getLogger(__name__)


def run(config: GatewayConfig) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    gc.set_threshold(2_000, 20, 1_000)
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
