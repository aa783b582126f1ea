"""Small networks of namespaces with real packets, for tests. In: nothing. Out: hosts that can serve, ask and be asked.

Each topology is a context manager over anonymous namespaces that live by descriptors of this process: nothing stays, even after
SIGKILL. Everything has both families. Addresses: nodes 172.30.0.11, .12 and 2001:db8:30::11, ::12 on a segment; pods of node N
10.244.N.2 and on, and 2001:db8:44:N::2 and on; a client outside 192.0.2.10 and 2001:db8:c::10.
Not here: Services, policies, fabrics; tests put them in force on ``host.netns_fd``.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Iterator

import msgspec

from netloom.cni import attach
from netloom.cni.attach import PodInterface
from netloom.linux import netns, rtmsg, sysctl
from netloom.linux.netlink import NETLINK_ROUTE, NetlinkSocket
from netloom.linux.rtnl import Rtnl
from netloom.program.routes import Route
from netloom.program.sysctl import Setting
from netloom.testing.hosts import Host
from netloom.units import Addr, Cidr, Family, family_of

POD_MTU = 1500
CLUSTER_CIDRS: tuple[Cidr, ...] = (
    ipaddress.ip_network("10.244.0.0/16"),
    ipaddress.ip_network("2001:db8:44::/48"),
)
CLIENT_CIDRS: tuple[Cidr, ...] = (
    ipaddress.ip_network("192.0.2.0/24"),
    ipaddress.ip_network("2001:db8:c::/64"),
)


class TwoPods(msgspec.Struct, frozen=True):
    """One node with two pods; unpacks into ``a, b``."""

    node: Host
    a: Host
    b: Host

    def __iter__(self) -> Iterator[Host]:
        return iter((self.a, self.b))


class TwoNodes(msgspec.Struct, frozen=True):
    """Two nodes on a segment, each with a pod; ``node_1`` has ``pod_1`` and so on."""

    node_1: Host
    node_2: Host
    pod_1: Host
    pod_2: Host


class ClientRouterNode(msgspec.Struct, frozen=True):
    """A client outside, a router, a node behind it, and a pod on the node."""

    client: Host
    router: Host
    node: Host
    pod: Host


@contextlib.contextmanager
def two_pods_one_node() -> Iterator[TwoPods]:
    """One node, two pods, attached as CNI does it."""
    with contextlib.ExitStack() as stack:
        node = _node(stack, 1)
        yield TwoPods(node, add_pod(stack, node, 1, 2), add_pod(stack, node, 1, 3))


class Segment(msgspec.Struct, frozen=True):
    """Some nodes on a segment, each with a pod, and the switch between them, whose ``portN`` leads to node N."""

    switch: Host
    nodes: tuple[Host, ...]
    pods: tuple[Host, ...]


@contextlib.contextmanager
def nodes_on_a_segment(count: int) -> Iterator[Segment]:
    """Nodes numbered from 1 on a segment, a pod on each; no node knows the way to another's pods."""
    with contextlib.ExitStack() as stack:
        nodes = tuple(_node(stack, number) for number in range(1, count + 1))
        switch = Host("switch", _namespace(stack), ())
        with Rtnl(switch.netns_fd) as rtnl:
            rtnl.add_bridge("underlay")
            rtnl.set_up("underlay")
            for number, node in enumerate(nodes, 1):
                rtnl.add_veth(f"port{number}", peer="eth0", peer_netns_fd=node.netns_fd)
                rtnl.set_master(f"port{number}", "underlay")
                rtnl.set_up(f"port{number}")
        for number, node in enumerate(nodes, 1):
            _configure_node(node, number)
        yield Segment(
            switch, nodes, tuple(add_pod(stack, node, number, 2) for number, node in enumerate(nodes, 1))
        )


@contextlib.contextmanager
def two_nodes(*, routed: bool = True) -> Iterator[TwoNodes]:
    """Two nodes on a segment, a pod on each.

    Args:
        routed: each node has a route to the other's pods; False leaves that to the fabric under test.
    """
    with nodes_on_a_segment(2) as segment:
        (one, two), pods = segment.nodes, segment.pods
        if routed:
            for node, other, number in ((one, two, 2), (two, one, 1)):
                _route(node, pod_cidrs(number), other.addresses)
        yield TwoNodes(one, two, pods[0], pods[1])


