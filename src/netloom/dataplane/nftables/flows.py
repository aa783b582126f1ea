"""Which established flows the model would no longer create, and so have to end. Pure.

In: a flow, and the frontends: those of a change, or all of them at start. Out: whether it has to go, and where to look for such.

The rule, the same at start and later. It speaks of flows to a Service only; no other flow is ever touched.
- UDP has no end of its own: a flow lives only while its frontend would send it where it goes. That includes flows that were
  not translated, because they began before the Service had anybody to answer.
- TCP and SCTP drain: they live for as long as their endpoint is in the slices of the Service, terminating or not ready as it may
  be. They end when it has left them, or the Service has gone: the next segment is then answered with a reset.
- Whoever is no longer let in (source ranges) is not let go on either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from netloom.model.inputs import NodeFacts
from netloom.model.services.frontends import Frontend, FrontendAction, FrontendKey
from netloom.model.state import keepers
from netloom.program.conntrack import Flow, FlowFilter
from netloom.units import Addr, Cidr, Family, Protocol

_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}
_UDP = Protocol.UDP.number


def looks(keys: Collection[FrontendKey]) -> list[FlowFilter]:
    """Where to look for flows of these frontends: once for each family and protocol, since each look walks the whole table."""
    kinds: dict[tuple[str, int], list[FrontendKey]] = {}
    for key in keys:
        kinds.setdefault((key.family.value, key.protocol.number), []).append(key)
    return [
        FlowFilter(Family(family), protocol, found[0].address, found[0].port)
        if len(found) == 1
        else FlowFilter(Family(family), protocol)
        for (family, protocol), found in sorted(kinds.items())
    ]


def has_ended(flow: Flow, after: Mapping[FrontendKey, Frontend | None], facts: NodeFacts) -> bool:
    """Whether a flow at one of these frontends would not be created any more; None where one is gone."""
    for key in _frontend_keys(flow, facts):
        if key not in after:
            continue
        frontend = after[key]
        if frontend is not None:
            return not _lives(flow, frontend, facts)
        # Of a connection only what went through the Service; a TCP connection to the address itself is none of ours.
        return flow.is_translated or key.protocol is Protocol.UDP
    return False


def looks_at_start(families: Iterable[Family]) -> list[FlowFilter]:
    """Where to look for flows that ended while nobody was watching."""
    return [
        FlowFilter(family, protocol.number)
        for family in families
        for protocol in (Protocol.UDP, Protocol.TCP, Protocol.SCTP)
    ]


def is_stale(flow: Flow, frontends: Mapping[FrontendKey, Frontend], facts: NodeFacts) -> bool:
    """Whether a flow that is there at the start would not be created any more."""
    keys = _frontend_keys(flow, facts)
    for key in keys:
        if (frontend := frontends.get(key)) is not None:
            return not _lives(flow, frontend, facts)
    # No frontend: a translated flow to where only Services can be came through one that has gone.
    return bool(keys) and flow.is_translated and _is_service_place(flow, facts)


def _lives(flow: Flow, frontend: Frontend, facts: NodeFacts) -> bool:
    if not flow.is_translated:
        # A connection to the address itself is none of the Service's; a datagram would be translated now, or refused.
        return frontend.key.protocol is not Protocol.UDP or frontend.action is FrontendAction.NODE_LOCAL
    client = flow.original.source
    if frontend.source_ranges is not None and not _within(client, frontend.source_ranges):
        return False
    inside = client in facts.addresses or _within(client, facts.pod_cidrs)
    return (flow.reply.source, flow.reply.source_port) in keepers(frontend, inside=inside)


def _frontend_keys(flow: Flow, facts: NodeFacts) -> list[FrontendKey]:
    """The frontends that a flow may have gone to: of its address, and the NodePort of its port."""
    protocol = _PROTOCOLS.get(flow.protocol)
    if protocol is None:
        return []
    destination, port = flow.original.destination, flow.original.destination_port
    keys = [FrontendKey(flow.family, destination, protocol, port)]
    # A NodePort is served at all addresses of the node; the facts do not tell all. What was translated was to one of them,
    # unless it is the address of a Service.
    if destination in facts.addresses or (
        flow.is_translated and not _within(destination, (*facts.service_cidrs, *facts.cluster_cidrs))
    ):
        keys.append(FrontendKey(flow.family, None, protocol, port))
    return keys


def _is_service_place(flow: Flow, facts: NodeFacts) -> bool:
    """Where only Services and host ports can have translated: their range, NodePorts, and what led from elsewhere to a pod.

    Another's rules may lead from a port of the node to a pod, too. A datagram's flow that is ended begins anew by these rules, so of
    datagrams it need not be known whose it was.
    """
    destination = flow.original.destination
    first, last = facts.node_port_range
    if destination in facts.addresses:
        is_ours = first <= flow.original.destination_port <= last
        return is_ours or (flow.protocol == _UDP and _within(flow.reply.source, facts.pod_cidrs))
    return _within(destination, facts.service_cidrs) or _within(flow.reply.source, facts.cluster_cidrs)


def _within(address: Addr, ranges: Iterable[Cidr]) -> bool:
    return any(address in cidr for cidr in ranges)
