"""What an agent writes on its Node: until the Node says it, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib

from netloom.agent.node_notes import NodeNotes
from netloom.api.core import Node
from netloom.api.meta import ObjectMeta
from netloom.errors import Unavailable
from netloom.units import ObjectKey

ME = ObjectKey("", "node-1")


class Client:
    """Notes patches; fails as often as it is told to."""

    def __init__(self, failures=0):
        self.failures = failures
        self.patches = asyncio.Queue()

    async def patch(self, resource, key, body):
        assert resource.plural == "nodes"
        assert key == ME
        if self.failures:
            self.failures -= 1
            raise Unavailable("the API server is away")
        await self.patches.put(body)
        return {}


def node(**annotations):
    return Node(metadata=ObjectMeta(name="node-1", annotations=annotations))


@contextlib.asynccontextmanager
async def running(client):
    notes = NodeNotes(client=client, node="node-1")
    task = asyncio.create_task(notes.run())
    try:
        yield notes
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_only_what_the_node_does_not_say_is_written():
    client = Client()
    async with running(client) as notes:
        notes.say("a", "1")
        notes.say("b", "2")
        notes.node_changed(ObjectKey("", "node-2"), node())
        assert client.patches.empty()
        notes.node_changed(ME, node(a="1", other="x"))
        assert await client.patches.get() == {"metadata": {"annotations": {"b": "2"}}}
        notes.node_changed(ME, node(a="1", b="2"))
        notes.say("a", "3")
        assert await client.patches.get() == {"metadata": {"annotations": {"a": "3"}}}


async def test_what_somebody_else_changes_is_written_again():
    client = Client()
    async with running(client) as notes:
        notes.say("a", "1")
        notes.node_changed(ME, node(a="1"))
        notes.node_changed(ME, node(a="2"))
        assert await client.patches.get() == {"metadata": {"annotations": {"a": "1"}}}


async def test_it_is_tried_again_while_the_api_server_is_away():
    client = Client(failures=1)
    async with running(client) as notes:
        notes.say("a", "1")
        notes.node_changed(ME, node())
        assert await client.patches.get() == {"metadata": {"annotations": {"a": "1"}}}


async def test_nothing_is_written_where_there_is_no_node():
    client = Client()
    async with running(client) as notes:
        notes.say("a", "1")
        notes.node_changed(ME, None)
        notes.node_changed(ME, node())
        await client.patches.get()
        assert client.patches.empty()
