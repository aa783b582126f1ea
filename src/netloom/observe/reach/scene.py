"""A cluster as its reachability depends on it: pods, nodes, namespaces, policies. Values only.

Not here: where these come from (``observe/estate``), and Services (``doors.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.model.policy.pods import ContainerPortName, NodePlace, PodFacts
from netloom.model.policy.reading.rules import PolicyReading
from netloom.units import Addr, Cidr, ObjectKey


class WorkloadRef(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """What pods are made from: a Deployment, a StatefulSet, ...; a pod of nobody is its own."""

    namespace: str
    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def subject(self) -> str:
        """With its kind: ``Deployment shop/web``."""
        return f"{self.kind} {self}"


class PodEnd(msgspec.Struct, frozen=True, gc=False):
    """A pod that is there, or that will be."""

    key: ObjectKey
    workload: WorkloadRef
    labels: Mapping[str, str]
    addresses: tuple[Addr, ...]
    """Of one in the node's network: the node's."""
    ports: tuple[ContainerPortName, ...] = ()
    is_host_network: bool = False
    node: str = ""
    has_address: bool = True
    """False: it is not there yet, and the address stands in for one that nobody knows."""


class Scene(msgspec.Struct, frozen=True):
    """A cluster at one moment."""

    pods: Mapping[ObjectKey, PodEnd] = {}
    namespaces: Mapping[str, Mapping[str, str]] = {}
    """Their labels."""
    nodes: Mapping[str, NodePlace] = {}
    readings: tuple[PolicyReading, ...] = ()
    stand_ins: tuple[PodFacts, ...] = ()
    """The cluster's DNS server, where no pod is it."""
    inside: tuple[Cidr, ...] = ()
    """Ranges of pods, Services and nodes: nothing outside of the cluster has an address in them."""
