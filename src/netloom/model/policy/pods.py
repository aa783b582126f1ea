"""What policies see of pods, nodes and namespaces.

Comes in: objects of the API. Goes out: names, labels, addresses, ports with names. A pod
counts as long as it has a network of its own: one in the node's network (``hostNetwork``) is neither selected nor a peer, and its
packets are the node's. The API leaves that open; it is the more common of the two ways that the concept page on network policies
names, and ClusterNetworkPolicy demands it.

Not here: whom a selector matches (``cluster.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.api.core import Node, Pod, Service
from netloom.model.claims import Seniority, seniority
from netloom.model.provenance import Source
from netloom.model.routes.local_pods import given_addresses, holder_rank, is_finished
from netloom.model.routes.peers import first_of_each_family, read_node
from netloom.model.routes.ways import node_address_in
from netloom.units import Addr, ObjectKey, Protocol, parse_addr


class ContainerPortName(msgspec.Struct, frozen=True, gc=False):
    """A container's port that has a name."""

    name: str
    protocol: Protocol
    number: int


class PodFacts(msgspec.Struct, frozen=True, gc=False):
    """A pod with a network of its own."""

    key: ObjectKey
    uid: str
    labels: Mapping[str, str]
    addresses: tuple[Addr, ...]
    node: str
    ports: tuple[ContainerPortName, ...]
    rank: Seniority
    """Who holds an address that several claim: the least."""
    is_stand_in: bool = False
    """The node's own DNS server, which is a peer like the pods that it stands for, but under no policy."""


class NodePlace(msgspec.Struct, frozen=True, gc=False):
    """What policies read of a Node."""

    labels: Mapping[str, str]
    addresses: tuple[Addr, ...]
    """All of ``status.addresses`` that are addresses (ClusterNetworkPolicy ``nodes`` peers), and the node's among its pods."""
    own: tuple[Addr, ...]
    """What the node's own packets come from: the first InternalIP of each family, and its address among its pods."""


def read_pod(pod: Pod) -> PodFacts | None:
    """None for a pod without a network of its own, and for one without an address."""
    if pod.spec.host_network or is_finished(pod):
        return None
    addresses = {a: None for _, text in given_addresses(pod) if (a := parse_addr(text)) is not None}
    if not addresses:
        return None
    return PodFacts(
        key=pod.key,
        uid=pod.metadata.uid,
        labels=pod.metadata.labels,
        addresses=tuple(addresses),
        node=pod.spec.node_name,
        ports=_named_ports(pod),
        rank=holder_rank(pod),
    )


def _named_ports(pod: Pod) -> tuple[ContainerPortName, ...]:
    """Every port with a name; one that no protocol or number makes sense of is none."""
    return tuple(
        ContainerPortName(port.name, Protocol(port.protocol), port.container_port)
        for container in pod.spec.containers
        for port in container.ports
        if port.name and port.protocol in Protocol.__members__ and 0 < port.container_port < 65536
    )


def read_dns(service: Service, dns_addresses: tuple[Addr, ...]) -> PodFacts | None:
    """The node's own DNS server, seen as the pods that answer at its addresses in other clusters; None for any other Service.

    Policies that allow DNS name pods, and there are none here: so the server has the labels that the Service of its address
    selects, or carries itself where it selects none.
    """
    spec = service.spec
    texts = spec.cluster_ips or (spec.cluster_ip,)
    addresses = tuple(a for text in texts if (a := parse_addr(text)) in dns_addresses and a is not None)
    if not addresses:
        return None
    key = service.key
    return PodFacts(
        key=ObjectKey(key.namespace, f"service/{key.name}"),
        uid=service.metadata.uid,
        labels=spec.selector or service.metadata.labels,
        addresses=addresses,
        node="",
        ports=tuple(
            ContainerPortName(port.name, Protocol(port.protocol), port.port)
            for port in spec.ports
            if port.name and port.protocol in Protocol.__members__
        ),
        rank=seniority(service.metadata),
        is_stand_in=True,
    )


def read_place(node: Node) -> NodePlace:
    """Labels and addresses of a Node."""
    given = [(a.type, parse_addr(a.address)) for a in node.status.addresses]
    among_pods = [node_address_in(cidr) for _, cidr in read_node(node).cidrs]
    internal = [address for kind, address in given if kind == "InternalIP" and address is not None]
    return NodePlace(
        labels=node.metadata.labels,
        addresses=tuple(dict.fromkeys([*(a for _, a in given if a is not None), *among_pods])),
        own=(*first_of_each_family(internal).values(), *among_pods),
    )


def node_source(name: str) -> Source:
    """The addresses of a node, as the source of what follows from them."""
    return Source("Node", "", name, field="status.addresses")