@contextlib.contextmanager
def client_router_node() -> Iterator[ClientRouterNode]:
    """A client, a router with forwarding, and a node with a pod; all three know the way to each other and to the pod."""
    with contextlib.ExitStack() as stack:
        client = Host("client", _namespace(stack), _addresses("192.0.2.10", "2001:db8:c::10"))
        router = Host("router", _namespace(stack), _addresses("192.0.2.1", "2001:db8:c::1"))
        node = _node(stack, 1)
        netns.run_in(router.netns_fd, attach.prepare_node)
        with Rtnl(router.netns_fd) as rtnl:
            rtnl.add_veth("outside", peer="eth0", peer_netns_fd=client.netns_fd)
            rtnl.add_veth("inside", peer="eth0", peer_netns_fd=node.netns_fd)
        gateways = _addresses("172.30.0.1", "2001:db8:30::1")
        _configure(router, "outside", router.addresses, prefixes=(24, 64), wait=False)
        _configure(router, "inside", gateways, prefixes=(24, 64), wait=False)
        _configure(client, "eth0", client.addresses, prefixes=(24, 64))
        _configure_node(node, 1)
        _route(client, _everything(), router.addresses)
        _route(node, _everything(), gateways)
        _route(router, pod_cidrs(1), node.addresses, device="inside")
        yield ClientRouterNode(client, router, node, add_pod(stack, node, 1, 2))


def add_pod(stack: contextlib.ExitStack, node: Host, number: int, host_part: int) -> Host:
    """One more pod on node ``number``, with the addresses that end in ``host_part``; it lives as long as ``stack``."""
    name = f"pod-{number}-{host_part}"
    addresses: tuple[Addr, ...] = tuple(cidr.network_address + host_part for cidr in pod_cidrs(number))
    pod = Host(name, _namespace(stack), addresses)
    interface = PodInterface(
        container=name,
        interface="eth0",
        addresses=addresses,
        mtu=POD_MTU,
        node_addresses=node.addresses,
        pod=f"default/{name}",
    )
    netns.run_in(node.netns_fd, lambda: attach.attach(pod.netns_fd, interface))
    return pod


def node_addresses(number: int) -> tuple[Addr, ...]:
    """Addresses of node ``number`` on the segment."""
    return _addresses(f"172.30.0.{10 + number}", f"2001:db8:30::{10 + number}")


def pod_cidrs(number: int) -> tuple[Cidr, ...]:
    """Pod ranges of node ``number``."""
    return (
        ipaddress.ip_network(f"10.244.{number}.0/24"),
        ipaddress.ip_network(f"2001:db8:44:{number}::/64"),
    )


def _node(stack: contextlib.ExitStack, number: int) -> Host:
    """A node; with nothing attached yet its addresses lie on loopback, so that it has them in any topology."""
    node = Host(f"node-{number}", _namespace(stack), node_addresses(number))
    netns.run_in(node.netns_fd, attach.prepare_node)
    with Rtnl(node.netns_fd) as rtnl:
        for address in node.addresses:
            rtnl.add_address("lo", ipaddress.ip_interface(address))
    return node


def _configure_node(node: Host, number: int) -> None:
    with Rtnl(node.netns_fd) as rtnl:
        for address in node.addresses:
            rtnl.delete_address("lo", ipaddress.ip_interface(address))
    _configure(node, "eth0", node_addresses(number), prefixes=(24, 64))


def _configure(
    host: Host, device: str, addresses: tuple[Addr, ...], *, prefixes: tuple[int, int], wait: bool = True
) -> None:
    """``wait``: until packets pass, which asks for the other side to be up already."""
    group = (rtmsg.RTNLGRP_LINK,)
    with (
        NetlinkSocket(NETLINK_ROUTE, netns_fd=host.netns_fd, groups=group) as notices,
        Rtnl(host.netns_fd) as rtnl,
    ):
        rtnl.set_up(device)
        for address, prefix in zip(addresses, prefixes, strict=True):
            rtnl.add_address(device, ipaddress.ip_interface(f"{address}/{prefix}"))
        if wait:
            rtnl.wait_running(device, notices)


def _route(host: Host, cidrs: tuple[Cidr, ...], gateways: tuple[Addr, ...], *, device: str = "eth0") -> None:
    by_family: dict[Family, Addr] = {family_of(g): g for g in gateways}
    with Rtnl(host.netns_fd) as rtnl:
        for cidr in cidrs:
            rtnl.replace_route(Route(destination=cidr, via=by_family[family_of(cidr)], device=device))


def _namespace(stack: contextlib.ExitStack) -> int:
    fd = netns.new_netns()
    stack.callback(os.close, fd)
    # Otherwise link-local addresses are unusable for about a second, and with them neighbour discovery for others.
    sysctl.write([Setting("net/ipv6/conf/default/accept_dad", "0", optional=True)], fd)
    with Rtnl(fd) as rtnl:
        rtnl.set_up("lo")
    return fd


def _addresses(*texts: str) -> tuple[Addr, ...]:
    return tuple(ipaddress.ip_address(text) for text in texts)


def _everything() -> tuple[Cidr, ...]:
    return (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
