"""Out of the cluster: by the pod's own node, or by the address that a gateway has, through the node that has it.

Comes in: a trail whose destination is no part of the cluster. Goes out: the branch, with who gives which source on the way.
"""

from __future__ import annotations

from netloom.model.egress.leaving import Leaving, address_outside, leaving, way_out
from netloom.model.egress.state import NOBODYS, Exit
from netloom.model.provenance import Source
from netloom.model.routes.ways import Way, outer_family, overhead, pod_mtu
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.links import to_peer
from netloom.model.walk.steps import Branch, Outcome, Stage
from netloom.model.walk.trail import Trail
from netloom.units import family_of

DEVICE = "netloom-egress"
"""The interface between nodes for what leaves by another one's address (``program.names.EGRESS_LINK``)."""


def outward(cluster: ClusterModel, trail: Trail) -> Branch:
    """From the node where the packet is to what is outside."""
    found = _leaving(cluster, trail)
    if found is not None and found.exit is not None:
        return _by_gateway(cluster, trail, found, found.exit)
    facts, to = cluster.nodes[trail.node], trail.packet.destination
    left = masqueraded(cluster, trail).then(Stage.ROUTE, *way_out(facts, to))
    return left.answered().ends(Outcome.EXTERNAL, f"leaves the cluster at {trail.node}")


def masqueraded(cluster: ClusterModel, trail: Trail) -> Trail:
    """Pods' packets to what is no part of the cluster carry the node's address: nobody out there has a way back to a pod.

    Other nodes have that way, so packets to those that pods are routed to keep their source.
    """
    found = _leaving(cluster, trail)
    if found is None:
        return trail
    if not found.masquerade:
        return trail.then(Stage.NAT, found.text, *found.sources)
    source = address_outside(cluster.nodes[trail.node], trail.packet.destination)
    text = f"source becomes {source or 'an address of the node'}: {found.text}"
    return trail.then(Stage.NAT, text).sent_from(source)


def _leaving(cluster: ClusterModel, trail: Trail) -> Leaving | None:
    pod = trail.packet.source
    if pod is None or not any(pod in cidr for cidr in cluster.own_ranges(trail.node)):
        return None
    return leaving(cluster.nodes[trail.node], cluster.state(trail.node), pod, trail.packet.destination)


def _by_gateway(cluster: ClusterModel, trail: Trail, found: Leaving, held: Exit) -> Branch:
    """To the node that has the address, where this one has it not; there the source is translated."""
    home = trail.node
    trail = trail.then(Stage.ROUTE, found.text, *found.sources)
    if held.address in NOBODYS.values():
        reason = (
            "the gateway has no address of this family that can be used, and by another it must not leave"
        )
        return trail.ends(
            Outcome.DROPPED, reason, "see the events of the gateway, and mend its addresses", found.sources
        )
    if not held.node:
        reason = f"no node has {held.address}, and by another address it must not leave"
        source = held.source.at("spec.nodeSelector")
        return trail.ends(
            Outcome.DROPPED, reason, "see kubectl get nodes, and the gateway's nodeSelector", (source,)
        )
    if held.node != trail.node:
        sent = _through_tunnel(cluster, trail, held)
        if isinstance(sent, Branch):
            return sent
        trail = sent
    text = f"source becomes {held.address}"
    translated = trail.then(Stage.NAT, text, held.source).sent_from(held.address)
    out = translated.then(Stage.ROUTE, *way_out(cluster.nodes[held.node], trail.packet.destination))
    text = f"answers come back to {held.address} at {held.node}"
    if home != held.node:
        text += f", and from there to {home} by {DEVICE}"
    return out.then(Stage.REPLY, text, held.source).ends(
        Outcome.EXTERNAL, f"leaves the cluster at {held.node} from {held.address}"
    )


def _through_tunnel(cluster: ClusterModel, trail: Trail, held: Exit) -> Trail | Branch:
    facts, end = cluster.nodes[trail.node], cluster.state(trail.node).egress.ends.get(held.node)
    node = Source("Node", "", held.node, field="spec.podCIDRs")
    route = None if end is None else cluster.route(trail.node, end.address)
    if end is None or route is None or not facts.pod_cidrs:
        reason = (
            f"{trail.node} has no tunnel to {held.node}: each end is the first address of the node's pods"
        )
        return trail.ends(Outcome.UNREACHABLE, reason, "see the podCIDRs of the nodes", (node,))
    more = overhead(Way.VXLAN, family_of(end.address))
    mtu = min(route.mtu, pod_mtu(facts.fabric, outer_family(facts.addresses), facts.underlay.mtu)) - more
    text = f"by {DEVICE} to {held.node} at {end.address}, in VXLAN within the fabric, MTU {mtu}"
    inner = trail.then(Stage.FABRIC, text, node)
    sent = to_peer(inner, route, facts, Source("Node", "", held.node, field="status.addresses"))
    if isinstance(sent, Branch):
        return sent
    return sent.at(held.node)
