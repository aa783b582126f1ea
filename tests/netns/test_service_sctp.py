"""SCTP through Services: associations where the kernel speaks SCTP itself, and its first packets by hand where it only translates them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct

import pytest

from netloom.linux import netns
from netloom.testing import builders as b
from netloom.testing.hosts import Host
from netloom.testing.service_rig import ECHO, Rig, service_rig
from netloom.testing.service_universe import nodes, pods
from netloom.testing.service_words import Words
from netloom.units import Addr, Family, Protocol

pytestmark = pytest.mark.netns

both_families = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
_AF = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
_INIT = 1
_INIT_ACK = 2
_SILENCE_S = 0.12


def crc32c(data: bytes) -> int:
    """RFC 9260, appendix A; bit by bit, for packets of a few bytes."""
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ (0x82F63B78 if rest & 1 else 0)
    return rest ^ 0xFFFFFFFF


def packet(ports: tuple[int, int], tag: int, chunk: int) -> bytes:
    """One INIT or INIT ACK (RFC 9260, 3.3.2); the initiate tag is 0x01020304."""
    body = struct.pack(">BBHIIHHI", chunk, 0, 20, 0x01020304, 65536, 1, 1, 1)
    head = struct.pack(">HHI", *ports, tag)
    checksum = struct.pack("<I", crc32c(head + bytes(4) + body))
    return head + checksum + body


class Sctp:
    """Packets of one host, without its kernel knowing."""

    def __init__(self, host: Host, family: Family) -> None:
        self._family = family
        self._sock = netns.open_socket(host.netns_fd, _AF[family], socket.SOCK_RAW, socket.IPPROTO_SCTP)
        self._sock.setblocking(False)

    def close(self) -> None:
        self._sock.close()

    def send(self, to: Addr, data: bytes) -> None:
        self._sock.sendto(data, (str(to), 0))

    async def hear(self, timeout_s: float = 1) -> tuple[Addr, int, int, int]:
        """From where, ports from and to, first chunk; TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            data, sender = await loop.sock_recvfrom(self._sock, 2000)
        begin = (data[0] & 15) * 4 if self._family is Family.V4 else 0
        address = ipaddress.ip_address(sender[0])
        source, destination = struct.unpack(">HH", data[begin : begin + 4])
        checksum = data[begin + 8 : begin + 12]
        whole = data[begin : begin + 8] + bytes(4) + data[begin + 12 :]
        assert checksum == struct.pack("<I", crc32c(whole)), "translated without its checksum"
        return address, source, destination, data[begin + 12]


async def put(rig: Rig, w: Words, *words: str) -> None:
    found = w.slice(*map(w.endpoint, words), protocol=Protocol.SCTP, port=ECHO)
    await rig.put(b.view(w.service(protocol=Protocol.SCTP), found, *nodes(), *pods()))


@both_families
async def test_first_packets_of_associations_are_translated_both_ways(family):
    w = Words(family)
    async with service_rig() as rig:
        await put(rig, w, "far")
        own = {rig.node.address_of(family)}
        cases = [(rig.second, "service", 80, {w.address("b")}), (rig.client, "balancer", 80, own)]
        cases += [(rig.client, "node", 30080, own), (rig.second, "external", 80, {w.address("b")})]
        with contextlib.closing(Sctp(rig.net.pod_2, family)) as server:
            for number, (host, word, port, sources) in enumerate(cases):
                ports = (40000 + number, port)
                with contextlib.closing(Sctp(host, family)) as client:
                    client.send(w.address(word), packet(ports, 0, _INIT))
                    source, source_port, target_port, chunk = await server.hear()
                    assert (target_port, chunk) == (ECHO, _INIT)
                    assert source in sources
                    server.send(source, packet((ECHO, source_port), 0x01020304, _INIT_ACK))
                    assert await client.hear() == (w.address(word), port, ports[0], _INIT_ACK)


@both_families
async def test_an_association_that_nobody_can_answer_goes_nowhere(family):
    """Refused by ICMP, of which raw sockets hear nothing; before, the same packet arrived."""
    w = Words(family)
    async with service_rig() as rig:
        with (
            contextlib.closing(Sctp(rig.net.pod_2, family)) as server,
            contextlib.closing(Sctp(rig.second, family)) as client,
        ):
            await put(rig, w, "far")
            client.send(w.address("service"), packet((40000, 80), 0, _INIT))
            assert (await server.hear())[2:] == (ECHO, _INIT)
            await put(rig, w)
            client.send(w.address("service"), packet((40001, 80), 0, _INIT))
            with pytest.raises(TimeoutError):
                await server.hear(_SILENCE_S)


@both_families
async def test_whole_associations(family):
    """Skipped where the kernel has no SCTP of its own."""
    w = Words(family)
    async with service_rig() as rig:
        try:
            server = netns.open_socket(
                rig.net.pod_2.netns_fd, _AF[family], socket.SOCK_STREAM, socket.IPPROTO_SCTP
            )
        except OSError as error:
            pytest.skip(f"this kernel has no SCTP sockets ({error.strerror}): load the module sctp")
        await put(rig, w, "far")
        loop = asyncio.get_running_loop()
        with (
            server,
            netns.open_socket(
                rig.second.netns_fd, _AF[family], socket.SOCK_STREAM, socket.IPPROTO_SCTP
            ) as client,
        ):
            for one in (server, client):
                one.setblocking(False)
            server.bind((str(w.address("far")), ECHO))
            server.listen(1)
            async with asyncio.timeout(2):
                await loop.sock_connect(client, (str(w.address("service")), 80))
                accepted, peer = await loop.sock_accept(server)
                with accepted:
                    await loop.sock_sendall(client, b"who")
                    assert await loop.sock_recv(accepted, 10) == b"who"
            assert ipaddress.ip_address(peer[0]) == w.address("b")
