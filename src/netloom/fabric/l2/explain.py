"""From the bridge's addresses back to the Node. Pure. In: an address on ``nl-bridge`` and this node's facts. Out: a Source."""

from __future__ import annotations

from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source
from netloom.model.routes.ways import node_address_in
from netloom.program.links import LinkAddress
from netloom.program.names import BRIDGE_LINK


def source_of_address(address: LinkAddress, facts: NodeFacts) -> Source | None:
    """The range that a gateway is of; None for an address that is not ours, or of a range that the node has no more."""
    if address.device != BRIDGE_LINK:
        return None
    for index, cidr in enumerate(facts.pod_cidrs):
        if node_address_in(cidr) == address.interface.ip:
            return Source("Node", "", facts.name, field=f"spec.podCIDRs[{index}]")
    return None
