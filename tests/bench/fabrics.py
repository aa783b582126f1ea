"""From pod to pod: on one node, and from node to node by each fabric, beside the same path made by hand, in the same run, in turns.

By hand is what a script of ``ip`` commands makes: veth pairs, routes, a VXLAN interface with static entries; nothing is tracked or
filtered. Ours is what agents make: pods attached by CNI, the fabric, and the nftables table in force on every node. Then the
programming of 1,000 peers, and of one that changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as Directory
from types import MappingProxyType

import msgspec
from tests.bench import lanes, rooms
from tests.bench.datapath import Way
from tests.bench.datapath import ways as all_ways
from tests.bench.lanes import Target
from tests.bench.report import Row, median, quantile

from netloom.api.core import Node
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.ender import FlowEnder
from netloom.errors import NetloomError
from netloom.fabric.face import Fabric
from netloom.fabric.hostgw.apply import HostGateway
from netloom.fabric.udp.apply import UdpFabric
from netloom.fabric.udp.feed import connect
from netloom.fabric.udp.main import UdpConfig
from netloom.fabric.vxlan.apply import VxlanFabric
from netloom.fabric.ways import FabricOfWays
from netloom.fabric.wireguard.apply import WireguardFabric, WireguardSettings
from netloom.fabric.wireguard.blocked import BlockedPeers
from netloom.linux import netns
from netloom.linux.conntrack import Conntrack
from netloom.linux.netns import new_netns
from netloom.linux.nft import Nft
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import ClusterView, NodeFacts
from netloom.model.network import Network
from netloom.model.provenance import Source
from netloom.model.routes.ways import DEFAULT_MTU, KEY_ANNOTATION, FabricKind, Segment, Underlay, pod_mtu
from netloom.model.routes.ways import Way as PeerWay
from netloom.model.state import PeerRoute
from netloom.program.routes import Route
from netloom.testing import builders as b
from netloom.testing.hosts import Host
from netloom.testing.topologies import (
    CLUSTER_CIDRS,
    TwoNodes,
    TwoPods,
    pod_cidrs,
    two_nodes,
    two_pods_one_node,
)
from netloom.units import Family

LEAST = 0.95
PEERS = rooms.either(1_000, 50)
CHANGES = rooms.either(200, 10)
ROUNDS = rooms.either(30, 4)


def run() -> list[Row]:
    """The rows of this benchmark."""
    rows = []
    for name, ours, by_hand in (
        ("same node", _same_node, _same_node_by_hand),
        ("hostgw", _hostgw, _hostgw_by_hand),
        ("vxlan", _vxlan, _vxlan_by_hand),
    ):
        rows += _compare(name, ours, by_hand)
    for name, ours in (("udp", _udp), ("wireguard", _wireguard)):
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            rooms.say(f"pods: {name}: left out, /dev/net/tun is not for this user")
            continue
        found = _compare(name, ours, _hostgw_by_hand, beside="plain routes by hand")
        rows += [msgspec.structs.replace(row, least=None) for row in found]
    rows += rooms.aside(_programming, list[Row])
    return rows


# --- paths -----------------------------------------------------------------------------------------------------------


Path = tuple[int, int, str]
"""Namespaces of client and server, and the server's address."""


@contextlib.contextmanager
def _same_node() -> Iterator[Path]:
    with two_pods_one_node() as net:
        _put_in_force(net.node, 1, FabricKind.HOSTGW, {})
        yield net.a.netns_fd, net.b.netns_fd, str(net.b.address)


