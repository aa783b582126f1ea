"""What a pod with all rights in its own network namespace may claim, and nobody believes: addresses, neighbours, routers.

Policies of Kubernetes play no part here: it holds for every container that CNI attached. Each lie is seen to work where what stops it
is taken away.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterator

import pytest

from netloom.cni import attach
from netloom.cni.attach import PodInterface
from netloom.linux import netns, sysctl
from netloom.linux.rtnl import Rtnl
from netloom.program import names
from netloom.program.sysctl import Setting
from netloom.testing.hosts import Host
from netloom.testing.service_networks import facts, one_node, plane_of, state_of
from netloom.testing.topologies import POD_MTU, TwoPods
from netloom.units import Addr, Family, Protocol, family_of

pytestmark = pytest.mark.netns

FAMILIES = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
ETH_P_ARP, ETH_P_IP, RTPROT_RA = 0x0806, 0x0800, 9
NODE_MAC = bytes.fromhex(names.HOST_SIDE_MAC.replace(":", ""))
LIAR = bytes.fromhex("0a5800bad001")
PORT = 9500


def link_of(pod: Host) -> str:
    return names.pod_link(pod.name, "eth0")


def every_address(pod: Host, addresses: Iterator[Addr] | list[Addr]) -> None:
    with Rtnl(pod.netns_fd) as rtnl:
        for address in addresses:
            rtnl.add_address("eth0", ipaddress.ip_interface(address))


async def heard(server: Host, pod: Host, sources: list[Addr], own: Addr) -> set[Addr]:
    """Whose datagrams a server gets; the last comes with the pod's own address, and comes last."""
    found: set[Addr] = set()
    to = server.address_of(family_of(own))
    with server.open_socket(family_of(own), Protocol.UDP) as incoming:
        incoming.bind((str(to), PORT))
        for source in (*sources, own):
            with pod.open_socket(family_of(own), Protocol.UDP) as out:
                out.bind((str(source), 0))
                out.sendto(source.packed, (str(to), PORT))

        async with asyncio.timeout(5):
            while own not in found:
                found.add(ipaddress.ip_address(await asyncio.get_running_loop().sock_recv(incoming, 100)))
    return found - {own}


@FAMILIES
async def test_no_container_sends_with_an_address_that_cni_did_not_give_it(family):
    """Nor with those of the node, its next hop, or another container; none of them is a pod that the API server knows."""
    index = list(Family).index(family)
    with one_node() as net, plane_of(net.node) as plane:
        own = net.a.address_of(family)
        others = [
            net.b.address_of(family),
            net.node.address_of(family),
            own + 90,
            ipaddress.ip_address(("203.0.113.9", "2001:db8:ffff::9")[index]),
            ipaddress.ip_address(("10.96.0.10", "2001:db8:96::a")[index]),
        ]
        every_address(net.a, others[2:])
        # the others' cannot be had on the same machine without hiding them, so only for this socket
        before = await heard(net.b, net.a, others[2:], own)
        assert before == set(others[2:])
        await plane.start(state_of(), facts())
        assert await heard(net.b, net.a, others[2:], own) == set()
        every_address(net.a, [net.node.address_of(family)])
        assert await heard(net.b, net.a, [net.node.address_of(family)], own) == set()


@FAMILIES
async def test_all_addresses_that_cni_gave_may_be_used_and_no_other(family):
    """A second interface of the same container, with an address of its own."""
    index = list(Family).index(family)
    second = PodInterface(
        container="pod-1-2",
        interface="eth1",
        addresses=(ipaddress.ip_address("10.244.1.50"), ipaddress.ip_address("2001:db8:44:1::50")),
        mtu=POD_MTU,
        node_addresses=net_addresses(),
    )
    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(), facts())
        with Rtnl(net.a.netns_fd) as rtnl:
            routes = [r for r in rtnl.routes() if r.destination.prefixlen == 0]
            for route in routes:
                rtnl.delete_route(route)
        netns.run_in(net.node.netns_fd, lambda: attach.attach(net.a.netns_fd, second))
        other = second.addresses[index]
        # the default route leads out of the second interface now: what has the first one's address comes in by the wrong one
        assert await heard(net.b, net.a, [net.a.address_of(family)], other) == set()


def net_addresses() -> tuple[Addr, ...]:
    return facts().addresses


@contextlib.contextmanager
def frames(pod: Host, protocol: int) -> Iterator[socket.socket]:
    with netns.open_socket(pod.netns_fd, socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("eth0", protocol))
        yield sock


def arp(sender: Addr, target: Addr, operation: int) -> bytes:
    """Request (1) or answer (2), RFC 826."""
    head = NODE_MAC + LIAR + struct.pack("!H", ETH_P_ARP)
    return (
        head
        + struct.pack("!HHBBH", 1, ETH_P_IP, 6, 4, operation)
        + LIAR
        + sender.packed
        + NODE_MAC
        + target.packed
    )


def advertise(pod: Host, target: Addr) -> None:
    """An unsolicited neighbour advertisement with the override flag (RFC 4861 section 4.4), from a link-local address."""
    with icmpv6(pod) as (sock, scope):
        option = struct.pack("!BB", 2, 1) + LIAR
        body = struct.pack("!BBHI", 136, 0, 0, 0x2000_0000) + target.packed + option
        sock.sendto(body, ("ff02::1", 0, 0, scope))


