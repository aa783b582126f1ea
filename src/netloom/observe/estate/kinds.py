"""The kinds that reachability depends on: how each is written, and what makes pods. Pure."""

from __future__ import annotations

import msgspec

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.core import Namespace, Node, Pod, PodSpec, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.egress import EgressGateway
from netloom.api.meta import KubeObject, ObjectMeta
from netloom.api.networking import NetworkPolicy
from netloom.api.pools import IPBlock, IPPool
from netloom.kube import resources
from netloom.kube.resources import Resource


class PodTemplate(msgspec.Struct, frozen=True):
    """core/v1 PodTemplateSpec."""

    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()


class JobSpec(msgspec.Struct, frozen=True):
    """batch/v1 JobSpec, as far as we read it."""

    template: PodTemplate = PodTemplate()


class JobTemplate(msgspec.Struct, frozen=True):
    """batch/v1 JobTemplateSpec, as far as we read it."""

    spec: JobSpec = JobSpec()


class WorkloadSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What all that make pods have in common (apps/v1, batch/v1; ``job_template`` is a CronJob's)."""

    replicas: int | None = None
    template: PodTemplate = PodTemplate()
    job_template: JobTemplate | None = None


class Workload(KubeObject, frozen=True):
    """A Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob or ReplicationController."""

    spec: WorkloadSpec = WorkloadSpec()

    @property
    def template(self) -> PodTemplate:
        """What its pods are made from."""
        job = self.spec.job_template
        return self.spec.template if job is None else job.spec.template


class Kind(msgspec.Struct, frozen=True):
    """One kind that is read."""

    resource: Resource
    type: type[KubeObject]
    is_optional: bool = False
    """Not every API server serves it."""

    @property
    def name(self) -> str:
        """As in ``kind``."""
        return self.resource.kind


def _workload(group: str, plural: str, kind: str) -> Kind:
    return Kind(Resource(group, "v1", plural, kind, namespaced=True), Workload, is_optional=True)


_CLUSTER_POLICIES = Resource(
    "policy.networking.k8s.io", "v1alpha2", "clusternetworkpolicies", "ClusterNetworkPolicy", namespaced=False
)
KINDS = (
    Kind(resources.NAMESPACES, Namespace),
    Kind(resources.NODES, Node),
    Kind(resources.PODS, Pod),
    Kind(resources.SERVICES, Service),
    Kind(resources.ENDPOINT_SLICES, EndpointSlice),
    Kind(resources.NETWORK_POLICIES, NetworkPolicy),
    Kind(_CLUSTER_POLICIES, ClusterNetworkPolicy, is_optional=True),
    Kind(resources.IP_POOLS, IPPool, is_optional=True),
    Kind(resources.IP_BLOCKS, IPBlock, is_optional=True),
    Kind(resources.EGRESS_GATEWAYS, EgressGateway, is_optional=True),
    _workload("apps", "deployments", "Deployment"),
    _workload("apps", "replicasets", "ReplicaSet"),
    _workload("apps", "statefulsets", "StatefulSet"),
    _workload("apps", "daemonsets", "DaemonSet"),
    _workload("batch", "jobs", "Job"),
    _workload("batch", "cronjobs", "CronJob"),
    _workload("", "replicationcontrollers", "ReplicationController"),
)
BY_NAME = {kind.name: kind for kind in KINDS}
WORKLOADS = tuple(kind.name for kind in KINDS if kind.type is Workload)
FOREIGN_POLICIES = frozenset(
    {
        "AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy",
        "GlobalNetworkPolicy", "GlobalNetworkSet", "NetworkSet", "MultiNetworkPolicy",
    }
)  # fmt: skip
"""Kinds that others enforce, or that are no more: who has one must hear that it does not count here."""
_SHORT = {
    "ns": "Namespace", "no": "Node", "po": "Pod", "svc": "Service", "netpol": "NetworkPolicy", "cnp": "ClusterNetworkPolicy",
    "deploy": "Deployment", "rs": "ReplicaSet", "sts": "StatefulSet", "ds": "DaemonSet", "cj": "CronJob",
    "rc": "ReplicationController",
}  # fmt: skip


def kind_named(word: str) -> Kind | None:
    """The kind that a user calls by its name, its plural or its short name, in whatever case; None where there is none."""
    low = word.lower()
    if low in _SHORT:
        return BY_NAME[_SHORT[low]]
    return next((kind for kind in KINDS if low in (kind.name.lower(), kind.resource.plural)), None)
