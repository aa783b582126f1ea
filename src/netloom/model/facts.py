"""What a node is, as its Node object and the cluster's settings say.

Comes in: a Node and ``ClusterFacts``. Goes out: ``NodeFacts``. What of the Node could not be used is found by
``routes/peers.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

from netloom.api.core import Node
from netloom.errors import UsageError
from netloom.model.inputs import ClusterFacts, NodeFacts
from netloom.model.routes.peers import first_of_each_family, read_node
from netloom.model.routes.ways import UNDERLAY_ANNOTATION, Underlay, read_underlay
from netloom.model.services.texts import read_range
from netloom.model.services.topology import ZONE_LABEL
from netloom.units import Addr, Cidr

PRIMARY = "primary"
"""In ``node_port_addresses``: the node's own InternalIPs, whatever they are (kube-proxy ``--nodeport-addresses``)."""


def facts_of(node: Node, cluster: ClusterFacts) -> NodeFacts:
    """Name, zone, first InternalIP of each family, and pod ranges of the node, with the settings of its cluster.

    Raises:
        UsageError: ``node_port_addresses`` has an entry that is neither a CIDR nor, alone, ``primary``.
    """
    read = read_node(node)
    own = tuple(first_of_each_family(read.addresses).values())
    return NodeFacts(
        name=node.metadata.name,
        addresses=own,
        pod_cidrs=tuple(cidr for _, cidr in read.cidrs),
        cluster_cidrs=cluster.cluster_cidrs,
        service_cidrs=cluster.service_cidrs,
        dns_addresses=cluster.dns_addresses,
        cluster_domain=cluster.cluster_domain,
        node_port_range=cluster.node_port_range,
        zone=node.metadata.labels.get(ZONE_LABEL, ""),
        node_port_cidrs=read_node_port_addresses(cluster.node_port_addresses, own),
        fabric=cluster.fabric,
        direct=cluster.direct,
        tunnel_port=cluster.tunnel_port,
        vni=cluster.vni,
        stretched=cluster.stretched,
        egress=cluster.egress,
        underlay=read_underlay(node.metadata.annotations.get(UNDERLAY_ANNOTATION, "")) or Underlay(),
    )


def read_node_port_addresses(texts: Sequence[str], own: Sequence[Addr]) -> tuple[Cidr, ...] | None:
    """At which addresses a node with these own ones serves NodePorts; None: at all.

    Raises:
        UsageError: an entry is neither a CIDR nor, alone, ``primary``.
    """
    if not texts:
        return None
    if tuple(texts) == (PRIMARY,):
        return tuple(ip_network(f"{address}/{address.max_prefixlen}") for address in own)
    found: dict[Cidr, None] = {}
    for text in texts:
        cidr = read_range(text)
        if cidr is None:
            hint = "write CIDRs such as 192.0.2.0/24"
            problem = "goes with no other entry" if text == PRIMARY else "is no CIDR"
            raise UsageError(f"node_port_addresses: {text!r} {problem}", f"{hint}, or {PRIMARY} alone")
        found[cidr] = None
    return tuple(found)
