"""Peers of the model become the table of the tunnel's process, and routes. Pure. In: facts and peers. Out: values.

Not here: what is in force already (``apply``), what the process does with its table (``forward``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from netloom.fabric.udp.table import PeerEntry, PeerTable
from netloom.model.inputs import NodeFacts
from netloom.model.routes.ways import Way, node_address_in, outer_family, overhead
from netloom.model.state import PeerRoute
from netloom.program.links import Interface
from netloom.program.names import UDP_LINK, UDP_ROUTE_PROTOCOL
from netloom.program.routes import Route, Scope
from netloom.units import Addr, Cidr, Family, family_of

DEFAULT_PORT = 8285
"""UDP port of the tunnels where nobody says otherwise."""


class Tunnel(msgspec.Struct, frozen=True):
    """This node's end of all tunnels; ``mtu`` in bytes."""

    local: Addr | None
    port: int
    mtu: int
    addresses: tuple[Interface, ...] = ()
    sources: Mapping[Family, Addr] = {}
    own: tuple[Cidr, ...] = ()
    """Where our pods may be: in our ranges, and in those of the cluster that are no peer's."""


def compile_tunnel(facts: NodeFacts) -> Tunnel:
    """Our end: the first InternalIP, the port, the node's addresses among its pods."""
    own = [node_address_in(cidr) for cidr in facts.pod_cidrs]
    return Tunnel(
        local=facts.addresses[0] if facts.addresses else None,
        port=facts.tunnel_port or DEFAULT_PORT,
        mtu=facts.underlay.mtu - overhead(Way.UDP, outer_family(facts.addresses)),
        addresses=tuple(ipaddress.ip_interface(address) for address in own),
        sources={family_of(address): address for address in reversed(own)},
        own=(*facts.pod_cidrs, *facts.cluster_cidrs, *facts.pool_cidrs),
    )


def compile_table(generation: str, peers: Iterable[PeerRoute], tunnel: Tunnel) -> PeerTable:
    """What the process is told: who the peers are, which ranges are theirs, how long a datagram to them may be."""
    ranges: dict[Addr, list[str]] = {}
    payloads: dict[Addr, int] = {}
    for peer in sorted(peers, key=_order):
        ranges.setdefault(peer.via, []).append(str(peer.destination))
        payloads[peer.via] = min(peer.mtu, payloads.get(peer.via, peer.mtu))
    return PeerTable(
        generation=generation,
        local=str(tunnel.local or ""),
        port=tunnel.port,
        own=tuple(map(str, tunnel.own)),
        peers=tuple(PeerEntry(str(via), tuple(of_peer), payloads[via]) for via, of_peer in ranges.items()),
    )


def compile_routes(peers: Iterable[PeerRoute], tunnel: Tunnel) -> dict[Cidr, Route]:
    """A route for each range."""
    return {
        peer.destination: Route(
            destination=peer.destination,
            device=UDP_LINK,
            scope=Scope.LINK if peer.destination.version == 4 else Scope.UNIVERSE,
            source=tunnel.sources.get(family_of(peer.destination)),
            protocol=UDP_ROUTE_PROTOCOL,
            mtu=peer.mtu if peer.mtu < tunnel.mtu else 0,
        )
        for peer in peers
    }


def _order(peer: PeerRoute) -> tuple[int, bytes, int, bytes]:
    network = peer.destination
    return peer.via.version, peer.via.packed, network.version, network.network_address.packed
