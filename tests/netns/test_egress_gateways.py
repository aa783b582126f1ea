"""Pods that leave by gateways, with real packets: whom a server outside sees, before and after the address has moved."""

from __future__ import annotations

import contextlib
import struct

import pytest

from netloom.fabric.egress.apply import EgressPaths
from netloom.fabric.egress.table import CONTAINERS, egress_table
from netloom.fabric.hostgw.apply import HostGateway
from netloom.fabric.vxlan.apply import VxlanFabric
from netloom.linux import sysctl
from netloom.linux.nft import Nft
from netloom.linux.rtnl import Rtnl
from netloom.model.state import NetworkState
from netloom.program.names import EGRESS_LINK, EGRESS_PORT, EGRESS_VNI, NFT_EGRESS_TABLE
from netloom.program.sysctl import Setting
from netloom.testing.builders import load_view, pod
from netloom.testing.egress_rig import EXITS, LAYOUTS, PORT, EgressRig, egress_gateway, egress_rig
from netloom.testing.fabric_rig import FabricNode, send_stream
from netloom.testing.service_networks import Connection, repeating
from netloom.units import Family, Protocol

pytestmark = pytest.mark.netns

FABRICS = {"hostgw": HostGateway, "vxlan": VxlanFabric}
SEGMENTS = {
    (name, family): mtu - (52 if family is Family.V4 else 72)
    for name, mtu in (("hostgw", 1450), ("vxlan", 1400))
    for family in Family
}
"""Bytes of TCP in one packet: without the headers of IP and TCP, with timestamps."""
EXIT = EXITS[Family.V4]
LINE = 9401
DENIED = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nothing-out, namespace: default}
spec: {podSelector: {matchLabels: {app: billing}}, policyTypes: [Egress]}
"""


def filter_strictly(rig: EgressRig) -> None:
    for node in rig.nodes:
        names = ("all", "default", "eth0")
        settings = [Setting(f"net/ipv4/conf/{name}/rp_filter", "1") for name in names]
        sysctl.write(settings, node.host.netns_fd)


def connect(rig: EgressRig, number: int) -> Connection:
    return Connection(rig.nodes[number - 1].pod, rig.outside.address, LINE)


async def check_table(node: FabricNode, state: NetworkState) -> None:
    """The kernel's elements, read, are those of the model."""
    with Nft(netns_fd=node.host.netns_fd) as nft:
        for family in Family:
            inside = (*node.facts.cluster_cidrs, *node.facts.pod_cidrs)
            wanted = egress_table(state.egress, family, node.facts.name, inside).elements
            for container in CONTAINERS:
                assert await nft.elements(family, NFT_EGRESS_TABLE, container) == wanted[container.name]


@pytest.mark.parametrize("name", list(FABRICS))
async def test_chosen_pods_leave_by_the_address_and_all_is_as_before_without_it(name):
    async with egress_rig(LAYOUTS[name], FABRICS[name]) as rig:
        filter_strictly(rig)
        pods = [node.pod for node in rig.nodes]
        await rig.put()
        for family in Family:
            own = [node.host.address_of(family) for node in rig.nodes]
            assert [await rig.seen(one, family) for one in pods] == own
        stranger = pod("default/pod-1", *map(str, pods[0].addresses), node="node-1", labels={"app": "web"})
        await rig.put(egress_gateway(), stranger)
        for family in Family:
            seen = [await rig.seen(one, family) for one in pods]
            assert seen == [rig.nodes[0].host.address_of(family), EXITS[family], EXITS[family]]
        await rig.put(egress_gateway())
        for family in Family:
            assert [await rig.seen(one, family) for one in pods] == [EXITS[family]] * 3
            # whoever sends more than fits into the tunnel is told so: it carries VXLAN within the fabric
            assert await send_stream(pods[0], rig.outside, family, 300_000) == SEGMENTS[name, family]
        # to nodes and pods nothing has changed
        for target in (rig.nodes[1].host, pods[1]):
            async with target.serve(PORT):
                reply = await pods[0].ask(target, PORT)
            assert reply is not None
            assert reply.peer != EXIT
        await rig.put()
        for family in Family:
            own = [node.host.address_of(family) for node in rig.nodes]
            assert [await rig.seen(one, family) for one in pods] == own
        for node in rig.nodes:
            with Rtnl(node.host.netns_fd) as rtnl:
                assert rtnl.find_link(EGRESS_LINK) is None
                assert not [route for route in rtnl.routes() if route.table not in (254, 255)]
                assert not any(rtnl.mark_rules(family) for family in Family)


async def test_connections_go_on_when_the_address_moves_and_nothing_of_them_stays_behind():
    async with egress_rig(LAYOUTS["vxlan"], VxlanFabric) as rig, repeating(rig.outside, LINE):
        await rig.put(egress_gateway())
        first = rig.holder()
        with contextlib.ExitStack() as stack:
            lines = [connect(rig, number) for number in (1, 2, 3)]
            for line in lines:
                stack.callback(line.close)
                assert await line.open()
            for gone in (first, 5 - first, first):
                await rig.put(egress_gateway(), gone=[f"node-{gone}"])
                assert rig.holder() == 5 - gone
                for line in lines:
                    assert await line.talk(timeout_s=5)
                # the node that had the address still runs: it must not translate any more
                assert not [flow for flow in rig.flows(gone) if flow.reply.destination == EXIT]
        assert await rig.seen(rig.nodes[0].pod, Family.V4) == EXIT


