"""Short ways to write API structs in tests, and manifests read into a view.

Comes in: the few words that a test is about, or YAML as a user writes it. Goes out: frozen structs of ``netloom.api``.
Namespaced objects are named ``namespace/name``. Not here: fakes and topologies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import yaml

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.core import (
    Container,
    ContainerPort,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Namespace,
    Node,
    NodeAddress,
    NodeSpec,
    NodeStatus,
    Pod,
    PodCondition,
    PodIP,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    Taint,
)
from netloom.api.discovery import (
    SERVICE_NAME_LABEL,
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    HintedNode,
    HintedZone,
    TargetRef,
)
from netloom.api.egress import EgressGateway
from netloom.api.meta import KubeObject, ObjectMeta
from netloom.api.networking import NetworkPolicy
from netloom.api.pools import IPBlock, IPPool
from netloom.errors import InvalidObject
from netloom.kube.yaml_loader import Loader
from netloom.model.announcing.gone import GoneNode
from netloom.model.inputs import Changes, ClusterView
from netloom.model.policy.domains import KnownName
from netloom.units import ObjectKey

_FIELDS: dict[str, tuple[type[KubeObject], str]] = {
    "Service": (Service, "services"),
    "EndpointSlice": (EndpointSlice, "slices"),
    "Pod": (Pod, "pods"),
    "Node": (Node, "nodes"),
    "Namespace": (Namespace, "namespaces"),
    "NetworkPolicy": (NetworkPolicy, "policies"),
    "ClusterNetworkPolicy": (ClusterNetworkPolicy, "cluster_policies"),
    "IPPool": (IPPool, "pools"),
    "IPBlock": (IPBlock, "blocks"),
    "EgressGateway": (EgressGateway, "egress_gateways"),
}
_BESIDE = {"KnownName": "domains", "GoneNode": "gone"}
"""Inputs of the model that no API server has."""
Thing = KubeObject | KnownName | GoneNode
_CLUSTER_SCOPED = ("Node", "Namespace", "ClusterNetworkPolicy", "IPPool", "IPBlock", "EgressGateway")


def key_of(text: str) -> ObjectKey:
    """``namespace/name``, or just a name where the kind has no namespace."""
    namespace, _, name = text.rpartition("/")
    return ObjectKey(namespace, name)


def meta(
    name: str,
    *,
    created: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    deleted: str | None = None,
) -> ObjectMeta:
    """Metadata of ``namespace/name``; its uid is made from the name."""
    key = key_of(name)
    return ObjectMeta(
        name=key.name,
        namespace=key.namespace,
        uid=f"uid-{key.namespace}-{key.name}",
        creation_timestamp=created,
        labels=dict(labels or {}),
        annotations=dict(annotations or {}),
        deletion_timestamp=deleted,
    )


def port(
    number: int,
    name: str = "",
    *,
    protocol: str = "TCP",
    target: int | str | None = None,
    node_port: int = 0,
) -> ServicePort:
    """One entry of a Service's ``spec.ports``."""
    return ServicePort(port=number, name=name, protocol=protocol, target_port=target, node_port=node_port)


def service(
    name: str,
    *cluster_ips: str,
    ports: Iterable[ServicePort] = (),
    created: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    ingress: Iterable[str | LoadBalancerIngress] = (),
    **spec: Any,  # noqa: ANN401 - the fields of ServiceSpec, checked by its constructor
) -> Service:
    """A Service with these ClusterIPs; ``ingress`` is what its load balancer reports, ``spec`` further fields of ServiceSpec."""
    given = tuple(
        one if isinstance(one, LoadBalancerIngress) else LoadBalancerIngress(ip=one) for one in ingress
    )
    return Service(
        metadata=meta(name, created=created, labels=labels, annotations=annotations),
        spec=ServiceSpec(
            cluster_ip=cluster_ips[0] if cluster_ips else "",
            cluster_ips=tuple(cluster_ips),
            ports=tuple(ports),
            **spec,
        ),
        status=ServiceStatus(LoadBalancerStatus(given)),
    )


def endpoint(  # noqa: PLR0913 - each is what some test is about
    *addresses: str,
    node: str | None = None,
    pod: str | None = None,
    ready: bool | None = True,
    serving: bool | None = None,
    terminating: bool | None = None,
    zone: str | None = None,
    for_zones: Iterable[str] = (),
    for_nodes: Iterable[str] = (),
) -> Endpoint:
    """One entry of a slice's ``endpoints``; ``pod`` names its Pod in the slice's namespace, the last two are its hints."""
    hints = EndpointHints(tuple(map(HintedZone, for_zones)), tuple(map(HintedNode, for_nodes)))
    return Endpoint(
        addresses=tuple(addresses),
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        node_name=node,
        target_ref=TargetRef(kind="Pod", name=pod) if pod else None,
        zone=zone,
        hints=hints if hints != EndpointHints() else None,
    )


def endpoint_slice(
    name: str,
    of: str,
    *endpoints: Endpoint,
    ports: Iterable[tuple[str, int] | EndpointPort] = (("", 8080),),
    address_type: str = "IPv4",
) -> EndpointSlice:
    """A slice ``namespace/name`` of the Service named ``of`` in the same namespace; ports as (name, TCP number)."""
    return EndpointSlice(
        metadata=meta(name, labels={SERVICE_NAME_LABEL: of} if of else {}),
        address_type=address_type,
        endpoints=endpoints,
        ports=tuple(
            p if isinstance(p, EndpointPort) else EndpointPort(name=p[0], protocol="TCP", port=p[1])
            for p in ports
        ),
    )


