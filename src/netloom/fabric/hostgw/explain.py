"""From a route in the kernel back to the Node that it is there for. Pure. In: a route and the model's peers. Out: a Source."""

from __future__ import annotations

from collections.abc import Mapping

from netloom.model.provenance import Source
from netloom.model.state import PeerRoute
from netloom.program.names import FABRIC_ROUTE_PROTOCOL
from netloom.program.routes import Route
from netloom.units import Cidr


def source_of_route(route: Route, peers: Mapping[Cidr, PeerRoute]) -> Source | None:
    """The object and field that a route comes from; None for one that is not ours, or that no peer asks for any more."""
    if route.protocol != FABRIC_ROUTE_PROTOCOL:
        return None
    peer = peers.get(route.destination)
    return peer.source if peer is not None and peer.via == route.via else None
