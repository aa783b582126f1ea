"""Which pods there are, or would be.

Comes in: an estate, and the one that it came from. Goes out: pods, each with the workload that makes it. In a running cluster pods are
as they are; a workload that the change alters gives its labels, ports and network to the pods that it has, one that it takes away
takes them with it, and one that has no pod yet gives one. Without a cluster every workload gives one, a StatefulSet one for each
replica where somebody tells them apart. Whether pods are ready is left out of account: what counts is what is meant to be.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from netloom.api.core import Node, Pod, PodSpec
from netloom.model.policy.pods import ContainerPortName, NodePlace, read_place, read_pod
from netloom.model.routes.local_pods import given_addresses, is_finished
from netloom.model.walk.targets import workload_of
from netloom.observe.estate.estate import Estate
from netloom.observe.estate.kinds import Workload
from netloom.observe.reach.scene import PodEnd, WorkloadRef
from netloom.units import Addr, Cidr, Family, ObjectKey, Protocol, family_of, parse_addr

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"
_JOB_LABELS = ("batch.kubernetes.io/job-name", "job-name")
_MOST_REPLICAS = 1000
_BEYOND = {Family.V4: "240.0.0.0/4", Family.V6: "fd00:ffff::/64"}
"""Addresses for pods that are not there yet, once the range of pods is used up."""
ANY_NODE = "any node"
_ASSUMED_NODE = {Family.V4: "172.30.0.11", Family.V6: "fd00:172:30::11"}


class Addresses:
    """Addresses that stand in for those that nobody knows yet: the same pod always gets the same.

    Args:
        ranges: of pods.
        families: that pods have.
        taken: by pods that are there.
    """

    def __init__(self, ranges: Sequence[Cidr], families: Sequence[Family], taken: frozenset[Addr]) -> None:
        self._families = families
        self._free = {family: _free(ranges, family, taken) for family in families}
        self._given: dict[ObjectKey, tuple[Addr, ...]] = {}

    def of(self, pod: ObjectKey) -> tuple[Addr, ...]:
        """One of each family."""
        if pod not in self._given:
            self._given[pod] = tuple(next(self._free[family]) for family in self._families)
        return self._given[pod]


def _free(ranges: Sequence[Cidr], family: Family, taken: frozenset[Addr]) -> Iterator[Addr]:
    for cidr in (*ranges, ipaddress.ip_network(_BEYOND[family])):
        if family_of(cidr) is family:
            for number in range(1, cidr.num_addresses):
                address: Addr = cidr[number]
                if address not in taken:
                    yield address


class Pods:
    """The pods of one estate.

    Args:
        estate: the objects.
        before: the estate that the change is made to; the same where this is it.
        addresses: for pods that have none.
        told_apart: keys of labels that selectors look at.
    """

    def __init__(
        self, estate: Estate, before: Estate, *, addresses: Addresses, told_apart: frozenset[str]
    ) -> None:
        self._now = estate.workloads()
        self._was = before.workloads() if before is not estate else self._now
        self._addresses = addresses
        self._told_apart = told_apart
        self._places = places_of(estate)
        self._live = estate.of(Pod)
        self._is_live = estate.is_live

    def all(self) -> dict[ObjectKey, PodEnd]:
        """Each by its name; pods that nobody has made yet are named after their workload."""
        found = {pod.key: pod for pod in self._there()}
        made = {pod.workload for pod in found.values()}
        for workload, spec in self._now.items():
            if workload in made or spec.spec.replicas == 0 or spec.metadata.owner_references:
                continue
            if self._is_live and workload.kind == "Job" and workload in self._was:
                continue  # it has run
            for pod in self._planned(workload, spec):
                key = pod.key
                if key in found:
                    key = ObjectKey(key.namespace, f"{key.name} ({workload.kind})")
                found[key] = msgspec.structs.replace(pod, key=key)
        return found

    def _there(self) -> Iterator[PodEnd]:
        alive = [pod for pod in self._live.values() if not is_finished(pod)]
        holders: dict[Addr, ObjectKey] = {}
        with_address = (facts for pod in alive if (facts := read_pod(pod)) is not None)
        for facts in sorted(with_address, key=lambda one: one.rank):
            for address in facts.addresses:
                holders.setdefault(address, facts.key)
        for pod in alive:
            workload = self._workload(pod)
            was, now = self._was.get(workload), self._now.get(workload)
            if was is not None and (now is None or now.spec.replicas == 0):
                continue
            labels, spec = pod.metadata.labels, pod.spec
            if was is not None and now is not None and was.template != now.template:
                old, new = was.template.metadata.labels, now.template.metadata.labels
                labels = {**{k: v for k, v in labels.items() if k not in old}, **new}
                spec = now.template.spec
            own = tuple(a for a in _addresses(pod) if holders.get(a) == pod.key)
            yield self._end(pod.key, workload, labels, spec, pod.spec.node_name, own)

    def _workload(self, pod: Pod) -> WorkloadRef:
        kind, name = workload_of(pod)
        found = WorkloadRef(pod.key.namespace, name or pod.key.name, kind if name else "Pod")
        job = self._was.get(found) if kind == "Job" else None
        for owner in () if job is None else job.metadata.owner_references:
            if owner.controller:
                return WorkloadRef(found.namespace, owner.name, owner.kind)
        return found

    def _planned(self, workload: WorkloadRef, spec: Workload) -> Iterator[PodEnd]:
        template = spec.template
        labels = dict(template.metadata.labels)
        if workload.kind == "Job":
            labels |= dict.fromkeys(_JOB_LABELS, workload.name)
        if workload.kind == "StatefulSet" and self._told_apart & {POD_NAME_LABEL, POD_INDEX_LABEL}:
            replicas = 1 if spec.spec.replicas is None else min(spec.spec.replicas, _MOST_REPLICAS)
            for number in range(replicas):
                name = f"{workload.name}-{number}"
                own = {**labels, POD_NAME_LABEL: name, POD_INDEX_LABEL: str(number)}
                yield self._end(ObjectKey(workload.namespace, name), workload, own, template.spec, "", ())
            return
        key = ObjectKey(workload.namespace, workload.name)
        yield self._end(key, workload, labels, template.spec, "", ())

    def _end(
        self,
        key: ObjectKey,
        workload: WorkloadRef,
        labels: Mapping[str, str],
        spec: PodSpec,
        node: str,
        own: tuple[Addr, ...],
    ) -> PodEnd:
        addresses = own
        if spec.host_network:
            place = self._places.get(node) or next(iter(self._places.values()))
            addresses = place.own or place.addresses
        return PodEnd(
            key=key,
            workload=workload,
            labels=labels,
            addresses=addresses or self._addresses.of(key),
            ports=_named_ports(spec),
            is_host_network=spec.host_network,
            node=node,
            has_address=bool(addresses),
        )


def places_of(estate: Estate) -> dict[str, NodePlace]:
    """The nodes; one that nobody has described stands in where there are none."""
    places = {key.name: read_place(node) for key, node in estate.of(Node).items()}
    known = {name: place for name, place in places.items() if place.own or place.addresses}
    if known:
        return known
    assumed = tuple(ipaddress.ip_address(text) for text in _ASSUMED_NODE.values())
    return {ANY_NODE: NodePlace({}, assumed, assumed)}


def _addresses(pod: Pod) -> tuple[Addr, ...]:
    parsed = (parse_addr(text) for _, text in given_addresses(pod))
    return tuple(dict.fromkeys(address for address in parsed if address is not None))


def _named_ports(spec: PodSpec) -> tuple[ContainerPortName, ...]:
    return tuple(
        ContainerPortName(port.name, Protocol(port.protocol), port.container_port)
        for container in spec.containers
        for port in container.ports
        if port.name and port.protocol in Protocol.__members__ and 0 < port.container_port < 65536
    )
