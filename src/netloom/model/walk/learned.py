"""Where the fabric is ``bgp``: whether the routers can have told the way. In: BGPPeers, with what nodes say of their sessions. Out: why not.

A node that has said nothing of a session yet is taken to have it. Not here: the way itself (``links.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

from netloom.model.announcing.bgp_peers import Peer, read_peer
from netloom.model.announcing.view import AnnounceView
from netloom.model.provenance import Source, source_of
from netloom.model.routes.ways import Way
from netloom.model.state import PeerRoute
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.steps import Branch, Outcome
from netloom.model.walk.trail import Trail
from netloom.units import Family, ObjectKey, family_of

_UP = "Established"


def untold(cluster: ClusterModel, trail: Trail, route: PeerRoute) -> Branch | None:
    """The end of the way where this node cannot have learned it, or the other one cannot have told it."""
    view = cluster.view
    if route.way is not Way.BGP or not isinstance(view, AnnounceView):
        return None
    for node in (trail.node, route.node):
        trouble = _trouble(view, node, family_of(route.destination))
        if trouble is not None:
            reason, sources = trouble
            hint = "see kubectl get bgppeers -o yaml, and the log of the node's speaker"
            return trail.ends(Outcome.UNREACHABLE, reason, hint, sources)
    return None


def _trouble(view: AnnounceView, node: str, family: Family) -> tuple[str, tuple[Source, ...]] | None:
    """Why a node has no session by which routes of this family go; None where it has one."""
    there = view.nodes.get(ObjectKey("", node))
    labels: Mapping[str, str] = {} if there is None else there.metadata.labels
    mine: list[Peer] = []
    down: list[str] = []
    sources: list[Source] = []
    for key in sorted(view.bgp_peers):
        given = view.bgp_peers[key]
        peer, _ = read_peer(given)
        if peer is None or family not in peer.families or not peer.is_of(labels):
            continue
        mine.append(peer)
        said = given.status.nodes.get(node)
        if said is None or said.state == _UP:
            return None
        down.append(f"{said.state} with {peer.name}{f' ({said.message})' if said.message else ''}")
        sources.append(source_of("BGPPeer", given.metadata, f"status.nodes[{node}]"))
    if not mine:
        return f"{node} has no session with a router: no BGPPeer of {family.address_type} is for it", ()
    return f"{node} has no session with a router that is up: {', '.join(down)}", tuple(sources)
