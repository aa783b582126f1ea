"""From a route, neighbour or forwarding entry in the kernel back to the Node that it is there for. Pure.

In: what the kernel has and the model's peers. Out: a Source: the object and field that it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netloom.model.provenance import Source
from netloom.model.state import PeerRoute
from netloom.program.names import VXLAN_LINK, VXLAN_ROUTE_PROTOCOL, vtep_link_local, vtep_mac
from netloom.program.neighbours import ForwardingEntry, Neighbour
from netloom.program.routes import Route
from netloom.units import Cidr

_ADDRESSES = "status.addresses"


def source_of_route(route: Route, peers: Mapping[Cidr, PeerRoute]) -> Source | None:
    """The object and field that a route comes from; None for one that is not ours, or that no peer asks for any more."""
    if route.protocol != VXLAN_ROUTE_PROTOCOL or route.device != VXLAN_LINK:
        return None
    peer = peers.get(route.destination)
    return peer.source if peer is not None and route.via in _next_hops(peer) else None


def source_of_neighbour(neighbour: Neighbour, peers: Iterable[PeerRoute]) -> Source | None:
    """The Node whose address a neighbour of ``nl-vxlan`` stands for; None where no peer asks for it."""
    if neighbour.device != VXLAN_LINK:
        return None
    for peer in peers:
        if neighbour.mac == vtep_mac(peer.via) and neighbour.address in _next_hops(peer):
            return peer.source.at(_ADDRESSES)
    return None


def source_of_entry(entry: ForwardingEntry, peers: Iterable[PeerRoute]) -> Source | None:
    """The Node that a forwarding entry of ``nl-vxlan`` sends to; None where no peer asks for it."""
    if entry.device != VXLAN_LINK:
        return None
    for peer in peers:
        if peer.via == entry.remote and entry.mac == vtep_mac(peer.via):
            return peer.source.at(_ADDRESSES)
    return None


def _next_hops(peer: PeerRoute) -> tuple[object, object]:
    return peer.via, vtep_link_local(peer.via)
