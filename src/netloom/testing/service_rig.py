"""The small universe of ``service_universe`` with real packets: two nodes, three pods, a client outside, a plane on node-1.

Comes in: a cluster as objects. Goes out: what became of a packet: who answered, whom it saw; a refusal; silence. The plane gets what
the model computes. Not here: what should have become of it (``naive_services``).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Mapping

import msgspec

from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.linux import sysctl
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import ClusterView, NodeFacts
from netloom.model.network import Network
from netloom.model.state import NetworkState, difference
from netloom.program.routes import Route
from netloom.program.sysctl import Setting
from netloom.testing.hosts import TIMEOUT_S, Host, Reply
from netloom.testing.naive_services import Asker, Outcome, Packet, Place, Verdict
from netloom.testing.service_networks import client_of, client_prefixes, plane_of
from netloom.testing.service_universe import TARGETS, node_facts
from netloom.testing.topologies import TwoNodes, add_pod, two_nodes
from netloom.units import Addr, Cidr, Family, Protocol, family_of

SILENCE_S = 0.12
"""How long a packet that should get no answer waits for one: many times what an answer takes."""
REFUSAL_S = 0.25
"""Far below the first retransmission of a SYN, which is what waiting for a refusal would cost."""
ECHO = 9000
"""Port of :func:`echoing`; nothing listens there otherwise."""
_AFFINE = 6
"""How often a client with affinity is asked for: by chance the same of two answers so often once in 32 times."""
_SERVICES: tuple[Cidr, ...] = tuple(
    map(ipaddress.ip_network, ("198.51.100.0/24", "2001:db8:e::/64", "10.96.0.0/16", "2001:db8:96::/112"))
)
_NODES_AND_PODS: tuple[Cidr, ...] = tuple(
    map(ipaddress.ip_network, ("172.30.0.0/24", "2001:db8:30::/64", "10.244.0.0/16", "2001:db8:44::/48"))
)


class Answer(msgspec.Struct, frozen=True):
    """Who answered, and the address that it saw."""

    place: Place
    peer: Addr


class Refused(msgspec.Struct, frozen=True):
    """Told at once that nobody answers."""


class Barred(msgspec.Struct, frozen=True):
    """EPERM from send(): so the kernel says of a node's own datagram that is refused or dropped on its way out."""


class Silence(msgspec.Struct, frozen=True):
    """Nothing came back in time."""


Fate = Answer | Refused | Barred | Silence


