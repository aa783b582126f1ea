"""Host ports with real packets: whom the pod sees, whose address counts, what becomes of flows, and localhost.

The random clusters (``test_service_random``) have host ports, too; here is what they do not ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator

import msgspec
import pytest

from netloom.agent.servers.health import UpdateHealth
from netloom.agent.servers.node import NodeServers, ServerSettings
from netloom.clock import SystemClock
from netloom.linux import rtmsg
from netloom.linux.netlink import NETLINK_ROUTE, NetlinkSocket
from netloom.linux.rtnl import Rtnl
from netloom.model.attachments import MappedPort, PlainAttachment
from netloom.model.network import Network
from netloom.testing import builders as b
from netloom.testing.naive_services import Place
from netloom.testing.service_rig import Answer, Refused, Rig, Silence, echoing, probe, service_rig
from netloom.testing.service_universe import LOCAL_PODS, NODE, nodes
from netloom.units import Addr, Family, ObjectKey, Protocol, family_of

pytestmark = pytest.mark.netns

PORT = 8099
FAMILIES = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
PROTOCOLS = pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP], ids=lambda p: p.word)


def pod(number: int, *, host_ip: str = "", protocol: Protocol = Protocol.TCP, target: int = 8080, **fields):
    addresses = (LOCAL_PODS["IPv4"][number], LOCAL_PODS["IPv6"][number])
    port = b.host_port(target, PORT, host_ip=host_ip, protocol=protocol.value)
    return b.pod(f"a/p{number}", *addresses, node=NODE, ports=[port], **fields)


def node_address(rig: Rig, family: Family) -> Addr:
    return next(a for a in rig.facts.addresses if family_of(a) is family)


def place(number: int, family: Family, target: int = 8080) -> Place:
    return ipaddress.ip_address(LOCAL_PODS[family.address_type][number]), target


@FAMILIES
@PROTOCOLS
async def test_everybody_gets_to_the_pod_with_an_address_of_his_own(family, protocol):
    async with service_rig() as rig:
        await rig.put(b.view(*nodes(), pod(0, protocol=protocol)))
        to = str(node_address(rig, family))
        for host in (rig.client, rig.net.node_2, rig.net.pod_2, rig.second, rig.node):
            fate = await rig.fate(probe(rig, host, to, PORT, protocol))
            assert isinstance(fate, Answer), host.name
            assert fate == Answer(place(0, family), host.address_of(family))
        # the pod itself: it must not see its own address, or it would answer itself
        fate = await rig.fate(probe(rig, rig.net.pod_1, to, PORT, protocol))
        assert fate == Answer(place(0, family), node_address(rig, family))
        await rig.put(b.view(*nodes()))
        assert not isinstance(await rig.fate(probe(rig, rig.client, to, PORT, protocol)), Answer)


@FAMILIES
async def test_an_address_that_is_not_the_nodes_is_not_taken_from_whoever_has_it(family):
    """A pod that writes any address as hostIP would else get the traffic that passes its node."""
    theirs = ipaddress.ip_address("198.51.100.77" if family is Family.V4 else "2001:db8:e::77")
    async with service_rig() as rig:
        await rig.put(b.view(*nodes(), pod(0, host_ip=str(theirs))))
        asked = probe(rig, rig.client, str(theirs), PORT)
        groups = (rtmsg.RTNLGRP_IPV6_ROUTE,)
        with (
            NetlinkSocket(NETLINK_ROUTE, netns_fd=rig.node.netns_fd, groups=groups) as routes,
            Rtnl(rig.node.netns_fd) as rtnl,
        ):
            rtnl.add_address("lo", ipaddress.ip_interface(theirs))
            while family is Family.V6 and theirs not in map(rtmsg.became_local, routes.receive()):
                pass  # the kernel takes it for its own a little later
            assert isinstance(await rig.fate(asked), Answer)
            rtnl.delete_address("lo", ipaddress.ip_interface(theirs))
        assert isinstance(await rig.fate(asked, timeout_s=0.3), Silence | Refused)


@FAMILIES
async def test_at_one_address_is_nothing_at_the_others(family):
    async with service_rig() as rig:
        own = node_address(rig, family)
        await rig.put(b.view(*nodes(), pod(0, host_ip=str(own))))
        assert isinstance(await rig.fate(probe(rig, rig.client, str(own), PORT)), Answer)
        with Rtnl(rig.node.netns_fd) as rtnl:
            others = [
                a.interface.ip
                for a in rtnl.addresses("to1")
                if family_of(a.interface.ip) is family and not a.interface.is_link_local
            ]
        assert others
        for other in others:
            assert isinstance(await rig.fate(probe(rig, rig.client, str(other), PORT)), Refused)
        await rig.put(b.view(*nodes(), pod(0)))
        for other in others:
            assert isinstance(await rig.fate(probe(rig, rig.client, str(other), PORT)), Answer)


@FAMILIES
async def test_datagrams_of_an_old_flow_follow_the_port_to_another_pod(family):
    async with service_rig() as rig:
        first, second = pod(0, protocol=Protocol.UDP), pod(1, protocol=Protocol.UDP)
        await rig.put(b.view(*nodes(), first))
        asked = probe(rig, rig.client, str(node_address(rig, family)), PORT, Protocol.UDP)
        assert (await rig.fate(asked, source_port=4999)).place == place(0, family)
        await rig.put(b.view(*nodes(), second))
        assert (await rig.fate(asked, source_port=4999)).place == place(1, family)
        await rig.put(b.view(*nodes()))
        assert not isinstance(await rig.fate(asked, source_port=4999), Answer)
        # and when nobody watched: the agent was away while the pod went
        await rig.put(b.view(*nodes(), second))
        assert (await rig.fate(asked, source_port=4999)).place == place(1, family)
        await rig.plane.start(Network.compute(b.view(*nodes()), rig.facts), rig.facts)
        assert not isinstance(await rig.fate(asked, source_port=4999), Answer)


@FAMILIES
async def test_a_connection_ends_with_its_pod_and_not_before(family):
    async with service_rig() as rig, echoing(rig.net.pod_1, family=family):
        held = pod(0, target=9000)
        await rig.put(b.view(*nodes(), held))
        loop = asyncio.get_running_loop()
        with rig.client.open_socket(family) as sock:
            await loop.sock_connect(sock, (str(node_address(rig, family)), PORT))
            await rig.put(b.view(*nodes(), held, pod(1)))
            leaving = msgspec.structs.replace(held.metadata, deletion_timestamp="2024-01-03T00:00:00Z")
            await rig.put(b.view(*nodes(), msgspec.structs.replace(held, metadata=leaving)))
            async with asyncio.timeout(3):
                await loop.sock_sendall(sock, b"still there?")
                assert await loop.sock_recv(sock, 100) == b"still there?"
            await rig.put(b.view(*nodes()))
            with pytest.raises(ConnectionError):
                await talk_on(sock)


async def talk_on(sock: socket.socket) -> None:
    """Until the connection ends, which it has to."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(3):
        while True:
            await loop.sock_sendall(sock, b"x")
            assert await loop.sock_recv(sock, 100)


