"""Packets that rules log, read from the kernel: what they were, that a flood is bounded and counted, that a group has one listener."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from netloom.errors import KernelError
from netloom.linux import netns, process
from netloom.linux.ip_headers import read_headers
from netloom.linux.netns import Namespaces
from netloom.linux.nflog import LoggedPacket, Missed, Nflog
from netloom.linux.nft import find_program
from netloom.testing.netns import fresh_netns
from netloom.testing.topologies import two_pods_one_node
from netloom.units import Family, Protocol

pytestmark = pytest.mark.netns

GROUP = 2010
TEN_S = 10


async def rules(netns_fd, text):
    done = await process.run(
        [find_program(), "-f", "-"], input=text.encode(), ns=Namespaces(net=netns_fd), timeout_s=TEN_S
    )
    assert done.returncode == 0, done.stderr


def denying(family, port):
    return f"""table {family.value} denied {{
      chain forward {{
        type filter hook forward priority 0; policy accept;
        tcp dport {port} log prefix "netloom:0123456789ab" group {GROUP} snaplen 128
        tcp dport {port} drop
      }}
    }}"""


@pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
async def test_a_dropped_packet_says_who_wanted_what_of_whom(family):
    with two_pods_one_node() as net, Nflog(GROUP, netns_fd=net.node.netns_fd) as nflog:
        source, target = net.a.address_of(family), net.b.address_of(family)
        async with net.b.serve(80, family=family), net.b.serve(81, family=family):
            assert await net.a.reaches(
                target, 80, timeout_s=TEN_S
            )  # the first SYN may meet a link that is only coming up
            assert nflog.pending() == []
            await rules(net.node.netns_fd, denying(family, 80))
            asked = asyncio.ensure_future(net.a.ask(target, 80, source=(source, 40123)))
            async with asyncio.timeout(TEN_S):
                (logged,) = await nflog.next()
            assert isinstance(logged, LoggedPacket)
            assert (logged.family, logged.hook, logged.prefix) == (family, 2, "netloom:0123456789ab")
            headers = read_headers(family, logged.data)
            assert (headers.source, headers.destination) == (source, target)
            assert (headers.protocol, headers.source_port, headers.destination_port) == (6, 40123, 80)
            assert logged.in_interface != logged.out_interface > 0
            assert len(logged.data) <= 128
            assert await asked is None
            assert await net.a.reaches(target, 81, timeout_s=TEN_S)


async def test_a_flood_is_bounded_and_what_was_missed_is_counted():
    sent = 4000
    with fresh_netns() as fd, Nflog(GROUP, netns_fd=fd, buffer_bytes=64 * 1024) as nflog:
        await rules(fd, flooded())
        with flooder(fd) as sock:
            for _ in range(sent):
                sock.sendto(b"x" * 100, ("127.0.0.1", 9))
        kept = sum(isinstance(one, LoggedPacket) for one in everything(nflog))
        assert 0 < kept < sent
        with flooder(fd) as sock:
            sock.sendto(b"x", ("127.0.0.1", 9))
        first, *_ = await nflog.next()
        assert first == Missed(sent - kept)
        assert everything(nflog) == []


async def test_a_group_has_one_listener_and_is_free_when_that_closes():
    with fresh_netns() as fd:
        with Nflog(GROUP, netns_fd=fd), pytest.raises(KernelError) as error:
            Nflog(GROUP, netns_fd=fd)
        assert error.value.errno in {errno.EBUSY, errno.EPERM}
        assert str(GROUP) in str(error.value)
        with Nflog(GROUP, netns_fd=fd) as again:
            assert again.pending() == []


async def test_of_a_packet_only_so_much_is_copied():
    with fresh_netns() as fd, Nflog(GROUP, netns_fd=fd, copy_bytes=40) as nflog:
        await rules(fd, flooded())
        with flooder(fd) as sock:
            sock.sendto(b"x" * 1000, ("127.0.0.1", 9))
        (logged,) = await nflog.next()
        assert isinstance(logged, LoggedPacket)
        assert len(logged.data) == 40
        assert read_headers(logged.family, logged.data).protocol == Protocol.UDP.number


def everything(nflog):
    found = []
    while some := nflog.pending():
        found += some
    return found


def flooded():
    return f"""table ip denied {{
      chain output {{
        type filter hook output priority 0; policy accept;
        udp dport 9 log prefix "x" group {GROUP}
      }}
    }}"""


def flooder(fd):
    return netns.open_socket(fd, socket.AF_INET, socket.SOCK_DGRAM)
