"""Drops by whose packet it was: told before or after somebody waits, by agents that end, fail or say nothing."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from netloom.errors import Unavailable
from netloom.observe.check.dropfeed import DropFeed
from netloom.observe.drops import Drop, DropEnd, DropReport

FLOW = ("tcp", "10.0.0.1", 40000)


def drop(number=1, port=40000):
    return Drop(number, 0.0, "node-1", DropEnd("10.0.0.1", port), DropEnd("10.0.0.2", 80), "tcp")


class Agent:
    def __init__(self, *reports, error=None) -> None:
        self.said = asyncio.Queue()
        for report in reports:
            self.said.put_nowait(report)
        self.error = error

    async def follow(self):
        if self.error:
            raise self.error
        while (report := await self.said.get()) is not None:
            yield msgspec.json.encode(report)

    def tell(self, *drops):
        self.said.put_nowait(DropReport("node-1", 0, 0, "", drops))


@contextlib.asynccontextmanager
async def fed(**agents):
    feed = DropFeed({node.replace("_", "-"): agent.follow for node, agent in agents.items()})
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(10):
        running = tasks.create_task(feed.run())
        await feed.ready()
        yield feed
        running.cancel()


async def test_who_waits_is_told():
    agent = Agent(DropReport("node-1", 1, 0, "", (drop(0),)))
    async with fed(node_1=agent) as feed:
        waiting = feed.expect(FLOW)
        assert not waiting.done()  # what was before does not count
        agent.tell(drop(7))
        assert (await waiting).number == 7


async def test_a_drop_that_was_told_before_somebody_waited():
    agent, seen = Agent(DropReport("node-1", 0, 0)), asyncio.Queue()
    async with fed(node_1=agent) as feed:
        with feed.watched(seen.put_nowait):
            agent.tell(drop(7))
            await seen.get()
        assert (await feed.expect(FLOW)).number == 7
        assert not feed.expect(FLOW).done()


async def test_others_flows_are_not_mine():
    agent, seen = Agent(DropReport("node-1", 0, 0)), asyncio.Queue()
    async with fed(node_1=agent) as feed:
        mine = feed.expect(FLOW)
        with feed.watched(seen.put_nowait):
            agent.tell(drop(port=40001))
            await seen.get()
        assert not mine.done()
        feed.forget(FLOW)
        assert mine.cancelled()


async def test_agents_that_do_not_tell_are_noted():
    gone = Agent(DropReport("node-2", 0, 0), None)
    deaf = Agent(DropReport("node-3", 0, 0, "group 2010 is taken"))
    async with fed(node_1=Agent(error=Unavailable("nobody there")), node_2=gone, node_3=deaf) as feed:
        assert feed.problems["node-1"] == "nobody there"
        assert feed.problems["node-3"] == "group 2010 is taken"


async def test_without_agents_nobody_waits():
    async with fed() as feed:
        assert feed.problems == {}
