"""Services on the topologies: the model of a host's Services, a plane on a node, clients outside, connections that are kept.

Comes in: hosts of ``topologies``. Goes out: states of the model with these hosts as endpoints, and what packet tests of any
Service plane ask. Not here: what the answers should be.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import ipaddress
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator

from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.ender import own_addresses
from netloom.linux import netns
from netloom.linux.conntrack import Conntrack
from netloom.linux.nft import Nft
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.services.frontends import Frontend
from netloom.model.state import NetworkState, PeerRoute
from netloom.program.routes import Route
from netloom.testing import frontends
from netloom.testing.hosts import Host
from netloom.testing.topologies import (
    CLUSTER_CIDRS,
    TwoPods,
    node_addresses,
    pod_cidrs,
    two_pods_one_node,
)
from netloom.units import Addr, Family, Protocol, family_of

SERVICE_CIDRS = (ipaddress.ip_network("10.96.0.0/16"), ipaddress.ip_network("2001:db8:96::/112"))
CLUSTER_IPS: dict[Family, Addr] = {
    Family.V4: ipaddress.ip_address("10.96.0.80"),
    Family.V6: ipaddress.ip_address("2001:db8:96::80"),
}
UNASSIGNED: dict[Family, Addr] = {
    Family.V4: ipaddress.ip_address("10.96.0.99"),
    Family.V6: ipaddress.ip_address("2001:db8:96::99"),
}
NODE_PORT = 30080
TARGET_PORT = 8080
AT_ONCE_S = 0.9
"""Less than the first retransmission of a SYN (1 s), which is what waiting for a refusal would cost; a busy machine may take its time."""


def facts(number: int = 1) -> NodeFacts:
    """What node ``number`` of a topology is."""
    return NodeFacts(
        name=f"node-{number}",
        addresses=node_addresses(number),
        pod_cidrs=pod_cidrs(number),
        cluster_cidrs=CLUSTER_CIDRS,
        service_cidrs=SERVICE_CIDRS,
    )


def service(family: Family, protocol: Protocol, *backends: Host, draining: Iterable[Host] = ()) -> Frontend:
    """Port 80 of the ClusterIP, with TARGET_PORT of these pods behind it."""
    place = f"[{CLUSTER_IPS[family]}]:80"
    leaving = _targets(family, draining)
    return frontends.frontend(place, *_targets(family, backends), protocol=protocol, draining=leaving)


def node_port(family: Family, protocol: Protocol, *backends: Host) -> Frontend:
    """NODE_PORT of a Service with externalTrafficPolicy Cluster."""
    place = f"*:{NODE_PORT}"
    targets = _targets(family, backends)
    return frontends.frontend(place, *targets, protocol=protocol, family=family, masquerade=True)


def state_of(*served: Frontend, pods: Iterable[Host] = (), peers: Iterable[PeerRoute] = ()) -> NetworkState:
    """A node's network with these frontends, these pods on the node, and these peers."""
    addresses = [str(address) for pod in pods for address in pod.addresses]
    return frontends.network_state(*served, pods=addresses, peers=peers)


def peers(number: int) -> list[PeerRoute]:
    """Node ``number`` as another node sees it."""
    ranges = zip(pod_cidrs(number), node_addresses(number), strict=True)
    return [frontends.peer(str(cidr), str(via), f"node-{number}") for cidr, via in ranges]


@contextlib.contextmanager
def one_node() -> Iterator[TwoPods]:
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
def plane_of(node: Host) -> Iterator[NftablesPlane]:
    """A plane on a node; what it puts in force stays when it is gone, as when an agent dies."""
    with Nft(netns_fd=node.netns_fd) as nft, Conntrack(netns_fd=node.netns_fd) as conntrack:
        yield NftablesPlane(
            nft=nft, conntrack=conntrack, addresses=functools.partial(own_addresses, node.netns_fd)
        )


