"""The Services through which gateways have addresses, and where they lead: to each node's engine. Values, as they should be. Pure.

In: Gateways of ours with their doors, nodes, and at which ports their gateways listen. Out: a Service of type LoadBalancer for each
Gateway, one for all Ingresses, and EndpointSlices. A TCP port leads to the nodes themselves, at the port's own nodePort, and to a node
only while it listens there; a UDP port leads to the endpoints of its routes, which our own dataplane balances. So addresses, announcing,
NodePorts and ``why`` are those of any Service. Not here: writing (``gateway_objects.py``). Source: GEP-1762 (names and labels).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from netloom.api.core import Node, Service
from netloom.api.discovery import SERVICE_NAME_LABEL
from netloom.api.gateway import CLASS_LABEL, GATEWAY_LABEL, Gateway, GatewaySpec, read_spec
from netloom.api.meta import KubeObject
from netloom.kube.resources import GATEWAYS
from netloom.model.gateways.entrances import INGRESS, INGRESS_PORTS, service_of_gateway
from netloom.model.gateways.plan import Door, Plan
from netloom.units import Addr, Family, ObjectKey, Protocol, family_of, parse_addr

MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "gateway.netloom.io"
OWN_LABEL = "netloom.io/entrance"
"""On our Services; its value is ``gateway`` or ``ingress``."""
EXCLUDED_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
"""A node with it gets nothing from outside (well-known label), so no gateway need be there."""
ADDRESSES_ANNOTATION = "netloom.io/load-balancer-addresses"
MOST_ENDPOINTS = 1000
"""Of one slice (discovery/v1)."""
Body = dict[str, Any]
_PROTOCOLS = ("HTTP", "HTTPS", "TLS", "TCP", "UDP")


class Entrance(msgspec.Struct, frozen=True, kw_only=True):
    """What needs a Service: a Gateway, or all Ingresses together."""

    service: ObjectKey
    gateway: ObjectKey
    """As ``Door.gateway`` has it."""
    ports: tuple[tuple[int, Protocol], ...]
    """Sorted."""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    addresses: tuple[str, ...] = ()
    """That are asked for."""
    owner: Mapping[str, Any] | None = None
    """Owner reference."""


class NodePlace(msgspec.Struct, frozen=True, order=True):
    """A node that answers, and at which ports."""

    name: str
    addresses: tuple[Addr, ...]
    doors: frozenset[int]
    is_ready: bool = True


def entrance_of(gateway: Gateway, doors: Iterable[Door]) -> Entrance:
    """What a Gateway of ours needs: a port for each of its listeners, whether it works or not, so that the address stays while it is mended.

    Args:
        gateway: as it is written.
        doors: of the plan, those of this Gateway; listeners of ListenerSets are among them.
    """
    spec = read_spec(gateway, GatewaySpec).value
    written = (
        (one.port, Protocol.UDP if one.protocol.upper() == "UDP" else Protocol.TCP)
        for one in spec.listeners
        if one.protocol.upper() in _PROTOCOLS and 0 < one.port < 65536
    )
    ports = {*written, *((door.port, door.protocol) for door in doors)}
    own = {GATEWAY_LABEL: gateway.metadata.name, CLASS_LABEL: spec.gateway_class_name}
    return Entrance(
        service=service_of_gateway(gateway.key, spec.gateway_class_name),
        gateway=gateway.key,
        ports=tuple(sorted(ports, key=lambda one: (one[0], one[1].value))),
        labels={**spec.infrastructure.labels, **own, OWN_LABEL: "gateway"},
        annotations=spec.infrastructure.annotations,
        addresses=tuple(one.value for one in spec.addresses if one.type == "IPAddress" and one.value),
        owner={
            "apiVersion": GATEWAYS.api_version,
            "kind": GATEWAYS.kind,
            "name": gateway.metadata.name,
            "uid": gateway.metadata.uid,
            "controller": True,
            "blockOwnerDeletion": False,
        },
    )


def ingress_entrance() -> Entrance:
    """What all Ingresses together need."""
    return Entrance(
        service=INGRESS,
        gateway=INGRESS,
        ports=tuple((port, Protocol.TCP) for port in INGRESS_PORTS),
        labels={OWN_LABEL: "ingress"},
    )


def service_of(entrance: Entrance) -> Body:
    """The Service, as far as we say what it is; the server fills in the rest.

    With a UDP port it has ``externalTrafficPolicy: Cluster``: a node that gets its packets may have no endpoint of them.
    """
    metadata: Body = {
        "namespace": entrance.service.namespace,
        "name": entrance.service.name,
        "labels": dict(entrance.labels),
        "annotations": dict(entrance.annotations),
    }
    if entrance.addresses:
        metadata["annotations"][ADDRESSES_ANNOTATION] = ",".join(entrance.addresses)
    if entrance.owner is not None:
        metadata["ownerReferences"] = [dict(entrance.owner)]
    has_udp = any(protocol is Protocol.UDP for _, protocol in entrance.ports)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Cluster" if has_udp else "Local",
            "ipFamilyPolicy": "PreferDualStack",
            "ports": [
                {
                    "name": port_name(port, protocol),
                    "port": port,
                    "protocol": protocol.value,
                    "targetPort": port,
                }
                for port, protocol in entrance.ports
            ],
        },
    }


def port_name(port: int, protocol: Protocol) -> str:
    """Name of a port of the Service, and so of its slices."""
    return f"p{port}-{protocol.word}"


def slices_of(
    entrance: Entrance, service: Service, *, nodes: Sequence[NodePlace], plan: Plan, doors: Iterable[Door]
) -> tuple[Body, ...]:
    """The EndpointSlices of a Service that is there.

    Args:
        entrance: whose they are.
        service: as the API server has it, with its node ports.
        nodes: in order of their names.
        plan: for the endpoints of UDP.
        doors: of the plan, those of this Gateway.
    """
    node_ports = {(port.port, port.protocol): port.node_port for port in service.spec.ports}
    udp = {door.port: door for door in doors if door.protocol is Protocol.UDP}
    found: list[Body] = []
    for port, protocol in entrance.ports:
        for family in Family:
            groups: Mapping[int, Sequence[Body]]
            if protocol is Protocol.UDP:
                groups = _udp_endpoints(udp.get(port), plan, family)
            elif number := node_ports.get((port, protocol.value), 0):
                groups = {number: _node_endpoints(nodes, number, family)}
            else:
                groups = {}
            found += _slices(entrance, service, (port, protocol), family, groups)
    return tuple(found)


def places(nodes: Iterable[Node], doors: Mapping[str, frozenset[int]]) -> tuple[NodePlace, ...]:
    """Nodes whose gateways have told of themselves, by name.

    Args:
        nodes: all Nodes.
        doors: by node, the ports at which its gateway listens.
    """
    return tuple(
        sorted(
            NodePlace(node.metadata.name, addresses_of(node), doors[node.metadata.name], node.is_ready)
            for node in nodes
            if node.metadata.name in doors and serves(node)
        )
    )


def is_own(made: KubeObject) -> bool:
    """Whether we made this Service or EndpointSlice."""
    return OWN_LABEL in made.metadata.labels


def serves(node: Node) -> bool:
    """Whether a gateway is to be on this node."""
    return node.metadata.deletion_timestamp is None and EXCLUDED_LABEL not in node.metadata.labels


def addresses_of(node: Node) -> tuple[Addr, ...]:
    """A node's InternalIPs, one of each family."""
    found: dict[Family, Addr] = {}
    for one in node.status.addresses:
        if one.type == "InternalIP" and (address := parse_addr(one.address)) is not None:
            found.setdefault(family_of(address), address)
    return tuple(found.values())


