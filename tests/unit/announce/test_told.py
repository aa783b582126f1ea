"""Which nodes are gone, from the speaker to the agent's model; and what the agent adds by itself."""

import asyncio

import msgspec

from netloom.agent.gone import GoneNodes
from netloom.announce import told
from netloom.announce.told import QUESTION, GoneFeed, ToldGone
from netloom.api.core import NodeStatus, PodCondition
from netloom.model.announcing.gone import GoneNode
from netloom.testing import builders as b


def key(name):
    return b.key_of(name)


class Heard:
    """What the agent's end hears, in order."""

    def __init__(self):
        self.names = asyncio.Queue()

    def __call__(self, names):
        self.names.put_nowait(set(names))

    async def next(self):
        async with asyncio.timeout(5):
            return await self.names.get()


async def test_a_follower_hears_what_there_is_and_what_changes():
    followers = []
    feed = GoneFeed(lambda: followers.append(1))
    following = feed.follow()
    first = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    assert followers == [1]
    feed.tell(frozenset({"node-2"}))
    assert await first == ("node-2",)
    feed.tell(frozenset({"node-2"}))
    feed.tell(frozenset({"node-3", "node-2"}))
    assert await anext(following) == ("node-2", "node-3")
    late = feed.follow()
    assert await anext(late) == ("node-2", "node-3")
    await following.aclose()
    await late.aclose()


async def test_the_agent_hears_a_speaker_and_forgets_one_that_stays_away(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger=told.__name__)
    monkeypatch.setattr(told, "_REMEMBERED_S", 0.05)
    path, heard, ended = tmp_path / "s.sock", Heard(), asyncio.Event()

    async def speak(reader, writer):
        assert await reader.readline() == QUESTION.encode() + b"\n"
        writer.write(b'{"answer":["node-2"]}\n')
        await ended.wait()
        writer.close()

    async with asyncio.TaskGroup() as tasks:
        end = ToldGone(str(path), heard)
        agent = tasks.create_task(end.run())
        assert await heard.next() == set()  # there is no speaker yet
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert [sample.value for sample in end.samples()] == [0]
        assert str(path) in caplog.text
        server = await asyncio.start_unix_server(speak, path)
        assert await heard.next() == {"node-2"}
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        assert [sample.value for sample in end.samples()] == [1]
        server.close()
        ended.set()
        assert await heard.next() == set()
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]
        assert [sample.value for sample in end.samples()] == [0]
        agent.cancel()


def gone_nodes():
    marks = []

    def mark(key, value):
        marks.append((key.name, value))
        return len(marks)

    async def in_force(_mark):
        return

    return GoneNodes(path="", mark=mark, in_force=in_force), marks


def test_a_node_that_is_not_ready_is_gone_until_it_is():
    nodes, marks = gone_nodes()

    def node(*conditions):
        made = b.node("node-2")
        return msgspec.structs.replace(made, status=NodeStatus(conditions=conditions))

    for one in (
        node(),
        node(PodCondition(type="Ready", status="Unknown")),
        node(PodCondition(type="Ready", status="False")),
        node(PodCondition(type="Ready", status="True")),
        node(PodCondition(type="Ready", status="False")),
        None,
    ):
        nodes.node_changed(key("node-2"), one)
    assert marks == [
        ("node-2", GoneNode("node-2")),
        ("node-2", None),
        ("node-2", GoneNode("node-2")),
        ("node-2", None),
    ]


def test_either_word_holds_a_node_gone():
    nodes, marks = gone_nodes()
    away = msgspec.structs.replace(
        b.node("node-2"), status=NodeStatus(conditions=(PodCondition(type="Ready", status="False"),))
    )
    nodes._take(frozenset({"node-2"}))
    nodes.node_changed(key("node-2"), away)
    nodes._take(frozenset())
    assert marks == [("node-2", GoneNode("node-2"))]
    nodes.node_changed(key("node-2"), b.node("node-2"))
    assert marks[1:] == [("node-2", None)]
