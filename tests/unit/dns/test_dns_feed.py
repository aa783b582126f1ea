"""The feed: nothing before the first commit, acknowledgements, agents and DNS processes that come and go."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest

from netloom.dns.clients import Clients
from netloom.dns.counters import Counters
from netloom.dns.feed import Audience, Begin, Commit, FeedClient, Names, Update, _packed
from netloom.dns.feed_server import FeedServer
from netloom.dns.frames import FRAME_LIMIT, frame
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.wire import encode_name, parse_query
from netloom.dns.zone import Zone
from netloom.errors import KernelError
from netloom.model.names.askers import Asker, AskersDelta
from netloom.model.names.records import NamesDelta, NamesState, RecordSet, RecordType
from netloom.testing.dns_messages import parse_zone, write_query

APEX = "cluster.local"
SOA = parse_zone([f"{APEX} SOA a b 1 2 3 4 5"])


def a_set(address: str):
    return (RecordSet(RecordType.A, (address,), 5),)


def state(**hosts: str) -> NamesState:
    names = {f"{host}.{APEX}": a_set(address) for host, address in hosts.items()}
    return NamesState((APEX,), {**SOA, **names})


class Dns:
    """The DNS process's end."""

    def __init__(self, path: str) -> None:
        self.counters = Counters()
        prepared = PreparedAnswers(counters=self.counters)
        self.zone = Zone(prepared=prepared)
        self.clients = Clients(prepared=prepared)
        self.server = FeedServer(path=path, zone=self.zone, clients=self.clients, counters=self.counters)

    def address(self, host: str) -> str | None:
        said = self.zone.answer(parse_query(write_query(f"{host}.{APEX}")))
        return ".".join(map(str, said.body[-4:])) if said.answers else None


@asynccontextmanager
async def dns(path):
    made = Dns(str(path))
    made.server.open()
    await made.server.start()
    try:
        yield made
    finally:
        made.server.close()


@asynccontextmanager
async def agent(path, snapshot, audience=None):
    client = FeedClient(path=str(path), snapshot=snapshot, audience=audience)
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(client.run())
        try:
            yield client
        finally:
            run.cancel()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "dns.sock"


async def test_a_whole_set_then_changes(path):
    async with dns(path) as served:
        assert not served.zone.synced
        async with agent(path, lambda: (1, state(web="10.0.0.1", db="10.0.0.2"))) as client:
            await client.in_force(1)
            assert served.zone.synced
            assert (served.address("web"), served.address("db")) == ("10.0.0.1", "10.0.0.2")
            client.offer(2, NamesDelta({f"web.{APEX}": a_set("10.0.0.9")}, (f"db.{APEX}",)))
            await client.in_force(2)
            assert (served.address("web"), served.address("db")) == ("10.0.0.9", None)
            assert served.zone.generation == client.acknowledged == 2
            assert client.connected


async def test_changes_offered_in_one_go_are_merged_and_end_right(path):
    async with dns(path) as served, agent(path, lambda: (1, state(web="10.0.0.1"))) as client:
        await client.in_force(1)
        frames = served.counters.feed_frames
        name = f"web.{APEX}"
        client.offer(2, NamesDelta({name: a_set("10.0.0.2")}))
        client.offer(3, NamesDelta({}, (name,)))
        client.offer(4, NamesDelta({name: a_set("10.0.0.4"), f"new.{APEX}": a_set("10.0.0.5")}))
        client.offer(5, NamesDelta({}, (f"new.{APEX}",)))
        await client.in_force(5)
        assert (served.address("web"), served.address("new")) == ("10.0.0.4", None)
        assert served.counters.feed_frames == frames + 1


async def test_large_sets_come_in_pieces(path):
    hosts = {f"h{i}": f"10.0.{i // 250}.{i % 250}" for i in range(2300)}
    async with dns(path) as served, agent(path, lambda: (7, state(**hosts))) as client:
        await client.in_force(7)
        assert len(served.zone) == 2301
        assert served.counters.feed_frames > 5


async def test_the_agent_goes_and_comes_back_with_another_set(path):
    async with dns(path) as served:
        async with agent(path, lambda: (5, state(web="10.0.0.1", old="10.0.0.2"))) as client:
            await client.in_force(5)
        assert served.address("web") == "10.0.0.1"
        assert served.zone.synced
        async with agent(path, lambda: (1, state(web="10.0.0.3"))) as client:
            await client.in_force(1)
            assert (served.address("web"), served.address("old")) == ("10.0.0.3", None)
            assert served.zone.generation == 1


async def test_the_dns_process_goes_and_comes_back(path):
    names = {"generation": 1, "state": state(web="10.0.0.1")}
    async with agent(path, lambda: (names["generation"], names["state"])) as client:
        async with dns(path):
            await client.in_force(1)
        names.update(generation=2, state=state(web="10.0.0.2"))
        client.offer(2, NamesDelta({f"web.{APEX}": a_set("10.0.0.2")}))
        async with dns(path) as served:
            await client.in_force(2)
            assert served.address("web") == "10.0.0.2"


