"""From a route or an entry of the process's table back to the Node that it is there for. Pure. In: what is in force. Out: a Source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netloom.fabric.udp.table import PeerEntry
from netloom.model.provenance import Source
from netloom.model.state import PeerRoute
from netloom.program.names import UDP_ROUTE_PROTOCOL
from netloom.program.routes import Route
from netloom.units import Cidr


def source_of_route(route: Route, peers: Mapping[Cidr, PeerRoute]) -> Source | None:
    """The object and field that a route comes from; None for one that is not ours, or that no peer asks for any more."""
    peer = peers.get(route.destination)
    return peer.source if peer is not None and route.protocol == UDP_ROUTE_PROTOCOL else None


def source_of_entry(entry: PeerEntry, peers: Iterable[PeerRoute]) -> Source | None:
    """The Node whose address an entry has; None where no peer asks for it."""
    for peer in peers:
        if str(peer.via) == entry.address:
            return peer.source.at("status.addresses")
    return None
