"""A node's Lease: written when what is in force has become another, news at once, the rest later, and again where a write failed."""

import asyncio

import pytest

from netloom.clock import SystemClock
from netloom.errors import NotFound, Unavailable
from netloom.gateway.in_force import TOLD, Told
from netloom.gateway.publish import Publisher


class ScriptedClient:
    """Takes writes, or fails."""

    def __init__(self):
        self.written, self.failing, self.is_there = [], 0, False

    async def patch(self, resource, key, body):
        if self.failing:
            self.failing -= 1
            raise Unavailable("on purpose")
        if not self.is_there:
            raise NotFound("no Lease")
        self.written.append(body["metadata"]["annotations"])

    async def create(self, resource, body):
        self.is_there = True
        self.written.append(body["metadata"]["annotations"])


@pytest.fixture
def world():
    client, state = ScriptedClient(), {"uid": "u", "told": Told({"gateways": "1"})}
    publisher = Publisher(
        client=client,
        node="node-1",
        uid=lambda: state["uid"],
        told=lambda: state["told"],
        kinds=TOLD,
        clock=SystemClock(),
    )
    return client, state, publisher


async def running(publisher, work):
    task = asyncio.ensure_future(publisher.run())
    try:
        return await work()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_is_the_same_is_not_written_twice(world):
    client, state, publisher = world
    assert await publisher.turn()
    assert not await publisher.turn()
    state["told"] = Told({"gateways": "2"}, frozenset({30080}))
    assert await publisher.turn()
    assert [one["netloom.io/gateways"] for one in client.written] == ["1", "2"]
    assert client.written[1]["netloom.io/doors"] == "30080"
    state["uid"] = ""
    assert not await publisher.turn()


@pytest.mark.looptime
async def test_news_goes_at_once_and_the_rest_is_collected(world):
    client, state, publisher = world

    async def work():
        publisher.look()
        await asyncio.sleep(0.01)
        assert len(client.written) == 1
        for version in range(2, 12):
            state["told"] = Told({"gateways": str(version)})
            publisher.look(is_news=False)
            await asyncio.sleep(0.02)
        assert len(client.written) == 1
        publisher.look()
        await asyncio.sleep(0.01)
        assert [one["netloom.io/gateways"] for one in client.written] == ["1", "11"]

    await running(publisher, work)


@pytest.mark.looptime
async def test_a_write_that_failed_is_done_again(world):
    client, _, publisher = world
    client.failing = 3

    async def work():
        publisher.look()
        await asyncio.sleep(5)

    await running(publisher, work)
    assert len(client.written) == 1