def _slices(
    entrance: Entrance,
    service: Service,
    port: tuple[int, Protocol],
    family: Family,
    groups: Mapping[int, Sequence[Body]],
) -> Iterator[Body]:
    name = port_name(*port)
    for target, endpoints in sorted(groups.items()):
        for part, start in enumerate(range(0, len(endpoints), MOST_ENDPOINTS)):
            words = (entrance.service.name, name, family.address_type.lower(), target, part)
            yield {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "namespace": entrance.service.namespace,
                    "name": "-".join(str(word) for word in words),
                    "labels": {
                        **entrance.labels,
                        SERVICE_NAME_LABEL: entrance.service.name,
                        MANAGED_BY_LABEL: MANAGER,
                    },
                    "annotations": dict(entrance.annotations),
                    "ownerReferences": [
                        {
                            "apiVersion": "v1",
                            "kind": "Service",
                            "name": entrance.service.name,
                            "uid": service.metadata.uid,
                            "controller": True,
                            "blockOwnerDeletion": False,
                        }
                    ],
                },
                "addressType": family.address_type,
                "ports": [{"name": name, "port": target, "protocol": port[1].value}],
                "endpoints": list(endpoints[start : start + MOST_ENDPOINTS]),
            }


def _node_endpoints(nodes: Iterable[NodePlace], port: int, family: Family) -> list[Body]:
    """One for each node that is ready; it takes requests if its gateway listens there."""
    return [
        {
            "addresses": [str(address)],
            "nodeName": node.name,
            "conditions": {
                "ready": port in node.doors,
                "serving": port in node.doors,
                "terminating": False,
            },
        }
        for node in nodes
        if node.is_ready
        for address in node.addresses
        if family_of(address) is family
    ]


def _udp_endpoints(door: Door | None, plan: Plan, family: Family) -> dict[int, list[Body]]:
    """By port of the backend. A share without weight gets nothing; other weights cannot be told to a Service."""
    keys = {
        share.pool
        for listener in (() if door is None else door.listeners)
        for stream in listener.streams
        for share in stream.shares
        if share.weight and share.pool in plan.pools
    }
    found: dict[int, list[Body]] = {}
    seen = set()
    for key in sorted(keys):
        for one in plan.pools[key].endpoints:
            if family_of(one.address) is not family or (one.address, one.port) in seen:
                continue
            seen.add((one.address, one.port))
            body: Body = {
                "addresses": [str(one.address)],
                "conditions": {"ready": not one.is_draining, "serving": True, "terminating": one.is_draining},
            }
            if one.node:
                body["nodeName"] = one.node
            found.setdefault(one.port, []).append(body)
    return found