async def test_a_node_that_is_late_sends_nothing_with_another_address():
    async with egress_rig(LAYOUTS["vxlan"], VxlanFabric) as rig:
        await rig.put(egress_gateway())
        gone = rig.holder()
        await rig.put(egress_gateway(), gone=[f"node-{gone}"], but=[1])
        # node 1 still sends to the one that has lost the address
        assert await rig.seen(rig.nodes[0].pod, Family.V4, timeout_s=0.5) is None
        await rig.put(egress_gateway(), gone=[f"node-{gone}"])
        assert await rig.seen(rig.nodes[0].pod, Family.V4) == EXIT


async def test_without_a_node_packets_are_dropped_or_leave_as_others_do():
    async with egress_rig(LAYOUTS["hostgw"], HostGateway) as rig:
        one = rig.nodes[0]
        dead = ["node-2", "node-3"]
        await rig.put(egress_gateway(), gone=dead)
        assert await rig.seen(one.pod, Family.V4, timeout_s=0.5) is None
        await rig.put(egress_gateway(when_unavailable="Node"), gone=dead)
        assert await rig.seen(one.pod, Family.V4) == one.host.address
        await rig.put(egress_gateway())
        assert await rig.seen(one.pod, Family.V4) == EXIT
        await rig.put(egress_gateway("way-out", "192.0.2.300"))
        assert await rig.seen(one.pod, Family.V4, timeout_s=0.5) is None
        assert await rig.seen(one.pod, Family.V6) == one.host.address_of(Family.V6)
        await rig.put(egress_gateway())
        assert await rig.seen(one.pod, Family.V4) == EXIT


async def test_destinations_and_policies_count_at_the_node_of_the_pod():
    async with egress_rig(LAYOUTS["hostgw"], HostGateway) as rig:
        one = rig.nodes[0]
        await rig.put(egress_gateway(except_destinations=("198.51.100.0/28",)))
        assert await rig.seen(one.pod, Family.V4) == one.host.address
        assert await rig.seen(one.pod, Family.V6) == EXITS[Family.V6]
        await rig.put(egress_gateway(destinations=("198.51.100.7/32",)))
        assert await rig.seen(one.pod, Family.V4) == EXIT
        assert await rig.seen(one.pod, Family.V6) == one.host.address_of(Family.V6)
        (policy,) = load_view(DENIED).policies.values()
        await rig.put(egress_gateway(), policy)
        assert await rig.seen(one.pod, Family.V4, timeout_s=0.5) is None
        await rig.put(egress_gateway())
        assert await rig.seen(one.pod, Family.V4) == EXIT


async def test_flows_that_would_be_others_now_end_and_an_agent_that_starts_again_ends_none():
    async with egress_rig(LAYOUTS["hostgw"], HostGateway) as rig, repeating(rig.outside, LINE):
        await rig.put()
        line = connect(rig, 1)
        assert await line.open()
        await rig.put(egress_gateway())
        with pytest.raises(ConnectionError):
            await line.talk()
        line.close()
        line = connect(rig, 1)
        assert await line.open()
        for node, state in zip(rig.nodes, rig.states, strict=True):
            assert state is not None
            await EgressPaths(netns_fd=node.host.netns_fd).start(state, node.facts)
            await check_table(node, state)
        assert await line.talk()
        await rig.put()
        with pytest.raises(ConnectionError):
            await line.talk()
        line.close()


async def test_what_others_take_away_is_put_back():
    async with egress_rig(LAYOUTS["vxlan"], VxlanFabric) as rig:
        await rig.put(egress_gateway())
        one = rig.nodes[0]
        with Rtnl(one.host.netns_fd) as rtnl:
            rtnl.delete_link(EGRESS_LINK)
        assert await rig.seen(one.pod, Family.V4, timeout_s=0.5) is None
        await rig.parts[0][1].again()
        assert await rig.seen(one.pod, Family.V4) == EXIT


async def test_a_pod_cannot_send_into_the_tunnel_in_another_ones_name():
    async with egress_rig(LAYOUTS["hostgw"], HostGateway) as rig:
        await rig.put(egress_gateway())
        holder = rig.nodes[rig.holder() - 1]
        liar, victim = rig.nodes[0].pod, rig.nodes[0].pod.address
        heard = rig.outside.open_socket(Family.V4, Protocol.UDP)
        heard.bind((str(rig.outside.address), PORT))
        inner = ip_packet(victim.packed, rig.outside.address.packed, b"lie")
        with liar.open_socket(Family.V4, Protocol.UDP) as sock, heard:
            end = str(holder.facts.pod_cidrs[0].network_address + 1)
            with Rtnl(holder.host.netns_fd) as rtnl:
                link = rtnl.find_link(EGRESS_LINK)
                assert link is not None
                frame = bytes.fromhex(link.mac.replace(":", "")) + bytes(6) + b"\x08\x00" + inner
            sock.sendto(struct.pack("!II", 0x08000000, EGRESS_VNI << 8) + frame, (end, EGRESS_PORT))
            assert await rig.seen(liar, Family.V4) == EXIT  # what was sent before has come by now
            with pytest.raises(BlockingIOError):
                heard.recv(100)


def ip_packet(source: bytes, destination: bytes, payload: bytes) -> bytes:
    """A UDP datagram to ``PORT`` in IPv4."""
    udp = struct.pack("!HHHH", 4000, PORT, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, source, destination)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:] + udp