@contextlib.contextmanager
def client_of(*nodes: Host) -> Iterator[Host]:
    """A host outside of the cluster with a link to each node, and a route to its addresses only."""
    with contextlib.ExitStack() as stack:
        fd = netns.new_netns()
        stack.callback(os.close, fd)
        addresses: list[Addr] = []
        for number, node in enumerate(nodes, 1):
            link = f"to{number}"
            with Rtnl(node.netns_fd) as rtnl, Rtnl(fd) as client:
                rtnl.add_veth(link, peer=link, peer_netns_fd=fd)
                rtnl.set_up(link)
                client.set_up(link)
                for prefix, own in zip(client_prefixes(number), node.addresses, strict=True):
                    network = ipaddress.ip_network(prefix)
                    gateway, mine = network.network_address + 1, network.network_address + 2
                    rtnl.add_address(link, ipaddress.ip_interface(f"{gateway}/{network.prefixlen}"))
                    client.add_address(link, ipaddress.ip_interface(f"{mine}/{network.prefixlen}"))
                    alone = ipaddress.ip_network(own)
                    client.replace_route(Route(destination=alone, via=gateway, device=link))
                    addresses.append(mine)
        yield Host("client", fd, tuple(addresses))


def client_prefixes(number: int) -> tuple[str, str]:
    """The networks between the client outside and node ``number``."""
    return f"192.0.2.{number * 16}/28", f"2001:db8:c:{number}::/64"


@contextlib.asynccontextmanager
async def serving(*pods: Host, protocol: Protocol, family: Family = Family.V4) -> AsyncIterator[None]:
    """Each of these pods answers at TARGET_PORT."""
    async with contextlib.AsyncExitStack() as stack:
        for pod in pods:
            await stack.enter_async_context(pod.serve(TARGET_PORT, protocol, family=family))
        yield


async def answers(host: Host, address: Addr, protocol: Protocol, count: int) -> dict[str | None, int]:
    """Who answered how often at port 80; None for no answer."""
    replies = [await host.ask(address, 80, protocol) for _ in range(count)]
    return collections.Counter(reply.server if reply else None for reply in replies)


async def refusal_time(host: Host, address: Addr, protocol: Protocol, port: int = 80) -> float:
    """Seconds until a refusal; anything else is an AssertionError.

    A node's own datagram that is refused on its way out is an error of send(): the kernel says EPERM there.
    """
    refusals: tuple[type[OSError], ...] = (ConnectionRefusedError,)
    if protocol is Protocol.UDP and host.name.startswith("node"):
        refusals = (ConnectionRefusedError, PermissionError)
    begin = time.monotonic()
    try:
        reply = await host.ask_or_raise(address, port, protocol, timeout_s=3)
    except refusals:
        return time.monotonic() - begin
    except TimeoutError:
        raise AssertionError(f"{address}:{port} neither answers nor refuses {host.name}") from None
    raise AssertionError(f"{address}:{port} answers {host.name}: {reply}")


class Connection:
    """A TCP connection that is kept and talked over; :func:`repeating` is the other side.

    Args:
        host: who connects.
        address: to whom.
        port: of the server.
    """

    def __init__(self, host: Host, address: Addr, port: int = 80) -> None:
        self._sock = host.open_socket(family_of(address), Protocol.TCP)
        self._to = (str(address), port)

    async def open(self) -> bool:
        """Connect and exchange a first word."""
        await asyncio.get_running_loop().sock_connect(self._sock, self._to)
        return await self.talk()

    async def talk(self, timeout_s: float = 3) -> bool:
        """Say a word and hear it back; TimeoutError, ConnectionResetError."""
        await asyncio.get_running_loop().sock_sendall(self._sock, b"x")
        return await self.hear(timeout_s)

    async def hear(self, timeout_s: float = 3) -> bool:
        """Hear a word that was said before; as :meth:`talk`."""
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().sock_recv(self._sock, 10) == b"x"

    def close(self) -> None:
        """Close our end."""
        self._sock.close()


@contextlib.asynccontextmanager
async def repeating(pod: Host, port: int = TARGET_PORT) -> AsyncIterator[None]:
    """A server that says back what it hears, for as long as somebody speaks."""
    writers: list[asyncio.StreamWriter] = []

    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError):
            while piece := await reader.read(100):
                writer.write(piece)
        writer.close()

    sock = pod.open_socket()
    sock.bind((str(pod.address), port))
    server = await asyncio.start_server(repeat, sock=sock)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _targets(family: Family, pods: Iterable[Host]) -> list[str]:
    return [f"[{pod.address_of(family)}]:{TARGET_PORT}" for pod in pods]