@contextlib.contextmanager
def icmpv6(pod: Host) -> Iterator[tuple[socket.socket, int]]:
    """A raw socket at a link-local address that the pod gave itself."""
    with Rtnl(pod.netns_fd) as rtnl:
        rtnl.add_address("eth0", ipaddress.ip_interface("fe80::5/64"))
        scope = rtnl.index("eth0")
    with netns.open_socket(pod.netns_fd, socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, scope)
        sock.bind(("fe80::5", 0, 0, scope))
        yield sock, scope


@FAMILIES
async def test_neighbours_that_a_pod_claims_to_be_are_not_believed(family):
    """The other pod, the node, and the next hop: the node knows the other pod's MAC for good, and asks nobody for it."""
    with one_node() as net, plane_of(net.node) as plane, Rtnl(net.node.netns_fd) as rtnl:
        await plane.start(state_of(pods=[net.a, net.b]), facts())
        known = set(rtnl.neighbours())
        victims = [net.b.address_of(family), net.node.address_of(family), names.POD_GATEWAYS[family]]
        if family is Family.V4:
            with frames(net.a, ETH_P_ARP) as sock:
                for victim in victims:
                    for operation in (1, 2):
                        sock.send(arp(victim, net.node.address, operation))
                        sock.send(arp(victim, victim, operation))
        else:
            for victim in victims:
                advertise(net.a, victim)
        assert await reaches(net.node, net.b, family)
        assert await reaches(net.a, net.b, family)
        assert set(rtnl.neighbours()) == known


async def reaches(asker: Host, server: Host, family: Family) -> bool:
    async with server.serve(9400, Protocol.UDP, family=family):
        reply = await asker.ask(server.address_of(family), 9400, Protocol.UDP, timeout_s=3)
    return reply is not None and reply.server == server.name


def advertised_routes(net: TwoPods) -> int:
    with Rtnl(net.node.netns_fd) as rtnl:
        return len(rtnl.routes(RTPROT_RA))


async def test_a_pod_is_no_router_for_the_node_although_the_node_believes_routers():
    with one_node() as net, plane_of(net.node) as plane:
        setting = Setting(f"net/ipv6/conf/{link_of(net.a)}/accept_ra", "2")
        sysctl.write([setting], net.node.netns_fd)

        def lie() -> None:
            with icmpv6(net.a) as (sock, scope):
                # hop limit 64, a default route for 1800 s (RFC 4861 section 4.2)
                sock.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0, 0, scope))

        await plane.start(state_of(pods=[net.a, net.b]), facts())
        lie()
        assert await reaches(net.a, net.b, Family.V6)
        assert advertised_routes(net) == 0
        await plane.remove()
        lie()
        assert await reaches(net.a, net.b, Family.V6)
        assert advertised_routes(net) == 1


async def test_a_pod_that_asks_for_routers_in_many_names_fills_no_table_of_the_node():
    def lie(net: TwoPods) -> None:
        with frames(net.a, 0x86DD) as sock:
            for number in range(1, 101):
                sock.send(solicitation(ipaddress.ip_address(f"fe80::bad:{number:x}")))

    def known(net: TwoPods) -> int:
        with Rtnl(net.node.netns_fd) as rtnl:
            return sum(str(n.address).startswith("fe80::bad") for n in rtnl.neighbours())

    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(pods=[net.a, net.b]), facts())
        lie(net)
        assert await reaches(net.a, net.b, Family.V6)
        assert known(net) == 0
        await plane.remove()
        lie(net)
        assert await reaches(net.a, net.b, Family.V6)
        assert known(net) > 50


def solicitation(source: Addr) -> bytes:
    """A router solicitation with the sender's MAC (RFC 4861 section 4.1), as a frame."""
    to = ipaddress.ip_address("ff02::2").packed
    option = struct.pack("!BB", 1, 1) + LIAR
    message = struct.pack("!BBHI", 133, 0, 0, 0) + option
    pseudo = source.packed + to + struct.pack("!IHBB", len(message), 0, 0, 58)
    total = sum(struct.unpack(f"!{(len(pseudo) + len(message)) // 2}H", pseudo + message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    message = message[:2] + struct.pack("!H", ~total & 0xFFFF) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + source.packed + to
    return b"\x33\x33\x00\x00\x00\x02" + LIAR + struct.pack("!H", 0x86DD) + header + message


async def test_what_a_node_serves_at_loopback_no_pod_reaches():
    """A pod may write any destination into a frame to the node."""

    def knock(net: TwoPods) -> None:
        with frames(net.a, ETH_P_IP) as sock:
            sock.send(datagram(net.a.address, ipaddress.ip_address("127.0.0.1")))

    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(pods=[net.a, net.b]), facts())
        with net.node.open_socket(Family.V4, Protocol.UDP) as sock:
            sock.bind(("127.0.0.1", PORT))
            knock(net)
            assert await reaches(net.a, net.b, Family.V4)
            with pytest.raises(BlockingIOError):
                sock.recv(100)
            setting = Setting(f"net/ipv4/conf/{link_of(net.a)}/route_localnet", "1")
            sysctl.write([setting], net.node.netns_fd)
            knock(net)
            assert await reaches(net.a, net.b, Family.V4)
            assert sock.recv(100) == b"knock"


def datagram(source: Addr, to: Addr) -> bytes:
    payload = b"knock"
    udp = struct.pack("!HHHH", 4000, PORT, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + source.packed + to.packed
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    return NODE_MAC + LIAR + struct.pack("!H", ETH_P_IP) + head + udp
