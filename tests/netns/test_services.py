"""Services with real packets: who answers, whom that one sees, what is refused, and what survives."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ipaddress
import os
import socket
import time

import msgspec
import pytest

from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.linux import netns, sysctl
from netloom.linux.conntrack import Conntrack
from netloom.linux.nft import Nft
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source
from netloom.model.services.frontends import Backend, Frontend, FrontendAction, FrontendKey, FrontendKind
from netloom.model.state import LocalPod, NetworkState, PeerRoute, difference
from netloom.program.conntrack import FlowFilter
from netloom.program.routes import Route
from netloom.program.sysctl import Setting
from netloom.testing.hosts import Host
from netloom.testing.topologies import (
    CLUSTER_CIDRS,
    add_pod,
    node_addresses,
    pod_cidrs,
    two_nodes,
    two_pods_one_node,
)
from netloom.units import Family, ObjectKey, Protocol, ServicePortKey, family_of

pytestmark = pytest.mark.netns

both_families = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
both_protocols = pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP], ids=lambda p: p.word)

SERVICE_CIDRS = (ipaddress.ip_network("10.96.0.0/16"), ipaddress.ip_network("2001:db8:96::/112"))
CLUSTER_IPS = {
    Family.V4: ipaddress.ip_address("10.96.0.80"),
    Family.V6: ipaddress.ip_address("2001:db8:96::80"),
}
UNASSIGNED = {
    Family.V4: ipaddress.ip_address("10.96.0.99"),
    Family.V6: ipaddress.ip_address("2001:db8:96::99"),
}
NODE_PORT = 30080
SOURCE = Source("Service", "shop", "cart", field="spec.clusterIPs[0]")
AT_ONCE_S = 0.25
"""Far below the first retransmission of a SYN, which is what waiting for a refusal would cost."""


def facts(number=1):
    return NodeFacts(
        name=f"node-{number}",
        addresses=node_addresses(number),
        pod_cidrs=pod_cidrs(number),
        cluster_cidrs=CLUSTER_CIDRS,
        service_cidrs=SERVICE_CIDRS,
    )


def frontend(family, protocol, backends, *, address=None, port=80, masquerade=False):
    return Frontend(
        key=FrontendKey(family, address, protocol, port),
        kind=FrontendKind.CLUSTER_IP if address else FrontendKind.NODE_PORT,
        service_port=ServicePortKey(ObjectKey("shop", "cart"), "", protocol),
        action=FrontendAction.BALANCE if backends else FrontendAction.REJECT,
        backends=tuple(
            Backend(pod.address_of(family), 8080) for pod in sorted(backends, key=lambda p: p.addresses)
        ),
        masquerade=masquerade,
        source=SOURCE,
    )


def service(family, protocol, *backends):
    """The ClusterIP of a Service."""
    return frontend(family, protocol, backends, address=CLUSTER_IPS[family])


def node_port(family, protocol, *backends):
    return frontend(family, protocol, backends, port=NODE_PORT, masquerade=True)


def state_of(*frontends, pods=(), routes=()):
    return NetworkState(
        frontends={one.key: one for one in frontends},
        local_pods={
            address: LocalPod(address, ObjectKey("default", pod.name), pod.name)
            for pod in pods
            for address in pod.addresses
        },
        routes={route.destination: route for route in routes},
    )


def peer_routes(number):
    return [
        PeerRoute(cidr, via, f"node-{number}", Source("Node", "", f"node-{number}"))
        for cidr, via in zip(pod_cidrs(number), node_addresses(number), strict=True)
    ]


@contextlib.contextmanager
def one_node():
    """Two pods on a node with a default route, without which the node itself asks no Service: routing comes before NAT."""
    with two_pods_one_node() as net:
        with Rtnl(net.node.netns_fd) as rtnl:
            rtnl.add_veth("uplink", peer="nowhere")
            for name in ("uplink", "nowhere"):
                rtnl.set_up(name)
            for everything in ("0.0.0.0/0", "::/0"):
                rtnl.replace_route(Route(destination=ipaddress.ip_network(everything), device="uplink"))
        yield net


@contextlib.contextmanager
def plane_of(node):
    with Nft(netns_fd=node.netns_fd) as nft, Conntrack(netns_fd=node.netns_fd) as conntrack:
        yield NftablesPlane(nft=nft, conntrack=conntrack)


@contextlib.asynccontextmanager
async def serving(*pods, protocol, family=Family.V4):
    async with contextlib.AsyncExitStack() as stack:
        for pod in pods:
            await stack.enter_async_context(pod.serve(8080, protocol, family=family))
        yield


async def answers(host, address, protocol, count, port=80):
    """Who answered how often."""
    replies = [await host.ask(address, port, protocol) for _ in range(count)]
    return collections.Counter(reply.server if reply else None for reply in replies)


async def refusal_time(host, address, protocol, port=80):
    """Seconds until a refusal; anything else fails.

    A node's own datagram that is refused on its way out is an error of send(): the kernel says EPERM there.
    """
    at_once = (
        (ConnectionRefusedError, PermissionError)
        if (protocol, host.name[:4]) == (Protocol.UDP, "node")
        else ConnectionRefusedError
    )
    begin = time.monotonic()
    with pytest.raises(at_once):
        await host.ask_or_raise(address, port, protocol, timeout_s=3)
    return time.monotonic() - begin


@both_families
@both_protocols
async def test_cluster_ip_is_balanced_from_pods_and_from_the_node_with_the_askers_own_address(
    family, protocol
):
    with one_node() as net, contextlib.ExitStack() as stack, plane_of(net.node) as plane:
        asker = add_pod(stack, net.node, 1, 4)
        pods = (net.a, net.b, asker)
        await plane.start(state_of(service(family, protocol, net.a, net.b), pods=pods), facts())
        async with serving(net.a, net.b, protocol=protocol, family=family):
            for host in (asker, net.node):
                seen = await answers(host, CLUSTER_IPS[family], protocol, 40)
                assert set(seen) == {net.a.name, net.b.name}
                assert min(seen.values()) > 4
            reply = await asker.ask(CLUSTER_IPS[family], 80, protocol)
    assert reply.peer == asker.address_of(family)


@both_families
@both_protocols
async def test_a_pod_reaches_itself_through_its_service_and_nothing_else_is_translated(family, protocol):
    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(service(family, protocol, net.a), pods=(net.a, net.b)), facts())
        async with serving(net.a, protocol=protocol, family=family):
            hairpin = await net.a.ask(CLUSTER_IPS[family], 80, protocol)
            other = await net.b.ask(CLUSTER_IPS[family], 80, protocol)
            direct = await net.b.ask(net.a.address_of(family), 8080, protocol)
    assert (hairpin.server, hairpin.peer) == (net.a.name, net.node.address_of(family))
    assert other.peer == net.b.address_of(family)
    assert direct.peer == net.b.address_of(family)


async def test_without_the_hairpin_element_a_pod_does_not_reach_itself():
    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(service(Family.V4, Protocol.TCP, net.a), pods=(net.b,)), facts())
        async with serving(net.a, protocol=Protocol.TCP):
            assert await net.a.ask(CLUSTER_IPS[Family.V4], 80) is None
            assert await net.b.ask(CLUSTER_IPS[Family.V4], 80) is not None


@both_families
@both_protocols
async def test_without_endpoints_everybody_is_refused_at_once_and_served_again_when_one_comes(
    family, protocol
):
    """Before, during and after; from a pod and from the node, to the ClusterIP and to the NodePort."""
    with one_node() as net, plane_of(net.node) as plane:
        pods = (net.a, net.b)
        full = state_of(service(family, protocol, net.a), node_port(family, protocol, net.a), pods=pods)
        empty = state_of(service(family, protocol), node_port(family, protocol), pods=pods)
        places = ((CLUSTER_IPS[family], 80), (net.node.address_of(family), NODE_PORT))
        await plane.start(full, facts())
        async with serving(net.a, protocol=protocol, family=family):
            for before, after in ((full, empty), (empty, full)):
                for host in (net.b, net.node):
                    for address, port in places:
                        if before is full:
                            assert await host.reaches(address, port, protocol)
                        else:
                            assert await refusal_time(host, address, protocol, port) < AT_ONCE_S
                await plane.apply(difference(before, after))
            for host in (net.b, net.node):
                for address, port in places:
                    assert await host.reaches(address, port, protocol)


@both_families
async def test_refusing_tcp_is_not_rationed(family):
    """ICMP errors are limited to one a second for each peer after a burst of six; resets are not."""
    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(service(family, Protocol.TCP), pods=(net.a,)), facts())
        times = [await refusal_time(net.a, CLUSTER_IPS[family], Protocol.TCP) for _ in range(30)]
    assert max(times) < AT_ONCE_S


@both_families
@both_protocols
async def test_ports_and_addresses_that_no_service_has_are_refused(family, protocol):
    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(service(family, protocol, net.a), pods=(net.a, net.b)), facts())
        for host in (net.b, net.node):
            assert await refusal_time(host, CLUSTER_IPS[family], protocol, 81) < AT_ONCE_S
            assert await refusal_time(host, UNASSIGNED[family], protocol) < AT_ONCE_S


async def test_packets_to_service_addresses_never_leave_the_node():
    """Seen with a peer node that would answer for the whole Service range, once without and once with the plane."""
    with two_nodes() as net, plane_of(net.node_1) as plane:
        services = SERVICE_CIDRS[0]
        with Rtnl(net.node_1.netns_fd) as rtnl:
            route = Route(destination=services, via=net.node_2.address, device="eth0")
            rtnl.replace_route(route)
        with Rtnl(net.node_2.netns_fd) as rtnl:
            rtnl.add_address("lo", ipaddress.ip_interface(UNASSIGNED[Family.V4]))
        async with net.node_2.serve(80), net.node_2.serve(80, Protocol.UDP, address=UNASSIGNED[Family.V4]):
            for host in (net.pod_1, net.node_1):
                assert await host.reaches(UNASSIGNED[Family.V4], 80)
                assert await host.reaches(UNASSIGNED[Family.V4], 80, Protocol.UDP)
            # A UDP flow from before the plane, kept alive from the same port: tracked, and not translated.
            source = (net.pod_1.address, 40000)
            assert await net.pod_1.ask(UNASSIGNED[Family.V4], 80, Protocol.UDP, source=source)
            await plane.start(state_of(pods=(net.pod_1,)), facts())
            assert await net.pod_1.ask(UNASSIGNED[Family.V4], 80, Protocol.UDP, source=source) is None
            for host in (net.pod_1, net.node_1):
                assert not await host.reaches(UNASSIGNED[Family.V4], 80)
                assert not await host.reaches(UNASSIGNED[Family.V4], 80, Protocol.UDP)


@contextlib.contextmanager
def client_of(*nodes):
    """A host outside of the cluster with a link to each node."""
    with contextlib.ExitStack() as stack:
        fd = netns.new_netns()
        stack.callback(os.close, fd)
        addresses = []
        for number, node in enumerate(nodes, 1):
            link = f"to{number}"
            prefixes = (f"192.0.2.{number * 16}/28", f"2001:db8:c:{number}::/64")
            with Rtnl(node.netns_fd) as rtnl, Rtnl(fd) as client:
                rtnl.add_veth(link, peer=link, peer_netns_fd=fd)
                rtnl.set_up(link)
                client.set_up(link)
                for prefix, own in zip(prefixes, node.addresses, strict=True):
                    network = ipaddress.ip_network(prefix)
                    gateway, mine = network.network_address + 1, network.network_address + 2
                    rtnl.add_address(link, ipaddress.ip_interface(f"{gateway}/{network.prefixlen}"))
                    client.add_address(link, ipaddress.ip_interface(f"{mine}/{network.prefixlen}"))
                    alone = ipaddress.ip_network(own)
                    client.replace_route(Route(destination=alone, via=gateway, device=link))
                    addresses.append(mine)
        yield Host("client", fd, tuple(addresses))


@both_families
@both_protocols
async def test_node_port_from_outside_through_each_node_wherever_the_backend_is(family, protocol):
    with (
        two_nodes() as net,
        client_of(net.node_1, net.node_2) as client,
        plane_of(net.node_1) as first,
        plane_of(net.node_2) as second,
    ):
        for plane, number, pod in ((first, 1, net.pod_1), (second, 2, net.pod_2)):
            state = state_of(
                node_port(family, protocol, net.pod_2), pods=(pod,), routes=peer_routes(3 - number)
            )
            await plane.start(state, facts(number))
        async with serving(net.pod_2, protocol=protocol, family=family):
            for node in (net.node_1, net.node_2):
                address = node.address_of(family)
                reply = await client.ask(address, NODE_PORT, protocol)
                assert reply is not None, f"through {node.name}"
                assert (reply.server, reply.peer) == (net.pod_2.name, address)
                # From a pod of the other node, and from the node itself.
                for host in (net.pod_1, net.node_1, net.node_2):
                    assert await host.reaches(address, NODE_PORT, protocol), (
                        f"{host.name} through {node.name}"
                    )


async def test_node_port_is_not_served_at_loopback():
    with one_node() as net, plane_of(net.node) as plane:
        await plane.start(state_of(node_port(Family.V4, Protocol.TCP, net.a), pods=(net.a,)), facts())
        async with serving(net.a, protocol=Protocol.TCP):
            with pytest.raises(ConnectionRefusedError):
                await net.node.ask_or_raise(ipaddress.ip_address("127.0.0.1"), NODE_PORT)
            assert await net.node.reaches(net.node, NODE_PORT)


@both_families
async def test_pods_keep_their_address_towards_pods_and_nodes_and_lose_it_towards_the_world(family):
    with two_nodes() as net, client_of(net.node_1) as world, plane_of(net.node_1) as plane:
        state = state_of(pods=(net.pod_1,), routes=peer_routes(2))
        await plane.start(state, facts())
        async with (
            net.pod_2.serve(80, family=family),
            net.node_2.serve(81, family=family),
            world.serve(82, family=family),
        ):
            to_pod = await net.pod_1.ask(net.pod_2.address_of(family), 80)
            to_node = await net.pod_1.ask(net.node_2.address_of(family), 81)
            to_world = await net.pod_1.ask(world.address_of(family), 82)
    mine = net.pod_1.address_of(family)
    assert (to_pod.peer, to_node.peer) == (mine, mine)
    assert to_world.peer != mine
    assert to_world.peer in ipaddress.ip_network(
        f"{world.address_of(family)}/{28 if family is Family.V4 else 64}", strict=False
    )


@both_families
async def test_a_udp_flow_follows_when_its_endpoint_is_replaced(family):
    """The same client port goes on sending, as DNS clients do; conntrack would keep it with the old endpoint for ever."""
    with one_node() as net, contextlib.ExitStack() as stack, plane_of(net.node) as plane:
        asker = add_pod(stack, net.node, 1, 4)
        pods = (net.a, net.b, asker)
        states = [state_of(service(family, Protocol.UDP, *who), pods=pods) for who in ([net.a], [net.b], [])]
        await plane.start(states[0], facts())
        source = (asker.address_of(family), 40000)
        other = (asker.address_of(family), 40001)

        async def ask(source=source):
            reply = await asker.ask(CLUSTER_IPS[family], 80, Protocol.UDP, source=source)
            return reply.server if reply else None

        async with (
            serving(net.a, net.b, protocol=Protocol.UDP, family=family),
            net.a.serve(9000, Protocol.UDP, family=family),
        ):
            assert await ask() == net.a.name
            assert await asker.ask(net.a.address_of(family), 9000, Protocol.UDP, source=other)
            with Conntrack(netns_fd=net.node.netns_fd) as conntrack:
                look = FlowFilter(family, 17, net.a.address_of(family), 9000)
                before = conntrack.dump(look)
                assert len(before) == 1
                await plane.apply(difference(states[0], states[1]))
                assert await ask() == net.b.name
                assert conntrack.dump(look) == before, (
                    "a flow that has nothing to do with the Service was touched"
                )
            await plane.apply(difference(states[1], states[2]))
            assert await ask() is None
            await plane.apply(difference(states[2], states[0]))
            assert await ask() == net.a.name


async def test_udp_to_a_node_port_from_before_its_service_is_led_to_the_service():
    with one_node() as net, plane_of(net.node) as plane:
        nothing = state_of(pods=(net.a, net.b))
        await plane.start(nothing, facts())
        source = (net.b.address, 40000)
        async with serving(net.a, protocol=Protocol.UDP), net.node.serve(NODE_PORT, Protocol.UDP):
            first = await net.b.ask(net.node, NODE_PORT, Protocol.UDP, source=source)
            assert first.server == net.node.name
            served = state_of(node_port(Family.V4, Protocol.UDP, net.a), pods=(net.a, net.b))
            await plane.apply(difference(nothing, served))
            then = await net.b.ask(net.node, NODE_PORT, Protocol.UDP, source=source)
    assert then.server == net.a.name


class Connection:
    """A TCP connection that is kept and talked over; a line server of the test answers."""

    def __init__(self, host, address, port=80):
        self._sock = host.open_socket(family_of(address), Protocol.TCP)
        self._to = (str(address), port)

    async def open(self):
        await asyncio.get_running_loop().sock_connect(self._sock, self._to)
        return await self.talk()

    async def talk(self, timeout_s=3):
        await asyncio.get_running_loop().sock_sendall(self._sock, b"x")
        return await self.heard(timeout_s)

    async def heard(self, timeout_s=3):
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().sock_recv(self._sock, 10) == b"x"

    def close(self):
        self._sock.close()


@contextlib.asynccontextmanager
async def repeating(pod, port=8080):
    writers = []

    async def repeat(reader, writer):
        writers.append(writer)
        with contextlib.suppress(OSError):
            while piece := await reader.read(100):
                writer.write(piece)
        writer.close()

    sock = pod.open_socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", port))
    server = await asyncio.start_server(repeat, sock=sock)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_established_tcp_outlives_restarts_and_the_removal_of_its_endpoint_but_not_of_its_service():
    with one_node() as net, plane_of(net.node) as plane:
        pods = (net.a, net.b)
        address = CLUSTER_IPS[Family.V4]
        served, empty, gone = (
            state_of(service(Family.V4, Protocol.TCP, net.a), pods=pods),
            state_of(service(Family.V4, Protocol.TCP), pods=pods),
            state_of(pods=pods),
        )
        await plane.start(served, facts())
        async with repeating(net.a):
            connection = Connection(net.b, address)
            assert await connection.open()
            for state in (served, empty):
                with plane_of(net.node) as another:
                    await another.start(state, facts())
                assert await connection.talk()
            await plane.start(served, facts())
            await plane.apply(difference(served, empty))
            assert await connection.talk()
            assert await refusal_time(net.b, address, Protocol.TCP) < AT_ONCE_S
            await plane.apply(difference(empty, gone))
            assert await connection.talk(), "a Service without endpoints had no flows to end"
            connection.close()

            await plane.apply(difference(gone, served))
            connection = Connection(net.b, address)
            assert await connection.open()
            await plane.apply(difference(served, gone))
            with pytest.raises(ConnectionResetError):
                await connection.talk()
            connection.close()


async def test_a_segment_that_conntrack_cannot_place_ends_no_connection():
    """Its entry lost, and nothing picked up in the middle: dropped, not reset, so that the connection goes on afterwards."""
    loose = "net/netfilter/nf_conntrack_tcp_loose"
    with one_node() as net, plane_of(net.node) as plane:
        node = net.node.netns_fd
        await plane.start(state_of(service(Family.V4, Protocol.TCP, net.a), pods=(net.a, net.b)), facts())
        async with repeating(net.a):
            connection = Connection(net.b, CLUSTER_IPS[Family.V4])
            assert await connection.open()
            sysctl.write([Setting(loose, "0")], node)
            with Conntrack(netns_fd=node) as conntrack:
                flows = conntrack.dump(FlowFilter(Family.V4, 6, CLUSTER_IPS[Family.V4]))
                assert conntrack.delete(flows) == 1
            with pytest.raises(TimeoutError):
                await connection.talk(timeout_s=0.5)
            sysctl.write([Setting(loose, "1")], node)
            assert await connection.heard(), "the segment is sent again, and answered"
            connection.close()


async def test_a_restart_finds_what_changed_meanwhile():
    """Endpoints replaced, a Service gone and one come, while no plane was there: flows too."""
    with one_node() as net, contextlib.ExitStack() as stack:
        asker = add_pod(stack, net.node, 1, 4)
        pods = (net.a, net.b, asker)
        before = state_of(
            service(Family.V4, Protocol.UDP, net.a), node_port(Family.V4, Protocol.TCP, net.a), pods=pods
        )
        after = state_of(
            service(Family.V4, Protocol.UDP, net.b), service(Family.V4, Protocol.TCP, net.b), pods=pods
        )
        source = (asker.address, 40000)
        async with serving(net.a, net.b, protocol=Protocol.UDP), serving(net.b, protocol=Protocol.TCP):
            with plane_of(net.node) as plane:
                await plane.start(before, facts())
                first = await asker.ask(CLUSTER_IPS[Family.V4], 80, Protocol.UDP, source=source)
            with plane_of(net.node) as plane:
                await plane.start(after, facts())
                then = await asker.ask(CLUSTER_IPS[Family.V4], 80, Protocol.UDP, source=source)
                assert await asker.reaches(CLUSTER_IPS[Family.V4], 80)
                assert not await asker.reaches(net.node, NODE_PORT)
                await plane.remove()
                assert not await asker.reaches(CLUSTER_IPS[Family.V4], 80)
    assert (first.server, then.server) == (net.a.name, net.b.name)


async def test_a_node_local_address_is_left_to_the_node():
    """Cluster DNS: an address in the Service range that the node itself has, answered by a server of the node."""
    dns = ipaddress.ip_address("10.96.0.10")
    with one_node() as net, plane_of(net.node) as plane:
        with Rtnl(net.node.netns_fd) as rtnl:
            rtnl.add_address("lo", ipaddress.ip_interface(dns))
        local = [
            msgspec.structs.replace(
                frontend(Family.V4, protocol, (), address=dns, port=53), action=FrontendAction.NODE_LOCAL
            )
            for protocol in (Protocol.TCP, Protocol.UDP)
        ]
        await plane.start(state_of(*local, pods=(net.a,)), facts())
        for protocol in (Protocol.TCP, Protocol.UDP):
            async with net.node.serve(53, protocol, address=dns), net.node.serve(54, protocol):
                for host in (net.a, net.node):
                    reply = await host.ask(dns, 53, protocol)
                    assert reply is not None
                    assert reply.server == net.node.name
                    assert await refusal_time(host, dns, protocol, 54) < AT_ONCE_S


@pytest.mark.parametrize("count", [3, 9, 16])
async def test_every_endpoint_of_a_class_is_drawn(count):
    """3 has a class of its own; 9 are in the class of 16, whose empty slots are drawn again."""
    with one_node() as net, contextlib.ExitStack() as stack, plane_of(net.node) as plane:
        pods = [add_pod(stack, net.node, 1, 10 + number) for number in range(count)]
        await plane.start(state_of(service(Family.V4, Protocol.UDP, *pods), pods=pods), facts())
        async with serving(*pods, protocol=Protocol.UDP):
            seen = await answers(net.a, CLUSTER_IPS[Family.V4], Protocol.UDP, count * 30)
    assert None not in seen
    assert set(seen) == {pod.name for pod in pods}
    # With equal shares of 30 each, fewer than 6 or more than 70 happens less than once in a million runs.
    assert min(seen.values()) >= 6
    assert max(seen.values()) <= 70
