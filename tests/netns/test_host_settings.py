"""The kernel settings that netloom changes: none more than are listed, none that nothing breaks without, and strict nodes work."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from netloom.agent.host_findings import host_findings
from netloom.cni import attach
from netloom.fabric.vxlan.apply import VxlanFabric
from netloom.linux import netns, sysctl
from netloom.linux.rtnl import Rtnl
from netloom.model.routes.ways import FabricKind
from netloom.program import names
from netloom.program.routes import Route
from netloom.program.sysctl import NODE_SETTINGS, POD_LINK_SETTINGS, Setting
from netloom.testing.fabric_rig import Layout, fabric_net
from netloom.testing.hosts import Host
from netloom.testing.naive_services import Asker, naive
from netloom.testing.service_networks import (
    CLUSTER_IPS,
    NODE_PORT,
    client_of,
    facts,
    node_port,
    one_node,
    plane_of,
    service,
    serving,
    state_of,
)
from netloom.testing.service_rig import service_rig
from netloom.testing.service_universe import Odds, some_cluster, some_packet
from netloom.testing.topologies import TwoPods, add_pod, two_nodes
from netloom.testing.universe_words import described
from netloom.units import Family, Protocol

pytestmark = pytest.mark.netns

FAMILIES = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
ETH_P_ARP, ETH_P_IP = 0x0806, 0x0800
ICMP_REDIRECT = 5


def tree(netns_fd: int) -> dict[str, str]:
    """All settings of a network namespace that can be read, and that do not change by themselves."""

    def read() -> dict[str, str]:
        found = {}
        for directory, _, files in os.walk("/proc/sys/net"):
            for name in files:
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    found[f"{directory}/{name}".removeprefix("/proc/sys/")] = (
                        Path(directory) / name
                    ).read_text()
        return found

    settings = netns.run_in(netns_fd, read)
    return {
        path: value
        for path, value in settings.items()
        if not any(f"/{kind}/" in path for kind in ("neigh", "nf_conntrack_count"))
        and not path.endswith(("nf_conntrack_count", "stable_secret"))
    }


def in_force(link: str, name: str, netns_fd: int) -> str | None:
    return sysctl.read(f"net/ipv4/conf/{link}/{name}", netns_fd)


def write(netns_fd: int, path: str, value: int) -> None:
    sysctl.write([Setting(path, str(value))], netns_fd)


def link_of(pod: Host) -> str:
    return names.pod_link(pod.name, "eth0")


@contextlib.contextmanager
def fresh_node() -> Iterator[Host]:
    fd = netns.new_netns()
    try:
        with Rtnl(fd) as rtnl:
            rtnl.set_up("lo")
            rtnl.add_veth("eth0", peer="eth1")
        addresses = (ipaddress.ip_address("172.30.0.11"), ipaddress.ip_address("2001:db8:30::11"))
        yield Host("node-1", fd, addresses)
    finally:
        os.close(fd)


CONSEQUENCES = {
    # what the kernel itself changes with ip_forward (net/ipv4/devinet.c, inet_forward_change) and with all/forwarding
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/forwarding": "1",
    "net/ipv4/conf/default/forwarding": "1",
    "net/ipv4/conf/eth0/forwarding": "1",
    "net/ipv4/conf/eth1/forwarding": "1",
    "net/ipv4/conf/lo/forwarding": "1",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/forwarding": "1",
    "net/ipv6/conf/eth0/forwarding": "1",
    "net/ipv6/conf/eth1/forwarding": "1",
    "net/ipv6/conf/lo/forwarding": "1",
}


async def test_a_node_with_a_plane_and_pods_has_no_other_setting_changed():
    with fresh_node() as node, contextlib.ExitStack() as stack:
        before = tree(node.netns_fd)
        netns.run_in(node.netns_fd, attach.prepare_node)
        with Rtnl(node.netns_fd) as rtnl:
            for address in node.addresses:
                rtnl.add_address("lo", ipaddress.ip_interface(address))
        pod = add_pod(stack, node, 1, 2)
        with plane_of(node) as plane:
            await plane.start(state_of(service(Family.V4, Protocol.TCP, pod), pods=[pod]), facts())
        after = tree(node.netns_fd)
        changed = {path: value.strip() for path, value in after.items() if before.get(path) != value}
        pods = {p: v for p, v in changed.items() if f"/{link_of(pod)}/" in p}
        assert {p: v for p, v in changed.items() if p not in pods} == CONSEQUENCES
        # the pod's interface is as any new one would be, but for the list
        differing = {
            path.rpartition("/")[2]: value
            for path, value in pods.items()
            if "/ipv4/conf/" in path
            and value != after[path.replace(f"/{link_of(pod)}/", "/default/")].strip()
        }
        wanted = {one.name: str(one.value) for one in POD_LINK_SETTINGS}
        assert differing.items() <= wanted.items()
        assert {name: in_force(link_of(pod), name, node.netns_fd) for name in wanted} == wanted
        listed = {s.path: s.value for s in NODE_SETTINGS}
        assert listed.items() <= CONSEQUENCES.items()


async def reaches(asker: Host, server: Host, family: Family) -> bool:
    async with server.serve(9400, Protocol.UDP, family=family):
        return await asker.ask(server.address_of(family), 9400, Protocol.UDP, timeout_s=0.3) is not None


@FAMILIES
async def test_without_forwarding_pods_reach_nobody(family):
    path = "net/ipv4/ip_forward" if family is Family.V4 else "net/ipv6/conf/all/forwarding"
    assert any(one.path == path for one in NODE_SETTINGS)
    with one_node() as net:
        assert await reaches(net.a, net.b, family)
        write(net.node.netns_fd, path, 0)
        assert not await reaches(net.a, net.b, family)
        write(net.node.netns_fd, path, 1)
        assert await reaches(net.a, net.b, family)


async def test_a_host_whose_new_interfaces_do_not_forward_serves_pods_all_the_same():
    with one_node() as net, contextlib.ExitStack() as stack:
        write(net.node.netns_fd, "net/ipv4/conf/default/forwarding", 0)
        pod = add_pod(stack, net.node, 1, 7)
        assert await reaches(pod, net.b, Family.V4)
        write(net.node.netns_fd, f"net/ipv4/conf/{link_of(pod)}/forwarding", 0)
        assert not await reaches(pod, net.b, Family.V4)


@contextlib.contextmanager
def packets(pod: Host, protocol: int) -> Iterator[socket.socket]:
    """What arrives at a pod's interface."""
    with netns.open_socket(pod.netns_fd, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol)) as sock:
        sock.setblocking(False)
        sock.bind(("eth0", protocol))
        yield sock


