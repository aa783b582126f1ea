"""Which established flows of pods leave in a way that is not theirs any more, and so have to end. Pure.

In: a flow, and what gateways say now. Out: whether it has to go. A flow has one source outside for its life: the node of the pod sends it
untouched into the tunnel, the node that has the address translates it there. So a flow whose pod has another way now ends, and one whose
address moves to another node goes on: there its next packet makes a new entry, with the same address and, where it is free, the same port.
Flows that others began, and those within the cluster, are never touched.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from netloom.model.egress.state import EgressState, way_of
from netloom.program.conntrack import Flow
from netloom.units import Addr, Cidr


class Outlook(msgspec.Struct, frozen=True):
    """What flows are judged by."""

    node: str
    state: EgressState
    inside: tuple[Cidr, ...]
    """Ranges of the cluster."""
    addresses: Collection[Addr] = frozenset()
    """Everything that pods leave by, or left by since this node's agent started."""


def has_ended(flow: Flow, suspects: Mapping[Addr, bool] | None, outlook: Outlook) -> bool:
    """Whether a flow would be another now.

    Args:
        flow: of the kernel.
        suspects: pods whose ways may be others now, and whether they had any before; None: any pod.
        outlook: what counts now.
    """
    pod, seen_as = flow.original.source, flow.reply.destination
    if suspects is not None and pod not in suspects:
        return False
    destination = flow.reply.source
    is_inside = any(destination in cidr for cidr in outlook.inside)
    state = outlook.state
    way = None if is_inside else way_of(state, pod, destination)
    held = None if way is None else state.exits.get(way.address)
    if way is None or held is None or (way.falls_back and not held.node):
        had_ways = suspects is not None and suspects[pod]
        was_sent_on = had_ways and seen_as == pod and not is_inside and destination not in state.nodes
        return seen_as in outlook.addresses or was_sent_on
    if held.node == outlook.node:
        return seen_as != held.address
    if state.pods[pod].node == outlook.node:
        return seen_as != pod
    return seen_as in outlook.addresses
