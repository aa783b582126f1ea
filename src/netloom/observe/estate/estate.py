"""All objects that reachability depends on, and what becomes of them when manifests are applied or deleted. Pure.

Comes in: objects. Goes out: a new Estate; nothing is ever changed in place. ``apply`` does what ``kubectl apply`` does as far as
reachability goes: what an object says replaces what it said; what others gave it (addresses and NodePorts of a Service, a scale that
the manifest leaves open, labels that were not applied) stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar, cast

import msgspec

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.core import Namespace, Node, Pod, Service, ServicePort
from netloom.api.discovery import EndpointSlice
from netloom.api.egress import EgressGateway
from netloom.api.meta import KubeObject, ObjectMeta
from netloom.api.networking import NetworkPolicy
from netloom.api.pools import IPBlock, IPPool
from netloom.model.inputs import ClusterView
from netloom.observe.estate.kinds import WORKLOADS, Workload
from netloom.observe.reach.scene import WorkloadRef
from netloom.units import ObjectKey

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

T = TypeVar("T", bound=KubeObject)


class Ref(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """An object."""

    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> ObjectKey:
        """Without its kind."""
        return ObjectKey(self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Estate(msgspec.Struct, frozen=True):
    """A cluster's objects at one moment."""

    objects: Mapping[str, Mapping[ObjectKey, KubeObject]] = {}
    """By kind."""
    is_live: bool = False
    """Of a cluster that runs: pods are there, with addresses. Otherwise workloads say what pods there would be."""

    def of(self, type_: type[T]) -> Mapping[ObjectKey, T]:
        """All of one kind that has a type of its own."""
        return cast("Mapping[ObjectKey, T]", self.objects.get(type_.__name__, {}))

    def find(self, ref: Ref) -> KubeObject | None:
        """One object; None where it is not there."""
        return self.objects.get(ref.kind, {}).get(ref.key)

    def workloads(self) -> Mapping[WorkloadRef, Workload]:
        """All that make pods."""
        return {
            WorkloadRef(key.namespace, key.name, kind): found
            for kind in WORKLOADS
            for key, found in self.objects.get(kind, {}).items()
            if isinstance(found, Workload)
        }

    def view(self) -> ClusterView:
        """As the model takes it."""
        return ClusterView(
            services=self.of(Service),
            slices=self.of(EndpointSlice),
            pods=self.of(Pod),
            nodes=self.of(Node),
            namespaces=self.of(Namespace),
            policies=self.of(NetworkPolicy),
            cluster_policies=self.of(ClusterNetworkPolicy),
            pools=self.of(IPPool),
            egress_gateways=self.of(EgressGateway),
            blocks=self.of(IPBlock),
        )


def ref_of(kind: str, obj: KubeObject) -> Ref:
    """The name of an object."""
    return Ref(kind, obj.metadata.namespace, obj.metadata.name)


def applied(estate: Estate, given: Iterable[tuple[Ref, KubeObject]]) -> Estate:
    """With these objects applied, in this order."""
    objects = {kind: dict(of_kind) for kind, of_kind in estate.objects.items()}
    for ref, obj in given:
        of_kind = objects.setdefault(ref.kind, {})
        old = of_kind.get(ref.key)
        of_kind[ref.key] = obj if old is None else _merged(old, obj)
    return Estate(objects, estate.is_live)


def deleted(estate: Estate, refs: Iterable[Ref]) -> Estate:
    """Without these objects; with a namespace goes all that is in it."""
    gone = set(refs)
    namespaces = {ref.name for ref in gone if ref.kind == "Namespace"}
    kept = {
        kind: {
            key: obj
            for key, obj in of_kind.items()
            if key.namespace not in namespaces and Ref(kind, key.namespace, key.name) not in gone
        }
        for kind, of_kind in estate.objects.items()
    }
    return Estate(kept, estate.is_live)


def _merged(old: KubeObject, new: KubeObject) -> KubeObject:
    metadata = msgspec.structs.replace(
        new.metadata,
        uid=old.metadata.uid,
        generation=old.metadata.generation,
        creation_timestamp=old.metadata.creation_timestamp,
        owner_references=new.metadata.owner_references or old.metadata.owner_references,
        labels=_labels(old.metadata, new.metadata.labels),
    )
    new = msgspec.structs.replace(new, metadata=metadata)
    match old, new:
        case Service(), Service():
            return _service(old, new)
        case Pod(), Pod():
            spec = msgspec.structs.replace(new.spec, node_name=new.spec.node_name or old.spec.node_name)
            return msgspec.structs.replace(new, spec=spec, status=old.status)
        case Node(), Node():
            return msgspec.structs.replace(
                new,
                spec=new.spec if new.spec.pod_cidrs or new.spec.pod_cidr else old.spec,
                status=new.status if new.status.addresses else old.status,
            )
        case Workload(), Workload() if new.spec.replicas is None:
            spec_ = msgspec.structs.replace(new.spec, replicas=old.spec.replicas)
            return msgspec.structs.replace(new, spec=spec_)
        case _:
            return new


def _labels(old: ObjectMeta, new: Mapping[str, str]) -> dict[str, str]:
    """What was applied before and is not in the manifest any more goes; what others set stays."""
    return {**{key: value for key, value in old.labels.items() if key not in _applied_labels(old)}, **new}


def _applied_labels(meta: ObjectMeta) -> Mapping[str, str]:
    try:
        return msgspec.json.decode(
            meta.annotations.get(_LAST_APPLIED, "{}"), type=_LastApplied
        ).metadata.labels
    except msgspec.DecodeError:
        return {}


class _LastApplied(msgspec.Struct):
    metadata: ObjectMeta = ObjectMeta()


def _service(old: Service, new: Service) -> Service:
    spec, was = new.spec, old.spec
    is_kept = spec.type != "ExternalName" and not spec.cluster_ip and was.cluster_ip != "None"
    if is_kept:
        spec = msgspec.structs.replace(spec, cluster_ip=was.cluster_ip)
    if spec.cluster_ip == was.cluster_ip and not spec.cluster_ips:
        spec = msgspec.structs.replace(spec, cluster_ips=was.cluster_ips)
    if not spec.ip_families:
        spec = msgspec.structs.replace(spec, ip_families=was.ip_families)
    if not spec.ip_family_policy:
        spec = msgspec.structs.replace(spec, ip_family_policy=was.ip_family_policy)
    given = {(port.port, port.protocol): port for port in was.ports}
    has_node_ports = spec.type in ("NodePort", "LoadBalancer")
    ports = tuple(
        _filled(p, given.get((p.port, p.protocol)), has_node_ports=has_node_ports) for p in spec.ports
    )
    return msgspec.structs.replace(new, spec=msgspec.structs.replace(spec, ports=ports), status=old.status)


def _filled(port: ServicePort, old: ServicePort | None, *, has_node_ports: bool) -> ServicePort:
    """With what the API server chose where the manifest leaves it open: a NodePort, and the target that is the port itself."""
    if old is None:
        return port
    if has_node_ports and not port.node_port:
        port = msgspec.structs.replace(port, node_port=old.node_port)
    if port.target_port is None and old.target_port == port.port:
        port = msgspec.structs.replace(port, target_port=old.target_port)
    return port
