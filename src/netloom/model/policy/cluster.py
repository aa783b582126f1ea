"""The cluster as policies see it: pods by address and by label, namespaces, nodes, and the policies as they were read.

Comes in: objects, one by one. Goes out: who holds an address, whom a selection matches, which policies are about a pod. The same on
every node. Not here: what follows for packets (``chains.py``, ``verdicts.py``), and which of it a node's kernel must know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from netloom.api.selectors import Selector
from netloom.model.inputs import ClusterView
from netloom.model.policy.domains import KnownName
from netloom.model.policy.index import SelectionIndex, required_pairs
from netloom.model.policy.pods import NodePlace, PodFacts, read_dns, read_place, read_pod
from netloom.model.policy.reading.cluster_policy import read_cluster_policy
from netloom.model.policy.reading.network_policy import read_network_policy
from netloom.model.policy.reading.rules import PolicyReading
from netloom.model.policy.reading.selectors import NAMESPACE_NAME_LABEL
from netloom.model.policy.state import PodPeers, PolicyRef
from netloom.units import Addr, ObjectKey


class PolicyCluster:
    """Follows the cluster; every answer is a function of what is there now."""

    def __init__(self) -> None:
        self.pods: dict[ObjectKey, PodFacts] = {}
        self.places: dict[str, NodePlace] = {}
        """By name of the Node."""
        self.domains: dict[str, KnownName] = {}
        self.readings: dict[PolicyRef, PolicyReading] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._by_namespace: dict[str, dict[ObjectKey, PodFacts]] = {}
        self._by_label: dict[tuple[str, str], dict[ObjectKey, PodFacts]] = {}
        self._claims: dict[Addr, list[PodFacts]] = {}
        self._subjects: SelectionIndex[PolicyRef] = SelectionIndex()

    @classmethod
    def of(cls, view: ClusterView, dns_addresses: tuple[Addr, ...] = ()) -> PolicyCluster:
        """A cluster at one moment."""
        cluster = cls()
        for key, namespace in view.namespaces.items():
            cluster.set_namespace(key.name, namespace.metadata.labels)
        for key, node in view.nodes.items():
            cluster.set_place(key.name, read_place(node))
        for key, pod in view.pods.items():
            cluster.set_pod(key, read_pod(pod))
        for service in view.services.values():
            stand_in = read_dns(service, dns_addresses)
            if stand_in is not None:
                cluster.set_pod(stand_in.key, stand_in)
        for policy in view.policies.values():
            cluster.set_reading(read_network_policy(policy))
        for cluster_policy in view.cluster_policies.values():
            cluster.set_reading(read_cluster_policy(cluster_policy))
        cluster.domains = {known.name: known for known in view.domains.values()}
        return cluster

    def set_domain(self, name: str, known: KnownName | None) -> bool:
        """The addresses of a domain name; None where nobody knows any more. False where they were known already."""
        if self.domains.get(name) == known:
            return False
        if known is None:
            del self.domains[name]
        else:
            self.domains[name] = known
        return True

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """The labels of a namespace; None where it is gone."""
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = {**labels, NAMESPACE_NAME_LABEL: name}

    def has_labels(self, name: str, labels: Mapping[str, str] | None) -> bool:
        """Whether a namespace is already known to have these labels; None: to be gone."""
        if labels is None:
            return name not in self._namespaces
        return self._namespaces.get(name) == {**labels, NAMESPACE_NAME_LABEL: name}

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """A namespace that nobody described yet has the one label that all have."""
        return self._namespaces.get(name) or {NAMESPACE_NAME_LABEL: name}

    def set_place(self, name: str, place: NodePlace | None) -> None:
        """A node; None where it is gone."""
        if place is None:
            self.places.pop(name, None)
        else:
            self.places[name] = place

    def set_reading(self, reading: PolicyReading) -> None:
        """A policy, new or changed."""
        self.drop_reading(reading.ref)
        self.readings[reading.ref] = reading
        self._subjects.add(reading.ref, reading.subject)

    def drop_reading(self, ref: PolicyRef) -> None:
        """A policy is gone; no error where it never was."""
        old = self.readings.pop(ref, None)
        if old is not None:
            self._subjects.remove(ref, old.subject)

    def set_pod(self, key: ObjectKey, pod: PodFacts | None) -> None:
        """A pod; None where it is gone or has no network of its own."""
        old = self.pods.pop(key, None)
        if old is not None:
            self._forget(old)
        if pod is None:
            return
        self.pods[key] = pod
        self._by_namespace.setdefault(key.namespace, {})[key] = pod
        for pair in pod.labels.items():
            self._by_label.setdefault(pair, {})[key] = pod
        for address in pod.addresses:
            claims = self._claims.setdefault(address, [])
            claims.append(pod)
            if len(claims) > 1:
                claims.sort(key=lambda claimant: claimant.rank)

    def _forget(self, pod: PodFacts) -> None:
        namespace = self._by_namespace[pod.key.namespace]
        del namespace[pod.key]
        if not namespace:
            del self._by_namespace[pod.key.namespace]
        for pair in pod.labels.items():
            labelled = self._by_label[pair]
            del labelled[pod.key]
            if not labelled:
                del self._by_label[pair]
        for address in pod.addresses:
            claims = [claimant for claimant in self._claims[address] if claimant.key != pod.key]
            if claims:
                self._claims[address] = claims
            else:
                del self._claims[address]

    def claimants(self, address: Addr) -> list[PodFacts]:
        """The pods that have this address, by their own account; the first holds it."""
        return self._claims.get(address, [])

    def holder(self, address: Addr) -> PodFacts | None:
        """The pod whose packets come from this address."""
        claims = self._claims.get(address)
        return claims[0] if claims else None

    def held(self, pod: PodFacts) -> tuple[Addr, ...]:
        """The addresses of a pod that no other pod holds."""
        claims = self._claims
        for address in pod.addresses:
            if claims[address][0] is not pod:
                return tuple(address for address in pod.addresses if claims[address][0].key == pod.key)
        return pod.addresses

    def pods_in(self, namespace: str) -> Iterable[PodFacts]:
        """The pods of a namespace."""
        return self._by_namespace.get(namespace, {}).values()

    def selects(self, peers: PodPeers, pod: PodFacts) -> bool:
        """Whether a selection matches a pod."""
        if not self.selects_namespace(peers, pod.key.namespace):
            return False
        return peers.pods.matches(pod.labels)

    def selects_namespace(self, peers: PodPeers, namespace: str) -> bool:
        """Whether a selection is about pods of a namespace."""
        if peers.namespaces is None:
            return peers.namespace == namespace
        return peers.namespaces.matches(self.namespace_labels(namespace))

    def pods_of(self, peers: PodPeers) -> Iterator[PodFacts]:
        """All pods that a selection matches."""
        pairs = required_pairs(peers.pods)
        if peers.namespace:
            wanted = self._by_namespace.get(peers.namespace, {}).values()
            return (pod for pod in wanted if peers.pods.matches(pod.labels))
        matching = {name for name in self._by_namespace if self.selects_namespace(peers, name)}
        if pairs and pairs[0][1] is not None:
            found = (
                pod for key, value in pairs for pod in self._by_label.get((key, value or ""), {}).values()
            )
            return (pod for pod in found if pod.key.namespace in matching and peers.pods.matches(pod.labels))
        inside = (pod for name in matching for pod in self._by_namespace[name].values())
        return (pod for pod in inside if peers.pods.matches(pod.labels))

    def places_of(self, nodes: Selector) -> Iterator[tuple[str, NodePlace]]:
        """The nodes with these labels."""
        return ((name, place) for name, place in self.places.items() if nodes.matches(place.labels))

    def policies_of(self, pod: PodFacts) -> list[PolicyReading]:
        """The policies that are about a pod, in order of their names."""
        namespace = pod.key.namespace
        candidates = self._subjects.candidates(namespace, self.namespace_labels(namespace), pod.labels)
        found = sorted(ref for ref, subject in candidates if self.selects(subject, pod))
        return [self.readings[ref] for ref in found]
