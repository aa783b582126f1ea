"""What the kernel should have learned, beside what it has. Pure. In: peers and live routes. Out: findings about peers without a route.

Nothing is compiled into routes here: BIRD writes them (``announce/bgp``). What is ours is told from others' by protocol and metric.
"""

from __future__ import annotations

from collections.abc import Iterable

from netloom.model.provenance import Finding
from netloom.model.state import PeerRoute
from netloom.program.names import BGP_ROUTE_METRIC, BGP_ROUTE_PROTOCOL
from netloom.program.routes import Route


def is_learned(route: Route) -> bool:
    """Whether a route of the kernel was learned by this node's BIRD."""
    return route.protocol == BGP_ROUTE_PROTOCOL and route.metric == BGP_ROUTE_METRIC


def unlearned(peers: Iterable[PeerRoute], live: Iterable[Route]) -> tuple[Finding, ...]:
    """One for each peer that no router has told of, in the order of their destinations.

    Args:
        peers: those that are reached by what routers say.
        live: routes of the kernel with one next hop; those with several are not seen, and their peers are named all the same.
    """
    known = {route.destination for route in live if is_learned(route)}
    missing = [peer for peer in peers if peer.destination not in known]
    missing.sort(key=lambda p: (p.destination.version, p.destination.network_address.packed))
    return tuple(
        Finding(
            peer.source,
            f"no router tells the way to {peer.destination} of node {peer.node} yet",
            "see that both nodes have sessions: kubectl get bgppeers, and the log of the speaker",
        )
        for peer in missing
    )
