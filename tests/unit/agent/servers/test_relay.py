"""TCP and UDP through the node, over real sockets on loopback: bytes, ends, resets, limits."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import resource
import socket
import struct

import pytest

from netloom.agent.servers import relay as relays
from netloom.agent.servers.datagrams import IDLE_S, UdpRelay
from netloom.agent.servers.relay import HALF_CLOSED_S, TcpRelay
from netloom.agent.servers.sockets import NodeSockets, Place

HOST = ipaddress.ip_address("127.0.0.1")
ANY_PORT = Place(HOST, 0)


class HandClock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class WatchedTcp(TcpRelay):
    """Tells of the end of each connection."""

    def __init__(self, **options) -> None:
        self.ends: asyncio.Queue[object] = asyncio.Queue()
        super().__init__(sockets=NodeSockets(), **{"clock": HandClock()} | options)

    def ended(self, connection) -> None:
        super().ended(connection)
        self.ends.put_nowait(connection)


@contextlib.asynccontextmanager
async def relayed(serve, relay=None):
    """A server, and the port of a relay in front of it."""
    served = []

    async def keep(reader, writer):
        served.append(writer)
        with contextlib.suppress(OSError):
            await serve(reader, writer)

    relay = relay or WatchedTcp()
    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    behind = server.sockets[0].getsockname()[1]
    sock = NodeSockets().listen(ANY_PORT)
    port = sock.getsockname()[1]
    front = relay.listen(sock, lambda: (HOST, behind))
    try:
        async with asyncio.timeout(30):
            yield relay, front, port
    finally:
        front.close()
        relay.close()
        server.close()
        for writer in served:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def echo(reader, writer):
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    writer.close()


async def test_many_bytes_pass_both_ways_unharmed():
    sent = os.urandom(1 << 20) * 16
    async with relayed(echo) as (relay, _, port), connected(port) as (reader, writer):

        async def say():
            for at in range(0, len(sent), 1 << 20):
                writer.write(sent[at : at + (1 << 20)])
                await writer.drain()
            writer.write_eof()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(say())
            heard = await reader.read(-1)
        assert heard == sent
        await relay.ends.get()
        assert (relay.bytes, relay.connections, relay.open_count, relay.refused) == (2 * len(sent), 1, 0, 0)


async def test_a_half_that_is_closed_leaves_the_other_open():
    async def count(reader, writer):
        size = len(await reader.read(-1))
        writer.write(b"%d" % size)
        await writer.drain()
        writer.close()

    async with relayed(count) as (_, _, port), connected(port) as (reader, writer):
        writer.write(b"x" * 300_000)
        writer.write_eof()
        assert await reader.read(-1) == b"300000"


async def test_a_server_may_end_first_and_still_hear():
    heard = asyncio.get_running_loop().create_future()

    async def greet(reader, writer):
        writer.write(b"hello")
        writer.write_eof()
        heard.set_result(await reader.read(-1))

    async with relayed(greet) as (_, _, port), connected(port) as (reader, writer):
        assert await reader.read(-1) == b"hello"
        writer.write(b"thanks")
        writer.write_eof()
        assert await heard == b"thanks"


async def test_a_reset_is_a_reset_on_the_other_side():
    """A transfer that was cut must not look complete."""

    async def cut(reader, writer):
        await reader.readexactly(1)
        writer.write(b"part")
        await writer.drain()
        await reader.readexactly(1)
        _reset(writer)

    async with relayed(cut) as (relay, _, port), connected(port) as (reader, writer):
        writer.write(b"1")
        assert await reader.readexactly(4) == b"part"
        writer.write(b"2")
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)
        await relay.ends.get()


async def test_a_client_that_resets_is_told_to_the_server():
    told = asyncio.get_running_loop().create_future()

    async def wait(reader, writer):
        writer.write(b"1")
        try:
            told.set_result(await reader.read(-1))
        except ConnectionResetError as error:
            told.set_result(error)

    async with relayed(wait) as (_, _, port), connected(port) as (reader, writer):
        await reader.readexactly(1)
        _reset(writer)
        assert isinstance(await told, ConnectionResetError)


async def test_where_nobody_listens_the_client_is_reset():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nobody = gone.getsockname()[1]
    for target in ((HOST, nobody), None):
        relay = WatchedTcp()
        sock = NodeSockets().listen(ANY_PORT)
        front = relay.listen(sock, lambda target=target: target)
        async with asyncio.timeout(10):
            # the reset may come before or after the client has noticed that it is connected
            with pytest.raises(ConnectionResetError):
                async with connected(sock.getsockname()[1]) as (reader, _):
                    await reader.read()
            await relay.ends.get()
        assert (relay.connections, relay.refused, relay.open_count) == (1, 1, 0)
        front.close()


async def test_who_finds_no_room_waits_for_it():
    relay = WatchedTcp(limit=1)
    async with relayed(echo, relay) as (_, _, port):
        async with connected(port) as (reader, writer):
            writer.write(b"a")
            assert await reader.readexactly(1) == b"a"
            waiting = await asyncio.open_connection("127.0.0.1", port)  # in the kernel's queue
            waiting[1].write(b"b")
            writer.write(b"c")
            assert await reader.readexactly(1) == b"c"
            assert relay.connections == 1
        assert await waiting[0].readexactly(1) == b"b"
        assert relay.connections == 2
        waiting[1].transport.abort()


async def test_without_descriptors_the_port_rests_and_goes_on_later(monkeypatch):
    """The listening socket stays readable: without a rest the loop would turn round and round."""
    monkeypatch.setattr(relays, "_ACCEPT_AGAIN_S", 0.05)
    async with relayed(echo) as (relay, front, port):
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.create_connection(("127.0.0.1", port)) as client:  # connected by the kernel
            client.setblocking(False)
            next_free = os.dup(0)
            os.close(next_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, before[1]))
            try:
                front._accept()
                assert not front._accepting
                assert front._again is not None
                assert relay.connections == 0
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, b"x")
            assert await loop.sock_recv(client, 1) == b"x"


async def test_connections_outlive_their_port():
    async with relayed(echo) as (_, front, port), connected(port) as (reader, writer):
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        front.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"b")
        assert await reader.readexactly(1) == b"b"


async def test_what_is_half_closed_and_silent_ends_in_the_end():
    ready, ended = asyncio.Event(), asyncio.Event()

    async def hold(reader, writer):
        ready.set()
        await reader.read(-1)
        ended.set()
        await asyncio.Event().wait()

    clock = HandClock()
    relay = WatchedTcp(clock=clock)
    async with relayed(hold, relay) as (_, _, port), connected(port) as (reader, writer):
        await ready.wait()
        clock.now += HALF_CLOSED_S * 10
        relay.expire()
        assert relay.open_count == 1, "a whole connection may rest as long as it likes"
        writer.write_eof()
        await ended.wait()
        relay.expire()
        assert relay.open_count == 1
        clock.now += HALF_CLOSED_S + 1
        relay.expire()
        assert relay.open_count == 0
        with pytest.raises(ConnectionResetError):
            await reader.read()


class Echo(asyncio.DatagramProtocol):
    """Says back what it hears, and from whom."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data + b" %d" % addr[1], addr)


