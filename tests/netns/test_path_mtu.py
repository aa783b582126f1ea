"""What the ways between nodes carry, asked with real packets: full size, narrow, blocked, and hardware that spoils checksums."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from netloom.agent.path_mtu.findings import Fault
from netloom.agent.path_mtu.prober import Checksums, PathProber
from netloom.agent.path_mtu.questions import Asker
from netloom.agent.path_mtu.responder import Responder
from netloom.clock import SystemClock
from netloom.fabric.hostgw.apply import HostGateway
from netloom.fabric.measured import MeasuredFabric
from netloom.fabric.vxlan.apply import VxlanFabric
from netloom.linux import ethtool, netns
from netloom.linux.netns import Namespaces
from netloom.linux.process import run
from netloom.linux.rtnl import Rtnl
from netloom.model.provenance import Source
from netloom.model.routes.ways import FabricKind
from netloom.model.state import Delta, NetworkState
from netloom.testing.fabric_rig import FabricNet, FabricNode, Layout, fabric_net, send_datagram, send_stream
from netloom.units import Family

pytestmark = pytest.mark.netns

PORT = 10258
HOSTGW = Layout(inner=(Family.V4,))
VXLAN = Layout(inner=(Family.V4,), is_routed=True, fabric=FabricKind.VXLAN)
V6_VXLAN = Layout(outer=(Family.V6,), inner=(Family.V6,), is_routed=True, fabric=FabricKind.VXLAN)
OWN = Source("Node", "", "node-1", "uid-1")


class Probing:
    """The prober of node 1 and what it told."""

    def __init__(
        self, node: FabricNode, fabric: MeasuredFabric, checksums: Checksums = Checksums.AUTO
    ) -> None:
        self.said: list[str] = []
        self.fabric = fabric
        self.node = node
        self.prober = PathProber(
            node="node-1",
            own=lambda: OWN,
            asker=lambda: Asker(port=PORT, wait_s=0.4, tries=2, open_socket=sockets_of(node)),
            checksums=checksums,
            report=lambda findings: self.said.extend(map(str, findings)),
            narrow=fabric.measured,
            netns_fd=node.host.netns_fd,
        )
        self.prober.start(NetworkState(routes=node.peers), node.facts)

    async def ask(self):
        await self.prober.turn()
        (found,) = self.prober.reports().paths
        return found


def sockets_of(node: FabricNode) -> Callable[[int, int], socket.socket]:
    return lambda family, kind: netns.open_socket(node.host.netns_fd, family, kind)


@contextlib.asynccontextmanager
async def answering(net: FabricNet) -> AsyncIterator[None]:
    """Node 2 answers probes of node 1."""
    node = net.nodes[1]
    own = PathProber(node="node-2", own=lambda: OWN, asker=lambda: Asker(port=PORT), report=lambda _: None)
    own.start(NetworkState(routes=node.peers), node.facts)
    responder = Responder(
        port=PORT, peers=lambda: own.addresses, clock=SystemClock(), open_socket=sockets_of(node)
    )
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(responder.run())
        await responder.opened.wait()
        yield
        task.cancel()


def fabrics_of(net: FabricNet) -> list[MeasuredFabric]:
    kind = VxlanFabric if net.nodes[0].facts.fabric is FabricKind.VXLAN else HostGateway
    return [MeasuredFabric(kind(netns_fd=node.host.netns_fd)) for node in net.nodes]


@pytest.mark.parametrize("layout", [HOSTGW, VXLAN, V6_VXLAN], ids=["hostgw", "vxlan", "vxlan6"])
async def test_a_way_that_carries_what_it_should_is_told_so(layout):
    with fabric_net(layout) as net:
        fabrics = fabrics_of(net)
        async with net.joined(*fabrics), answering(net):
            probing = Probing(net.nodes[0], fabrics[0])
            found = await probing.ask()
            expected = {HOSTGW: 1500, VXLAN: 1450, V6_VXLAN: 1430}[layout]
            assert (found.fault, found.carried, found.expected) == ("none", expected, expected)
            assert probing.said == []
            names = {s.name: s.value for s in probing.prober.samples()}
            assert names["netloom_path_mtu_bytes"] == expected
            assert "netloom_path_fault" not in names


@pytest.mark.parametrize("layout", [HOSTGW, VXLAN, V6_VXLAN], ids=["hostgw", "vxlan", "vxlan6"])
async def test_a_narrower_network_on_the_way_is_found_to_the_byte_and_packets_pass_all_the_same(layout):
    with fabric_net(layout) as net:
        fabrics = fabrics_of(net)
        async with net.joined(*fabrics), answering(net):
            # what neither node can see, and says nothing about it: a switch, or a router whose ICMP is filtered
            with Rtnl(net.middle) as rtnl:
                rtnl.set_mtu("port2", 1391)
            probing = Probing(net.nodes[0], fabrics[0])
            found = await probing.ask()
            carried = 1391 - (1500 - found.expected)
            assert (found.fault, found.carried) == ("narrow", carried)
            (said,) = probing.said
            assert said.startswith("Node node-1: status.addresses: the way to node node-2 at ")
            assert "carries packets of 1391 bytes, not of 1500" in said
            family = layout.inner[0]
            headers = 52 if family is Family.V4 else 72
            one, two = net.nodes
            assert await send_stream(one.pod, two.pod, family, 200_000) == carried - headers
            if family is Family.V4:
                assert await send_datagram(one.pod, two.pod, family, 1400)
            # told once, and no more when it is gone
            await probing.ask()
            assert len(probing.said) == 1
            with Rtnl(net.middle) as rtnl:
                rtnl.set_mtu("port2", 1500)
            found = await probing.ask()
            assert (found.fault, found.carried) == ("none", found.expected)
            with Rtnl(one.host.netns_fd) as rtnl:
                assert {r.mtu for protocol in (201, 203) for r in rtnl.routes(protocol)} == {0}


async def test_nobody_there_is_no_finding_and_a_stranger_gets_no_answer():
    with fabric_net(VXLAN) as net:
        fabrics = fabrics_of(net)
        async with net.joined(*fabrics):
            probing = Probing(net.nodes[0], fabrics[0])
            found = await probing.ask()
            assert (found.fault, found.carried) == ("silent", 0)
            assert probing.said == []
            async with answering(net):
                assert (await probing.ask()).fault == "none"
                pod = net.nodes[0].pod
                stranger = lambda family, kind: netns.open_socket(pod.netns_fd, family, kind)  # noqa: E731
                with Asker(port=PORT, wait_s=0.2, tries=1, open_socket=stranger) as asker:
                    assert not await asker.carries(net.nodes[1].host.address, 100)


async def test_a_tunnel_that_is_filtered_on_the_way_is_named_with_its_port():
    with fabric_net(VXLAN) as net:
        fabrics = fabrics_of(net)
        async with net.joined(*fabrics), answering(net):
            rules = b"table ip t { chain c { type filter hook forward priority 0; udp dport 4789 drop; }; }"
            done = await run(["nft", "-f", "-"], input=rules, ns=Namespaces(net=net.middle))
            assert done.returncode == 0, done.stderr
            probing = Probing(net.nodes[0], fabrics[0])
            assert (await probing.ask()).fault == "blocked"
            (said,) = probing.said
            assert "carries probes, but nothing through nl-vxlan; open UDP port 4789" in said
            await run(["nft", "delete", "table", "ip", "t"], ns=Namespaces(net=net.middle))
            assert (await probing.ask()).fault == "none"


async def test_only_what_has_changed_is_asked_again():
    with fabric_net(VXLAN) as net:
        fabrics = fabrics_of(net)
        async with net.joined(*fabrics), answering(net):
            probing = Probing(net.nodes[0], fabrics[0])
            await probing.ask()
            node = net.nodes[0]
            asked: list[object] = []
            probing.prober._asker = lambda: asked.append(1) or Asker(port=1, wait_s=0.1, tries=1)  # type: ignore[func-returns-value]
            assert (await probing.ask()).fault == "none"
            probing.prober.apply(Delta(routes=node.peers))
            assert (await probing.ask()).fault == "none"
            narrower = msgspec.structs.replace(
                node.facts, underlay=msgspec.structs.replace(node.facts.underlay, mtu=1400)
            )
            probing.prober.start(NetworkState(routes=node.peers), narrower)
            assert (await probing.ask()).fault == "silent"
            probing.prober.apply(Delta(routes=dict.fromkeys(node.peers)))
            await probing.prober.turn()
            assert probing.prober.reports().paths == ()


# --- hardware that cannot do what it says ----------------------------------------------------------------------------


class SpoilingWire:
    """Two interfaces joined by a program, as by hardware that fills in checksums of plain packets and not of those in a tunnel.

    The kernel left the checksum to the interface. This one does its work for UDP and ICMP that is not VXLAN; of what is in VXLAN it does
    not see that anything is missing, and lets it pass with half a checksum.
    """

    def __init__(self, netns_fd: int) -> None:
        self._socks = []
        for device in ("a", "b"):
            sock = netns.open_socket(netns_fd, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            sock.bind((device, 3))
            sock.setblocking(False)
            self._socks.append(sock)
        loop = asyncio.get_running_loop()
        for here, there in (self._socks, self._socks[::-1]):
            loop.add_reader(here.fileno(), self._pass, here, there)

    def _pass(self, here: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, (_, _, kind, _, _) = here.recvfrom(65536)
                if kind != 4:  # PACKET_OUTGOING: what we sent ourselves
                    there.send(filled_in(frame))

    def close(self) -> None:
        for sock in self._socks:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()


def filled_in(frame: bytes) -> bytes:
    """The frame with the right UDP checksum, if it is plain UDP over IPv4."""
    if frame[12:14] != b"\x08\x00" or frame[23] != 17:
        return frame
    udp = frame[34:]
    if udp[2:4] == struct.pack(">H", 4789) or udp[6:8] == b"\0\0":
        return frame
    data = (
        frame[26:34] + struct.pack(">HH", 17, len(udp)) + udp[:6] + b"\0\0" + udp[8:] + b"\0" * (len(udp) % 2)
    )
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return frame[:34] + udp[:6] + struct.pack(">H", total ^ 0xFFFF or 0xFFFF) + udp[8:]


@contextlib.contextmanager
def spoiled(net: FabricNet):
    """The first node's link to the switch goes through the wire."""
    with Rtnl(net.middle) as rtnl:
        rtnl.delete_link("port1")
        rtnl.add_veth("port1", peer="b")
        rtnl.add_veth("a", peer="eth0", peer_netns_fd=net.nodes[0].host.netns_fd)
        rtnl.set_master("port1", "underlay")
        for name in ("a", "b", "port1"):
            rtnl.set_up(name)
    with Rtnl(net.nodes[0].host.netns_fd) as rtnl:
        rtnl.set_up("eth0")
        for segment in net.nodes[0].facts.underlay.segments:
            rtnl.add_address("eth0", segment.interface)
    wire = SpoilingWire(net.middle)
    try:
        yield
    finally:
        wire.close()


