"""A node's own servers with real packets: health checks asked with curl, and NodePorts at localhost through the kernel's rules.

The documents and codes are those of kube-proxy, which cloud load balancers are made for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket

import msgspec
import pytest

from netloom.agent.servers import node as node_servers
from netloom.agent.servers.health import UpdateHealth
from netloom.agent.servers.node import NodeServers, ServerSettings
from netloom.agent.servers.sockets import Place
from netloom.api.core import Node, NodeSpec, Taint
from netloom.clock import SystemClock
from netloom.linux import netns
from netloom.linux.netns import Namespaces
from netloom.linux.process import run
from netloom.linux.rtnl import Rtnl
from netloom.model.provenance import Source
from netloom.model.services.frontends import HealthCheck
from netloom.model.state import NetworkState, difference
from netloom.testing.service_networks import (
    AT_ONCE_S,
    NODE_PORT,
    facts,
    node_port,
    one_node,
    plane_of,
    refusal_time,
    serving,
    state_of,
)
from netloom.units import Family, ObjectKey, Protocol

pytestmark = pytest.mark.netns

both_families = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
both_protocols = pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP], ids=lambda p: p.word)

LOOPBACK = {Family.V4: ipaddress.ip_address("127.0.0.1"), Family.V6: ipaddress.ip_address("::1")}
CHECK_PORT = 32100
OTHER_PORT = 32101


class HandClock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_750_000_000.0 + self.now


class Answer(msgspec.Struct):
    """What curl heard."""

    code: int
    headers: dict[str, str]
    body: str


async def curl(host, url: str) -> Answer | None:
    """Ask from a host; None where the connection is refused."""
    done = await run(
        ["curl", "--noproxy", "*", "-gsS", "--max-time", "10", "-i", url], ns=Namespaces(net=host.netns_fd)
    )
    if done.returncode == 7:  # could not connect
        return None
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), headers, body)


class Watched(NodeServers):
    """Tells when a turn has been made."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self._settled = asyncio.Condition()

    async def settle(self) -> None:
        await super().settle()
        async with self._settled:
            self._settled.notify_all()

    async def opened(self, *fields: str) -> None:
        async with asyncio.timeout(10), self._settled:
            await self._settled.wait_for(lambda: all(map(self.port_of, fields)))


class Told:
    """Collects what is reported."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.some = asyncio.Event()

    def __call__(self, findings) -> None:
        self.lines += map(str, findings)
        self.some.set()


@contextlib.contextmanager
def servers_of(host, *, clock=None, updates=None, node=Node, told=None, **settings):
    clock = clock or SystemClock()
    servers = Watched(
        settings=ServerSettings(node=host.name, **settings),
        clock=clock,
        health=updates or UpdateHealth(clock=clock),
        node=node,
        report=told or Told(),
        netns_fd=host.netns_fd,
    )
    try:
        yield servers
    finally:
        servers.close()


def checks(**endpoints: int) -> NetworkState:
    """``cart=2`` at CHECK_PORT, ``other=0`` at OTHER_PORT."""
    ports = {"cart": CHECK_PORT, "other": OTHER_PORT}
    return NetworkState(
        health_checks={
            ports[name]: HealthCheck(
                ObjectKey("shop", name),
                count,
                Source("Service", "shop", name, field="spec.healthCheckNodePort"),
            )
            for name, count in endpoints.items()
        }
    )


def held(host, address: str, port: int, kind=socket.SOCK_STREAM) -> socket.socket:
    """A port that somebody else has."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = netns.open_socket(host.netns_fd, family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    if kind is socket.SOCK_STREAM:
        sock.listen()
    return sock


