"""Answers for addresses on a real segment: who asks gets the MAC, takeovers are announced, and others' claims are seen."""

import asyncio
import contextlib
import socket
from ipaddress import ip_address

import pytest

from netloom.announce import arp, ndp
from netloom.announce.answering import Answerer
from netloom.announce.guard import guard
from netloom.clock import SystemClock
from netloom.linux import link_probe, netns
from netloom.linux.nft import Nft
from netloom.linux.rtnl import Rtnl
from netloom.testing.topologies import two_nodes
from netloom.units import Family

pytestmark = pytest.mark.netns

V4, V6 = ip_address("172.30.0.200"), ip_address("2001:db8:30::200")
ELSEWHERE = ip_address("192.0.2.200")
STRANGER = bytes.fromhex("02000000dead")


def mac_of(host):
    with Rtnl(host.netns_fd) as rtnl:
        return rtnl.find_link("eth0").mac


def index_of(host):
    with Rtnl(host.netns_fd) as rtnl:
        return rtnl.index("eth0")


async def who_has(host, address):
    """The MAC that another station learns, as duplicate detection asks; empty where nobody answers."""
    index = index_of(host)

    def ask():
        return link_probe.who_has("eth0", index, address, wait_s=0.3, questions=2)

    return await netns.run_in_async(host.netns_fd, ask)


def packet_socket(host, ethertype):
    def make():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
        sock.bind(("eth0", ethertype))
        sock.setblocking(False)
        return sock

    return netns.run_in(host.netns_fd, make)


class Rig:
    def __init__(self, node):
        self.conflicts = []
        self.is_awake = True
        self.answerer = Answerer(
            clock=SystemClock(), is_awake=lambda: self.is_awake, on_conflict=self._conflict
        )
        self.both_claimed = asyncio.Event()

    def _conflict(self, found):
        self.conflicts.append(found)
        if {one.address for one in self.conflicts} == {V4, V6}:
            self.both_claimed.set()


@contextlib.asynccontextmanager
async def answering(host, *addresses):
    """An answerer whose sockets are in the host's namespace."""
    rig = Rig(host)
    netns.run_in(host.netns_fd, rig.answerer.open)
    rig.answerer.look(host.netns_fd)
    rig.answerer.hold(addresses)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(rig.answerer.run(host.netns_fd))
        await asyncio.sleep(0)  # it has begun, hence closes what it was given
        yield rig
        serving.cancel()


@pytest.fixture
def segment():
    with two_nodes() as found:
        yield found


@pytest.mark.parametrize("address", [V4, V6], ids=str)
async def test_who_asks_gets_the_mac_and_nobody_else_answers(segment, address):
    node, client = segment.node_1, segment.node_2
    assert await who_has(client, address) == ""
    async with answering(node, address) as rig:
        assert await who_has(client, address) == mac_of(node)
        rig.answerer.hold([])
        assert await who_has(client, address) == ""
        rig.answerer.hold([address])
        assert await who_has(client, address) == mac_of(node)
        rig.is_awake = False
        assert await who_has(client, address) == ""
    assert await who_has(client, address) == ""


async def test_the_kernel_of_a_client_learns_the_way_and_the_next_one(segment):
    """Takeover: the client's table changes by the announcement alone."""
    node, client = segment.node_1, segment.node_2
    with packet_socket(client, arp.ETHERTYPE) as seen, packet_socket(client, ndp.ETHERTYPE) as seen6:
        async with answering(node, V4, V6):
            frames = await received(seen, 2)
            assert {link_probe.claimed_by(f, V4) for f in frames} == {mac_of(node)}
            assert any(link_probe.claimed_by(f, V6) == mac_of(node) for f in await received(seen6, 1))


async def received(sock, count):
    loop = asyncio.get_running_loop()
    found = []
    async with asyncio.timeout(5):
        while len(found) < count:
            frame = await loop.sock_recv(sock, 2048)
            if link_probe.claimed_by(frame, V4) or link_probe.claimed_by(frame, V6):
                found.append(frame)
    return found


async def test_an_address_of_no_network_here_is_not_answered_for(segment):
    async with answering(segment.node_1, ELSEWHERE) as rig:
        assert rig.answerer.places(ELSEWHERE) == ()
        assert await who_has(segment.node_2, ELSEWHERE) == ""


async def test_a_stranger_that_answers_is_noticed(segment, monkeypatch):
    monkeypatch.setattr("netloom.announce.answering._SETTLED_S", 0.0)
    node, client = segment.node_1, segment.node_2
    async with answering(node, V4, V6) as rig:
        for frames, ethertype in (
            (arp.announcements(V4, STRANGER), arp.ETHERTYPE),
            ((ndp.announcement(V6, STRANGER),), ndp.ETHERTYPE),
        ):
            with packet_socket(client, ethertype) as sock:
                for frame in frames:
                    sock.send(frame)
        async with asyncio.timeout(5):
            await rig.both_claimed.wait()
    assert {found.mac for found in rig.conflicts} == {STRANGER.hex(":")}


@pytest.mark.parametrize("address", [V4, V6], ids=str)
async def test_what_is_for_nobody_ends_at_the_node(segment, address):
    """Without the table the node asks the segment for the address that it answers for itself, and the client waits."""
    node, client = segment.node_1, segment.node_2
    kind = socket.AF_INET if address.version == 4 else socket.AF_INET6
    async with answering(node, address):
        with Nft(netns_fd=node.netns_fd) as nft:
            await nft.run(
                *(guard(f, [address] if f.address_type[-1] == str(address.version) else []) for f in Family)
            )
        with netns.open_socket(client.netns_fd, kind, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            async with asyncio.timeout(5):
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.get_running_loop().sock_connect(sock, (str(address), 81))
