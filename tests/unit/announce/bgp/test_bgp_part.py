"""BGP as a part of the speaker where things are missing: BIRD, a password, a node that is not ready. And the control socket of BIRD."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

import msgspec
import pytest

from netloom.announce.bgp.bird import Session
from netloom.announce.bgp.board import Board
from netloom.announce.bgp.control import Control, Refused
from netloom.announce.bgp.part import BgpPart, BgpSettings
from netloom.api.bgp import BGPPeer
from netloom.api.core import Node
from netloom.clock import SystemClock
from netloom.errors import NotFound, Unavailable
from netloom.kube.resources import BGP_PEERS
from netloom.model.announcing.gone import GoneNode
from netloom.model.announcing.view import AnnounceView, Situation
from netloom.units import ObjectKey

SWITCH = ObjectKey("", "switch")
OWN = ObjectKey("", "node-1")


class Api:
    """Takes patches, and has nothing."""

    def __init__(self):
        self.patches = asyncio.Queue()
        self.problem = None

    async def patch(self, resource, key, body, *, subresource=""):
        assert (resource, subresource) == (BGP_PEERS, "status")
        if self.problem is not None:
            raise self.problem
        self.patches.put_nowait((key, body["status"]["nodes"]["node-1"]))

    async def list_pages(self, *_args, **_words):
        yield b'{"metadata": {"resourceVersion": "1"}, "items": []}'

    async def watch_chunks(self, *_args, **_words):
        await asyncio.Event().wait()
        yield ()


class Events:
    def __init__(self):
        self.told = []

    def emit(self, _resource, key, _uid, *, reason, message, warning=False):
        self.told.append((key.name, reason, message, warning))


def peer(**spec):
    body = {"metadata": {"name": "switch"}, "spec": {"peerAddress": "192.0.2.1", "peerASN": 64513, **spec}}
    return msgspec.convert(body, type=BGPPeer)


def situation(one, *, gone=False):
    node = msgspec.convert(
        {
            "metadata": {"name": "node-1"},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
        },
        type=Node,
    )
    view = AnnounceView(
        nodes={OWN: node},
        bgp_peers={SWITCH: one},
        gone={OWN: GoneNode("node-1")} if gone else {},
    )
    return Situation(node="node-1", view=view, duties={})


@contextlib.asynccontextmanager
async def running(directory: Path):
    api, events = Api(), Events()
    part = BgpPart(
        settings=BgpSettings(node="node-1", directory=directory),
        client=api,
        events=events,
        clock=SystemClock(),
    )
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(part.run())
        try:
            async with asyncio.timeout(10):
                yield part, api, events
        finally:
            task.cancel()


async def test_without_bird_the_status_says_so_and_all_else_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    async with running(tmp_path / "bgp") as (part, api, events):
        part.take(situation(peer()))
        key, entry = await api.patches.get()
        assert key == SWITCH
        assert entry["state"] == "Refused"
        assert "cannot execute bird" in entry["message"]
        assert events.told[0][:2] == ("switch", "SessionDown")
        assert part.report()["sessions"][0].state == "Refused"
        assert {s.name: s.value for s in part.samples()}["netloom_bgp_session_up"] == 0


async def test_who_has_no_password_yet_is_not_tried_without(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    async with running(tmp_path / "bgp") as (part, api, _):
        part.take(situation(peer(passwordSecretRef={"name": "bgp", "namespace": "x"})))
        _, entry = await api.patches.get()
        assert entry["state"] == "Refused"
        # Without BIRD that is what is told; the password is looked for all the same.
        assert "neighbor" not in (tmp_path / "bgp" / "bird.conf").read_text()


async def test_what_a_former_speaker_said_stays_until_the_node_is_ready(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "bgp").mkdir()
    (tmp_path / "bgp" / "bird.conf").write_text("# before\n")
    async with running(tmp_path / "bgp") as (part, api, _):
        part.take(situation(peer(), gone=True))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await api.patches.get()
        assert (tmp_path / "bgp" / "bird.conf").read_text() == "# before\n"
        part.take(situation(peer()))
        await api.patches.get()
        assert "neighbor 192.0.2.1" in (tmp_path / "bgp" / "bird.conf").read_text()


async def test_the_board_writes_what_changed_and_only_that():
    api, events = Api(), Events()
    board = Board(node="node-1", client=api, events=events, clock=SystemClock())
    there = {SWITCH: peer()}
    await board.tell({"switch": Session("Active")}, there)
    assert events.told == []  # it has only just begun
    assert api.patches.get_nowait()[1]["state"] == "Active"
    api.problem = Unavailable("the API server is away")
    await board.tell({"switch": Session("Established")}, there)
    api.problem = None
    await board.tell({"switch": Session("Established")}, there)
    assert api.patches.get_nowait()[1]["state"] == "Established"
    entry = {"nodes": {"node-1": {"state": "Established"}}}
    there = {SWITCH: msgspec.convert({"metadata": {"name": "switch"}, "status": entry}, type=BGPPeer)}
    await board.tell({"switch": Session("Established")}, there)
    assert api.patches.empty()
    await board.tell({}, there)  # the peer is for other nodes now
    assert api.patches.get_nowait() == (SWITCH, None)
    api.problem = NotFound("it is gone")
    await board.tell({"switch": Session("Idle", "Hold timer expired")}, there)
    assert [told[1] for told in events.told][-2:] == ["SessionUp", "SessionDown"]


@contextlib.asynccontextmanager
async def answering(*answers: bytes):
    """A BIRD that says these, one after each question; None in its place ends the connection."""

    async def serve(reader, writer):
        writer.write(b"0001 BIRD 2.0.12 ready.\n")
        for answer in answers:
            await reader.readline()
            writer.write(answer)
            await writer.drain()
        writer.close()

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ctl"
        server = await asyncio.start_unix_server(serve, path)
        async with server:
            yield path


async def test_an_answer_in_pieces_and_a_refusal():
    long = b"2002-Name Proto\n1002-a BGP\n b BGP\n0000 \n"
    async with answering(long, b"0002-Reading\n8002 line 3: syntax error\n") as path:
        ended = asyncio.Event()
        control = await Control.connect(path, ended.set)
        lines = await control.ask("show protocols")
        assert [(line.code, line.text) for line in lines] == [
            (2002, "Name Proto"),
            (1002, "a BGP"),
            (1002, "b BGP"),
            (0, ""),
        ]
        with pytest.raises(Refused, match="line 3: syntax error"):
            await control.ask("configure")
        await ended.wait()
        with pytest.raises(Unavailable):
            await control.ask("show status")


async def test_nobody_there(tmp_path):
    with pytest.raises(Unavailable):
        await Control.connect(tmp_path / "none", lambda: None)
