"""An engine is started when it is wanted, tells why it ended, and is started again."""

import asyncio
import ipaddress

import pytest

from netloom.clock import SystemClock
from netloom.errors import NotFound, Unavailable
from netloom.gateway.applied import Applied
from netloom.gateway.engine import Engine
from netloom.gateway.kept import KeptEngine
from netloom.model.gateways.plan import Plan

MISSING = NotFound("cannot execute haproxy: No such file", "install it")


class ScriptedEngine:
    """Ends with an error as soon as it is given a plan, or takes it."""

    def __init__(self, error):
        self.error, self.waiting, self.wanted = error, [], asyncio.Event()

    async def run(self):
        try:
            while True:
                await self.wanted.wait()
                self.wanted.clear()
                if self.error is not None:
                    async with asyncio.TaskGroup():
                        raise self.error
                for told in self.waiting:
                    told.set_result(Applied(commands=3))
                self.waiting = []
        finally:
            for told in self.waiting:
                told.set_exception(Unavailable("the engine of gateways ended"))

    async def apply(self, plan):
        told = asyncio.get_running_loop().create_future()
        self.waiting.append(told)
        self.wanted.set()
        return await told

    def samples(self):
        return ("sample",)


@pytest.fixture
async def world():
    errors, made = [], []

    def make():
        made.append(ScriptedEngine(errors.pop(0) if errors else None))
        return made[-1]

    kept = KeptEngine(make)
    running = asyncio.ensure_future(kept.run())
    yield kept, errors, made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_node_without_haproxy_says_so(tmp_path):
    program = "/nonexistent/haproxy"
    here = (ipaddress.ip_address("127.0.0.1"),)
    kept = KeptEngine(lambda: Engine(tmp_path / "gw", here, SystemClock(), program=program))
    running = asyncio.ensure_future(kept.run())
    for _ in range(2):
        with pytest.raises(NotFound, match=r"cannot execute /nonexistent/haproxy.*install it"):
            await asyncio.wait_for(kept.apply(Plan()), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_none_is_made_before_it_is_wanted(world):
    kept, _, made = world
    await asyncio.sleep(0)
    assert made == []
    assert kept.samples() == ()
    assert (await kept.apply(Plan())).commands == 3
    assert (await kept.apply(Plan())).commands == 3
    assert len(made) == 1
    assert kept.samples() == ("sample",)


async def test_why_it_ended_is_told_and_the_next_plan_starts_another(world):
    kept, errors, made = world
    errors += [MISSING, MISSING]
    for number in (1, 2):
        with pytest.raises(NotFound) as told:
            await asyncio.wait_for(kept.apply(Plan()), 5)
        assert told.value is MISSING
        assert len(made) == number
    assert (await asyncio.wait_for(kept.apply(Plan()), 5)).commands == 3
