"""Peers of the model become routes. Pure. In: peers and this node's segments. Out: routes, and findings about peers without one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from netloom.model.provenance import Finding
from netloom.model.routes.ways import DEFAULT_MTU, Segment
from netloom.model.state import PeerRoute
from netloom.program.names import FABRIC_ROUTE_PROTOCOL
from netloom.program.routes import Route
from netloom.units import Addr


class Compiled(msgspec.Struct, frozen=True):
    """The routes of some peers; peers without a route are in the findings."""

    routes: tuple[Route, ...]
    findings: tuple[Finding, ...] = ()


def compile_peers(
    peers: Iterable[PeerRoute], segments: Sequence[Segment], mtu: int = DEFAULT_MTU
) -> Compiled:
    """One route for each peer whose node is on a segment of ours, in the order of their destinations.

    Args:
        peers: those that are reached by plain routes.
        segments: the networks of this node.
        mtu: of this node's own interface, bytes; the route to a peer that may be sent less says so.
    """
    routes: list[Route] = []
    findings: list[Finding] = []
    for peer in sorted(peers, key=lambda p: (p.destination.version, p.destination.network_address.packed)):
        device = _device_towards(peer.via, segments)
        if device is None:
            findings.append(
                Finding(
                    peer.source,
                    f"node {peer.node} at {peer.via} is on no network of this node, so its pods in {peer.destination} "
                    "cannot be reached by plain routes",
                    "put the nodes on one segment, or choose a fabric that encapsulates",
                )
            )
            continue
        routes.append(
            Route(
                destination=peer.destination,
                via=peer.via,
                device=device,
                protocol=FABRIC_ROUTE_PROTOCOL,
                mtu=peer.mtu if peer.mtu < mtu else 0,
            )
        )
    return Compiled(tuple(routes), tuple(findings))


def _device_towards(via: Addr, segments: Sequence[Segment]) -> str | None:
    """The interface with the narrowest network that has the next hop; none where the next hop is ourselves."""
    near = [s for s in segments if s.interface.version == via.version and via in s.interface.network]
    if any(s.interface.ip == via for s in near):
        return None
    near.sort(key=lambda s: s.interface.network.prefixlen, reverse=True)
    return near[0].device if near else None
