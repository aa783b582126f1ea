"""From a learned route in the kernel back to the Node that it leads to. Pure. In: a route and the model's peers. Out: a Source."""

from __future__ import annotations

from collections.abc import Mapping

from netloom.fabric.bgp.compile import is_learned
from netloom.model.provenance import Source
from netloom.model.state import PeerRoute
from netloom.program.routes import Route
from netloom.units import Cidr


def source_of_route(route: Route, peers: Mapping[Cidr, PeerRoute]) -> Source | None:
    """The object and field that a route comes from; None for one that is not ours, or that no peer asks for any more.

    The next hop is the routers' choice, and says nothing of the node.
    """
    peer = peers.get(route.destination) if is_learned(route) else None
    return None if peer is None else peer.source
