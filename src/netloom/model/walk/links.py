"""The interfaces that a packet passes: out of a pod, from node to node, into a pod; with what each adds and how much it carries.

Comes in: a trail, what the node is, the peer's route. Goes out: the trail with a step, or the branch where there is no way.
"""

from __future__ import annotations

from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source
from netloom.model.routes import ways
from netloom.model.routes.ways import FabricKind, Way
from netloom.model.state import PeerRoute
from netloom.model.walk.steps import Branch, Outcome, Stage
from netloom.model.walk.trail import Trail

POD_INTERFACE = "eth0"
"""Name of a pod's first interface, as kubelets ask for it."""


def out_of_pod(trail: Trail, facts: NodeFacts) -> Trail:
    """From the pod to its node."""
    return trail.then(Stage.LINK, f"leaves by {_pod_link(facts)}")


def into_pod(trail: Trail, facts: NodeFacts) -> Trail:
    """From the node to the pod."""
    return trail.then(Stage.LINK, f"enters by {_pod_link(facts)}")


def to_peer(trail: Trail, route: PeerRoute, facts: NodeFacts, addresses: Source) -> Trail | Branch:
    """From this node to the one that a route leads to; ``addresses`` are where that node says its own."""
    if route.way is Way.BLOCKED:
        key = addresses.at(f"metadata.annotations[{ways.KEY_ANNOTATION}]")
        reason = f"{route.node} has no key that {facts.name} knows: its pods are reached encrypted only"
        hint = f"the agent of {route.node} writes the annotation; look at its log"
        return trail.ends(Outcome.UNREACHABLE, reason, hint, (key,))
    sources = [addresses]
    if route.key:
        sources.append(addresses.at(f"metadata.annotations[{ways.KEY_ANNOTATION}]"))
    onward = trail.then(Stage.FABRIC, f"{_way(route, facts)}, MTU {route.mtu}", *sources)
    own = next(
        (a for a in map(ways.node_address_in, facts.pod_cidrs) if a.version == route.destination.version),
        None,
    )
    if route.way.is_tunnel and own is not None and trail.packet.source in facts.addresses:
        text = f"what the node itself sends by {ways.DEVICES[route.way]} comes from {own}, its address among its pods"
        return onward.then(Stage.FABRIC, text).sent_from(own)
    return onward


def _pod_link(facts: NodeFacts) -> str:
    mtu = ways.pod_mtu(facts.fabric, ways.outer_family(facts.addresses), facts.underlay.mtu)
    bridge = f" at {ways.BRIDGE}" if facts.fabric is FabricKind.L2 else ""
    return f"{POD_INTERFACE}{bridge}, MTU {mtu}"


def _way(route: PeerRoute, facts: NodeFacts) -> str:
    if route.way is Way.DIRECT:
        device = ways.device_towards(route.via, facts.underlay.segments)
        by = f"by {device} " if device else ""
        return f"{by}to {route.node} at {route.via}, plain"
    if route.way is Way.BGP:
        return f"to {route.node} at {route.via} by whom the routers say (BGP), plain"
    port = facts.tunnel_port or ways.PORTS[route.way]
    at = f"[{route.via}]:{port}" if route.via.version == 6 else f"{route.via}:{port}"
    what = {
        Way.VXLAN: f"in VXLAN {facts.vni}, not encrypted",
        Way.UDP: "in UDP (a fallback: slow), not encrypted",
        Way.WIREGUARD: "encrypted (WireGuard)",
    }[route.way]
    return f"by {ways.DEVICES[route.way]} to {route.node} at {at} {what}"