@contextlib.contextmanager
def _same_node_by_hand() -> Iterator[Path]:
    node, *pods = (new_netns() for _ in range(3))
    for number, pod in enumerate(pods, 1):
        gateway, own = f"10.9.{number}.1", f"10.9.{number}.2"
        with Rtnl(node) as rtnl:
            rtnl.add_veth(f"pod{number}", peer="eth0", peer_netns_fd=pod)
            rtnl.add_address(f"pod{number}", ipaddress.ip_interface(f"{gateway}/24"))
            rtnl.set_up(f"pod{number}")
        with Rtnl(pod) as rtnl:
            rtnl.set_up("lo")
            rtnl.add_address("eth0", ipaddress.ip_interface(f"{own}/24"))
            rtnl.set_up("eth0")
            default = ipaddress.ip_network("0.0.0.0/0")
            rtnl.replace_route(Route(destination=default, via=ipaddress.ip_address(gateway), device="eth0"))
    _run(node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    yield pods[0], pods[1], "10.9.2.2"


@contextlib.contextmanager
def _hostgw() -> Iterator[Path]:
    with two_nodes(routed=False) as net:
        for number, node in ((1, net.node_1), (2, net.node_2)):
            _put_in_force(
                node, number, FabricKind.HOSTGW, {PeerWay.DIRECT: HostGateway(netns_fd=node.netns_fd)}
            )
        yield _path(net)


@contextlib.contextmanager
def _hostgw_by_hand() -> Iterator[Path]:
    with two_nodes() as net:
        yield _path(net)


@contextlib.contextmanager
def _vxlan() -> Iterator[Path]:
    with two_nodes(routed=False) as net:
        for number, node in ((1, net.node_1), (2, net.node_2)):
            rooms_of = {
                PeerWay.DIRECT: HostGateway(netns_fd=node.netns_fd),
                PeerWay.VXLAN: VxlanFabric(netns_fd=node.netns_fd),
            }
            _put_in_force(node, number, FabricKind.VXLAN, rooms_of)
        _narrow(net)
        yield _path(net)


@contextlib.contextmanager
def _vxlan_by_hand() -> Iterator[Path]:
    with two_nodes(routed=False) as net:
        for node, other, number in ((net.node_1, net.node_2, 2), (net.node_2, net.node_1, 1)):
            local, remote = str(node.address), str(other.address)
            words = f"vxlan id 7 dstport 4789 local {local} nolearning dev eth0".split()
            _run(
                node.netns_fd,
                "ip",
                "link",
                "add",
                "vx0",
                "address",
                f"02:00:00:00:00:0{3 - number}",
                "type",
                *words,
            )
            _run(node.netns_fd, "ip", "address", "add", f"10.244.{3 - number}.0/32", "dev", "vx0")
            _run(node.netns_fd, "ip", "link", "set", "vx0", "up")
            mac, gateway = f"02:00:00:00:00:0{number}", f"10.244.{number}.0"
            _run(node.netns_fd, "bridge", "fdb", "add", mac, "dev", "vx0", "dst", remote)
            _run(
                node.netns_fd,
                "ip",
                "neighbour",
                "add",
                gateway,
                "lladdr",
                mac,
                "dev",
                "vx0",
                "nud",
                "permanent",
            )
            _run(
                node.netns_fd,
                "ip",
                "route",
                "add",
                f"10.244.{number}.0/24",
                "via",
                gateway,
                "dev",
                "vx0",
                "onlink",
            )
        _narrow(net)
        yield _path(net)


@contextlib.contextmanager
def _udp() -> Iterator[Path]:
    with two_nodes(routed=False) as net, rooms.scratch() as files, contextlib.ExitStack() as stack:
        for number, node in ((1, net.node_1), (2, net.node_2)):
            feed, config = files / f"{number}.sock", files / f"{number}.json"
            config.write_bytes(msgspec.json.encode(UdpConfig(feed_socket=str(feed))))
            words = [sys.executable, "-m", "netloom.fabric.udp.main", str(config)]
            start = functools.partial(subprocess.Popen, words, stderr=subprocess.DEVNULL)
            stack.callback(rooms.end, netns.run_in(node.netns_fd, start))
            _until_listens(feed)
            fabric = UdpFabric(feed_socket=feed, netns_fd=node.netns_fd)
            _put_in_force(node, number, FabricKind.UDP, {PeerWay.DIRECT: _plain(node), PeerWay.UDP: fabric})
        _narrow(net, fabric=FabricKind.UDP)
        yield _path(net)


def _until_listens(feed: Directory) -> None:
    for _ in range(1_000):
        try:
            connect(feed)[0].close()
        except (NetloomError, OSError):
            threading.Event().wait(0.02)
        else:
            return
    raise RuntimeError(f"nobody listens at {feed}")


@contextlib.contextmanager
def _wireguard() -> Iterator[Path]:
    with two_nodes(routed=False) as net, rooms.scratch() as files:
        nodes = {1: net.node_1, 2: net.node_2}
        keys: dict[int, str] = {}
        for number, node in nodes.items():
            # the first start makes the key, which the others must know
            keys[number] = rooms.aside(functools.partial(_key_of, files / str(number), node, number), str)
        for number, node in nodes.items():
            settings = WireguardSettings(files / str(number), netns_fd=node.netns_fd)
            by_way: dict[PeerWay, Fabric] = {
                PeerWay.WIREGUARD: WireguardFabric(settings, publish=lambda _: None),
                PeerWay.BLOCKED: BlockedPeers(netns_fd=node.netns_fd),
            }
            _put_in_force(node, number, FabricKind.WIREGUARD, by_way, keys)
        _narrow(net, fabric=FabricKind.WIREGUARD)
        yield _path(net)


def _key_of(directory: os.PathLike[str], node: Host, number: int) -> str:
    Directory(directory).mkdir()
    told: list[str] = []
    settings = WireguardSettings(Directory(directory), netns_fd=node.netns_fd)
    fabric = WireguardFabric(settings, publish=told.append)
    asyncio.run(fabric.start({}, _facts(node, number, FabricKind.WIREGUARD)))
    return told[-1]


def _plain(node: Host) -> HostGateway:
    return HostGateway(netns_fd=node.netns_fd)


def _path(net: TwoNodes) -> Path:
    return net.pod_1.netns_fd, net.pod_2.netns_fd, str(net.pod_2.address)


def _narrow(net: TwoNodes, fabric: FabricKind = FabricKind.VXLAN) -> None:
    """As CNI does with a tunnel: full-size packets of pods pass."""
    mtu = pod_mtu(fabric, Family.V4, DEFAULT_MTU)
    for pod in (net.pod_1, net.pod_2):
        with Rtnl(pod.netns_fd) as rtnl:
            rtnl.set_mtu("eth0", mtu)


def _run(netns_fd: int, *words: str) -> None:
    netns.run_in(netns_fd, lambda: subprocess.run(words, check=True))


# --- what agents make ------------------------------------------------------------------------------------------------


def _facts(node: Host, number: int, fabric: FabricKind) -> NodeFacts:
    at = Segment("eth0", ipaddress.ip_interface(f"{node.address}/24"))
    return NodeFacts(
        name=f"node-{number}",
        addresses=node.addresses[:1],
        pod_cidrs=pod_cidrs(number)[:1],
        cluster_cidrs=CLUSTER_CIDRS[:1],
        service_cidrs=(ipaddress.ip_network("10.96.0.0/16"),),
        fabric=fabric,
        direct=False,
        underlay=Underlay((at,)),
    )


def _put_in_force(
    node: Host,
    number: int,
    fabric: FabricKind,
    by_way: dict[PeerWay, Fabric],
    keys: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """The whole network of a node, for a cluster of two with a pod on each."""
    facts = _facts(node, number, fabric)
    nodes = [
        _with_key(b.node(f"node-{n}", f"172.30.0.{10 + n}", pod_cidrs=[f"10.244.{n}.0/24"]), keys.get(n))
        for n in (1, 2)
    ]
    pods = [b.pod(f"bench/p{n}-{h}", f"10.244.{n}.{h}", node=f"node-{n}") for n in (1, 2) for h in (2, 3)]
    view: ClusterView = b.view(*nodes, *pods)

    async def start() -> None:
        state = Network.compute(view, facts)
        if by_way:
            await FabricOfWays(by_way).start(state.routes, facts)
        with Nft(netns_fd=node.netns_fd) as nft, Conntrack(netns_fd=node.netns_fd) as conntrack:
            await NftablesPlane(nft=nft, ender=FlowEnder(conntrack=conntrack)).start(state, facts)

    rooms.aside(lambda: asyncio.run(start()), type(None))


def _with_key(node: Node, key: str | None) -> Node:
    if key is None:
        return node
    metadata = msgspec.structs.replace(node.metadata, annotations={KEY_ANNOTATION: key})
    return msgspec.structs.replace(node, metadata=metadata)


# --- figures ---------------------------------------------------------------------------------------------------------


def _compare(name: str, ours: object, by_hand: object, beside: str = "by hand") -> list[Row]:
    ways = [way for way in all_ways() if "not pinned" not in way.what]
    ports = [way.port for way in ways]
    rows = []
    with contextlib.ExitStack() as stack:
        targets = []
        for path in (ours, by_hand):
            client, server, address = stack.enter_context(path())  # type: ignore[operator] # one of the above
            lanes.serve(stack, server, ports)
            host = Host("", client, ())
            targets.append((TwoPods(host, host, host), address))
        for way in ways:
            done = _drive(way, [Target(lane, address, way.port.number) for lane, address in targets])
            row = _row(name, way, *done)
            rows.append(msgspec.structs.replace(row, beside_what=beside))
    return rows


def _drive(way: Way, targets: Sequence[Target]) -> list[list[float]]:
    slice_ms = 80 if way.mode == "stream" else 50
    return lanes.drive(way.mode, targets, slice_ms=slice_ms, rounds=ROUNDS, cpu=way.cpu)


def _row(name: str, way: Way, ours: Sequence[float], beside: Sequence[float]) -> Row:
    """Rates, of all kinds: more is better."""
    ratio = median(a / b for a, b in zip(ours, beside, strict=True))
    what = {"pingpong": "TCP requests, pinned", "udp": "UDP requests, pinned"}.get(way.mode, way.what)
    scale = 8e-9 if way.unit == "Gb/s" else 1.0
    rooms.say(f"pods: {name}: {what}: {ratio:.3f} of the path by hand")
    return Row(
        bench="pods",
        what=f"{name}: {what}",
        ours=median(ours) * scale,
        unit="Gb/s" if way.unit == "Gb/s" else "/s",
        beside=median(beside) * scale,
        beside_what="by hand",
        ratio=ratio,
        least=LEAST if way.mode in ("stream", "pingpong") else None,
        on_ratio=True,
    )


def _programming() -> list[Row]:
    """Routes and entries of many nodes: all at the start, then one that changes."""
    node = new_netns()
    with Rtnl(node) as rtnl:
        rtnl.set_up("lo")
        rtnl.add_veth("eth0", peer="peer0")
        rtnl.add_address("eth0", ipaddress.ip_interface("172.16.0.1/16"))
        rtnl.set_up("peer0")
        rtnl.set_up("eth0")
    rows = []
    for kind, way, fabric in (
        (FabricKind.HOSTGW, PeerWay.DIRECT, HostGateway(netns_fd=node)),
        (FabricKind.VXLAN, PeerWay.VXLAN, VxlanFabric(netns_fd=node)),
    ):
        rows += asyncio.run(_program(kind, way, fabric))
    return rows


async def _program(kind: FabricKind, way: PeerWay, fabric: Fabric) -> list[Row]:
    at = Segment("eth0", ipaddress.ip_interface("172.16.0.1/16"))
    own = ipaddress.ip_network("10.0.0.0/24")
    facts = NodeFacts(
        name="node-0", addresses=(at.interface.ip,), pod_cidrs=(own,), fabric=kind, underlay=Underlay((at,))
    )
    peers = {peer.destination: peer for peer in (_peer(number, way) for number in range(1, PEERS + 1))}
    began = time.perf_counter()
    await fabric.start(peers, facts)
    took = time.perf_counter() - began
    times = []
    for number in range(CHANGES):
        moved = _peer(number % PEERS + 1, way, shift=number % 2 + 1)
        began = time.perf_counter()
        await fabric.apply({moved.destination: moved})
        times.append((time.perf_counter() - began) * 1e3)
    rows = [
        Row(bench="pods", what=f"{kind.value}: {PEERS:,} nodes programmed", ours=took, unit="s", most=1.0),
        Row(
            bench="pods", what=f"{kind.value}: one node changes, p50", ours=median(times), unit="ms", most=5.0
        ),
        Row(bench="pods", what=f"{kind.value}: one node changes, p99", ours=quantile(times, 0.99), unit="ms"),
    ]
    await fabric.remove()
    return rows


def _peer(number: int, way: PeerWay, shift: int = 0) -> PeerRoute:
    cidr = ipaddress.ip_network((0x0A000000 + (number << 8), 24))
    via = ipaddress.ip_address(f"172.16.{10 + shift * 20 + number // 250}.{number % 250 + 1}")
    return PeerRoute(cidr, via, f"node-{number}", Source("Node", "", f"node-{number}"), way)