class Rig:
    """Hosts with servers at all target ports, and a plane on node-1 with what the model makes of :meth:`put`."""

    def __init__(
        self, *, net: TwoNodes, second: Host, client: Host, plane: NftablesPlane, facts: NodeFacts
    ) -> None:
        self.net = net
        self.second = second
        self.client = client
        self.plane = plane
        self.facts = facts
        self.state: NetworkState | None = None

    @property
    def node(self) -> Host:
        """The node with the plane."""
        return self.net.node_1

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Everybody who may ask."""
        return (self.net.node_1, self.net.node_2, self.net.pod_1, self.second, self.net.pod_2, self.client)

    @property
    def pods(self) -> tuple[Host, ...]:
        """Two of node-1, one of node-2."""
        return (self.net.pod_1, self.second, self.net.pod_2)

    def host_with(self, address: Addr) -> Host:
        """The host that has an address."""
        return next(host for host in self.hosts if address in host.addresses)

    async def put(self, view: ClusterView) -> NetworkState:
        """The plane has in force what the model says of these objects."""
        state = Network.compute(view, self.facts)
        if self.state is None:
            await self.plane.start(state, self.facts)
        else:
            await self.plane.apply(difference(self.state, state))
        self.state = state
        return state

    async def fate(self, packet: Packet, *, timeout_s: float = TIMEOUT_S, source_port: int = 0) -> Fate:
        """What becomes of a connection, or a datagram, that begins with this packet."""
        host = self.host_with(packet.source)
        try:
            reply = await host.ask_or_raise(
                packet.destination,
                packet.port,
                packet.protocol,
                timeout_s=timeout_s,
                source=(packet.source, source_port),
            )
        except TimeoutError:
            return Silence()
        except ConnectionRefusedError:
            return Refused()
        except PermissionError:
            return Barred()
        return Answer(self.place_of(reply), reply.peer)

    @staticmethod
    def place_of(reply: Reply) -> Place:
        """Where the server of an answer listens."""
        address, _, port = reply.server.rpartition(":")
        return ipaddress.ip_address(address.strip("[]")), int(port)

    async def contradictions(self, expected: Mapping[Packet, Outcome]) -> list[str]:
        """Send packets all at once, each until all that may answer have answered; what is not as expected."""
        found = await asyncio.gather(*(self._contradiction(*pair) for pair in expected.items()))
        return [words for words in found if words is not None]

    async def _contradiction(self, packet: Packet, expected: Outcome, most: int = 40) -> str | None:
        is_barred = packet.asker is Asker.NODE and packet.protocol is Protocol.UDP
        match expected.verdict:
            case Verdict.REJECT:
                fate = await self.fate(packet, timeout_s=REFUSAL_S)
                return (
                    None
                    if fate == (Barred() if is_barred else Refused())
                    else f"{packet}: {fate} instead of a refusal"
                )
            case Verdict.DROP:
                fate = await self.fate(packet, timeout_s=SILENCE_S)
                return (
                    None
                    if fate == (Barred() if is_barred else Silence())
                    else f"{packet}: {fate} instead of silence"
                )
            case Verdict.PASS:
                # To where there is one, a server answers at the very place that was asked.
                fate = await self.fate(packet, timeout_s=SILENCE_S)
                here = (packet.destination, packet.port)
                is_fine = not isinstance(fate, Answer) or fate.place == here
                return None if is_fine else f"{packet}: translated, {fate}"
        return await self._unserved(packet, expected, most)

    async def _unserved(self, packet: Packet, expected: Outcome, most: int) -> str | None:
        seen: set[Place] = set()
        for asked in range(1, most + 1):
            fate = await self.fate(packet)
            if not isinstance(fate, Answer) or fate.place not in expected.backends:
                return f"{packet}: {fate} instead of an answer of {sorted(expected.backends)}"
            wanted = (packet.source,) if fate.place in expected.kept else self._own()
            if fate.peer not in wanted:
                return f"{packet}: {fate.place} saw {fate.peer} instead of {' or '.join(map(str, wanted))}"
            seen.add(fate.place)
            if expected.affinity_s and len(seen) > 1:
                return f"{packet}: {sorted(seen)} in spite of affinity"
            if seen == expected.backends or (expected.affinity_s and asked == _AFFINE):
                return None
        return f"{packet}: only {sorted(seen)} of {sorted(expected.backends)} in {most} answers"

    def _own(self) -> tuple[Addr, ...]:
        gateways = [ipaddress.ip_network(prefix).network_address + 1 for prefix in client_prefixes(1)]
        return (*self.node.addresses, *gateways)


@contextlib.asynccontextmanager
async def service_rig(facts: NodeFacts | None = None) -> AsyncIterator[Rig]:
    """A rig; nothing is in force yet."""
    async with contextlib.AsyncExitStack() as stack:
        net = stack.enter_context(two_nodes())
        client = stack.enter_context(client_of(net.node_1))
        second = add_pod(stack.enter_context(contextlib.ExitStack()), net.node_1, 1, 3)
        plane = stack.enter_context(plane_of(net.node_1))
        rig = Rig(net=net, second=second, client=client, plane=plane, facts=facts or node_facts("zone-a"))
        _lead_everything_through_node_1(net, client)
        for pod in rig.pods:
            await _serve_at_all_targets(stack, pod)
        yield rig


@contextlib.asynccontextmanager
async def echoing(*hosts: Host, family: Family, port: int = ECHO) -> AsyncIterator[None]:
    """TCP servers that say back what they hear, for as long as somebody speaks."""
    writers: list[asyncio.StreamWriter] = []

    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async with contextlib.AsyncExitStack() as stack:
        for host in hosts:
            sock = host.open_socket(family)
            sock.bind((str(host.address_of(family)), port))
            await stack.enter_async_context(await asyncio.start_server(repeat, sock=sock))
        try:
            yield
        finally:
            for writer in writers:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()


def probe(
    rig: Rig, host: Host, destination: str, port: int = 80, protocol: Protocol = Protocol.TCP
) -> Packet:
    """A packet of a host of the rig."""
    to = ipaddress.ip_address(destination)
    asker = Asker.OTHER
    if host is rig.node:
        asker = Asker.NODE
    elif host in (rig.net.pod_1, rig.second):
        asker = Asker.POD
    return Packet(asker, host.address_of(family_of(to)), to, protocol, port)


def _lead_everything_through_node_1(net: TwoNodes, client: Host) -> None:
    """So that packets to Services come by there; its own way out leads to the client."""
    gateways = {family_of(a): a for a in net.node_1.addresses}
    inside = [ipaddress.ip_network(prefix).network_address + 1 for prefix in client_prefixes(1)]
    with Rtnl(net.node_2.netns_fd) as rtnl:
        for cidr in _SERVICES:
            rtnl.replace_route(Route(destination=cidr, via=gateways[family_of(cidr)], device="eth0"))
    with Rtnl(client.netns_fd) as rtnl:
        for cidr in (*_SERVICES, *_NODES_AND_PODS):
            via = inside[list(Family).index(family_of(cidr))]
            rtnl.replace_route(Route(destination=cidr, via=via, device="to1"))
    with Rtnl(net.node_1.netns_fd) as rtnl:
        for everything, via in zip(("0.0.0.0/0", "::/0"), client.addresses, strict=True):
            rtnl.replace_route(Route(destination=ipaddress.ip_network(everything), via=via, device="to1"))
    # Refusals of datagrams are rationed to one a second for each peer, which would make tests wait.
    for host in (net.node_1, net.node_2):
        sysctl.write(
            [Setting("net/ipv4/icmp_ratelimit", "0"), Setting("net/ipv6/icmp/ratelimit", "0")], host.netns_fd
        )


async def _serve_at_all_targets(stack: contextlib.AsyncExitStack, pod: Host) -> None:
    """Every server says its own address and port."""
    for address in pod.addresses:
        for port in TARGETS:
            place = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
            named = msgspec.structs.replace(pod, name=place)
            for protocol in (Protocol.TCP, Protocol.UDP):
                await stack.enter_async_context(
                    named.serve(port, protocol, address=address, family=family_of(address))
                )