async def raw(path, *frames: bytes):
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"".join(frames))
    return reader, writer


async def test_half_a_set_is_nothing(path):
    async with dns(path) as served, agent(path, lambda: (1, state(web="10.0.0.1"))) as client:
        await client.in_force(1)
        half = [frame(Begin((APEX,))), frame(Names(_packed({f"web.{APEX}": a_set("10.0.0.2")})))]
        _, writer = await raw(path, *half)
        await writer.drain()
        writer.close()
        client.offer(2, NamesDelta({f"b.{APEX}": a_set("10.0.0.3")}))
        await client.in_force(2)
        assert served.address("web") == "10.0.0.1"


async def test_the_connection_that_committed_last_counts(path):
    async with dns(path) as served:
        first, first_writer = await raw(path, frame(Begin(())), frame(Commit(1)))
        await first.readexactly(4)
        second, second_writer = await raw(
            path, frame(Begin((APEX,))), frame(Names(_packed(state(a="10.0.0.1").names))), frame(Commit(8))
        )
        await second.readexactly(4)
        await first.read()  # ended by the server
        assert served.zone.generation == 8
        first_writer.close()
        second_writer.close()


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([frame(Commit(1))], id="commit without begin"),
        pytest.param([frame(Names({}))], id="names without begin"),
        pytest.param([frame(Update(1, {}, ()))], id="update without a set"),
        pytest.param([frame(Begin(())), frame(Update(1, {}, ()))], id="update within a set"),
        pytest.param([frame(Begin((), {"nowhere": Asker("a/b")})), frame(Commit(1))], id="no address"),
        pytest.param([frame(Begin((), {}, ("10.0.0.0/99",))), frame(Commit(1))], id="no network"),
        pytest.param([frame(Begin(())), b"\0\0\0\1\xc1"], id="no message"),
        pytest.param([(FRAME_LIMIT + 1).to_bytes(4, "big")], id="frame over the limit"),
        pytest.param([frame(Begin((APEX,))), frame(Names({encode_name(APEX): struct.pack(">HHI", 6, 1, 3) + b"abc"})), frame(Commit(1))], id="no SOA"),
    ],
)  # fmt: skip
async def test_wrong_frames_end_the_connection_and_change_nothing(path, frames):
    async with dns(path) as served:
        reader, writer = await raw(path, *frames)
        assert b"problem" in await reader.read()
        assert not served.zone.synced
        writer.close()


async def test_only_this_user_may_connect_and_the_socket_goes_with_the_process(path):
    async with dns(path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert not path.exists()


async def test_a_socket_that_a_killed_process_left_is_no_obstacle(path):
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    async with dns(path) as served, agent(path, lambda: (1, state(web="10.0.0.1"))) as client:
        await client.in_force(1)
        assert served.address("web") == "10.0.0.1"


async def test_a_path_that_cannot_be(tmp_path):
    server = Dns(str(tmp_path / "no" / "dns.sock")).server
    with pytest.raises(KernelError, match="directory"):
        server.open()
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(KernelError):
        Dns(str(file)).server.open()
    assert file.read_text() == "precious"


def test_names_are_folded_on_the_way_in():
    assert encode_name("WEB.Cluster.Local") == encode_name("web.cluster.local")


def test_a_name_without_a_form_on_the_wire_is_left_out():
    assert list(_packed({"a..b": (), "x" * 64 + ".example": (), "a.b": ()})) == [encode_name("a.b")]


async def test_who_asks_goes_along_and_changes(path):
    here, there = ip_address("10.244.1.3"), ip_address("10.244.1.4")
    shop = Asker("shop/web", ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local"))
    audience = Audience({here: shop}, ("10.244.1.0/30",))
    generation = 1
    async with dns(path) as served:
        assert served.clients.at(b"\xc0\0\2\1") is not None, "nobody has said yet who may ask"
        async with agent(path, lambda: (generation, state()), lambda: audience) as client:
            await client.in_force(1)
            assert served.clients.at(here.packed).path.first == encode_name("shop.svc.cluster.local")
            assert served.clients.at(b"\xc0\0\2\1") is None
            client.offer(2, NamesDelta(), AskersDelta({there: Asker("shop/db")}, (here,)))
            await client.in_force(2)
            assert served.clients.at(there.packed).pod == "shop/db"
            assert served.clients.at(here.packed).pod == ""
            assert served.clients.at(here.packed).path is None
            audience = Audience({}, ("192.0.2.0/24",))
            names = served.counters.feed_sets
            generation = 3
            client.refresh()
            await client.in_force(3)
            assert served.counters.feed_sets == names + 1
            assert served.clients.at(b"\xc0\0\2\1") is not None
            assert served.clients.at(here.packed) is None