class Client(asyncio.DatagramProtocol):
    """Collects what it hears."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data, addr):
        self.heard.put_nowait(data)


@contextlib.asynccontextmanager
async def udp_relayed(relay, behind=None):
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    behind = behind or server.get_extra_info("sockname")[1]
    sock = NodeSockets().bind_datagrams(ANY_PORT)
    address = sock.getsockname()
    front = relay.listen(sock, lambda: (HOST, behind))
    try:
        async with asyncio.timeout(30):
            yield front, address
    finally:
        front.close()
        relay.close()
        server.close()


@contextlib.asynccontextmanager
async def udp_client(address):
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_datagram_endpoint(Client, remote_addr=address)
    try:
        yield transport, client.heard
    finally:
        transport.close()


def udp_relay(**options) -> UdpRelay:
    return UdpRelay(sockets=NodeSockets(), **{"clock": HandClock()} | options)


async def test_each_client_hears_its_own_answers():
    relay = udp_relay()
    async with (
        udp_relayed(relay) as (_, address),
        udp_client(address) as (one, heard_by_one),
        udp_client(address) as (two, heard_by_two),
    ):
        ports = {}
        for _ in range(2):
            for client, heard, word in ((one, heard_by_one, b"one"), (two, heard_by_two, b"two")):
                client.sendto(word)
                said, port = (await heard.get()).split()
                assert said == word
                assert ports.setdefault(word, port) == port, "one association for each client"
        assert len(set(ports.values())) == 2
        assert (relay.open_count, relay.associations, relay.datagrams, relay.dropped) == (2, 2, 8, 0)


async def test_an_empty_datagram_and_a_large_one_pass():
    loop = asyncio.get_running_loop()
    async with udp_relayed(udp_relay()) as (_, address):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as client:
            client.connect(address)
            for word in (b"", b"x" * 60_000):
                client.send(word)
                assert (await loop.sock_recv(client, 1 << 16)).startswith(word + b" ")


async def test_an_association_that_rests_ends_and_one_that_is_used_does_not():
    clock = HandClock()
    relay = udp_relay(clock=clock)
    async with (
        udp_relayed(relay) as (_, address),
        udp_client(address) as (one, heard_by_one),
        udp_client(address) as (two, heard_by_two),
    ):
        for client, heard in ((one, heard_by_one), (two, heard_by_two)):
            client.sendto(b"x")
            await heard.get()
        clock.now += IDLE_S / 2
        two.sendto(b"x")
        await heard_by_two.get()
        clock.now += IDLE_S / 2 + 1
        relay.expire()
        assert relay.open_count == 1
        one.sendto(b"again")
        assert (await heard_by_one.get()).startswith(b"again")
        assert relay.associations == 3


async def test_where_there_is_no_room_the_one_that_rested_longest_goes():
    relay = udp_relay(limit=2)
    async with udp_relayed(relay) as (_, address), contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            client, heard = await stack.enter_async_context(udp_client(address))
            client.sendto(b"x")
            await heard.get()
        assert (relay.open_count, relay.associations) == (2, 5)


async def test_what_is_refused_is_tried_anew():
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        behind = free.getsockname()[1]
    relay = udp_relay()
    async with udp_relayed(relay, behind) as (_, address), udp_client(address) as (client, heard):
        client.sendto(b"lost")
        while not relay.associations or relay.open_count:  # until the refusal has come
            turn = loop.create_future()
            loop.call_soon(turn.set_result, None)
            await turn
        server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", behind))
        client.sendto(b"heard")
        assert (await heard.get()).startswith(b"heard")
        server.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End with a reset: closing with a linger time of zero."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
