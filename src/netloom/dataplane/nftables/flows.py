"""Which established flows the model would no longer create, and so have to end. Pure.

In: what ended (``FlowClass``), or the whole state at start, and a flow. Out: whether it has to go, and where to look for such.

The rule, the same at start and later. It speaks of flows to a Service only; no other flow is ever touched.
- UDP has no end of its own: a flow lives only while its frontend would send it where it goes. That includes flows that were
  not translated, because they began before the Service had anybody to answer.
- TCP and SCTP outlive the removal of their endpoint, as users of graceful termination rely on: the server ends them. They end
  when the Service that they came through has gone; the next segment is then answered with a reset.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from netloom.model.inputs import NodeFacts
from netloom.model.services.frontends import Backend, FlowClass, Frontend, FrontendAction, FrontendKey
from netloom.program.conntrack import Flow, FlowFilter
from netloom.units import Addr, Cidr, Family, Protocol

_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}
_MOST_LOOKS = 8
"""Beyond this many frontends one look at all flows of a protocol is cheaper than one for each."""


class Ended(msgspec.Struct, frozen=True):
    """The flows of one frontend that have to go."""

    all: bool
    backends: frozenset[tuple[Addr, int]] = frozenset()


EndedFlows = Mapping[FrontendKey, Ended]


def ended_by(classes: Iterable[FlowClass], present: Collection[FrontendKey]) -> dict[FrontendKey, Ended]:
    """The flows that have to go after a change; ``present`` are the frontends that there are now."""
    found: dict[FrontendKey, Ended] = {}
    for flow_class in classes:
        key, backend = flow_class.frontend, flow_class.backend
        if key.protocol is not Protocol.UDP and key in present:
            continue
        before = found.get(key, Ended(all=False))
        if backend is None:
            found[key] = Ended(all=True)
        else:
            found[key] = Ended(before.all, before.backends | {(backend.address, backend.port)})
    return found


def looks(ended: EndedFlows) -> list[FlowFilter]:
    """Where to look for those flows."""
    if len(ended) <= _MOST_LOOKS:
        return [FlowFilter(key.family, key.protocol.number, key.address, key.port) for key in ended]
    kinds = sorted({(key.family.value, key.protocol.number) for key in ended})
    return [FlowFilter(Family(family), protocol) for family, protocol in kinds]


def has_ended(flow: Flow, ended: EndedFlows, facts: NodeFacts) -> bool:
    """Whether a flow is one of those."""
    for key in _frontend_keys(flow, facts):
        if (gone := ended.get(key)) is None:
            continue
        if gone.all:
            # Of a connection only what went through the Service; a TCP connection to the address itself is none of ours.
            return flow.is_translated or key.protocol is Protocol.UDP
        return (flow.reply.source, flow.reply.source_port) in gone.backends
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
            return key.protocol is Protocol.UDP and not _leads_to(flow, frontend)
    # No frontend: a translated flow to where only Services can be came through one that has gone.
    return bool(keys) and flow.is_translated and _is_service_place(flow, facts)


def _leads_to(flow: Flow, frontend: Frontend) -> bool:
    if frontend.action is FrontendAction.NODE_LOCAL:
        return not flow.is_translated
    if frontend.action is FrontendAction.REJECT:
        return False
    return any(_is_target(flow, backend) for backend in frontend.backends)


def _is_target(flow: Flow, backend: Backend) -> bool:
    return (flow.reply.source, flow.reply.source_port) == (backend.address, backend.port)


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
    destination = flow.original.destination
    first, last = facts.node_port_range
    return _within(destination, facts.service_cidrs) or (
        destination in facts.addresses and first <= flow.original.destination_port <= last
    )


def _within(address: Addr, ranges: Iterable[Cidr]) -> bool:
    return any(address in cidr for cidr in ranges)
