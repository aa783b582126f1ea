"""Limits of pods' bandwidth, measured: what passes is counted by the kernel, and never more than rate and burst allow.

An upper bound needs no quiet machine: the slower it is, the more time has passed. That the limit is what holds the packets back is
seen by taking it away: then more passes than it would have let.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import Iterator

import msgspec
import pytest

from netloom.cni import attach
from netloom.cni.attach import PodInterface
from netloom.cni.bandwidth import Bandwidth
from netloom.cni.limits import Limits
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.linux.tc import Tc
from netloom.program import names
from netloom.testing.hosts import Host
from netloom.testing.service_networks import facts, one_node, plane_of, state_of
from netloom.testing.topologies import POD_MTU
from netloom.units import Family, Protocol

pytestmark = pytest.mark.netns

RATE = 1_000_000
"""Bits a second."""
BURST = 160_000
"""Bits."""
PIECE = 1000
PIECES = 2000
PORT = 9200
DIRECTIONS = {
    "receives": Bandwidth(ingress_rate=RATE, ingress_burst=BURST),
    "sends": Bandwidth(egress_rate=RATE, egress_burst=BURST),
}
FAMILIES = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)


def link_of(pod: Host) -> str:
    """The node's side, as ``topologies.add_pod`` names it."""
    return names.pod_link(pod.name, "eth0")


@contextlib.contextmanager
def inbox(pod: Host, family: Family) -> Iterator[socket.socket]:
    with pod.open_socket(family, Protocol.UDP) as sock:
        sock.bind((str(pod.address_of(family)), PORT))
        yield sock


def drain(sock: socket.socket) -> int:
    got = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            got += len(sock.recv(2000))
    return got


async def flood(sender: Host, receiver: Host, family: Family) -> tuple[int, float]:
    """Bytes of payload that arrived, and the seconds from before the first was sent until after the last was seen."""
    began = time.monotonic()
    got = 0
    with inbox(receiver, family) as incoming, sender.open_socket(family, Protocol.UDP) as out:
        for number in range(PIECES):
            with contextlib.suppress(BlockingIOError):
                out.sendto(bytes(PIECE), (str(receiver.address_of(family)), PORT))
            if number % 20 == 0:
                got += drain(incoming)
                await asyncio.sleep(0)
        got += drain(incoming)
        return got, time.monotonic() - began


def most(seconds: float) -> float:
    return (RATE * seconds + BURST) / 8


@FAMILIES
@pytest.mark.parametrize("direction", list(DIRECTIONS))
async def test_no_more_passes_than_is_allowed_and_more_without_the_limit(direction, family):
    with one_node() as net, Limits(net.node.netns_fd) as limits:
        sender, receiver = (net.b, net.a) if direction == "receives" else (net.a, net.b)
        limits.put(link_of(net.a), DIRECTIONS[direction])
        began = time.monotonic()
        got, seconds = await flood(sender, receiver, family)
        passed = limits.passed(link_of(net.a))[0 if direction == "receives" else 1]
        # the counter is read before the clock: what passes between the two counts in favour of the limit
        bound = most(time.monotonic() - began)
        assert 0 < got <= most(seconds)
        assert passed is not None
        assert got <= passed.bytes <= bound
        assert passed.drops > 0
        # the other way is not limited
        other, took = await flood(receiver, sender, family)
        assert other > most(took)
        limits.put(link_of(net.a), None)
        got, seconds = await flood(sender, receiver, family)
        assert got > most(seconds)


@pytest.mark.parametrize("direction", list(DIRECTIONS))
async def test_a_pod_that_may_do_everything_in_its_own_network_cannot_take_its_limit_away(direction):
    with one_node() as net, Limits(net.node.netns_fd) as limits:
        limits.put(link_of(net.a), DIRECTIONS[direction])
        with Rtnl(net.a.netns_fd) as rtnl, Tc(net.a.netns_fd) as tc:
            index = rtnl.index("eth0")
            tc.delete_bucket(index)
            tc.stop_redirecting(index)
            rtnl.set_mtu("eth0", 65000)
        sender, receiver = (net.b, net.a) if direction == "receives" else (net.a, net.b)
        got, seconds = await flood(sender, receiver, Family.V4)
        assert 0 < got <= most(seconds)


@FAMILIES
@pytest.mark.parametrize("direction", list(DIRECTIONS))
async def test_tcp_with_segments_larger_than_the_burst_gets_through(direction, family):
    """The stack sends up to 64 KiB at once; the bucket holds two packets."""
    narrow = {
        name: msgspec.structs.replace(
            one, **{f: 24_000 for f in ("ingress_burst", "egress_burst") if getattr(one, f)}
        )
        for name, one in DIRECTIONS.items()
    }
    size = 60_000
    with one_node() as net, Limits(net.node.netns_fd) as limits:
        limits.put(link_of(net.a), narrow[direction])
        sender, receiver = (net.b, net.a) if direction == "receives" else (net.a, net.b)
        listening = receiver.open_socket(family)
        listening.bind((str(receiver.address_of(family)), PORT))
        got: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.set_result(len(await reader.readexactly(size)))
            writer.close()

        began = time.monotonic()
        async with await asyncio.start_server(take, sock=listening), asyncio.timeout(30):
            out = sender.open_socket(family)
            await asyncio.get_running_loop().sock_connect(out, (str(receiver.address_of(family)), PORT))
            _, writer = await asyncio.open_connection(sock=out)
            writer.write(bytes(size))
            assert await got == size
            writer.close()
        assert size <= (RATE * (time.monotonic() - began) + 24_000) / 8


