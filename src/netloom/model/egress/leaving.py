"""With whose address a packet of a pod leaves the cluster, and why.

Comes in: what a node is and knows, a pod's address, a destination. Goes out: whether the node's address becomes the source, and the field
or setting that says so. This is the one place that knows the rule; the dataplane's rules stand in its order.

A pod that an EgressGateway selects leaves by that one's address wherever the gateway concerns the destination, whatever the rest of this
says. Of all others: nobody outside has a way back to a pod, so the node's address takes the place of the pod's, unless one of these says
otherwise: the destination is of the cluster (a pod, a Service, a node that has a way back); the agent's configuration (``masquerade``,
``no_masquerade``); the pod, or its namespace (annotation ``netloom.io/masquerade: "false"``; the pod's own word counts before).
What the node itself sends has the node's address anyway, and is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.api.core import Namespace, Pod
from netloom.model.egress.settings import StaticRoute
from netloom.model.egress.state import NOBODYS, Exit, way_of
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding, Source, source_of
from netloom.model.state import NetworkState, PodRange
from netloom.units import Addr, Cidr, family_of

ANNOTATION = "netloom.io/masquerade"
FIELD = f"metadata.annotations[{ANNOTATION}]"
_WORDS = {"true": True, "false": False}
CONFIGURATION = "agent configuration"
"""Kind of the source of settings of a node's agent."""


class Leaving(msgspec.Struct, frozen=True):
    """What becomes of the source of a pod's packet that leaves."""

    masquerade: bool
    text: str
    sources: tuple[Source, ...] = ()
    exit: Exit | None = None
    """The address of a gateway that it leaves by; dropped while no node has it."""


def keeps_source(pod: Pod, namespace: Namespace | None) -> tuple[Source | None, tuple[Finding, ...]]:
    """The annotation by which a pod keeps its own address, None where there is none; and what cannot be read of the pod's.

    What cannot be read says nothing: the namespace's word counts, or the default.
    """
    findings: tuple[Finding, ...] = ()
    text = pod.metadata.annotations.get(ANNOTATION)
    if text is not None:
        said, source = _WORDS.get(text), source_of("Pod", pod.metadata, FIELD)
        if said is not None:
            return (None if said else source), ()
        findings = (Finding(source, f'"{text[:80]}" says nothing', 'write "true" or "false"'),)
    return word_of(namespace), findings


def word_of(namespace: Namespace | None) -> Source | None:
    """The annotation by which a namespace lets its pods keep their addresses; None where there is none."""
    if namespace is None or _WORDS.get(namespace.metadata.annotations.get(ANNOTATION, "")) is not False:
        return None
    return source_of("Namespace", namespace.metadata, FIELD)


def leaving(facts: NodeFacts, state: NetworkState, pod: Addr, destination: Addr) -> Leaving | None:
    """What becomes of a packet of a pod of this node; None where the destination is of the cluster: its source stays."""
    inside = (*facts.cluster_cidrs, *facts.pod_cidrs, *facts.service_cidrs, *state.ranges)
    if _within(destination, inside):
        return None
    if any(route.via == destination and route.is_plain for route in state.routes.values()):
        return None
    return _by_gateway(state, pod, destination) or _by_settings(facts, state, pod, destination)


def _by_settings(facts: NodeFacts, state: NetworkState, pod: Addr, destination: Addr) -> Leaving:
    """By the pod's own node."""
    egress = facts.egress
    if not egress.masquerade:
        return Leaving(
            False, "source stays: nothing is masqueraded here", (_configured(facts, "masquerade"),)
        )
    for index, cidr in enumerate(egress.no_masquerade):
        if _within(destination, (cidr,)):
            source = _configured(facts, f"no_masquerade[{index}]")
            return Leaving(False, f"source stays: {cidr} has a way back to pods", (source,))
    local = state.local_pods.get(pod)
    if local is not None and local.keeps_source is not None:
        return Leaving(False, "source stays: it is not to be masqueraded", (local.keeps_source,))
    return Leaving(True, "the destination is outside of the cluster")


def _by_gateway(state: NetworkState, pod: Addr, destination: Addr) -> Leaving | None:
    way = way_of(state.egress, pod, destination)
    held = None if way is None else state.egress.exits.get(way.address)
    if way is None or held is None or (way.falls_back and not held.node):
        return None
    at = f"which {held.node} has" if held.node else "which no node has now"
    by = (
        "none of its addresses: none can be used"
        if way.address in NOBODYS.values()
        else f"{way.address}, {at}"
    )
    text = f"{way.gateway.subject}: by {by}"
    return Leaving(True, text, (way.gateway.at("spec.podSelector"), way.source), held)


def way_out(facts: NodeFacts, destination: Addr) -> tuple[str, Source] | tuple[str]:
    """By which route of this node a packet leaves the cluster, in words, and the setting that made the route."""
    found = _static_route(facts, destination)
    if found is None:
        return (f"{destination} is not of the cluster: default route",)
    index, route = found
    text = f"{destination} is not of the cluster: static route {route}"
    return text, _configured(facts, f"static_routes[{index}]")


def address_outside(facts: NodeFacts, destination: Addr) -> Addr | None:
    """The node's address that takes the place of a pod's: of the interface that the packet leaves by, as far as that is known."""
    family = family_of(destination)
    found = _static_route(facts, destination)
    if found is not None:
        _, route = found
        for segment in facts.underlay.segments:
            if family_of(segment.interface.ip) is not family:
                continue
            if segment.device == route.device or (
                not route.device and route.via is not None and route.via in segment.interface.network
            ):
                return segment.interface.ip
    return next((address for address in facts.addresses if family_of(address) is family), None)


def _static_route(facts: NodeFacts, destination: Addr) -> tuple[int, StaticRoute] | None:
    """The narrowest one, and its place in the configuration."""
    fitting = [
        (index, one) for index, one in enumerate(facts.egress.static_routes) if destination in one.destination
    ]
    return max(fitting, key=lambda one: one[1].destination.prefixlen, default=None)


def own_ranges(facts: NodeFacts, ranges: Mapping[Cidr, PodRange]) -> tuple[Cidr, ...]:
    """All ranges of pods of this node."""
    return (*facts.pod_cidrs, *(cidr for cidr, one in ranges.items() if one.is_own))


def _configured(facts: NodeFacts, field: str) -> Source:
    return Source(CONFIGURATION, "", facts.name, field=field)


def _within(address: Addr, ranges: tuple[Cidr, ...]) -> bool:
    return any(address in cidr for cidr in ranges)
