"""From a route or a WireGuard peer back to the Node that it is there for. Pure. In: what is in force, the model's peers. Out: a Source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netloom.model.provenance import Source
from netloom.model.routes.ways import KEY_ANNOTATION
from netloom.model.state import PeerRoute
from netloom.program.names import BLOCKED_ROUTE_PROTOCOL, WIREGUARD_ROUTE_PROTOCOL
from netloom.program.routes import Route
from netloom.program.wireguard import WireguardPeer
from netloom.units import Cidr

_KEY_FIELD = f"metadata.annotations[{KEY_ANNOTATION}]"


def source_of_route(route: Route, peers: Mapping[Cidr, PeerRoute]) -> Source | None:
    """The object and field that a route comes from; for a blocked peer, the key that is missing. None for one that is not ours."""
    peer = peers.get(route.destination)
    if peer is None:
        return None
    if route.protocol == BLOCKED_ROUTE_PROTOCOL:
        return peer.source.at(_KEY_FIELD)
    return peer.source if route.protocol == WIREGUARD_ROUTE_PROTOCOL else None


def source_of_peer(peer: WireguardPeer, peers: Iterable[PeerRoute]) -> Source | None:
    """The Node and annotation that a WireGuard peer's key comes from; None where no Node has it."""
    for one in peers:
        if one.key == peer.key:
            return one.source.at(_KEY_FIELD)
    return None
