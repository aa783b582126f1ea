"""Peers of the model become routes. Pure. In: peers and this node's segments. Out: routes, and findings about peers without one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from netloom.model.provenance import Finding
from netloom.model.routes.ways import Segment
from netloom.model.state import PeerRoute
from netloom.program.names import FABRIC_ROUTE_PROTOCOL
from netloom.program.routes import Route
from netloom.units import Addr


class Compiled(msgspec.Struct, frozen=True):
    """The routes of some peers; peers without a route are in the findings."""

    routes: tuple[Route, ...]
    findings: tuple[Finding, ...] = ()


def compile_peers(peers: Iterable[PeerRoute], segments: Sequence[Segment]) -> Compiled:
    """One route for each peer whose node is on a segment of ours, in the order of their destinations."""
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
            Route(destination=peer.destination, via=peer.via, device=device, protocol=FABRIC_ROUTE_PROTOCOL)
        )
    return Compiled(tuple(routes), tuple(findings))


def _device_towards(via: Addr, segments: Sequence[Segment]) -> str | None:
    """The interface with the narrowest network that has the next hop; none where the next hop is ourselves."""
    near = [s for s in segments if s.interface.version == via.version and via in s.interface.network]
    if any(s.interface.ip == via for s in near):
        return None
    near.sort(key=lambda s: s.interface.network.prefixlen, reverse=True)
    return near[0].device if near else None