async def test_who_forges_a_source_is_still_seen_behind_the_queue():
    """What passed the queue comes in by the pod's interface, not by the one with the queue: else no rule would know it."""
    with one_node() as net, Limits(net.node.netns_fd) as limits, plane_of(net.node) as plane:
        limits.put(link_of(net.a), DIRECTIONS["sends"])
        forged = ipaddress.ip_address("10.244.1.77")
        with Rtnl(net.a.netns_fd) as rtnl:
            rtnl.add_address("eth0", ipaddress.ip_interface(forged))

        async def heard(*sources: object) -> list[bytes]:
            with inbox(net.b, Family.V4) as incoming:
                for source in (*sources, net.a.address):
                    with net.a.open_socket(Family.V4, Protocol.UDP) as out:
                        out.bind((str(source), 0))
                        out.sendto(str(source).encode(), (str(net.b.address), PORT))
                words = []
                async with asyncio.timeout(5):
                    while str(net.a.address).encode() not in words:
                        words.append(await asyncio.get_running_loop().sock_recv(incoming, 100))
                return words

        assert len(await heard(forged)) == 2
        await plane.start(state_of(pods=[net.a, net.b]), facts())
        assert await heard(forged) == [str(net.a.address).encode()]


def test_limits_go_with_the_interface_and_a_changed_one_is_followed():
    both = Bandwidth(ingress_rate=8_000_000, egress_rate=16_000_000)
    more = msgspec.structs.replace(both, ingress_rate=80_000_000)
    with one_node() as net, Limits(net.node.netns_fd) as limits, Rtnl(net.node.netns_fd) as rtnl:
        link = link_of(net.a)
        relay = names.pod_relay(link)
        limits.put(link, both)
        assert limits.defects(link, both) == []
        assert limits.defects(link, more) == [
            "node: what the pod receives is limited to 1000000 bytes a second, not to 10000000"
        ]
        limits.put(link, more)
        assert limits.defects(link, more) == []
        with Tc(net.node.netns_fd) as tc:
            tc.stop_redirecting(rtnl.index(link))
        assert limits.defects(link, more) == ["node: what the pod sends is not limited"]
        limits.put(link, more)
        assert limits.defects(link, more) == []
        assert limits.defects(link, None) == [
            "node: what the pod receives is limited and should not be",
            "node: what the pod sends is limited and should not be",
        ]
        assert rtnl.find_link(relay) is not None
        netns.run_in(net.node.netns_fd, lambda: attach.detach(link))
        assert rtnl.find_link(relay) is None
        netns.run_in(net.node.netns_fd, lambda: attach.detach(link))


def test_a_pod_whose_network_vanished_leaves_nothing_behind():
    """Its interface is gone with its namespace, before anybody asked for that."""
    both = Bandwidth(ingress_rate=8_000_000, egress_rate=16_000_000)
    with one_node() as net, Limits(net.node.netns_fd) as limits, Rtnl(net.node.netns_fd) as rtnl:
        for pod, clear in (
            (net.a, lambda: netns.run_in(net.node.netns_fd, lambda: attach.detach(link_of(net.a)))),
            (net.b, limits.remove_orphans),
        ):
            limits.put(link_of(pod), both)
            rtnl.delete_link(link_of(pod))
            assert rtnl.find_link(names.pod_relay(link_of(pod))) is not None
            clear()
            assert rtnl.find_link(names.pod_relay(link_of(pod))) is None


def test_an_interface_is_made_with_its_limits_and_check_sees_them_go():
    both = Bandwidth(ingress_rate=8_000_000, egress_rate=16_000_000, ingress_burst=2**32 - 1)
    with one_node() as net, Limits(net.node.netns_fd) as limits:
        wanted = PodInterface(
            container="another",
            interface="eth7",
            addresses=(ipaddress.ip_address("10.244.1.9"), ipaddress.ip_address("2001:db8:44:1::9")),
            mtu=POD_MTU,
            node_addresses=net.node.addresses,
            bandwidth=both,
        )

        def defects() -> list[str]:
            return netns.run_in(net.node.netns_fd, lambda: attach.defects(net.b.netns_fd, made))

        made = netns.run_in(net.node.netns_fd, lambda: attach.attach(net.b.netns_fd, wanted))
        assert defects() == []
        limits.put(wanted.host_link, None)
        assert defects() == [
            "node: what the pod receives is not limited",
            "node: what the pod sends is not limited",
        ]
