"""Which rooms build the fabric of this node. In: the cluster's settings. Out: a fabric. Not here: which peer goes which way (the model)."""

from __future__ import annotations

from netloom.errors import Unsupported
from netloom.fabric.face import Fabric
from netloom.fabric.hostgw.apply import HostGateway
from netloom.fabric.ways import FabricOfWays
from netloom.model.inputs import ClusterFacts
from netloom.model.routes.ways import TUNNELS, Way


def fabric_of(cluster: ClusterFacts) -> Fabric:
    """The fabric of a node of this cluster.

    Raises:
        Unsupported: there is no such fabric here.
    """
    if cluster.fabric in TUNNELS:
        raise Unsupported(f"fabric {cluster.fabric.value}: not built here", "choose hostgw")
    return FabricOfWays({Way.DIRECT: HostGateway()})
