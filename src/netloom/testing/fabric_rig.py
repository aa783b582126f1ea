"""Nodes joined by a switch or by a router, each with a pod, for tests of fabrics. In: how many and how. Out: nodes with facts and peers.

What each node is and whom it has as peers comes from the model, from Node objects as an agent would see them. Addresses: node N is
172.30.0.(10+N) and 2001:db8:30::(10+N) on a switch, 172.30.N.(10+N) and 2001:db8:30:N::(10+N) behind a router; its pods are in
10.244.N.0/24 and 2001:db8:44:N::/64. Not here: the fabrics; tests start them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import msgspec

from netloom.api.core import Node
from netloom.cni import attach
from netloom.cni.attach import PodInterface
from netloom.fabric.face import Fabric
from netloom.fabric.l2.compile import segments_of
from netloom.linux import netns, rtmsg, sysctl
from netloom.linux.netlink import NETLINK_ROUTE, NetlinkSocket
from netloom.linux.rtnl import Rtnl
from netloom.model.facts import facts_of
from netloom.model.inputs import ClusterFacts, NodeFacts
from netloom.model.routes.peers import peer_routes, read_node
from netloom.model.routes.ways import (
    UNDERLAY_ANNOTATION,
    FabricKind,
    Segment,
    Underlay,
    outer_family,
    pod_mtu,
    write_underlay,
)
from netloom.model.state import PeerRoute
from netloom.program.routes import Route
from netloom.program.sysctl import Setting
from netloom.testing import builders
from netloom.testing.hosts import Host
from netloom.units import Addr, Cidr, Family, Protocol, family_of

BOTH = (Family.V4, Family.V6)
CLUSTER_CIDRS: tuple[Cidr, ...] = (
    ipaddress.ip_network("10.244.0.0/16"),
    ipaddress.ip_network("2001:db8:44::/48"),
)
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0
_EVERYTHING = {Family.V4: ipaddress.ip_network("0.0.0.0/0"), Family.V6: ipaddress.ip_network("::/0")}


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How the nodes are."""

    count: int = 2
    has_pods: bool = True
    """Each node has one pod from the beginning; otherwise tests add them."""
    is_routed: bool = False
    """Each on a network of its own, behind one router."""
    outer: tuple[Family, ...] = BOTH
    """Families that the nodes have, the one first whose packets tunnels are made of."""
    inner: tuple[Family, ...] = BOTH
    """Families that the pods have."""
    mtu: int = 1500
    """Of the underlay, bytes."""
    fabric: FabricKind = FabricKind.HOSTGW
    direct: bool = True
    vni: int = 4096
    tunnel_port: int = 0
    stretched: bool = False


class FabricNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node, what the model says of it, and its pod."""

    host: Host
    pods: Sequence[Host]
    facts: NodeFacts
    peers: Mapping[Cidr, PeerRoute]

    @property
    def pod(self) -> Host:
        """Its first pod."""
        return self.pods[0]


class FabricNet(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes by number less one, and the namespace of the switch or router between them."""

    nodes: Sequence[FabricNode]
    middle: int
    stack: contextlib.ExitStack
    """What lives as long as the net."""

    def add_pod(self, number: int, host_part: int) -> Host:
        """One more pod on node ``number``, with the addresses that end in ``host_part``."""
        node = self.nodes[number - 1]
        return _add_pod(self.stack, node.host, node.facts, host_part)

    @contextlib.asynccontextmanager
    async def joined(self, *fabrics: Fabric) -> AsyncIterator[None]:
        """While these fabrics, one for each node, are in force."""
        for node, fabric in zip(self.nodes, fabrics, strict=True):
            await fabric.start(node.peers, node.facts)
        try:
            yield
        finally:
            for fabric in fabrics:
                await fabric.remove()


