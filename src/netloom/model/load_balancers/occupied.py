"""Addresses that no Service may be given because others have them: nodes, their pods, egress gateways.

Comes in: one such object. Goes out: spans, and who has each, in words. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from netloom.api.core import Node
from netloom.api.egress import EgressGateway
from netloom.model.load_balancers.spans import Span
from netloom.units import parse_addr, parse_cidr

Occupied = Mapping[Span, str]


def occupied_by(thing: Node | EgressGateway | None) -> Occupied:
    """What this object has; nothing where it is gone."""
    if isinstance(thing, Node):
        return _by_node(thing)
    if isinstance(thing, EgressGateway):
        who = f"EgressGateway {thing.metadata.name}: spec.addresses"
        return {span: who for text in thing.spec.addresses if (span := _single(text)) is not None}
    return {}


def _by_node(node: Node) -> Occupied:
    who = f"Node {node.metadata.name}"
    found: dict[Span, str] = {}
    for address in node.status.addresses:
        if (span := _single(address.address)) is not None:
            found[span] = f"{who}: {address.type}"
    for text in node.spec.pod_cidrs or (node.spec.pod_cidr,):
        if (cidr := parse_cidr(text)) is not None:
            span = Span(cidr.version, int(cidr.network_address), int(cidr.broadcast_address))
            found[span] = f"{who}: spec.podCIDRs"
    return found


def _single(text: str) -> Span | None:
    address = parse_addr(text)
    return None if address is None else Span(address.version, int(address), int(address))
