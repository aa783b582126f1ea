"""The policies of one node: from everything at once, or kept up to date change by change; both give the same.

Comes in: ``NodeFacts`` and a ``ClusterView``, or ``Changes``. Goes out: ``PolicyState`` and ``PolicyDelta``. Not here: what one policy
means (``reading``), the order of rules (``chains.py``), how a kernel is brought to it (dataplane).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from netloom.api.core import Service
from netloom.model.claims import Changed
from netloom.model.held import take_over
from netloom.model.inputs import Changes, ClusterView, NodeFacts
from netloom.model.policy.chains import build_chain, chain_key, used_sets
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.live_sets import LiveSets, Placed
from netloom.model.policy.members import members_of
from netloom.model.policy.pods import PodFacts, read_dns, read_place, read_pod
from netloom.model.policy.port_findings import port_findings
from netloom.model.policy.reading.cluster_policy import KIND as CLUSTER_NETWORK_POLICY
from netloom.model.policy.reading.cluster_policy import read_cluster_policy
from netloom.model.policy.reading.network_policy import KIND as NETWORK_POLICY
from netloom.model.policy.reading.network_policy import read_network_policy
from netloom.model.policy.reading.rules import PolicyReading
from netloom.model.policy.state import (
    Chain,
    ChainKey,
    Direction,
    PolicyDelta,
    PolicyPod,
    PolicyRef,
    PolicyState,
)
from netloom.model.provenance import Finding
from netloom.units import Addr, ObjectKey

T = TypeVar("T")


class Policies:
    """The policies of one node, following the cluster. An update costs what the change touches, not what the cluster holds."""

    def __init__(self, facts: NodeFacts) -> None:
        self._services: dict[ObjectKey, Service] = {}
        self._cluster = PolicyCluster()
        self._facts = facts
        self._start()

    def refit(self, facts: NodeFacts) -> None:
        """Everything anew from the objects held, for a node that is another now."""
        self._facts = facts
        for service in self._services.values():
            old = self._stand_in(service.key)
            self._cluster.set_pod(old, read_dns(service, facts.dns_addresses))
        self._start()

    def _start(self) -> None:
        self._sets = LiveSets(self._cluster)
        self._chains: dict[ChainKey, Chain] = {}
        self._users: dict[ChainKey, set[ObjectKey]] = {}
        self._chains_of: dict[PolicyRef, set[ChainKey]] = {}
        self._under: dict[ObjectKey, dict[Addr, PolicyPod]] = {}
        """What each pod of this node is under, by its addresses; only where it is under something."""
        self._by_address: dict[Addr, PolicyPod] = {}
        self._local: set[ObjectKey] = {
            key for key, pod in self._cluster.pods.items() if is_local(pod, self._facts.name)
        }
        pods: Changed[Addr, PolicyPod] = Changed()
        chains: Changed[ChainKey, Chain] = Changed()
        self._settle(self._reassess(self._local, pods), frozenset(), chains)
        self._sets.take()

    @property
    def cluster(self) -> PolicyCluster:
        """The cluster as policies see it; for judgements."""
        return self._cluster

    @property
    def state(self) -> PolicyState:
        """The policies now, as a value that no later update changes. Costs one copy: not for every change."""
        return PolicyState(
            sets={key: dict(members) for key, members in self._sets.members.items()},
            chains=dict(self._chains),
            pods=dict(self._by_address),
            own_node=self._facts.own_addresses,
            findings=self.findings,
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What could not be used as written, in order."""
        return _findings(self._cluster, self._users)

    def update(self, changes: Changes) -> PolicyDelta:
        """Take over what changed and say what that means for this node. A repeated change gives an empty delta."""
        pods: Changed[Addr, PolicyPod] = Changed()
        chains: Changed[ChainKey, Chain] = Changed()
        moved = self._move_pods(changes)
        changed, concerned = self._change_policies(changes)
        dirty = self._reassess(moved | concerned, pods)
        for ref in changed:
            dirty |= self._chains_of.get(ref, set())
        self._settle(dirty, changed, chains)
        if self._change_nodes(changes):
            self._sets.nodes_changed()
        names = [
            key.name for key, known in changes.domains.items() if self._cluster.set_domain(key.name, known)
        ]
        if names:
            self._sets.domains_changed(names)
        return PolicyDelta(
            sets=self._sets.take(),
            chains={key: after for key, _, after in chains.items()},
            pods={key: after for key, _, after in pods.items()},
        )

    @staticmethod
    def compute(view: ClusterView, facts: NodeFacts) -> PolicyState:
        """The policies of the node of ``facts`` in this cluster. This is the definition; ``update`` is its optimisation."""
        cluster = PolicyCluster.of(view, facts.dns_addresses)
        users: dict[ChainKey, set[ObjectKey]] = {}
        by_address: dict[Addr, PolicyPod] = {}
        for pod in cluster.pods.values():
            addresses = local_addresses(cluster, pod, facts.name)
            if not addresses:
                continue
            under = _under(cluster, pod)
            for key in (under.ingress, under.egress):
                if key is not None:
                    users.setdefault(key, set()).add(pod.key)
            if under.ingress is not None or under.egress is not None:
                by_address.update(dict.fromkeys(addresses, under))
        chains = {
            key: build_chain(key, [cluster.readings[r] for r in key.policies], facts.name) for key in users
        }
        used = {name: None for chain in chains.values() for name in used_sets(chain)}
        return PolicyState(
            sets={key: members_of(cluster, key) for key in used},
            chains=chains,
            pods=by_address,
            own_node=facts.own_addresses,
            findings=_findings(cluster, users),
        )

    def _move_pods(self, changes: Changes) -> set[ObjectKey]:
        """Take over pods and namespaces; returns the keys of pods that are not what they were."""
        read = self._read_pods(changes)
        labels = {
            key.name: None if namespace is None else namespace.metadata.labels
            for key, namespace in changes.namespaces.items()
        }
        cluster = self._cluster
        relabelled = {n for n, given in labels.items() if not cluster.has_labels(n, given)}
        touched = dict.fromkeys(read)
        touched.update((pod.key, None) for name in relabelled for pod in cluster.pods_in(name))
        for key, pod in read.items():
            for facts in (pod, cluster.pods.get(key)):
                for address in () if facts is None else facts.addresses:
                    touched.update((rival.key, None) for rival in cluster.claimants(address))
        before = {key: self._placed(key) for key in touched}
        for name in relabelled:
            cluster.set_namespace(name, labels[name])
        for key, pod in read.items():
            cluster.set_pod(key, pod)
        moved = set()
        for key, placed in before.items():
            now = self._placed(key)
            if now != placed:
                self._sets.move(placed, now)
                moved.add(key)
        return moved

    def _read_pods(self, changes: Changes) -> dict[ObjectKey, PodFacts | None]:
        """Pods, and what stands in for pods, that are not what they were."""
        read: dict[ObjectKey, PodFacts | None] = {
            key: None if pod is None else read_pod(pod) for key, pod in changes.pods.items()
        }
        for key in take_over(self._services, changes.services):
            service = self._services.get(key)
            read[self._stand_in(key)] = (
                None if service is None else read_dns(service, self._facts.dns_addresses)
            )
        return {key: pod for key, pod in read.items() if self._cluster.pods.get(key) != pod}

    @staticmethod
    def _stand_in(service: ObjectKey) -> ObjectKey:
        return ObjectKey(service.namespace, f"service/{service.name}")

    def _placed(self, key: ObjectKey) -> Placed | None:
        cluster = self._cluster
        pod = cluster.pods.get(key)
        if pod is None:
            return None
        local = local_addresses(cluster, pod, self._facts.name)
        return Placed(pod, cluster.namespace_labels(key.namespace), cluster.held(pod), local)

    def _change_policies(self, changes: Changes) -> tuple[frozenset[PolicyRef], set[ObjectKey]]:
        """Take over policies; returns those that are not what they were, and the pods of this node that they were or are about."""
        read: dict[PolicyRef, PolicyReading | None] = {}
        for key, policy in changes.policies.items():
            ref = PolicyRef(NETWORK_POLICY, key.namespace, key.name)
            read[ref] = None if policy is None else read_network_policy(policy)
        for key, cluster_policy in changes.cluster_policies.items():
            ref = PolicyRef(CLUSTER_NETWORK_POLICY, "", key.name)
            read[ref] = None if cluster_policy is None else read_cluster_policy(cluster_policy)
        cluster = self._cluster
        changed = {ref: new for ref, new in read.items() if cluster.readings.get(ref) != new}
        concerned: set[ObjectKey] = set()
        for ref, new in changed.items():
            for reading in (cluster.readings.get(ref), new):
                if reading is not None:
                    concerned |= {key for key in self._local if self._is_about(reading, key)}
            if new is None:
                cluster.drop_reading(ref)
            else:
                cluster.set_reading(new)
        return frozenset(changed), concerned

    def _is_about(self, reading: PolicyReading, key: ObjectKey) -> bool:
        pod = self._cluster.pods.get(key)
        return pod is not None and self._cluster.selects(reading.subject, pod)

    def _change_nodes(self, changes: Changes) -> bool:
        is_changed = False
        for key, node in changes.nodes.items():
            place = None if node is None else read_place(node)
            if self._cluster.places.get(key.name) != place:
                self._cluster.set_place(key.name, place)
                is_changed = True
        return is_changed

    def _reassess(self, keys: Iterable[ObjectKey], changed: Changed[Addr, PolicyPod]) -> set[ChainKey]:
        """Which chains these pods are under now; returns those that gained or lost a pod."""
        before: dict[Addr, PolicyPod] = {}
        after: dict[Addr, PolicyPod] = {}
        dirty: set[ChainKey] = set()
        for key in keys:
            old = self._under.pop(key, {})
            new = self._found_under(key)
            if new:
                self._under[key] = new
            before.update(old)
            after.update(new)
            dirty |= self._use_chains(key, _chains_of(old), _chains_of(new))
        for address in before.keys() | after.keys():
            now = after.get(address)
            changed.note(address, self._by_address.get(address), now)
            if now is None:
                del self._by_address[address]
            else:
                self._by_address[address] = now
        return dirty

    def _found_under(self, key: ObjectKey) -> dict[Addr, PolicyPod]:
        pod = self._cluster.pods.get(key)
        if pod is None or not is_local(pod, self._facts.name):
            self._local.discard(key)
            return {}
        self._local.add(key)
        under = _under(self._cluster, pod)
        if under.ingress is None and under.egress is None:
            return {}
        return dict.fromkeys(local_addresses(self._cluster, pod, self._facts.name), under)

    def _use_chains(self, pod: ObjectKey, old: set[ChainKey], new: set[ChainKey]) -> set[ChainKey]:
        for key in old - new:
            self._users[key].discard(pod)
        for key in new - old:
            self._users.setdefault(key, set()).add(pod)
        return old ^ new

    def _settle(
        self, dirty: Iterable[ChainKey], changed: frozenset[PolicyRef], noted: Changed[ChainKey, Chain]
    ) -> None:
        """Build what pods came under or policies changed, drop what no pod is under any more."""
        for key in dirty:
            old = self._chains.get(key)
            if not self._users.get(key):
                self._users.pop(key, None)
                if old is not None:
                    self._drop(key, old)
                    noted.note(key, old, None)
                continue
            if old is not None and changed.isdisjoint(key.policies):
                continue
            new = build_chain(key, [self._cluster.readings[r] for r in key.policies], self._facts.name)
            if new == old:
                continue
            self._sets.use(used_sets(new))
            if old is not None:
                self._sets.leave(used_sets(old))
            self._chains[key] = new
            for ref in key.policies:
                self._chains_of.setdefault(ref, set()).add(key)
            noted.note(key, old, new)

    def _drop(self, key: ChainKey, chain: Chain) -> None:
        del self._chains[key]
        self._sets.leave(used_sets(chain))
        for ref in key.policies:
            chains = self._chains_of[ref]
            chains.discard(key)
            if not chains:
                del self._chains_of[ref]


