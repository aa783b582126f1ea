"""What a node is, as its Node object and the cluster's settings say.

Comes in: a Node and ``ClusterFacts``. Goes out: ``NodeFacts``. What of the Node could not be used is found by
``routes/peers.py``.
"""

from __future__ import annotations

from netloom.api.core import Node
from netloom.model.inputs import ClusterFacts, NodeFacts
from netloom.model.routes.peers import first_of_each_family, read_node


def facts_of(node: Node, cluster: ClusterFacts) -> NodeFacts:
    """Name, first InternalIP of each family, and pod ranges of the node, with the settings of its cluster."""
    read = read_node(node)
    return NodeFacts(
        name=node.metadata.name,
        addresses=tuple(first_of_each_family(read.addresses).values()),
        pod_cidrs=tuple(cidr for _, cidr in read.cidrs),
        cluster_cidrs=cluster.cluster_cidrs,
        service_cidrs=cluster.service_cidrs,
        dns_addresses=cluster.dns_addresses,
        cluster_domain=cluster.cluster_domain,
        node_port_range=cluster.node_port_range,
    )
