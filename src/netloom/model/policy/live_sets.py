"""The sets that the chains of a node name, kept up to date pod by pod.

A pod that changes costs the sets that it enters or leaves, found by an index over the sets' selections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.differences import set_change
from netloom.model.policy.domains import covers
from netloom.model.policy.index import SelectionIndex
from netloom.model.policy.members import members_of, pod_members
from netloom.model.policy.pods import PodFacts
from netloom.model.policy.state import (
    DomainPeers,
    EndpointPeers,
    Member,
    NodePeers,
    PodPeers,
    SetChange,
    SetKey,
)
from netloom.units import Addr, ObjectKey


class Placed(msgspec.Struct, frozen=True):
    """All that decides which sets a pod is in, and what it is there."""

    pod: PodFacts
    namespace_labels: Mapping[str, str]
    held: tuple[Addr, ...]
    """Of its addresses those that no other pod of the cluster holds."""
    local: tuple[Addr, ...]
    """Those that no other pod of this node holds; empty for pods of other nodes."""


class LiveSets:
    """Sets in use, and what became of them since this was last asked."""

    def __init__(self, cluster: PolicyCluster) -> None:
        self._cluster = cluster
        self.members: dict[SetKey, dict[Member, ObjectKey]] = {}
        self._uses: dict[SetKey, int] = {}
        self._index: SelectionIndex[PodPeers | EndpointPeers] = SelectionIndex()
        self._new: set[SetKey] = set()
        self._idle: set[SetKey] = set()
        self._before: dict[SetKey, dict[Member, ObjectKey | None]] = {}
        """What members were when they were first touched."""

    def use(self, keys: Iterable[SetKey]) -> None:
        """One more rule names each of these."""
        for key in keys:
            uses = self._uses.get(key, 0)
            self._uses[key] = uses + 1
            self._idle.discard(key)
            if key not in self.members:
                self.members[key] = members_of(self._cluster, key)
                self._new.add(key)
                if isinstance(key, PodPeers | EndpointPeers):
                    self._index.add(key, _selection(key))

    def leave(self, keys: Iterable[SetKey]) -> None:
        """One rule less names each of these; what nobody names any more goes with the next ``take``."""
        for key in keys:
            self._uses[key] -= 1
            if not self._uses[key]:
                self._idle.add(key)

    def move(self, before: Placed | None, after: Placed | None) -> None:
        """A pod is another now: other labels, addresses, ports or namespace."""
        were, are = self._memberships(before), self._memberships(after)
        for key, members in were.items():
            staying = are.get(key, ())
            for member in members:
                # Where the address went to another pod at the same moment, that pod may have been here first.
                if member not in staying and before and self.members[key].get(member) == before.pod.key:
                    self._note(key, member)
                    del self.members[key][member]
        for key, members in are.items():
            held = self.members[key]
            for member in members:
                if after and held.get(member) != after.pod.key:
                    self._note(key, member)
                    held[member] = after.pod.key

    def nodes_changed(self) -> None:
        """Some node is another now."""
        self._rebuild([key for key in self.members if isinstance(key, NodePeers)])

    def domains_changed(self, names: Iterable[str]) -> None:
        """These domain names have other addresses now."""
        changed = tuple(names)
        self._rebuild(
            [
                key
                for key in self.members
                if isinstance(key, DomainPeers) and any(covers(key.names, name) for name in changed)
            ]
        )

    def _rebuild(self, keys: Iterable[SetKey]) -> None:
        for key in keys:
            held, wanted = self.members[key], members_of(self._cluster, key)
            for member in held.keys() | wanted.keys():
                if held.get(member) != wanted.get(member):
                    self._note(key, member)
            self.members[key] = wanted

    def take(self) -> dict[SetKey, SetChange | None]:
        """What became of the sets since the last time; sets that nobody names are gone."""
        changes: dict[SetKey, SetChange | None] = {}
        for key in self._idle:
            changes[key] = None
            del self.members[key], self._uses[key]
            self._before.pop(key, None)
            if isinstance(key, PodPeers | EndpointPeers):
                self._index.remove(key, _selection(key))
        for key in self._new:
            changes[key] = SetChange(dict(self.members[key]), is_new=True)
        for key, noted in self._before.items():
            held = self.members[key]
            were = {member: owner for member, owner in noted.items() if owner is not None}
            change = set_change(were, {member: held[member] for member in noted if member in held})
            if change is not None and key not in self._new:
                changes[key] = change
        self._new, self._idle, self._before = set(), set(), {}
        return changes

    def _memberships(self, placed: Placed | None) -> dict[SetKey, tuple[Member, ...]]:
        if placed is None:
            return {}
        pod = placed.pod
        found: dict[SetKey, tuple[Member, ...]] = {}
        for key, peers in self._index.candidates(pod.key.namespace, placed.namespace_labels, pod.labels):
            in_namespace = (
                peers.namespace == pod.key.namespace
                if peers.namespaces is None
                else peers.namespaces.matches(placed.namespace_labels)
            )
            if in_namespace and peers.pods.matches(pod.labels):
                found[key] = tuple(pod_members(key, pod, placed.held))
        return found

    def _note(self, key: SetKey, member: Member) -> None:
        self._before.setdefault(key, {}).setdefault(member, self.members[key].get(member))


def _selection(key: PodPeers | EndpointPeers) -> PodPeers:
    return key if isinstance(key, PodPeers) else key.pods