async def test_a_service_is_healthy_where_it_has_endpoints_on_the_node():
    clock = HandClock()
    health = UpdateHealth(clock=clock)
    with one_node() as net, servers_of(net.node, clock=clock, updates=health) as servers:
        urls = [
            f"http://{host}:{CHECK_PORT}/anything"
            for host in ("172.30.0.11", "[2001:db8:30::11]", "127.0.0.1")
        ]
        servers.start(checks(cart=2), facts())
        await servers.settle()
        for url in urls:
            answer = await curl(net.node, url)
            assert answer.code == 200
            assert json.loads(answer.body) == {
                "service": {"namespace": "shop", "name": "cart"},
                "localEndpoints": 2,
                "serviceProxyHealthy": True,
            }
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-load-balancing-endpoint-weight"] == "2"
        servers.apply(difference(checks(cart=2), checks(cart=0)))
        answer = await curl(net.a, urls[0])
        assert (answer.code, json.loads(answer.body)["localEndpoints"]) == (503, 0)
        assert answer.headers["x-load-balancing-endpoint-weight"] == "0"
        servers.apply(difference(checks(cart=0), checks(cart=1)))
        assert (await curl(net.a, urls[0])).code == 200
        health.queued()
        clock.now += 120
        answer = await curl(net.a, urls[0])
        assert answer.code == 503
        assert json.loads(answer.body) == {
            "service": {"namespace": "shop", "name": "cart"},
            "localEndpoints": 1,
            "serviceProxyHealthy": False,
        }
        health.in_force()
        assert (await curl(net.a, urls[0])).code == 200


async def test_ports_of_health_checks_open_and_close_with_their_services():
    with one_node() as net, servers_of(net.node) as servers:
        at = {port: f"http://172.30.0.11:{port}/" for port in (CHECK_PORT, OTHER_PORT)}
        servers.start(checks(cart=1), facts())
        await servers.settle()
        assert await curl(net.a, at[OTHER_PORT]) is None
        servers.apply(difference(checks(cart=1), checks(other=0)))
        await servers.settle()
        assert await curl(net.a, at[CHECK_PORT]) is None
        assert (await curl(net.a, at[OTHER_PORT])).code == 503
        servers.start(checks(cart=1, other=3), facts())
        await servers.settle()
        assert [(await curl(net.a, url)).code for url in at.values()] == [200, 200]


async def test_health_checks_are_at_the_addresses_chosen_for_node_ports_and_follow_them():
    chosen = msgspec.structs.replace(facts(), node_port_cidrs=(ipaddress.ip_network("172.30.0.0/24"),))
    with one_node() as net, servers_of(net.node) as servers:
        servers.start(checks(cart=1), chosen)
        await servers.settle()
        assert (await curl(net.node, f"http://172.30.0.11:{CHECK_PORT}/")).code == 200
        for host in ("127.0.0.1", "[2001:db8:30::11]"):
            assert await curl(net.node, f"http://{host}:{CHECK_PORT}/") is None
        with Rtnl(net.node.netns_fd) as rtnl:
            rtnl.add_address("uplink", ipaddress.ip_interface("172.30.0.99/32"))
        assert await curl(net.node, f"http://172.30.0.99:{CHECK_PORT}/") is None
        servers.look_again()
        await servers.settle()
        assert (await curl(net.node, f"http://172.30.0.99:{CHECK_PORT}/")).code == 200
        assert (await curl(net.node, f"http://172.30.0.11:{CHECK_PORT}/")).code == 200


async def test_a_health_check_port_that_is_taken_is_named_and_served_when_it_is_free():
    told = Told()
    with one_node() as net, servers_of(net.node, told=told) as servers:
        with held(net.node, "0.0.0.0", CHECK_PORT):
            servers.start(checks(cart=1, other=1), facts())
            await servers.settle()
            assert (await curl(net.node, f"http://172.30.0.11:{OTHER_PORT}/")).code == 200
            (line,) = told.lines
            assert line.startswith("Service shop/cart: spec.healthCheckNodePort: ")
            assert f"port {CHECK_PORT}" in line
            assert "in use" in line
            servers.look_again()
            await servers.settle()
            assert told.lines == [line], "said once"
        servers.look_again()
        await servers.settle()
        assert (await curl(net.node, f"http://172.30.0.11:{CHECK_PORT}/")).code == 200
        assert servers.findings == ()


