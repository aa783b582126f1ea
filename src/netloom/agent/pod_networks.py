"""What follows from a node's facts for its pods' interfaces, and for who may ask its DNS server. Pure."""

from __future__ import annotations

from netloom.cni.verbs import PodNetwork
from netloom.fabric.l2.compile import segments_of
from netloom.model.inputs import NodeFacts
from netloom.model.routes.ways import outer_family, pod_mtu
from netloom.program.names import POD_GATEWAYS


def network_of(facts: NodeFacts) -> PodNetwork:
    """What pods of this node may be given."""
    return PodNetwork(
        ranges=facts.pod_cidrs,
        node_addresses=facts.addresses,
        mtu=pod_mtu(facts.fabric, outer_family(facts.addresses), facts.underlay.mtu),
        segments=segments_of(facts),
    )


def askers_networks(facts: NodeFacts) -> tuple[str, ...]:
    """Who may ask besides pods that the API server knows, as CIDRs: the node, and what else CNI has attached here."""
    own = (*facts.own_addresses, *facts.dns_addresses, *POD_GATEWAYS.values())
    return (*map(str, own), *map(str, facts.pod_cidrs))
