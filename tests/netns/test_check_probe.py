"""The program that check runs inside pods, inside a namespace of its own: how connections end, all at once, and that it can be told to stop."""

from __future__ import annotations

import inspect
import ipaddress
import json
import os
import sys

import pytest

from netloom.linux import process
from netloom.linux.netns import Namespaces
from netloom.linux.rtnl import Rtnl
from netloom.observe.check import probe
from netloom.program.routes import Route
from netloom.testing.hosts import Host
from netloom.testing.netns import fresh_netns
from netloom.units import Protocol

pytestmark = pytest.mark.netns

PYTHON = os.path.realpath(sys.executable)
LOOPBACK = ipaddress.ip_address("127.0.0.1")


async def tried(fd, *lines, patience_s=1.0):
    """What the program tells, by attempt."""
    said = [
        line
        if isinstance(line, dict)
        else {"id": number, "host": line[0], "port": line[1], "protocol": line[2], "timeout": patience_s}
        for number, line in enumerate(lines)
    ]
    done = await process.run(
        [PYTHON, "-I", "-S", "-c", inspect.getsource(probe)],
        input="".join(json.dumps(one) + "\n" for one in said).encode(),
        ns=Namespaces(net=fd),
    )
    assert done.returncode == 0, done.stderr
    facts = {}
    for line in done.stdout.splitlines():
        told = json.loads(line)
        facts.setdefault(told["id"], {}).update(told)
    return facts


@pytest.fixture
def place():
    """A namespace with a way to nowhere: what is sent to 192.0.2.0/24 is never answered."""
    with fresh_netns() as fd, fresh_netns() as other:
        with Rtnl(fd) as rtnl:
            rtnl.add_veth("out", peer="in", peer_netns_fd=other)
            rtnl.set_up("out")
            rtnl.add_address("out", ipaddress.ip_interface("10.0.0.1/24"))
            rtnl.replace_neighbour("out", ipaddress.ip_address("10.0.0.2"), "0a:58:00:00:00:02")
            rtnl.replace_route(
                Route(
                    destination=ipaddress.ip_network("192.0.2.0/24"),
                    via=ipaddress.ip_address("10.0.0.2"),
                    device="out",
                )
            )
        with Rtnl(other) as rtnl:
            rtnl.set_up("in")
        yield Host("place", fd, (LOOPBACK,))


async def test_how_connections_end(place):
    async with place.serve(80), place.serve(81, Protocol.UDP):
        facts = await tried(
            place.netns_fd,
            ("127.0.0.1", 80, "TCP"),
            ("127.0.0.1", 81, "UDP"),
            ("127.0.0.1", 9, "TCP"),
            ("127.0.0.1", 9, "UDP"),
            ("192.0.2.1", 80, "TCP"),
            ("192.0.2.1", 80, "UDP"),
            ("203.0.113.1", 80, "TCP"),
            ("nobody.invalid", 80, "TCP"),
        )
    ends = [facts[number]["end"] for number in range(8)]
    assert ends == [
        "answered",
        "answered",
        "refused",
        "refused",
        "silent",
        "silent",
        "unreachable",
        "unresolved",
    ]
    assert facts[0]["local"][0] == "127.0.0.1"
    assert facts[4]["local"][0] == "10.0.0.1"
    assert facts[4]["ms"] >= 1000


async def test_an_attempt_is_given_up_when_told_so(place):
    facts = await tried(
        place.netns_fd,
        ("192.0.2.1", 80, "TCP"),
        ("192.0.2.1", 81, "UDP"),
        {"stop": 0},
        {"stop": 1},
        patience_s=60,
    )
    assert [facts[number]["end"] for number in range(2)] == ["stopped", "stopped"]


async def test_hundreds_at_once(place):
    async with place.serve(80):
        facts = await tried(place.netns_fd, *[("127.0.0.1", 80, "TCP")] * 300, patience_s=30)
    assert [facts[number]["end"] for number in range(300)] == ["answered"] * 300


def test_who_answered():
    body = b'{"pod": "a", "namespace": "n", "peer": "10.0.0.1:7"}'
    assert probe.identity(b"HTTP/1.1 200 OK\r\n\r\n" + body) == {"pod": "n/a", "peer": "10.0.0.1:7"}
    assert probe.identity(body) == {"pod": "n/a", "peer": "10.0.0.1:7"}
    for other in (b"", b"hello", b"[]", b'{"pod": 1}', b"\xff\xfe"):
        assert probe.identity(other) == {}