def redirects(sock: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            frame, address = sock.recvfrom(2000)
            is_icmp = address[2] != socket.PACKET_OUTGOING and frame[14 + 9] == socket.IPPROTO_ICMP
            count += is_icmp and frame[14 + 20] == ICMP_REDIRECT
    return count


async def hairpin_redirects(net: TwoPods) -> int:
    """A pod reaches itself through a Service; how often the node told it of a better way meanwhile."""
    with packets(net.a, ETH_P_IP) as sock:
        async with serving(net.a, protocol=Protocol.UDP):
            reply = await net.a.ask(CLUSTER_IPS[Family.V4], 80, Protocol.UDP, timeout_s=3)
        assert reply is not None
        assert reply.server == net.a.name
        return redirects(sock)


async def test_a_pod_that_reaches_itself_is_told_of_no_better_way_whatever_the_host_says():
    """Which is why send_redirects need not be touched: of what is translated the kernel tells nobody (nf_nat_proto.c)."""
    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(service(Family.V4, Protocol.UDP, net.a), pods=[net.a, net.b]), facts())
        for which in ("all", "default", link_of(net.a)):
            write(net.node.netns_fd, f"net/ipv4/conf/{which}/send_redirects", 1)
        assert await hairpin_redirects(net) == 0


def arp(sender: str, sender_mac: bytes, target: str, operation: int = 1) -> bytes:
    """An ARP packet as a frame to the node's side (RFC 826)."""
    node = bytes.fromhex(names.HOST_SIDE_MAC.replace(":", ""))
    head = (
        node + sender_mac + struct.pack("!H", ETH_P_ARP) + struct.pack("!HHBBH", 1, ETH_P_IP, 6, 4, operation)
    )
    return head + sender_mac + socket.inet_aton(sender) + node + socket.inet_aton(target)