SWITCHED = msgspec.structs.replace(VXLAN, is_routed=False, direct=False, outer=(Family.V4,))


async def test_hardware_that_spoils_checksums_in_the_tunnel_is_found_and_worked_around():
    with fabric_net(SWITCHED) as net, spoiled(net):
        fabrics = fabrics_of(net)
        async with net.joined(*fabrics), answering(net):
            node = net.nodes[0]
            assert ethtool.has_tx_checksums("nl-vxlan", node.host.netns_fd)
            only_told = Probing(node, fabrics[0], Checksums.REPORT)
            found = await only_told.ask()
            assert (found.fault, found.remedy) == ("checksum", "")
            (said,) = only_told.said
            assert "whose checksum is left to the hardware" in said
            assert "ethtool -K nl-vxlan tx-checksum-ip-generic off" in said
            assert ethtool.has_tx_checksums("nl-vxlan", node.host.netns_fd)
            assert not await send_datagram(node.pod, net.nodes[1].pod, Family.V4, 100, timeout_s=0.3)

            mended = Probing(node, fabrics[0], Checksums.AUTO)
            found = await mended.ask()
            assert (found.fault, found.carried) == ("none", 1450)
            assert found.remedy == "checksums of nl-vxlan are filled in before it"
            assert not ethtool.has_tx_checksums("nl-vxlan", node.host.netns_fd)
            assert len(mended.said) == 1
            assert await send_datagram(node.pod, net.nodes[1].pod, Family.V4, 100)
            assert await send_datagram(node.pod, net.nodes[1].pod, Family.V4, 4000)


async def test_checksums_that_are_off_from_the_beginning_are_no_fault():
    with fabric_net(SWITCHED) as net, spoiled(net):
        fabrics = fabrics_of(net)
        async with net.joined(*fabrics), answering(net):
            probing = Probing(net.nodes[0], fabrics[0], Checksums.OFF)
            assert (await probing.ask()).fault == Fault.NONE.value
            assert probing.said == []
