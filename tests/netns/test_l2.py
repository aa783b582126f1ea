"""l2 in a kernel: pods on a bridge, all of whose unicast the node routes; what a pod must not do, it cannot; a foreign holder is found."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import struct

import msgspec
import pytest

from netloom.cni import attach
from netloom.cni.attach import PodInterface
from netloom.cni.bandwidth import Bandwidth
from netloom.errors import AlreadyExists, Unavailable
from netloom.fabric.hostgw.apply import HostGateway
from netloom.fabric.l2.apply import BridgeFabric
from netloom.fabric.l2.compile import STATIONS, segments_of
from netloom.fabric.l2.explain import source_of_address
from netloom.fabric.vxlan.apply import VxlanFabric
from netloom.linux import link_probe, netns, rtmsg, rtmsg_overlay, sysctl
from netloom.linux.netlink import NETLINK_ROUTE, NetlinkSocket
from netloom.linux.netns import Namespaces
from netloom.linux.nft import Nft
from netloom.linux.process import run
from netloom.linux.rtnl import Rtnl
from netloom.model.routes.ways import FabricKind
from netloom.program.links import BridgePort
from netloom.program.names import pod_link, pod_mac
from netloom.program.neighbours import Neighbour
from netloom.program.sysctl import Setting
from netloom.testing.fabric_rig import FabricNet, FabricNode, Layout, fabric_net, send_datagram, send_stream
from netloom.testing.hosts import Host
from netloom.units import Family

pytestmark = pytest.mark.netns

L2 = Layout(fabric=FabricKind.L2, has_pods=False)
STRETCHED = msgspec.structs.replace(L2, stretched=True)
OVER_VXLAN = msgspec.structs.replace(STRETCHED, fabric=FabricKind.VXLAN, is_routed=True)
GROUPS = (1, 3, 5, 7, 9, 11)
ETH_P_ALL = 3


def fabric_on(node: FabricNode) -> BridgeFabric:
    fd = node.host.netns_fd
    ways = {FabricKind.L2: HostGateway, FabricKind.VXLAN: VxlanFabric}
    return BridgeFabric(ways[node.facts.fabric](netns_fd=fd), netns_fd=fd)


def joined(net: FabricNet):
    return net.joined(*(fabric_on(node) for node in net.nodes))


def is_forwarded(node: FabricNode) -> int:
    """Packets that the node has routed so far, of both families."""

    def read() -> int:
        with open("/proc/thread-self/net/snmp") as file:
            lines = [line.split() for line in file if line.startswith("Ip:")]
        with open("/proc/thread-self/net/snmp6") as file:
            six = next(int(line.split()[1]) for line in file if line.startswith("Ip6OutForwDatagrams"))
        return int(dict(zip(*lines, strict=True))["ForwDatagrams"]) + six

    return netns.run_in(node.host.netns_fd, read)


def interface_of(net: FabricNet, number: int, host_part: int, name: str = "") -> PodInterface:
    node = net.nodes[number - 1]
    return PodInterface(
        container=name or f"pod-{host_part}-of-{node.host.name}",
        interface="eth0",
        addresses=tuple(cidr.network_address + host_part for cidr in node.facts.pod_cidrs),
        mtu=1500,
        node_addresses=node.facts.addresses,
        segments=segments_of(node.facts),
    )


@pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
@pytest.mark.parametrize("layout", [L2, STRETCHED, OVER_VXLAN], ids=["l2", "stretched", "over-vxlan"])
async def test_pods_of_one_and_of_two_nodes_reach_each_other_and_the_node_routes_all_of_it(layout, family):
    with fabric_net(layout) as net:
        async with joined(net):
            a, b, c = net.add_pod(1, 2), net.add_pod(1, 3), net.add_pod(2, 2)
            for target in (b, c):
                async with target.serve(80, family=family):
                    before = is_forwarded(net.nodes[0])
                    reply = await a.ask(target.address_of(family), 80)
                    assert reply is not None
                    assert reply.peer == a.address_of(family)
                    assert is_forwarded(net.nodes[0]) - before >= 4
                    assert await net.nodes[0].host.reaches(target.address_of(family), 80)
                    assert await target.reaches(a.address_of(family), 80) is False  # nobody serves there


@pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
async def test_an_address_that_is_translated_to_a_pod_beside_the_client_answers(family: Family):
    with fabric_net(L2) as net:
        async with joined(net):
            a, b = net.add_pod(1, 2), net.add_pod(1, 3)
            service = {Family.V4: "10.96.0.20", Family.V6: "2001:db8:96::20"}[family]
            to = {Family.V4: f"{b.address}", Family.V6: f"[{b.addresses[1]}]"}[family]
            rules = (
                f"table {family.value} t {{ chain c {{ type nat hook prerouting priority dstnat; "
                f"{family.value} daddr {service} tcp dport 80 dnat to {to}:80; }}; }}"
            )
            done = await run(
                ["nft", "-f", "-"], input=rules.encode(), ns=Namespaces(net=net.nodes[0].host.netns_fd)
            )
            assert done.returncode == 0, done.stderr
            async with b.serve(80, family=family):
                reply = await a.ask(ipaddress.ip_address(service), 80)
                assert reply is not None
                assert reply.peer == a.address_of(family)
                switch = {Family.V4: "iptables", Family.V6: "ip6tables"}[family]
                filtered = Setting(f"net/bridge/bridge-nf-call-{switch}", "1")
                if (
                    sysctl.read(filtered.path, net.nodes[0].host.netns_fd) is None
                ):  # no br_netfilter in this kernel
                    return
                sysctl.write([filtered], net.nodes[0].host.netns_fd)
                assert not await a.reaches(ipaddress.ip_address(service), 80)


@pytest.mark.parametrize(("layout", "prefixes"), [(L2, {24, 64}), (STRETCHED, {16, 48})])
async def test_a_pods_interface_has_the_segments_prefix_and_asks_for_its_neighbours(layout, prefixes):
    with fabric_net(layout) as net:
        async with joined(net):
            a = net.add_pod(1, 2)
            with Rtnl(a.netns_fd) as rtnl:
                own = [x.interface for x in rtnl.addresses("eth0") if not x.interface.is_link_local]
                assert {x.network.prefixlen for x in own} == prefixes
                gateways = {str(r.via) for r in rtnl.routes(202)}
                assert gateways == {"10.244.1.1", "2001:db8:44:1::1"}
                assert not [n for n in rtnl.neighbours() if n.permanent]
            wanted = interface_of(net, 1, 2)
            node = net.nodes[0].host.netns_fd
            assert netns.run_in(node, lambda: attach.defects(a.netns_fd, wanted)) == []
            with Rtnl(node) as rtnl:
                port = rtnl.find_port(wanted.host_link)
                assert port == BridgePort(
                    device=wanted.host_link, isolated=True, locked=True, learning=False, flood=False
                )
                rtnl.delete_link("nl-bridge")
            (first, *_) = netns.run_in(node, lambda: attach.defects(a.netns_fd, wanted))
            assert "is no port of nl-bridge" in first


async def test_a_pod_with_an_address_from_elsewhere_a_mac_and_limits_of_its_own_is_a_station_like_others():
    with fabric_net(L2) as net:
        async with joined(net):
            node, fd = net.nodes[0].host, netns.new_netns()
            net.stack.callback(os.close, fd)
            beside = net.add_pod(1, 2)
            addresses = (ipaddress.ip_address("10.250.7.9"), ipaddress.ip_address("2001:db8:77::9"))
            wanted = msgspec.structs.replace(
                interface_of(net, 1, 9, "elsewhere"),
                addresses=addresses,
                requested_mac="02:00:00:00:00:77",
                bandwidth=Bandwidth(ingress_rate=800_000_000, egress_rate=800_000_000),
            )
            netns.run_in(node.netns_fd, lambda: attach.attach(fd, wanted))
            assert netns.run_in(node.netns_fd, lambda: attach.defects(fd, wanted)) == []
            pod = Host("elsewhere", fd, addresses)
            for family in Family:
                async with pod.serve(80, family=family), beside.serve(80, family=family):
                    reply = await pod.ask(beside.address_of(family), 80)
                    assert reply is not None
                    assert reply.peer == pod.address_of(family)
                    assert await beside.reaches(pod.address_of(family), 80)
                    assert await node.reaches(pod.address_of(family), 80)
            netns.run_in(node.netns_fd, lambda: attach.detach(wanted.host_link))
            with Rtnl(node.netns_fd) as rtnl:
                assert len(rtnl.routes(202)) == 2
                assert not [link for link in rtnl.links() if link.kind == "ifb"]


async def test_an_interface_that_goes_leaves_no_route_and_no_neighbour_whoever_took_it_away():
    with fabric_net(L2) as net:
        async with joined(net):
            node = net.nodes[0].host.netns_fd
            net.add_pod(1, 2)
            net.add_pod(1, 3)
            with Rtnl(node) as rtnl:

                def left() -> tuple[int, int, int]:
                    neighbours = [n for n in rtnl.neighbours() if n.device == "nl-bridge"]
                    return (
                        len(rtnl.routes(202)),
                        len(neighbours),
                        len(rtnl.port_entries(rtnl.index("nl-bridge"))),
                    )

                assert left() == (4, 4, 2)
                netns.run_in(node, lambda: attach.detach(interface_of(net, 1, 2).host_link))
                assert left() == (2, 2, 1)
                # the pod's namespace goes first, and its interface with it
                gone = interface_of(net, 1, 3).host_link
                rtnl.delete_link(gone)
                assert left() == (2, 2, 0)
                netns.run_in(node, lambda: attach.detach(gone))
                assert left() == (0, 0, 0)


async def test_many_that_come_and_go_at_once_leave_nothing_and_spare_each_other():
    with fabric_net(L2) as net:
        async with joined(net):
            node = net.nodes[0].host.netns_fd
            stays = [net.add_pod(1, part) for part in (2, 3)]
            fds = {part: netns.new_netns() for part in range(10, 34)}
            for fd in fds.values():
                net.stack.callback(os.close, fd)

            async def come_and_go(part: int) -> None:
                wanted = interface_of(net, 1, part)
                for _ in range(2):
                    await netns.run_in_async(node, lambda: attach.attach(fds[part], wanted))
                    found = await netns.run_in_async(node, lambda: attach.defects(fds[part], wanted))
                    assert found == []
                    await netns.run_in_async(node, lambda: attach.detach(wanted.host_link))

            await asyncio.gather(*map(come_and_go, fds))
            with Rtnl(node) as rtnl, Nft(netns_fd=node) as nft:
                assert len(rtnl.routes(202)) == 4
                assert len([n for n in rtnl.neighbours() if n.device == "nl-bridge"]) == 4
                assert len(rtnl.port_entries(rtnl.index("nl-bridge"))) == 2
                for family in Family:
                    assert len(nft.read_elements(family, "netloom-bridge", STATIONS)) == 2
            async with stays[1].serve(80):
                assert await stays[0].reaches(stays[1], 80)


async def test_an_attempt_that_fails_leaves_nothing():
    with fabric_net(L2) as net:
        async with joined(net):
            node, pod = net.nodes[0].host.netns_fd, netns.new_netns()
            with Rtnl(pod) as rtnl:
                rtnl.add_bridge("eth0")
            with pytest.raises(AlreadyExists, match="eth0"):
                netns.run_in(node, lambda: attach.attach(pod, interface_of(net, 1, 9)))
            os.close(pod)
            with Rtnl(node) as rtnl:
                assert rtnl.routes(202) == []
                assert not [link for link in rtnl.links() if link.kind == "veth" and link.name != "eth0"]


async def test_without_a_bridge_a_pod_is_told_to_try_again():
    with fabric_net(L2) as net:
        pod = netns.new_netns()
        with pytest.raises(Unavailable, match="nl-bridge"):
            netns.run_in(net.nodes[0].host.netns_fd, lambda: attach.attach(pod, interface_of(net, 1, 2)))
        os.close(pod)


# --- what a pod must not do ------------------------------------------------------------------------------------------


def raw(host: Host) -> socket.socket:
    sock = netns.open_socket(host.netns_fd, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.bind(("eth0", ETH_P_ALL))
    return sock


def udp_frame(source_mac: str, target_mac: str, source: str, target: str, payload: bytes) -> bytes:
    udp = struct.pack(">HHHH", 4000, 9000, 8 + len(payload), 0) + payload
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
                       ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed)  # fmt: skip
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack(">H", ~total & 0xFFFF) + head[12:]
    macs = bytes.fromhex((target_mac + source_mac).replace(":", ""))
    return macs + b"\x08\x00" + head + udp


async def arrives(target: Host, frame: bytes, sender: socket.socket) -> bool:
    """Whether the payload comes out at port 9000; a frame that must arrive is sent after it, so nobody waits for silence."""
    loop = asyncio.get_running_loop()
    with netns.open_socket(target.netns_fd, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((str(target.address), 9000))
        sender.send(frame)
        sender.send(udp_frame(pod_mac(ipaddress.ip_address("10.244.1.2")), "ee:ee:ee:ee:ee:ee",
                              "10.244.1.2", str(target.address), b"end"))  # fmt: skip
        async with asyncio.timeout(5):
            return await loop.sock_recv(sock, 100) == b"frame"


async def test_a_pod_sends_with_its_own_mac_only_and_reaches_no_other_pod_past_the_node():
    with fabric_net(L2) as net:
        async with joined(net):
            a, b = net.add_pod(1, 2), net.add_pod(1, 3)
            own, other = (pod_mac(pod.address) for pod in (a, b))
            with raw(a) as sender:
                args = ("10.244.1.2", "10.244.1.3", b"frame")
                assert await arrives(b, udp_frame(own, "ee:ee:ee:ee:ee:ee", *args), sender)
                assert not await arrives(
                    b, udp_frame("02:00:00:00:00:01", "ee:ee:ee:ee:ee:ee", *args), sender
                )
                assert not await arrives(b, udp_frame(other, "ee:ee:ee:ee:ee:ee", *args), sender)
                # straight to the other pod, and to everybody
                assert not await arrives(b, udp_frame(own, other, *args), sender)
                assert not await arrives(b, udp_frame(own, "ff:ff:ff:ff:ff:ff", *args), sender)
                # the port would let it through if it were no isolated one
                with Rtnl(net.nodes[0].host.netns_fd) as rtnl:
                    for part in (2, 3):
                        link = interface_of(net, 1, part).host_link
                        open_port = BridgePort(device=link, locked=True, learning=False)
                        rtnl.batch([rtmsg_overlay.set_port(rtnl.index(link), open_port)])
                assert await arrives(b, udp_frame(own, other, *args), sender)


async def test_a_pod_sends_from_its_own_address_only_also_when_the_other_is_a_pod_beside_it():
    with fabric_net(L2) as net:
        async with joined(net):
            a, b, c = (net.add_pod(1, part) for part in (2, 3, 4))
            own, gateway = pod_mac(a.address), "ee:ee:ee:ee:ee:ee"
            with raw(a) as sender:
                spoofed = udp_frame(own, gateway, str(c.address), str(b.address), b"frame")
                assert not await arrives(b, spoofed, sender)
                with Rtnl(net.nodes[0].host.netns_fd) as rtnl:
                    neighbour = Neighbour(device="nl-bridge", address=c.address, mac=own)
                    rtnl.batch([rtmsg.new_neighbour(rtnl.index("nl-bridge"), neighbour)])
                # a node that is told that this is its address lets it through
                await fabric_on(net.nodes[0]).start(net.nodes[0].peers, net.nodes[0].facts)
                assert await arrives(b, spoofed, sender)


async def test_who_may_send_is_read_off_the_bridge_whatever_became_of_the_table():
    with fabric_net(L2) as net:
        async with joined(net):
            node = net.nodes[0]
            fd = node.host.netns_fd
            a, b = net.add_pod(1, 2), net.add_pod(1, 3)
            async with b.serve(80):
                for damage in ("flush set ip netloom-bridge stations", "delete table ip netloom-bridge",
                               "flush chain ip netloom-bridge anti-spoofing"):  # fmt: skip
                    await run(["nft", damage], ns=Namespaces(net=fd))
                    await fabric_on(node).start(node.peers, node.facts)
                    assert await a.reaches(b, 80)
                    with Nft(netns_fd=fd) as nft:
                        assert len(nft.read_elements(Family.V4, "netloom-bridge", STATIONS)) == 2
                        assert await nft.chains(Family.V4, "netloom-bridge") == {
                            "anti-spoofing": ("a pod of the bridge sends with its own address only",)
                        }
            netns.run_in(fd, lambda: attach.detach(interface_of(net, 1, 2).host_link))
            with Nft(netns_fd=fd) as nft:
                for family in Family:
                    assert len(nft.read_elements(family, "netloom-bridge", STATIONS)) == 1


async def test_what_a_pod_claims_in_arp_changes_nothing_at_the_node():
    with fabric_net(L2) as net:
        async with joined(net):
            a, b = net.add_pod(1, 2), net.add_pod(1, 3)
            node = net.nodes[0]
            mac = bytes.fromhex(pod_mac(a.address).replace(":", ""))
            claim = struct.pack(
                ">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, mac, b.address.packed, b"\xff" * 6, b.address.packed
            )
            frame = b"\xff" * 6 + mac + b"\x08\x06" + claim
            stranger = claim.replace(b.address.packed, ipaddress.ip_address("10.244.1.77").packed)
            with Rtnl(node.host.netns_fd) as rtnl:
                before = {n for n in rtnl.neighbours() if n.device == "nl-bridge"}
                with raw(a) as sender:
                    sender.send(frame)
                    sender.send(b"\xff" * 6 + mac + b"\x08\x06" + stranger)
                async with b.serve(80):
                    assert await a.reaches(b, 80)
                assert {n for n in rtnl.neighbours() if n.device == "nl-bridge"} == before


# --- the bridge ------------------------------------------------------------------------------------------------------


async def test_a_restart_touches_nothing_that_is_right_and_mends_the_rest():
    with fabric_net(STRETCHED) as net:
        async with joined(net):
            node = net.nodes[0]
            net.add_pod(1, 2)
            with NetlinkSocket(NETLINK_ROUTE, netns_fd=node.host.netns_fd, groups=GROUPS) as events:
                await fabric_on(node).start(node.peers, node.facts)
                assert [m for m in events.receive(wait=False) if m.type in (16, 17, 20, 21, 24, 25)] == []
            with Rtnl(node.host.netns_fd) as rtnl:
                index = rtnl.index("nl-bridge")
                rtnl.set_down("nl-bridge")
                rtnl.set_mtu("nl-bridge", 1300)
                rtnl.delete_address("nl-bridge", ipaddress.ip_interface("10.244.1.1/16"))
                rtnl.add_address("nl-bridge", ipaddress.ip_interface("192.0.2.1/24"))
                await fabric_on(node).start(node.peers, node.facts)
                assert rtnl.index("nl-bridge") == index
                found = rtnl.find_bridge("nl-bridge")
                assert found is not None
                assert found.mtu == 1500
                addresses = [x for x in rtnl.addresses("nl-bridge") if not x.interface.is_link_local]
                assert {str(x.interface) for x in addresses} == {"10.244.1.1/16", "2001:db8:44:1::1/48"}
                assert {str(source_of_address(x, node.facts)) for x in addresses} == {
                    "Node node-1: spec.podCIDRs[0]",
                    "Node node-1: spec.podCIDRs[1]",
                }
            assert sysctl.read("net/ipv4/conf/nl-bridge/proxy_arp_pvlan", node.host.netns_fd) == "1"


async def test_a_bridge_with_pods_stays_until_they_have_gone():
    with fabric_net(L2) as net:
        node = net.nodes[0]
        fabric = fabric_on(node)
        await fabric.start(node.peers, node.facts)
        net.add_pod(1, 2)
        await fabric.remove()
        with Rtnl(node.host.netns_fd) as rtnl:
            assert rtnl.find_link("nl-bridge") is not None
            rtnl.delete_link(pod_link("pod-2-of-node-1", "eth0"))
            await fabric.remove()
            assert rtnl.find_link("nl-bridge") is None


async def test_full_size_packets_and_fragments_pass():
    with fabric_net(OVER_VXLAN) as net:
        async with joined(net):
            a, b, c = net.add_pod(1, 2), net.add_pod(1, 3), net.add_pod(2, 2)
            for target in (b, c):
                for family, headers in ((Family.V4, 40), (Family.V6, 60)):
                    assert await send_stream(a, target, family, 200_000) == 1450 - headers - 12
                    assert await send_datagram(a, target, family, 4000)


# --- an address that somebody has ------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1], ids=["ip", "ip6"])
async def test_an_address_that_a_foreign_station_has_is_refused(index: int):
    with fabric_net(L2) as net:
        async with joined(net):
            node, pod, station = net.nodes[0].host.netns_fd, netns.new_netns(), netns.new_netns()
            wanted = interface_of(net, 1, 7)
            held = wanted.addresses[index]
            sysctl.write([Setting("net/ipv6/conf/default/accept_dad", "0")], station)
            with Rtnl(node) as rtnl, Rtnl(station) as far:
                rtnl.add_veth("uplink", peer="eth0", peer_netns_fd=station, peer_mac="02:00:00:00:00:99")
                rtnl.set_master("uplink", "nl-bridge")
                rtnl.set_up("uplink")
                far.set_up("eth0")
                far.add_address("eth0", ipaddress.ip_interface(held))
                await fabric_on(net.nodes[0]).start(net.nodes[0].peers, net.nodes[0].facts)
                port = rtnl.find_port("uplink")
                assert port is not None
                assert port.isolated
                with pytest.raises(AlreadyExists, match=f"{held}.*02:00:00:00:00:99"):
                    netns.run_in(node, lambda: attach.attach(pod, wanted))
                assert rtnl.find_link(wanted.host_link) is None
                far.delete_address("eth0", ipaddress.ip_interface(held))
                netns.run_in(node, lambda: attach.attach(pod, wanted))
                assert rtnl.find_link(wanted.host_link) is not None
            os.close(pod)
            os.close(station)


def test_what_claims_an_address_is_read_and_nothing_else():
    address = ipaddress.ip_address("10.244.1.7")
    own = bytes.fromhex("020000000001")
    probe = link_probe.arp_probe(own, address)
    assert link_probe.claimed_by(probe, address) == ""
    assert link_probe.claimed_by(probe[:20], address) == ""
    answer = probe[:20] + struct.pack(">H", 2) + own + address.packed + own + address.packed
    assert link_probe.claimed_by(answer, address) == "02:00:00:00:00:01"
    six = ipaddress.ip_address("2001:db8:44:1::7")
    asked = link_probe.solicitation(own, six)
    assert link_probe.claimed_by(asked, six) == ""
    advertised = asked[:54] + bytes((136,)) + asked[55:]
    assert link_probe.claimed_by(advertised, six) == "02:00:00:00:00:01"
    assert link_probe.claimed_by(advertised[:60], six) == ""
    assert link_probe.claimed_by(b"", six) == ""