async def test_a_pod_that_asks_in_many_names_fills_no_table_of_the_node():
    own = bytes.fromhex("0a5800000001")

    def flood(net: TwoPods) -> int:
        with packets(net.a, ETH_P_ARP) as sock, Rtnl(net.node.netns_fd) as rtnl:
            for number in range(100):
                sock.send(arp(f"203.0.113.{number + 1}", own, str(net.node.address)))
            return sum(str(n.address).startswith("203.0.113.") for n in rtnl.neighbours())

    with one_node() as net:
        assert flood(net) == 0
        write(net.node.netns_fd, f"net/ipv4/conf/{link_of(net.a)}/arp_ignore", 0)
        assert flood(net) > 50


async def test_services_and_host_ports_work_on_a_node_with_strict_reverse_path_filters():
    """Everything that the random clusters ask, with rp_filter 1 for all interfaces of both nodes and of the client."""
    rng = random.Random(11)
    odds = Odds(protocols=("TCP", "UDP"))
    async with service_rig() as rig:
        for host in rig.hosts:
            for which in ("all", "default"):
                write(host.netns_fd, f"net/ipv4/conf/{which}/rp_filter", 1)
        for number in range(8):
            view = some_cluster(rng.choice, odds)
            await rig.put(view)
            expected = {}
            for _ in range(14):
                packet = some_packet(rng.choice, view, rig.facts, odds)
                is_led = any(packet.destination in c for c in rig.facts.service_cidrs)
                if packet.asker is not Asker.OTHER or not is_led:
                    expected[packet] = naive(view, rig.facts, packet)
            trouble = await rig.contradictions(expected)
            assert not trouble, "\n".join([f"cluster {number}:", *trouble, described(view)])


async def test_pods_of_two_nodes_and_the_nodes_themselves_meet_with_strict_reverse_path_filters():
    with two_nodes() as net:
        for host in (net.node_1, net.node_2, net.pod_1, net.pod_2):
            for which in ("all", "default"):
                write(host.netns_fd, f"net/ipv4/conf/{which}/rp_filter", 1)
        hosts = (net.node_1, net.node_2, net.pod_1, net.pod_2)
        for asker in hosts:
            for server in hosts:
                if asker is not server:
                    assert await reaches(asker, server, Family.V4), f"{asker.name} to {server.name}"


@FAMILIES
async def test_a_tunnel_carries_everything_between_strict_nodes(family):
    """Pods, what a node itself sends, and a NodePort whose client the tunnel sees as a node."""
    layout = Layout(fabric=FabricKind.VXLAN, is_routed=True, direct=False)
    with fabric_net(layout) as net:
        one, two = net.nodes
        for node in net.nodes:
            for which in ("all", "default"):
                write(node.host.netns_fd, f"net/ipv4/conf/{which}/rp_filter", 1)
        async with net.joined(*(VxlanFabric(netns_fd=node.host.netns_fd) for node in net.nodes)):
            assert await reaches(one.pod, two.pod, family)
            assert await reaches(two.pod, one.pod, family)
            assert await reaches(one.host, two.pod, family)
            with client_of(one.host) as client, plane_of(one.host) as plane:
                state = state_of(
                    node_port(family, Protocol.TCP, two.pod), pods=[one.pod], peers=one.peers.values()
                )
                await plane.start(state, one.facts)
                async with serving(two.pod, protocol=Protocol.TCP, family=family):
                    reply = await client.ask(
                        one.host.address_of(family), NODE_PORT, Protocol.TCP, timeout_s=3
                    )
            assert reply is not None


@pytest.mark.parametrize(("accept", "is_found"), [(1, True), (2, False), (0, False)])
def test_a_host_whose_routes_are_advertised_is_told_what_forwarding_does_to_them(accept, is_found):
    with fresh_node() as node, Rtnl(node.netns_fd) as rtnl:
        for name in ("eth0", "eth1"):
            rtnl.set_up(name)
        everything = ipaddress.ip_network("::/0")
        router = ipaddress.ip_address("fe80::1")
        assert host_findings("node-1", node.netns_fd) == ()
        rtnl.replace_route(Route(destination=everything, via=router, device="eth0", protocol=9))
        write(node.netns_fd, "net/ipv6/conf/eth0/accept_ra", accept)
        found = host_findings("node-1", node.netns_fd)
        assert bool(found) is is_found
        if found:
            assert "net.ipv6.conf.eth0.accept_ra=2" in str(found[0])
