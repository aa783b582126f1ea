"""What goes back through a Service beside answers: refusals of servers, packets that are too big, segments that nobody can place."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.testing import builders as b
from netloom.testing.hosts import Host
from netloom.testing.service_networks import Connection
from netloom.testing.service_rig import ECHO, Rig, echoing, service_rig
from netloom.testing.service_universe import nodes, pods
from netloom.testing.service_words import Words
from netloom.units import Addr, Family, Protocol, family_of

pytestmark = pytest.mark.netns

both_families = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
CLOSED = 8090
SMALL_MTU = 1300
_MSG_ERRQUEUE = 0x2000
_IP = {Family.V4: socket.IPPROTO_IP, Family.V6: socket.IPPROTO_IPV6}
_RECVERR = {Family.V4: 11, Family.V6: 25}
_MTU = {Family.V4: 14, Family.V6: 24}
_AF = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
_RST = 4
_ACK = 0x10


async def put(
    rig: Rig, w: Words, *words: str, port: int, protocol: Protocol = Protocol.TCP, local: bool = False
) -> None:
    service = w.service(protocol=protocol, external_traffic_policy="Local" if local else "Cluster")
    found = w.slice(*map(w.endpoint, words), port=port, protocol=protocol)
    await rig.put(b.view(service, found, *nodes(), *pods()))


async def refusal(host: Host, address: Addr, port: int) -> tuple[str, str, int]:
    """Send a datagram; who refused it (as the ICMP error says), and where the refused datagram went, as the sender is told."""
    family = family_of(address)
    with host.open_socket(family, Protocol.UDP) as sock:
        sock.setsockopt(_IP[family], _RECVERR[family], 1)
        sock.connect((str(address), port))
        sock.send(b"who\n")
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()
        loop.add_reader(sock, lambda: told.done() or told.set_result(None))
        try:
            async with asyncio.timeout(1):
                await told
        finally:
            loop.remove_reader(sock)
        with pytest.raises(ConnectionRefusedError):
            sock.recv(10)
        _, ancillary, _, sent_to = sock.recvmsg(100, 200, _MSG_ERRQUEUE)
    (error,) = (data for level, kind, data in ancillary if (level, kind) == (_IP[family], _RECVERR[family]))
    offender = error[16:]  # struct sock_extended_err, then a sockaddr
    packed = offender[4:8] if family is Family.V4 else offender[8:24]
    return socket.inet_ntop(_AF[family], packed), sent_to[0], sent_to[1]


@both_families
async def test_a_servers_own_refusal_comes_back_as_from_the_service(family):
    """ICMP port unreachable of a pod: both the packet and the header in it are translated back."""
    w = Words(family)
    async with service_rig() as rig:
        pod, client = rig.second, rig.client
        cases = [
            (pod, "far", "service", 80, False),
            (pod, "a", "node", 30080, False),
            (pod, "b", "service", 80, False),  # itself
            (client, "far", "balancer", 80, False),
            (client, "a", "node", 30080, True),
            (client, "a", "external", 80, True),
        ]
        for host, endpoint, word, port, local in cases:
            target = w.address(word)
            await put(rig, w, endpoint, port=CLOSED, protocol=Protocol.UDP, local=local)
            assert await refusal(host, target, port) == (str(target), str(target), port)
            await put(rig, w, endpoint, port=8080, protocol=Protocol.UDP, local=local)
            assert await host.reaches(target, port, Protocol.UDP)


async def path_mtu(host: Host, address: Addr, port: int) -> int:
    """Send 100 kB and hear them back; the MTU that the sender knows of then."""
    family, loop = family_of(address), asyncio.get_running_loop()
    with host.open_socket(family) as sock:
        async with asyncio.timeout(2):
            await loop.sock_connect(sock, (str(address), port))
            sending = asyncio.ensure_future(loop.sock_sendall(sock, bytes(100_000)))
            heard = 0
            while heard < 100_000:
                heard += len(await loop.sock_recv(sock, 65536))
            await sending
        return sock.getsockopt(_IP[family], _MTU[family])


@both_families
@pytest.mark.parametrize("local", [False, True], ids=["cluster", "local"])
async def test_who_sends_too_big_packets_through_a_service_learns_the_mtu(family, local):
    """The way to the pod is narrow behind the node: its ICMP error speaks of the pod, and has to reach the client all the same."""
    w = Words(family)
    async with service_rig() as rig, echoing(rig.net.pod_1, family=family):
        await put(rig, w, "a", port=ECHO, local=local)
        askers = [(rig.client, "balancer", 80), (rig.client, "node", 30080), (rig.second, "service", 80)]
        for host, word, port in askers:
            assert await path_mtu(host, w.address(word), port) == 1500
        with Rtnl(rig.node.netns_fd) as rtnl:
            route = next(r for r in rtnl.routes() if r.destination.network_address == w.address("a"))
            rtnl.set_mtu(route.device, SMALL_MTU)
        for host, word, port in askers:
            assert await path_mtu(host, w.address(word), port) == SMALL_MTU, (host.name, word)


class Segment(NamedTuple):
    """A TCP segment, as it came."""

    source: Addr
    source_port: int
    port: int
    sequence: int
    acknowledged: int
    flags: int


class Wire:
    """Sends single TCP segments of a host, and hears all that come to it."""

    def __init__(self, host: Host, family: Family) -> None:
        self._family = family
        self._address = host.address_of(family)
        self._sock = netns.open_socket(host.netns_fd, _AF[family], socket.SOCK_RAW, socket.IPPROTO_TCP)
        self._sock.setblocking(False)

    def close(self) -> None:
        self._sock.close()

    def inject(self, answered: Segment) -> None:
        """An ACK to whoever sent this, a gigabyte ahead of the window."""
        to, ports = answered.source, (answered.port, answered.source_port)
        numbers = ((answered.acknowledged + (1 << 30)) & 0xFFFFFFFF, answered.sequence)
        head = struct.pack(">HHIIBBHHH", *ports, *numbers, 5 << 4, _ACK, 1000, 0, 0)
        pseudo = self._address.packed + to.packed + struct.pack(">II", len(head), 6)
        total = sum(struct.unpack(f">{len(pseudo + head) // 2}H", pseudo + head))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        segment = head[:16] + struct.pack(">H", ~total & 0xFFFF) + head[18:]
        self._sock.sendto(segment, (str(to), 0))

    def heard(self) -> Iterator[Segment]:
        """What came since the last time."""
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, sender = self._sock.recvfrom(2000)
                begin = (packet[0] & 15) * 4 if self._family is Family.V4 else 0
                numbers = struct.unpack(">HHII", packet[begin : begin + 12])
                yield Segment(type(self._address)(sender[0]), *numbers, packet[begin + 13])


@both_families
@pytest.mark.parametrize("word", ["a", "far"])
async def test_a_segment_that_conntrack_cannot_place_never_comes_untranslated(family, word):
    """From the backend, far outside of the window: unknown to the client, which would answer with a reset (kubernetes 74839)."""
    w = Words(family)
    async with service_rig() as rig:
        server = rig.host_with(w.address(word))
        async with echoing(server, family=family):
            with contextlib.ExitStack() as stack:
                of_server = stack.enter_context(contextlib.closing(Wire(server, family)))
                of_client = stack.enter_context(contextlib.closing(Wire(rig.second, family)))
                # Before there is a plane such a segment arrives: so it would be seen.
                of_server.inject(Segment(w.address("b"), 12345, ECHO, 0, 0, _ACK))
                assert await rig.second.ask(server.address_of(family), 8080)
                assert [one.source for one in of_client.heard() if one.port == 12345] == [w.address(word)]
                await put(rig, w, word, port=ECHO)
                list(of_server.heard())
                connection = stack.enter_context(
                    contextlib.closing(Connection(rig.second, w.address("service")))
                )
                assert await connection.open()
                of_server.inject(list(of_server.heard())[-1])
                assert await connection.talk()
                assert [one for one in of_client.heard() if one.source_port == ECHO] == []
                assert [one for one in of_server.heard() if one.flags & _RST] == []


@both_families
async def test_a_segment_that_conntrack_cannot_place_is_not_answered_by_the_node(family):
    """From the backend to the node's address, which stands for a client outside: the node must not reset what is not its own."""
    w = Words(family)
    async with service_rig() as rig, echoing(rig.net.pod_2, family=family):
        await put(rig, w, "far", port=ECHO)
        with (
            contextlib.closing(Wire(rig.net.pod_2, family)) as of_server,
            contextlib.closing(Connection(rig.client, w.address("balancer"))) as connection,
        ):
            assert await connection.open()
            of_server.inject(list(of_server.heard())[-1])
            assert await connection.talk()
            assert [one for one in of_server.heard() if one.flags & _RST] == []