async def test_health_is_answered_at_all_addresses_and_metrics_at_loopback_only():
    node = Node()
    settings = {"health": Place(None, 10256), "metrics": Place(LOOPBACK[Family.V4], 10249)}
    with one_node() as net, servers_of(net.node, node=lambda: node, **settings) as servers:
        running = asyncio.get_running_loop().create_task(servers.run())
        try:
            servers.start(checks(cart=1), facts())
            await servers.opened("health_address", "metrics_address")
            for url in ("http://172.30.0.11:10256", "http://[2001:db8:30::11]:10256"):
                for page in ("healthz", "livez"):
                    answer = await curl(net.a, f"{url}/{page}")
                    assert answer.code == 200
                    body = json.loads(answer.body)
                    assert body.pop("lastUpdated") == body.pop("currentTime")
                    assert body == ({"nodeEligible": True} if page == "healthz" else {})
            node = Node(spec=NodeSpec(taints=(Taint(key="ToBeDeletedByClusterAutoscaler"),)))
            answer = await curl(net.a, "http://172.30.0.11:10256/healthz")
            assert (answer.code, json.loads(answer.body)["nodeEligible"]) == (503, False)
            assert (await curl(net.a, "http://172.30.0.11:10256/livez")).code == 200
            node = None
            assert (await curl(net.a, "http://172.30.0.11:10256/healthz")).code == 503, "the Node is gone"
            page = await curl(net.node, "http://127.0.0.1:10249/metrics")
            assert page.code == 200
            assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
            assert 'netloom_health_answers_total{path="/healthz",code="503"} 2\n' in page.body
            assert "netloom_service_health_ports 1\n" in page.body
            assert await curl(net.a, "http://172.30.0.11:10249/metrics") is None
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert await curl(net.a, "http://172.30.0.11:10256/healthz") is None


async def test_a_health_port_that_is_taken_ends_nothing_and_is_taken_over(monkeypatch):
    monkeypatch.setattr(node_servers, "LOOK_AGAIN_S", 0.05)
    told = Told()
    with (
        one_node() as net,
        servers_of(net.node, told=told, metrics=Place(None, 10249)) as servers,
    ):
        taken = held(net.node, "0.0.0.0", 10249)
        running = asyncio.get_running_loop().create_task(servers.run())
        try:
            await asyncio.wait_for(told.some.wait(), 10)
            taken.close()
            await servers.opened("metrics_address")
        finally:
            taken.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert told.lines[0].startswith("agent configuration node-1: metrics_address: ")


@both_families
@both_protocols
async def test_a_node_port_at_localhost_leads_where_the_kernel_leads_it(family, protocol):
    with one_node() as net, plane_of(net.node) as plane, servers_of(net.node) as servers:
        state = state_of(node_port(family, protocol, net.a, net.b), pods=(net.a, net.b))
        await plane.start(state, facts())
        async with serving(net.a, net.b, protocol=protocol, family=family):
            assert await net.node.ask(LOOPBACK[family], NODE_PORT, protocol) is None
            servers.start(state, facts())
            await servers.settle()
            seen = {}
            for _ in range(20):
                reply = await net.node.ask(LOOPBACK[family], NODE_PORT, protocol)
                seen[reply.server] = reply.peer
            assert set(seen) == {net.a.name, net.b.name}
            assert set(seen.values()) == {net.node.address_of(family)}
            assert not await net.node.reaches(LOOPBACK[family], NODE_PORT + 1, protocol)


@both_families
@both_protocols
async def test_without_endpoints_localhost_refuses_at_once_as_the_node_does(family, protocol):
    with one_node() as net, plane_of(net.node) as plane, servers_of(net.node) as servers:
        full = state_of(node_port(family, protocol, net.a), pods=(net.a,))
        empty = state_of(node_port(family, protocol), pods=(net.a,))
        await plane.start(full, facts())
        servers.start(full, facts())
        await servers.settle()
        async with serving(net.a, protocol=protocol, family=family):
            for before, after in ((full, empty), (empty, full)):
                if before is full:
                    assert await net.node.reaches(LOOPBACK[family], NODE_PORT, protocol)
                else:
                    seconds = await refusal_time(net.node, LOOPBACK[family], protocol, NODE_PORT)
                    assert seconds < AT_ONCE_S
                delta = difference(before, after)
                await plane.apply(delta)
                servers.apply(delta)
                await servers.settle()
            assert await net.node.reaches(LOOPBACK[family], NODE_PORT, protocol)


