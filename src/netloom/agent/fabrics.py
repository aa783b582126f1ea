"""Which rooms build the fabric of this node, and its ways out. In: settings of cluster and node. Out: a fabric. Not here: which peer goes which way (the model)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from netloom.fabric.bgp.apply import LearnedRoutes
from netloom.fabric.egress.apply import EgressPaths
from netloom.fabric.egress.ender import EgressEnder
from netloom.fabric.face import Fabric
from netloom.fabric.hostgw.apply import HostGateway
from netloom.fabric.l2.apply import BridgeFabric
from netloom.fabric.measured import MeasuredFabric
from netloom.fabric.udp.apply import UdpFabric
from netloom.fabric.vxlan.apply import VxlanFabric
from netloom.fabric.ways import FabricOfWays
from netloom.fabric.wireguard.apply import WireguardFabric, WireguardSettings
from netloom.fabric.wireguard.blocked import BlockedPeers
from netloom.model.inputs import ClusterFacts
from netloom.model.routes.ways import TUNNELS, FabricKind, Way


class Work(Protocol):
    """What a fabric does besides being told of peers."""

    async def run(self) -> None:
        """Until cancelled."""


class Fabrics(msgspec.Struct, frozen=True):
    """The fabric of a node, and what of it must run."""

    fabric: MeasuredFabric
    ways_out: EgressPaths
    works: tuple[Work, ...] = ()


def fabric_of(
    cluster: ClusterFacts, *, directory: Path, udp_socket: Path, publish: Callable[[str], None]
) -> Fabrics:
    """The fabric of a node of this cluster; what another fabric left on the node goes.

    Args:
        cluster: its settings.
        directory: of the agent's own, kept over restarts: the WireGuard key is there.
        udp_socket: of the process that the udp fabric has.
        publish: told this node's public key.
    """
    wireguard = WireguardFabric(WireguardSettings(directory), publish=publish)
    udp = UdpFabric(feed_socket=udp_socket)
    rooms: dict[Way, Fabric] = {
        Way.DIRECT: HostGateway(),
        Way.BGP: LearnedRoutes(),
        Way.VXLAN: VxlanFabric(),
        Way.UDP: udp,
        Way.WIREGUARD: wireguard,
        Way.BLOCKED: BlockedPeers(),
    }
    ways = _ways_of(cluster.fabric)
    ender = EgressEnder()
    tunnels = (work for way, work in ((Way.UDP, udp), (Way.WIREGUARD, wireguard)) if way in ways)
    works: tuple[Work, ...] = (*tunnels, ender)
    exits = EgressPaths(ender=ender)
    used = {way: room for way, room in rooms.items() if way in ways}
    retired = [room for way, room in rooms.items() if way not in ways]
    if cluster.fabric is FabricKind.L2 or cluster.stretched:
        bridged = BridgeFabric(FabricOfWays(used, retired=tuple(retired)))
        return Fabrics(MeasuredFabric(bridged), exits, works)
    joined = FabricOfWays(used, retired=(*retired, BridgeFabric()))
    return Fabrics(MeasuredFabric(joined), exits, works)


def _ways_of(fabric: FabricKind) -> set[Way]:
    """Every way that the model may choose with this fabric."""
    if fabric is FabricKind.BGP:
        return {Way.BGP}
    if fabric is FabricKind.WIREGUARD:
        return {Way.WIREGUARD, Way.BLOCKED}
    tunnel = TUNNELS.get(fabric)
    return {Way.DIRECT} if tunnel is None else {Way.DIRECT, tunnel}