@contextlib.contextmanager
def fabric_net(layout: Layout) -> Iterator[FabricNet]:
    """The nodes and their pods; nothing leads from one node's pod to another's yet."""
    with contextlib.ExitStack() as stack:
        middle = _namespace(stack)
        numbers = range(1, layout.count + 1)
        hosts = [Host(f"node-{n}", _namespace(stack), underlay_addresses(layout, n)) for n in numbers]
        _join(layout, middle, hosts)
        facts = [facts_of_node(layout, n) for n in numbers]
        nodes = [
            FabricNode(
                host=host,
                pods=[_add_pod(stack, host, own, 2)] if layout.has_pods else [],
                facts=own,
                peers=peers_of(layout, own, numbers),
            )
            for host, own in zip(hosts, facts, strict=True)
        ]
        yield FabricNet(nodes=nodes, middle=middle, stack=stack)


def underlay_addresses(layout: Layout, number: int) -> tuple[Addr, ...]:
    """Addresses of node ``number``, the family of tunnels first."""
    net = number if layout.is_routed else 0
    every: dict[Family, Addr] = {
        Family.V4: ipaddress.ip_address(f"172.30.{net}.{10 + number}"),
        Family.V6: ipaddress.ip_address(f"2001:db8:30:{net}::{10 + number}"),
    }
    return tuple(every[family] for family in layout.outer)


def pod_cidrs(layout: Layout, number: int) -> tuple[Cidr, ...]:
    """Pod ranges of node ``number``."""
    every: dict[Family, Cidr] = {
        Family.V4: ipaddress.ip_network(f"10.244.{number}.0/24"),
        Family.V6: ipaddress.ip_network(f"2001:db8:44:{number}::/64"),
    }
    return tuple(every[family] for family in layout.inner)


def node_object(layout: Layout, number: int) -> Node:
    """The Node as its agent and its kubelet report it."""
    addresses, cidrs = underlay_addresses(layout, number), pod_cidrs(layout, number)
    node = builders.node(f"node-{number}", *map(str, addresses), pod_cidrs=map(str, cidrs))
    said = {UNDERLAY_ANNOTATION: write_underlay(_underlay(layout, number))}
    metadata = msgspec.structs.replace(node.metadata, annotations=said)
    return msgspec.structs.replace(node, metadata=metadata)


def facts_of_node(layout: Layout, number: int) -> NodeFacts:
    """What node ``number`` is."""
    cluster = ClusterFacts(
        cluster_cidrs=CLUSTER_CIDRS,
        fabric=layout.fabric,
        direct=layout.direct,
        vni=layout.vni,
        tunnel_port=layout.tunnel_port,
        stretched=layout.stretched,
    )
    facts = facts_of(node_object(layout, number), cluster)
    return msgspec.structs.replace(facts, underlay=_underlay(layout, number))


def peers_of(layout: Layout, facts: NodeFacts, numbers: Sequence[int]) -> dict[Cidr, PeerRoute]:
    """The peers of a node among nodes of these numbers, as the model has them."""
    routes, findings = peer_routes([read_node(node_object(layout, n)) for n in numbers], facts)
    assert findings == ()  # noqa: S101 - a rig that is not as the test thinks
    return routes


def _underlay(layout: Layout, number: int) -> Underlay:
    own = underlay_addresses(layout, number)
    segments = tuple(Segment("eth0", ipaddress.ip_interface(f"{a}/{_prefix(a)}")) for a in own)
    return Underlay(segments, layout.mtu)


def _prefix(address: Addr) -> int:
    return 24 if address.version == 4 else 64


def _join(layout: Layout, middle: int, hosts: Sequence[Host]) -> None:
    with Rtnl(middle) as rtnl:
        if layout.is_routed:
            netns.run_in(middle, attach.prepare_node)
        else:
            rtnl.add_bridge("underlay")
            rtnl.set_mtu("underlay", layout.mtu)
            rtnl.set_up("underlay")
        for number, host in enumerate(hosts, 1):
            port = f"port{number}"
            rtnl.add_veth(port, peer="eth0", peer_netns_fd=host.netns_fd, mtu=layout.mtu)
            if not layout.is_routed:
                rtnl.set_master(port, "underlay")
            rtnl.set_up(port)
            _configure_node(layout, host)
            if layout.is_routed:
                for address in host.addresses:
                    rtnl.add_address(port, ipaddress.ip_interface(f"{_gateway(address)}/{_prefix(address)}"))


