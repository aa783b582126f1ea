from __future__ import annotations

import asyncio
import os
import signal

import pytest

from netloom.errors import Unavailable
from netloom.linux.signals import until_signal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_work_in_order(number: signal.Signals):
    seen: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            seen.append("tidied up")

    await asyncio.wait_for(until_signal(work()), 5)
    assert seen == ["tidied up"]


async def test_work_that_fails_ends_it():
    async def work() -> None:
        raise Unavailable("the API server is away", "look at it")

    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(until_signal(work()), 5)
    assert raised.group_contains(Unavailable)