def host_port(
    number: int, host: int, *, host_ip: str = "", protocol: str = "TCP", name: str = ""
) -> ContainerPort:
    """A container's port with a port of the node that leads to it."""
    return ContainerPort(container_port=number, host_port=host, host_ip=host_ip, protocol=protocol, name=name)


def pod(  # noqa: PLR0913 - each is what some test is about
    name: str,
    *addresses: str,
    node: str = "",
    labels: Mapping[str, str] | None = None,
    ports: Iterable[ContainerPort] = (),
    phase: str = "Running",
    ready: bool = True,
    created: str | None = None,
    deleted: str | None = None,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,  # noqa: ANN401 - the fields of PodSpec, checked by its constructor
) -> Pod:
    """A Pod with these addresses on this node; ``spec`` are further fields of PodSpec."""
    return Pod(
        metadata=meta(name, created=created, labels=labels, deleted=deleted, annotations=annotations),
        spec=PodSpec(
            node_name=node, containers=(Container(name="app", image="app:1", ports=tuple(ports)),), **spec
        ),
        status=PodStatus(
            phase=phase,
            pod_ip=addresses[0] if addresses else "",
            pod_ips=tuple(PodIP(a) for a in addresses),
            conditions=(PodCondition("Ready", "True" if ready else "False"),),
        ),
    )


def node(
    name: str,
    *addresses: str,
    pod_cidrs: Iterable[str] = (),
    created: str | None = None,
    labels: Mapping[str, str] | None = None,
    taints: Iterable[Taint] = (),
) -> Node:
    """A Node with these InternalIPs and pod ranges."""
    cidrs = tuple(pod_cidrs)
    return Node(
        metadata=meta(name, created=created, labels=labels),
        spec=NodeSpec(pod_cidr=cidrs[0] if cidrs else "", pod_cidrs=cidrs, taints=tuple(taints)),
        status=NodeStatus(addresses=tuple(NodeAddress("InternalIP", a) for a in addresses)),
    )


def network_policy(name: str, selector: Mapping[str, str], *types: str) -> NetworkPolicy:
    """A NetworkPolicy that selects pods with these labels for these directions."""
    spec = {"podSelector": {"matchLabels": dict(selector)}, "policyTypes": list(types)}
    return NetworkPolicy(metadata=meta(name), spec=spec)


def view(*objects: Thing) -> ClusterView:
    """A cluster with these objects."""
    return ClusterView(**_by_field((obj.key, type(obj).__name__, obj) for obj in objects))


def changes(*objects: Thing, gone: Iterable[Thing] = ()) -> Changes:
    """These objects are there now as given, and those of ``gone`` are not."""
    there: list[tuple[ObjectKey, str, Thing | None]] = [(obj.key, type(obj).__name__, obj) for obj in objects]
    return Changes(**_by_field([*there, *((obj.key, type(obj).__name__, None) for obj in gone)]))


def load_view(text: str) -> ClusterView:
    """Manifests (several documents, ``List`` too) as a cluster; kinds that the network does not read are passed over.

    Raises:
        InvalidObject: the text is no YAML, or a document is no object of its kind.
    """
    try:
        documents = [d for d in yaml.load_all(text, Loader=Loader) if d is not None]
    except yaml.YAMLError as error:
        raise InvalidObject(
            "manifest", "", f"is no YAML: {error}", "correct the place that is named"
        ) from error
    objects: list[tuple[ObjectKey, str, Thing | None]] = []
    for document in documents:
        is_list = isinstance(document, dict) and document.get("kind") == "List"
        for raw in document.get("items", ()) if is_list else (document,):
            obj = _read_manifest(raw)
            if obj is not None:
                objects.append((obj.key, type(obj).__name__, obj))
    return ClusterView(**_by_field(objects))


def _read_manifest(raw: Any) -> KubeObject | None:  # noqa: ANN401 - any YAML
    """One object; None of a kind that the network does not read."""
    if not isinstance(raw, dict):
        raise InvalidObject(
            "manifest", "", f"is no object: {raw!r}", "begin with apiVersion, kind and metadata"
        )
    kind = raw.get("kind", "")
    if kind not in _FIELDS:
        return None
    meta_of = raw.setdefault("metadata", {})
    if kind not in _CLUSTER_SCOPED:
        meta_of.setdefault("namespace", "default")
    try:
        return msgspec.convert(raw, _FIELDS[kind][0])
    except msgspec.ValidationError as error:
        subject = f"{kind} {meta_of.get('name', '?')}"
        raise InvalidObject(subject, "", str(error), "correct the field that is named") from error


def _by_field(objects: Iterable[tuple[ObjectKey, str, Thing | None]]) -> dict[str, Any]:
    fields: dict[str, dict[ObjectKey, Thing | None]] = {}
    for key, kind, obj in objects:
        field = _BESIDE.get(kind) or _FIELDS[kind][1]
        fields.setdefault(field, {})[key] = obj
    return fields