def _configure_node(layout: Layout, host: Host) -> None:
    netns.run_in(host.netns_fd, attach.prepare_node)
    links = (rtmsg.RTNLGRP_LINK,)
    with (
        NetlinkSocket(NETLINK_ROUTE, netns_fd=host.netns_fd, groups=links) as notices,
        Rtnl(host.netns_fd) as rtnl,
    ):
        rtnl.set_up("eth0")
        for address in host.addresses:
            rtnl.add_address("eth0", ipaddress.ip_interface(f"{address}/{_prefix(address)}"))
        rtnl.wait_running("eth0", notices)
        for address in host.addresses if layout.is_routed else ():
            everything = _EVERYTHING[family_of(address)]
            rtnl.replace_route(Route(destination=everything, via=_gateway(address), device="eth0"))


def _gateway(address: Addr) -> Addr:
    return ipaddress.ip_interface(f"{address}/{_prefix(address)}").network.network_address + 1


def _add_pod(stack: contextlib.ExitStack, node: Host, facts: NodeFacts, host_part: int) -> Host:
    name = f"pod-{host_part}-of-{node.name}"
    addresses = tuple(cidr.network_address + host_part for cidr in facts.pod_cidrs)
    pod = Host(name, _namespace(stack), addresses)
    interface = PodInterface(
        container=name,
        interface="eth0",
        addresses=pod.addresses,
        mtu=pod_mtu(facts.fabric, outer_family(facts.addresses), facts.underlay.mtu),
        node_addresses=facts.addresses,
        pod=f"default/{name}",
        segments=segments_of(facts),
    )
    netns.run_in(node.netns_fd, lambda: attach.attach(pod.netns_fd, interface))
    return pod


def _namespace(stack: contextlib.ExitStack) -> int:
    fd = netns.new_netns()
    stack.callback(os.close, fd)
    sysctl.write([Setting("net/ipv6/conf/default/accept_dad", "0", optional=True)], fd)
    with Rtnl(fd) as rtnl:
        rtnl.set_up("lo")
    return fd


# --- packets ---------------------------------------------------------------------------------------------------------


async def send_stream(source: Host, target: Host, family: Family, size: int) -> int:
    """Send bytes over TCP; gives the largest segment that the connection uses, once all of them have arrived.

    Raises:
        TimeoutError: they do not arrive.
    """
    loop = asyncio.get_running_loop()
    with target.open_socket(family) as listener, source.open_socket(family) as out:
        listener.bind((str(target.address_of(family)), 0))
        listener.listen()
        async with asyncio.timeout(10):
            await loop.sock_connect(out, listener.getsockname()[:2])
            taken, _ = await loop.sock_accept(listener)
            with taken:
                taken.setblocking(False)
                sending = loop.sock_sendall(out, bytes(size))
                receiving = _receive(taken, size)
                await asyncio.gather(sending, receiving)
                return out.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


async def _receive(taken: socket.socket, size: int) -> None:
    loop = asyncio.get_running_loop()
    while size > 0:
        piece = await loop.sock_recv(taken, 65536)
        if not piece:
            raise ConnectionResetError("closed early")
        size -= len(piece)


async def send_datagram(
    source: Host, target: Host, family: Family, size: int, *, timeout_s: float = 2.0
) -> bool:
    """Whether a datagram of so many bytes of payload arrives whole, in fragments where it has to be."""
    loop = asyncio.get_running_loop()
    with (
        target.open_socket(family, Protocol.UDP) as listener,
        source.open_socket(family, Protocol.UDP) as out,
    ):
        listener.bind((str(target.address_of(family)), 0))
        payload = os.urandom(size)
        # no knowledge of the way: fragments as the interface says, and as each router after it does
        if family is Family.V4:
            out.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        await loop.sock_sendto(out, payload, listener.getsockname()[:2])
        try:
            async with asyncio.timeout(timeout_s):
                return await loop.sock_recv(listener, 65536) == payload
        except TimeoutError:
            return False
