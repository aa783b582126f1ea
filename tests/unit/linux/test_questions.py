"""The agent's socket: a question in, a document out; and what `netloom drift` makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat

import pytest

from netloom.cli import drift as verb
from netloom.cli.main import parser
from netloom.errors import NotFound, StorageError, Unavailable, UsageError
from netloom.linux.questions import QuestionServer, ask, follow, socket_beside
from netloom.model.provenance import Source
from netloom.observe.drift import DriftLine, DriftReport

LINE = DriftLine(
    text="endpoint 10.1.2.3:80 of shop/cart is missing on node-2",
    kind="missing",
    family="ip",
    place="map endpoints",
    item="0 . 10.96.0.80 . tcp . 80 : 10.1.2.3 . 80",
    sources=(Source("EndpointSlice", "shop", "cart-1", field="endpoints[0]"),),
    cause="nft (process 7)",
    repaired=True,
    count=3,
    first="2026-01-01T00:00:00Z",
    last="2026-01-01T00:01:00Z",
)
REPORT = DriftReport("node-2", found=3, unrepaired=0, audits=9, lines=(LINE,))


@contextlib.asynccontextmanager
async def answering(path, **answers):
    server = QuestionServer(path, answers)
    server.open()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.run())
        yield
        running.cancel()


async def test_a_question_is_answered(tmp_path):
    path = socket_beside(tmp_path / "cni.sock")
    async with answering(path, drift=lambda: REPORT):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for _ in range(50):
            assert json.loads(await ask(path, "drift"))["lines"][0]["count"] == 3
    assert not path.exists()


async def test_a_large_answer_comes_whole(tmp_path):
    path = tmp_path / "agent.sock"
    async with answering(path, much=lambda: ["x" * 1000] * 2000):
        assert len(json.loads(await ask(path, "much"))) == 2000


async def test_what_is_not_known_is_said(tmp_path):
    path = tmp_path / "agent.sock"
    async with answering(path, drift=lambda: REPORT):
        with pytest.raises(NotFound, match="no such question: 'weather'; ask one of: drift"):
            await ask(path, "weather")
        with pytest.raises(Unavailable):
            await ask(path, "x" * 10_000)  # too long: not read to its end
        assert await ask(path, "drift")


async def test_nobody_there(tmp_path):
    with pytest.raises(Unavailable, match="agent socket"):
        await ask(tmp_path / "agent.sock", "drift")
    with pytest.raises(StorageError, match="agent socket"):
        QuestionServer(tmp_path / "nowhere" / "agent.sock", {}).open()


async def test_a_socket_that_was_left_behind_is_replaced(tmp_path):
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    async with answering(path, drift=lambda: REPORT):
        assert await ask(path, "drift")


def asked(capsys, path, *more):
    words = ["drift", "--socket", str(path), *more]
    code = verb.run(parser(words).parse_args(words))
    return code, capsys.readouterr().out


async def test_the_command_shows_what_the_agent_says(tmp_path, capsys):
    path = tmp_path / "agent.sock"
    async with answering(path, drift=lambda: REPORT):
        code, text = await asyncio.to_thread(asked, capsys, path)
        _, document = await asyncio.to_thread(asked, capsys, path, "-o", "json")
    assert code == 0
    assert "node-2: in order, 3 found so far" in text
    assert "endpoint 10.1.2.3:80 of shop/cart is missing on node-2; put right (3 times," in text
    assert "seen by: nft (process 7)" in text
    assert "from: EndpointSlice shop/cart-1: endpoints[0]" in text
    assert json.loads(document)[0]["report"]["lines"][0]["kind"] == "missing"


async def test_the_command_fails_where_something_is_wrong_or_nobody_answers(tmp_path, capsys):
    path = tmp_path / "agent.sock"
    code, text = await asyncio.to_thread(asked, capsys, path)
    assert code == Unavailable.exit_code
    assert "agent socket" in text
    async with answering(path, drift=lambda: DriftReport("node-2", found=1, unrepaired=1, audits=1)):
        code, text = await asyncio.to_thread(asked, capsys, path)
    assert code == 8
    assert "node-2: 1 could NOT be put right" in text


async def test_a_question_about_something(tmp_path):
    path = tmp_path / "agent.sock"

    async def about(words):
        if words == "nonsense":
            raise UsageError("nonsense: cannot be read", "ask better")
        return {"asked": words}

    async with serving(QuestionServer(path, {}, about={"kernel": about})):
        assert json.loads(await ask(path, "kernel a b")) == {"asked": "a b"}
        with pytest.raises(NotFound, match="ask better"):
            await ask(path, "kernel nonsense")
        with pytest.raises(NotFound, match=r"kernel \.\.\."):
            await ask(path, "kernel")


async def test_what_is_followed_comes_line_by_line_until_the_asker_leaves(tmp_path):
    path = tmp_path / "agent.sock"
    happens = asyncio.Queue()
    left = asyncio.Event()

    async def things():
        try:
            while True:
                yield await happens.get()
        finally:
            left.set()

    async with serving(QuestionServer(path, {"drift": lambda: 7}, followed={"drops": things})):
        async with asyncio.timeout(10), contextlib.aclosing(follow(path, "drops")) as told:
            for number in range(100):
                happens.put_nowait({"number": number})
                assert json.loads(await anext(told)) == {"number": number}
            assert json.loads(await ask(path, "drift")) == 7
            assert not left.is_set()
        async with asyncio.timeout(10):
            await left.wait()


async def test_so_many_may_follow_and_others_are_told_so(tmp_path):
    path = tmp_path / "agent.sock"
    started = asyncio.Queue()

    async def things():
        started.put_nowait(None)
        yield 1
        await asyncio.Event().wait()

    async with (
        serving(QuestionServer(path, {}, followed={"drops": things})),
        contextlib.AsyncExitStack() as all_,
    ):
        for _ in range(8):
            told = await all_.enter_async_context(contextlib.aclosing(follow(path, "drops")))
            assert await anext(told) == b"1"
        with pytest.raises(NotFound, match="follow already"):
            await anext(follow(path, "drops"))


async def test_what_ends_by_itself_ends_for_who_follows(tmp_path):
    path = tmp_path / "agent.sock"

    async def things():
        yield 1

    async with serving(QuestionServer(path, {}, followed={"drops": things})), asyncio.timeout(10):
        assert [one async for one in follow(path, "drops")] == [b"1"]
    with pytest.raises(Unavailable):
        await anext(follow(path, "drops"))


@contextlib.asynccontextmanager
async def serving(server):
    server.open()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.run())
        yield
        running.cancel()
