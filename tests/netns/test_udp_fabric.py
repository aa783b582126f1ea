"""The udp fabric: real packets through the process of a node, what it refuses, and that it is not missed when it comes back."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import os
import signal
import socket
import struct
import sys
from pathlib import Path

import msgspec
import pytest

from netloom.fabric.udp.apply import UdpFabric
from netloom.fabric.udp.feed import connect, push
from netloom.fabric.udp.main import UdpConfig
from netloom.fabric.udp.packets import checksum
from netloom.fabric.udp.table import PeerTable
from netloom.linux.netlink import NETLINK_ROUTE, NetlinkSocket
from netloom.linux.netns import Namespaces
from netloom.linux.process import Command, Process, spawn
from netloom.linux.rtnl import Rtnl
from netloom.model.routes.ways import FabricKind, Way
from netloom.program.names import UDP_LINK, UDP_ROUTE_PROTOCOL
from netloom.testing.hosts import Host
from netloom.testing.topologies import Segment, nodes_on_a_segment, pod_cidrs
from netloom.testing.tunnel_rig import Tap, facts_of, others, routes_to, until_reached
from netloom.units import Addr, Family, Protocol, family_of

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(
        not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="/dev/net/tun is not for this user"
    ),
]


class Node:
    def __init__(self, segment: Segment, number: int, directory: Path, outer: Family) -> None:
        self.segment = segment
        self.host = segment.nodes[number - 1]
        self.number = number
        self.socket = directory / f"{number}.sock"
        self.config = directory / f"{number}.json"
        self.config.write_bytes(msgspec.json.encode(UdpConfig(feed_socket=str(self.socket))))
        self.facts = facts_of(self.host, number, FabricKind.UDP, outer=outer)
        self.fabric = UdpFabric(feed_socket=self.socket, netns_fd=self.host.netns_fd)
        self.process: Process | None = None

    async def run_process(self) -> None:
        argv = (sys.executable, "-m", "netloom.fabric.udp.main", str(self.config))
        err = os.open(self.config.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            self.process = await spawn(Command(argv=argv, stderr=err), ns=Namespaces(net=self.host.netns_fd))
        finally:
            os.close(err)

    async def until_listens(self) -> None:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(Exception):
                    sock, _ = await asyncio.to_thread(connect, self.socket)
                    sock.close()
                    return
                await asyncio.sleep(0.02)

    def routes(self) -> dict:
        numbers = others(len(self.segment.nodes), self.number)
        return routes_to(self.segment, numbers, self.facts, Way.UDP)

    def dropped(self) -> dict[str, int]:
        sock, told = connect(self.socket)
        sock.close()
        return told.dropped


@contextlib.asynccontextmanager
async def cluster(directory: Path, count: int = 2, outer: Family = Family.V4, *, start: bool = True):
    with nodes_on_a_segment(count) as segment:
        nodes = [Node(segment, number, directory, outer) for number in range(1, count + 1)]
        try:
            for node in nodes:
                await node.run_process()
            for node in nodes:
                await node.until_listens()
                if start:
                    await node.fabric.start(node.routes(), node.facts)
            yield segment, nodes
        finally:
            for node in nodes:
                if node.process is not None:
                    node.process.close()


async def send_much(source: Host, target: Addr, server: Host, size: int) -> str:
    """Bytes over TCP from one host to another; what arrived, as a digest."""
    loop = asyncio.get_running_loop()
    listener = server.open_socket(family_of(target))
    listener.bind((str(target), 5000))
    listener.listen(1)
    with listener, source.open_socket(family_of(target)) as sock:
        await loop.sock_connect(sock, (str(target), 5000))
        there, _ = await loop.sock_accept(listener)
        there.setblocking(False)
        digest = hashlib.sha256()

        async def receive() -> None:
            got = 0
            while got < size:
                chunk = await loop.sock_recv(there, 1 << 18)
                assert chunk
                digest.update(chunk)
                got += len(chunk)

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(receive())
            tasks.create_task(loop.sock_sendall(sock, DATA[:size]))
        there.close()
        return digest.hexdigest()


DATA = bytes(i * 7919 >> 3 & 0xFF for i in range(1 << 16)) * 128


@pytest.mark.parametrize("outer", list(Family), ids=lambda f: f.value)
@pytest.mark.parametrize("inner", list(Family), ids=lambda f: f.value)
async def test_pods_reach_each_other(tmp_path, outer: Family, inner: Family):
    async with cluster(tmp_path, outer=outer) as (segment, _):
        one, two = segment.pods
        with Tap(segment.switch) as tap:
            for protocol in (Protocol.TCP, Protocol.UDP):
                async with two.serve(80, protocol, family=inner):
                    reply = await one.ask(two.address_of(inner), 80, protocol)
                    assert reply is not None
                    assert reply.peer == one.address_of(inner)
            digest = await send_much(one, two.address_of(inner), two, len(DATA))
            assert digest == hashlib.sha256(DATA).hexdigest()
            assert tap.plain() == []


async def test_a_node_speaks_to_pods_of_others(tmp_path):
    async with cluster(tmp_path) as (segment, _):
        two = segment.pods[1]
        async with two.serve(80):
            reply = await segment.nodes[0].ask(two.address, 80)
            assert reply is not None
            assert reply.peer in pod_cidrs(1)[0]


@pytest.mark.parametrize("size", [1, 1444, 1445, 1472, 3000, 9000, 60000])
async def test_datagrams_of_any_size_arrive(tmp_path, size: int):
    async with cluster(tmp_path) as (segment, _):
        one, two = segment.pods
        loop = asyncio.get_running_loop()
        with two.open_socket(protocol=Protocol.UDP) as there, one.open_socket(protocol=Protocol.UDP) as here:
            there.bind((str(two.address), 7))
            for _ in range(
                3
            ):  # a first one of full size tells the pod, whose interface here has 1500, of the way's MTU
                await loop.sock_sendto(here, DATA[:size], (str(two.address), 7))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        assert await loop.sock_recv(there, 1 << 16) == DATA[:size]
                        return
            pytest.fail("nothing arrived")


async def test_packets_of_strangers_and_with_false_sources_are_refused(tmp_path):
    async with cluster(tmp_path, 3) as (segment, nodes):
        one, two, three = segment.pods
        packet = udp_packet(three.address, two.address, 7, b"not from here")
        loop = asyncio.get_running_loop()
        with two.open_socket(protocol=Protocol.UDP) as there:
            there.bind((str(two.address), 7))

            async def arrives(host: Host, port: int, payload: bytes) -> bool:
                with host.open_socket(protocol=Protocol.UDP) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, 15, 1)  # SO_REUSEPORT
                    sock.bind((str(host.address), port))
                    sock.sendto(payload, (str(segment.nodes[1].address), 8285))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.3):
                        return await loop.sock_recv(there, 2048) == b"not from here"
                return False

            nodes[2].process.close()  # its port is free for the one who pretends
            assert await arrives(segment.nodes[2], 8285, packet)  # the node of this pod may
            assert not await arrives(segment.nodes[2], 8286, packet)
            assert not await arrives(
                segment.nodes[2], 8285, udp_packet(one.address, two.address, 7, b"not from here")
            )
            outside = ipaddress.ip_address("192.0.2.1")
            assert not await arrives(segment.nodes[2], 8285, udp_packet(three.address, outside, 7, b"x"))
            assert not await arrives(segment.nodes[2], 8285, b"\xf1\x00\x00")
            assert not await arrives(segment.nodes[2], 8285, b"\xf1\x00\x07\x02" + bytes(40))
            assert not await arrives(segment.nodes[2], 8285, b"")
            dropped = await asyncio.to_thread(nodes[1].dropped)
            dropped.pop("no peer", None)  # the interface's own, for groups
            assert dropped == {
                "stranger": 1,
                "false source": 1,
                "false target": 1,
                "malformed": 1,
                "incomplete": 1,
            }


def udp_packet(source: Addr, target: Addr, port: int, payload: bytes) -> bytes:
    """IPv4 and UDP without a checksum of the latter (RFC 768 allows that)."""
    length = 28 + len(payload)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, 0, 0, 64, 17, 0, source.packed, target.packed)
    head = head[:10] + (checksum(head) ^ 0xFFFF).to_bytes(2, "big") + head[12:]
    return head + struct.pack("!HHHH", 9, port, 8 + len(payload), 0) + payload


async def test_a_sender_hears_of_a_narrow_path(tmp_path):
    async with cluster(tmp_path) as (segment, nodes):
        one, two = segment.pods
        via = segment.nodes[1].address
        with Rtnl(segment.nodes[0].netns_fd) as rtnl:  # as if a router had said so
            from netloom.program.routes import Route  # noqa: PLC0415

            narrow = Route(destination=ipaddress.ip_network(via), device="eth0", mtu=1300, protocol=4)
            rtnl.replace_route(narrow)
        with one.open_socket(protocol=Protocol.UDP) as sock:
            sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: do not fragment
            sock.connect((str(two.address), 7))
            assert sock.getsockopt(socket.IPPROTO_IP, 14) == 1500
            async with asyncio.timeout(10):
                while sock.getsockopt(socket.IPPROTO_IP, 14) != 1300 - 28:
                    with contextlib.suppress(OSError):
                        sock.send(bytes(1400))
                    await asyncio.sleep(0.02)
        # and trains get through as before
        digest = await send_much(one, two.address, two, 1 << 20)
        assert digest == hashlib.sha256(DATA[: 1 << 20]).hexdigest()
        assert (await asyncio.to_thread(nodes[0].dropped))["too long"] > 0


async def test_an_agent_that_dies_is_not_missed_and_the_next_one_touches_no_route(tmp_path):
    async with cluster(tmp_path) as (segment, nodes):
        one, two = segment.pods
        async with two.serve(80):
            assert await one.reaches(two.address, 80)
            with NetlinkSocket(
                NETLINK_ROUTE, netns_fd=segment.nodes[0].netns_fd, groups=(1, 5, 7, 9, 11)
            ) as news:
                again = UdpFabric(feed_socket=nodes[0].socket, netns_fd=segment.nodes[0].netns_fd)
                await again.start(nodes[0].routes(), nodes[0].facts)
                assert news.receive(wait=False) == []
            assert await one.reaches(two.address, 80)


@pytest.mark.parametrize("fault", ["process killed", "device deleted"])
async def test_a_process_that_comes_anew_is_told_everything(tmp_path, fault: str):
    async with cluster(tmp_path) as (segment, nodes):
        one, two = segment.pods
        first = nodes[0]
        async with two.serve(80), asyncio.TaskGroup() as tasks:
            assert await one.reaches(two.address, 80)
            running = tasks.create_task(first.fabric.run())
            if fault == "process killed":
                first.process.kill(signal.SIGKILL)
            else:
                with Rtnl(first.host.netns_fd) as rtnl:
                    rtnl.delete_link(UDP_LINK)
            assert await first.process.wait() != 0
            first.process.close()
            if fault == "process killed":
                with Rtnl(first.host.netns_fd) as rtnl:  # routes and device stay
                    assert len(rtnl.routes(UDP_ROUTE_PROTOCOL)) == 2
            assert not await one.reaches(two.address, 80)
            await first.run_process()
            assert await until_reached(one, two.address, 80)
            running.cancel()


async def test_peers_come_and_go_one_by_one(tmp_path):
    async with cluster(tmp_path, 3) as (segment, nodes):
        one, two, three = segment.pods
        async with two.serve(80), three.serve(80):
            assert await one.reaches(two.address, 80)
            gone = dict.fromkeys(pod_cidrs(2))
            await nodes[0].fabric.apply(gone)
            assert not await one.reaches(two.address, 80)
            assert await one.reaches(three.address, 80)
            await nodes[0].fabric.apply(routes_to(segment, [2], nodes[0].facts, Way.UDP))
            assert await one.reaches(two.address, 80)


async def test_a_table_that_cannot_be_in_force_is_refused_and_the_former_one_stays(tmp_path):
    async with cluster(tmp_path) as (segment, nodes):
        one, two = segment.pods
        with pytest.raises(Exception, match="no-address"):
            await asyncio.to_thread(push, nodes[0].socket, PeerTable("x", local="no-address", port=1))
        with segment.nodes[0].open_socket(protocol=Protocol.UDP) as sock:
            sock.bind(("0.0.0.0", 9999))
            taken = PeerTable("x", local=str(segment.nodes[0].address), port=9999)
            with pytest.raises(Exception, match="9999"):
                await asyncio.to_thread(push, nodes[0].socket, taken)
        async with two.serve(80):
            assert await one.reaches(two.address, 80)


async def test_only_its_owner_reaches_the_feed(tmp_path):
    async with cluster(tmp_path, 1) as (_, nodes):
        assert nodes[0].socket.stat().st_mode & 0o777 == 0o600


async def test_removing_it_leaves_nothing(tmp_path):
    async with cluster(tmp_path) as (segment, nodes):
        await nodes[0].fabric.remove()
        await nodes[0].fabric.remove()
        with Rtnl(segment.nodes[0].netns_fd) as rtnl:
            assert rtnl.find_link(UDP_LINK) is None
            assert rtnl.routes(UDP_ROUTE_PROTOCOL) == []