def is_local(pod: PodFacts, node: str) -> bool:
    """Whether a pod is on a node."""
    return pod.node == node and not pod.is_stand_in


def local_addresses(cluster: PolicyCluster, pod: PodFacts, node: str) -> tuple[Addr, ...]:
    """The addresses that a pod holds among the pods of its node; empty where it is on another."""
    if not is_local(pod, node):
        return ()
    found = []
    for address in pod.addresses:
        first = next(rival for rival in cluster.claimants(address) if is_local(rival, node))
        if first.key == pod.key:
            found.append(address)
    return tuple(found)


def _under(cluster: PolicyCluster, pod: PodFacts) -> PolicyPod:
    readings = cluster.policies_of(pod)
    return PolicyPod(
        pod.key,
        pod.uid,
        chain_key(Direction.INGRESS, readings, pod),
        chain_key(Direction.EGRESS, readings, pod),
    )


def _chains_of(under: Mapping[Addr, PolicyPod]) -> set[ChainKey]:
    keys = (key for pod in under.values() for key in (pod.ingress, pod.egress))
    return {key for key in keys if key is not None}


def _findings(cluster: PolicyCluster, users: Mapping[ChainKey, set[ObjectKey]]) -> tuple[Finding, ...]:
    found = [finding for reading in cluster.readings.values() for finding in reading.findings]
    found += port_findings(cluster.readings, users)
    return tuple(sorted(found))