async def test_ports_that_a_runtime_maps_to_a_container_are_served_alike():
    async with service_rig() as rig:
        mapped = PlainAttachment("f00/eth0", rig.net.pod_1.addresses, (MappedPort(PORT, 8080),))
        view = msgspec.structs.replace(b.view(*nodes()), attachments={ObjectKey("", mapped.name): mapped})
        await rig.put(view)
        for family in Family:
            fate = await rig.fate(probe(rig, rig.client, str(node_address(rig, family)), PORT))
            assert fate == Answer(place(0, family), rig.client.address_of(family))


@contextlib.contextmanager
def localhost(rig: Rig) -> Iterator[NodeServers]:
    clock = SystemClock()
    servers = NodeServers(
        settings=ServerSettings(node=NODE),
        clock=clock,
        health=UpdateHealth(clock=clock),
        node=lambda: None,
        report=list,
        netns_fd=rig.node.netns_fd,
    )
    try:
        yield servers
    finally:
        servers.close()


@FAMILIES
@PROTOCOLS
async def test_localhost_answers_too_and_alone_where_it_alone_is_meant(family, protocol):
    loopback = ipaddress.ip_address("127.0.0.1" if family is Family.V4 else "::1")

    async def answering(rig: Rig) -> Place | None:
        reply = await rig.node.ask(loopback, PORT, protocol)
        return None if reply is None else rig.place_of(reply)

    async with service_rig() as rig:
        with localhost(rig) as servers:
            for view, expected in (
                (b.view(*nodes(), pod(0, protocol=protocol)), place(0, family)),
                # one who asks for localhost alone comes before one who asks for all addresses
                (
                    b.view(
                        *nodes(), pod(0, protocol=protocol), pod(1, host_ip=str(loopback), protocol=protocol)
                    ),
                    place(1, family),
                ),
                (b.view(*nodes(), pod(1, host_ip=str(loopback), protocol=protocol)), place(1, family)),
                (b.view(*nodes()), None),
            ):
                state = await rig.put(view)
                servers.start(state, rig.facts)
                await servers.settle()
                assert await answering(rig) == expected
                fate = await rig.fate(probe(rig, rig.client, str(node_address(rig, family)), PORT, protocol))
                asks_all = any(key.address is None for key in state.frontends)
                assert isinstance(fate, Answer) is asks_all
