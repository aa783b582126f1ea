"""A port of the host that leads to a Service: bytes both ways, ends one by one, and the address of the moment."""

import asyncio
import errno
import socket
from contextlib import asynccontextmanager

import pytest

from netloom.errors import NotFound
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig
from netloom.local.outside import published as published_module
from netloom.local.outside.publication import Publication
from netloom.local.outside.published import Published
from netloom.units import ObjectKey, parse_addr


class OneService(KubeClient):
    """An API server with one Service, or none."""

    def __init__(self, *addresses):
        super().__init__(ClientConfig(server="http://localhost"))
        self.addresses = addresses
        self.asked = 0

    async def get(self, resource, key):
        self.asked += 1
        if self.addresses is None:
            raise NotFound(f"{resource.kind} {key}")
        return {"status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in self.addresses]}}}


async def answer(reader, writer):
    """Says where it is, and what it heard until the other side had nothing more to say."""
    here = writer.get_extra_info("sockname")[0]
    writer.write(f"{here}: ".encode() + await reader.read())
    await writer.drain()
    writer.close()


@asynccontextmanager
async def published(client):
    """Servers on one port of two addresses, and a published port that leads to that port."""
    one = socket.create_server(("127.0.0.2", 0))
    port = one.getsockname()[1]
    other = socket.create_server(("127.0.0.3", port))
    listener = socket.create_server(("127.0.0.1", 0))
    place = listener.getsockname()
    publication = Publication(parse_addr(place[0]), place[1], ObjectKey("shop", "web"), port)
    servers = [await asyncio.start_server(answer, sock=sock) for sock in (one, other)]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(Published(publication, listener, client).run())
        try:
            yield place
        finally:
            task.cancel()
            for server in servers:
                server.close()
                await server.wait_closed()


async def ask(place, text):
    reader, writer = await asyncio.open_connection(*place)
    try:
        writer.write(text.encode())
        writer.write_eof()
        return (await reader.read()).decode()
    finally:
        writer.close()


async def answer_or_reset(place, text):
    try:
        return await ask(place, text)
    except ConnectionResetError:
        return ""


async def test_bytes_both_ways_and_the_end_of_one_side_alone():
    async with published(OneService("127.0.0.2")) as place:
        assert await ask(place, "hello") == "127.0.0.2: hello"
        many = await asyncio.gather(*(ask(place, f"{number}" * 9000) for number in range(20)))
        assert many == [f"127.0.0.2: {f'{number}' * 9000}" for number in range(20)]


async def test_connections_that_come_together_ask_for_the_address_once():
    client = OneService("127.0.0.2")
    async with published(client) as place:
        await asyncio.gather(*(ask(place, "a") for _ in range(20)))
    assert client.asked == 1


async def test_an_address_that_changes_is_followed(monkeypatch):
    monkeypatch.setattr(published_module, "ASKED_AGAIN_S", 0.0)
    client = OneService("127.0.0.2")
    async with published(client) as place:
        assert await ask(place, "a") == "127.0.0.2: a"
        client.addresses = ("127.0.0.3", "127.0.0.2")
        assert await ask(place, "b") == "127.0.0.3: b"


async def test_an_address_that_nobody_answers_at_is_asked_for_again(caplog):
    client = OneService("127.0.0.9")
    async with published(client) as place:
        with pytest.raises(ConnectionResetError):
            await ask(place, "a")
        client.addresses = ("127.0.0.2",)
        assert await ask(place, "b") == "127.0.0.2: b"


async def test_more_connections_than_there_may_be_are_turned_away_until_one_ends(monkeypatch, caplog):
    monkeypatch.setattr(published_module, "MOST_CONNECTIONS", 1)
    async with published(OneService("127.0.0.2")) as place:
        reader, writer = await asyncio.open_connection(*place)
        with pytest.raises(ConnectionResetError):
            await ask(place, "b")
        assert "1 connections at a time" in caplog.text
        writer.write_eof()
        assert await reader.read() == b"127.0.0.2: "
        writer.close()
        async with asyncio.timeout(5):
            while not (answered := await answer_or_reset(place, "c")):
                pass
        assert answered == "127.0.0.2: c"


@pytest.mark.parametrize("problem", [OSError(errno.EHOSTUNREACH, "no route"), TimeoutError()])
async def test_a_connection_that_breaks_ends_and_nobody_hears_of_it_in_the_log(monkeypatch, caplog, problem):
    async def breaks(_reader, _writer):
        raise problem

    async with published(OneService("127.0.0.2")) as place:
        monkeypatch.setattr(published_module, "carry", breaks)
        assert await answer_or_reset(place, "a") == ""
        monkeypatch.undo()
        assert await ask(place, "b") == "127.0.0.2: b"
    assert caplog.records == []


@pytest.mark.parametrize("addresses", [None, (), ("127.0.0.9",)])
async def test_who_finds_nobody_is_turned_away_and_the_next_one_is_served(addresses, caplog):
    client = OneService()
    client.addresses = addresses
    async with published(client) as place:
        with pytest.raises(ConnectionResetError):
            await ask(place, "a")
        assert "to Service shop/web port" in caplog.text
        client.addresses = ("127.0.0.3",)
        assert await ask(place, "b") == "127.0.0.3: b"
