"""The speaker's process: signals, the loop, the exit code. Not here: what the parts do, and how they are joined (``wiring``)."""

from __future__ import annotations

import asyncio
import gc
import logging

from netloom.announce.config import SpeakerConfig
from netloom.announce.wiring import serve
from netloom.clock import SystemClock
from netloom.errors import NetloomError
from netloom.linux.signals import until_signal

log = logging.getLogger(__name__)


def run(config: SpeakerConfig) -> int:
    """Speak until SIGTERM or SIGINT; the exit code. What this node answered for is then another's at once."""
    gc.freeze()
    gc.set_threshold(2_000, 20, 1_000)  # short pauses: the others wait for our heartbeats
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
