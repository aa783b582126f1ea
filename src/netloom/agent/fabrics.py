"""Which rooms build the fabric of this node. In: the cluster's settings. Out: a fabric. Not here: which peer goes which way (the model)."""

from __future__ import annotations

from netloom.errors import Unsupported
from netloom.fabric.face import Fabric
from netloom.fabric.hostgw.apply import HostGateway
from netloom.fabric.l2.apply import BridgeFabric
from netloom.fabric.measured import MeasuredFabric
from netloom.fabric.vxlan.apply import VxlanFabric
from netloom.fabric.ways import FabricOfWays
from netloom.model.inputs import ClusterFacts
from netloom.model.routes.ways import TUNNELS, FabricKind, Way


def fabric_of(cluster: ClusterFacts) -> MeasuredFabric:
    """The fabric of a node of this cluster; what another fabric left on the node goes.

    Raises:
        Unsupported: there is no such fabric here.
    """
    rooms: dict[Way, Fabric] = {Way.DIRECT: HostGateway(), Way.VXLAN: VxlanFabric()}
    ways = _ways_of(cluster.fabric)
    if not ways <= rooms.keys():
        raise Unsupported(f"fabric {cluster.fabric.value}: not built here", "choose hostgw")
    used = {way: room for way, room in rooms.items() if way in ways}
    retired = [room for way, room in rooms.items() if way not in ways]
    if cluster.fabric is FabricKind.L2 or cluster.stretched:
        return MeasuredFabric(BridgeFabric(FabricOfWays(used, retired=tuple(retired))))
    return MeasuredFabric(FabricOfWays(used, retired=(*retired, BridgeFabric())))


def _ways_of(fabric: FabricKind) -> set[Way]:
    """Every way that the model may choose with this fabric."""
    if fabric is FabricKind.WIREGUARD:
        return {Way.WIREGUARD, Way.BLOCKED}
    tunnel = TUNNELS.get(fabric)
    return {Way.DIRECT} if tunnel is None else {Way.DIRECT, tunnel}
