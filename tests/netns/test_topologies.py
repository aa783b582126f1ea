"""The topologies themselves: packets pass where they should and only there, with the sender's own address."""

from __future__ import annotations

import asyncio
import ipaddress
import os

import pytest

from netloom.linux.rtnl import Rtnl
from netloom.program.routes import Route
from netloom.testing.topologies import client_router_node, pod_cidrs, two_nodes, two_pods_one_node
from netloom.units import Family, Protocol

pytestmark = pytest.mark.netns

both_families = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
both_protocols = pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP], ids=lambda p: p.word)


@both_families
@both_protocols
async def test_pods_of_one_node_see_each_others_own_address(family, protocol):
    with two_pods_one_node() as (a, b):
        async with b.serve(80, protocol, family=family):
            reply = await a.ask(b.address_of(family), 80, protocol)
    assert reply is not None
    assert (reply.server, reply.peer) == (b.name, a.address_of(family))


@both_families
async def test_node_and_pod_reach_each_other(family):
    with two_pods_one_node() as net:
        async with net.node.serve(9000, family=family), net.a.serve(80, family=family):
            from_pod = await net.a.ask(net.node.address_of(family), 9000)
            from_node = await net.node.ask(net.a.address_of(family), 80)
    assert from_pod is not None
    assert from_pod.peer == net.a.address_of(family)
    assert from_node is not None
    assert from_node.peer == net.node.address_of(family)


@both_families
@both_protocols
async def test_pods_of_two_nodes_see_each_others_own_address(family, protocol):
    with two_nodes() as net:
        async with net.pod_2.serve(80, protocol, family=family):
            reply = await net.pod_1.ask(net.pod_2.address_of(family), 80, protocol)
    assert reply is not None
    assert (reply.server, reply.peer) == (net.pod_2.name, net.pod_1.address_of(family))


async def test_without_routes_nodes_do_not_reach_each_others_pods_and_with_them_they_do():
    with two_nodes(routed=False) as net:
        async with net.pod_2.serve(80):
            assert not await net.pod_1.reaches(net.pod_2, 80)
            for node, other, number in ((net.node_1, net.node_2, 2), (net.node_2, net.node_1, 1)):
                with Rtnl(node.netns_fd) as rtnl:
                    route = Route(destination=pod_cidrs(number)[0], via=other.address, device="eth0")
                    rtnl.replace_route(route)
            assert await net.pod_1.reaches(net.pod_2, 80)


@both_families
async def test_client_outside_reaches_the_pod_through_router_and_node(family):
    with client_router_node() as net:
        async with net.pod.serve(80, family=family):
            reply = await net.client.ask(net.pod.address_of(family), 80)
    assert reply is not None
    assert reply.peer == net.client.address_of(family)


async def test_closed_port_refuses_at_once_and_unknown_address_stays_silent_or_unreachable():
    with two_pods_one_node() as (a, b):
        with pytest.raises(ConnectionRefusedError):
            await a.ask_or_raise(b, 81)
        nobody = ipaddress.ip_address("10.244.9.9")
        assert await a.ask(nobody, 80) is None


async def test_http_clients_are_answered_too():
    with two_pods_one_node() as (a, b):
        async with b.serve(8080):
            loop = asyncio.get_running_loop()
            with a.open_socket() as sock:
                await loop.sock_connect(sock, (str(b.address), 8080))
                await loop.sock_sendall(sock, b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
                answer = await loop.sock_recv(sock, 4096)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.split(b"\r\n\r\n")[1].startswith(f"{b.name} {a.address} ".encode())


def test_nothing_stays_open_behind_a_topology():
    before = len(os.listdir("/proc/self/fd"))
    with two_nodes():
        assert len(os.listdir("/proc/self/fd")) > before
    assert len(os.listdir("/proc/self/fd")) == before