async def test_a_client_that_has_said_all_still_hears_the_answer():
    with one_node() as net, plane_of(net.node) as plane, servers_of(net.node) as servers:
        state = state_of(node_port(Family.V4, Protocol.TCP, net.a), pods=(net.a,))
        await plane.start(state, facts())
        servers.start(state, facts())
        await servers.settle()
        async with serving(net.a, protocol=Protocol.TCP):
            sock = net.node.open_socket()
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", NODE_PORT))
            reader, writer = await asyncio.open_connection(sock=sock)
            writer.write(b"who\n")
            writer.write_eof()
            assert (await asyncio.wait_for(reader.read(-1), 5)).startswith(net.a.name.encode())
            writer.close()
            await writer.wait_closed()


def networks(*texts: str):
    return msgspec.structs.replace(facts(), node_port_cidrs=tuple(map(ipaddress.ip_network, texts)))


@both_protocols
@pytest.mark.parametrize(
    ("chosen", "reached"),
    [
        (("172.30.0.11/32", "2001:db8:30::11/128"), False),
        (("0.0.0.0/0", "::/0"), True),
        (("172.30.0.0/24", "127.0.0.0/8"), True),
        (("127.0.0.0/8",), True),
    ],
    ids=["the node's own", "everything", "one and loopback", "loopback alone"],
)
async def test_localhost_is_served_where_the_addresses_chosen_for_node_ports_have_it(
    chosen, reached, protocol
):
    with one_node() as net, plane_of(net.node) as plane, servers_of(net.node) as servers:
        state = state_of(node_port(Family.V4, protocol, net.a), pods=(net.a,))
        await plane.start(state, networks(*chosen))
        servers.start(state, networks(*chosen))
        await servers.settle()
        async with serving(net.a, protocol=protocol):
            assert await net.node.reaches(LOOPBACK[Family.V4], NODE_PORT, protocol) is reached
            is_chosen = chosen != ("127.0.0.0/8",)
            assert await net.node.reaches(net.node, NODE_PORT, protocol) is is_chosen


async def test_localhost_can_be_left_out():
    with (
        one_node() as net,
        plane_of(net.node) as plane,
        servers_of(net.node, localhost_node_ports=False) as servers,
    ):
        state = state_of(node_port(Family.V4, Protocol.TCP, net.a), pods=(net.a,))
        await plane.start(state, facts())
        servers.start(state, facts())
        servers.apply(difference(NetworkState(), state))
        await servers.settle()
        async with serving(net.a, protocol=Protocol.TCP):
            assert not await net.node.reaches(LOOPBACK[Family.V4], NODE_PORT)
            assert await net.node.reaches(net.node, NODE_PORT)


@both_protocols
async def test_a_node_port_that_is_taken_at_localhost_is_named_and_the_node_serves_it_still(protocol):
    told = Told()
    kind = socket.SOCK_STREAM if protocol is Protocol.TCP else socket.SOCK_DGRAM
    with one_node() as net, plane_of(net.node) as plane, servers_of(net.node, told=told) as servers:
        state = state_of(node_port(Family.V4, protocol, net.a), pods=(net.a,))
        await plane.start(state, facts())
        async with serving(net.a, protocol=protocol):
            with held(net.node, "127.0.0.1", NODE_PORT, kind):
                servers.start(state, facts())
                await servers.settle()
                (line,) = told.lines
                assert line.startswith("Service shop/cart: ")
                assert f"127.0.0.1:{NODE_PORT} ({protocol.value})" in line
                assert await net.node.reaches(net.node, NODE_PORT, protocol)
            servers.look_again()
            await servers.settle()
            assert await net.node.reaches(LOOPBACK[Family.V4], NODE_PORT, protocol)
            assert servers.findings == ()
