"""The ends of connections, by classes: all in one class fare the same, whatever they send or receive.

Comes in: one cluster, or a cluster before and after a change. Goes out: classes of pods (same namespace, same labels as far as any
selector looks at them, same named ports, in the same ranges that rules name), of nodes, and of addresses outside; each of one
family, and each with what it is on either side. A set of ends is a number, one bit for each.

A workload is treated as though it had several pods: what a pod sends to itself is left out of account.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from netloom.model.policy.pods import ContainerPortName, NodePlace, PodFacts
from netloom.model.policy.state import NetworkPeers, NodePeers, PodPeers
from netloom.observe.reach.outside import AddressSpace, OutsideClass
from netloom.observe.reach.scene import PodEnd, Scene, WorkloadRef
from netloom.units import Addr, Family, ObjectKey, family_of


class EndKind(enum.Enum):
    """What an end is."""

    POD = "pod"
    HOST = "pod in its node's network"
    NODE = "node"
    OUTSIDE = "outside"
    DNS = "cluster DNS"


class Side(msgspec.Struct, frozen=True, cache_hash=True):
    """All that decides how an end fares on one side."""

    namespace: str = ""
    labels: frozenset[tuple[str, str]] = frozenset()
    ports: frozenset[tuple[str, str, int]] = frozenset()
    node_labels: frozenset[tuple[str, str]] = frozenset()
    membership: int = 0
    """Which of the ranges that rules name hold its address."""


class Example(msgspec.Struct, frozen=True):
    """One of a class, on one side."""

    key: ObjectKey
    address: Addr
    labels: Mapping[str, str] = {}
    ports: tuple[ContainerPortName, ...] = ()


class End(msgspec.Struct, frozen=True):
    """A class of equals. ``examples`` has None for a side where it is not there."""

    index: int
    kind: EndKind
    family: Family
    examples: tuple[Example | None, ...]
    workloads: Mapping[WorkloadRef, int] = {}
    """With the number of pods in this class."""
    nodes: tuple[str, ...] = ()
    outside: OutsideClass | None = None

    @property
    def bit(self) -> int:
        """As a set of its own."""
        return 1 << self.index


class _Draft:
    """A class while it is put together."""

    def __init__(self, examples: tuple[Example | None, ...]) -> None:
        self.examples = examples
        self.workloads: dict[WorkloadRef, int] = {}
        self.nodes: dict[str, None] = {}
        self.outside: OutsideClass | None = None


K = TypeVar("K")
_Key = tuple[EndKind, Family, tuple[Side | None, ...]]
_Found = tuple[Side, Example]


class LookedAt(msgspec.Struct, frozen=True):
    """What selectors and rules look at, on whichever side."""

    pod_labels: frozenset[str]
    node_labels: frozenset[str]
    addresses: AddressSpace


def looked_at(
    scenes: Iterable[Scene], labels: Iterable[str] = (), ranges: Iterable[NetworkPeers] = ()
) -> LookedAt:
    """Of these clusters' policies, and besides ``labels`` of pods and ``ranges`` that Services look at."""
    pods, nodes, networks = set(labels), set(), dict.fromkeys(ranges)
    for scene in scenes:
        for reading in scene.readings:
            pods |= _keys_of(reading.subject)
            for rule in (*(reading.ingress or ()), *(reading.egress or ())):
                for peer in rule.peers or ():
                    match peer.key:
                        case PodPeers():
                            pods |= _keys_of(peer.key)
                        case NodePeers(nodes=selector):
                            nodes |= {r.key for r in selector.requirements}
                        case NetworkPeers():
                            networks[peer.key] = None
                        case _:
                            pass
    return LookedAt(frozenset(pods), frozenset(nodes), AddressSpace(networks))


def _keys_of(peers: PodPeers) -> set[str]:
    return {requirement.key for requirement in peers.pods.requirements}


class Ends:
    """All classes of one cluster, or of the same cluster before and after a change.

    Args:
        scenes: one or two.
        looked: what selectors and rules look at.
    """

    def __init__(self, scenes: Sequence[Scene], looked: LookedAt) -> None:
        self._looked = looked
        self._drafts: dict[_Key, _Draft] = {}
        self._families = _families_of(scenes)
        self._keys_at: list[dict[Addr, _Key]] = [{} for _ in scenes]
        self._node_labels = [
            {name: self._seen_of_node(place) for name, place in scene.nodes.items()} for scene in scenes
        ]
        self._pods_at: list[dict[ObjectKey, list[_Key]]] = [{} for _ in scenes]
        for name in _names(scene.nodes for scene in scenes):
            self._add_node(name, [scene.nodes.get(name) for scene in scenes])
        for key in _names(scene.pods for scene in scenes):
            self._add_pod([scene.pods.get(key) for scene in scenes])
        stand_ins = [{facts.key: facts for facts in scene.stand_ins} for scene in scenes]
        for key in _names(stand_ins):
            self._add_stand_in([by_key.get(key) for by_key in stand_ins])
        inside = tuple(dict.fromkeys(cidr for scene in scenes for cidr in scene.inside))
        for family in self._families:
            for outside in looked.addresses.outside(family, inside):
                self._add_outside(outside, len(scenes))
        self.ends = tuple(self._finished())
        self.of_family = {family: self.where(lambda end, f=family: end.family is f) for family in Family}  # type: ignore[misc] # bound at once
        self.sides = tuple(sides for _, _, sides in self._drafts)
        """Of each end in turn, what it is on each side."""
        places = {key: place for place, key in enumerate(self._drafts)}
        self.place_of = tuple({a: places[key] for a, key in keys.items()} for keys in self._keys_at)
        """On each side, which end has an address of a pod, a node or the DNS server."""
        self.of_pod = tuple(
            {pod: sum(1 << places[key] for key in keys) for pod, keys in pods.items()}
            for pods in self._pods_at
        )
        """On each side, the ends that a pod is: one for each family."""

    def where(self, wanted: Callable[[End], bool]) -> int:
        """The set of ends for which something holds."""
        return sum(end.bit for end in self.ends if wanted(end))

    def present(self, side: int) -> int:
        """The set of all ends that are there on a side."""
        return self.where(lambda end: end.examples[side] is not None)

    def outside_at(self, address: Addr) -> End | None:
        """The class of an address outside."""
        return next(
            (
                end
                for end in self.ends
                if end.outside is not None
                and end.family is family_of(address)
                and end.outside.membership == self._looked.addresses.membership(address)
            ),
            None,
        )

    def _finished(self) -> Iterator[End]:
        for index, ((kind, family, _), draft) in enumerate(self._drafts.items()):
            yield End(
                index=index,
                kind=kind,
                family=family,
                examples=draft.examples,
                workloads=draft.workloads,
                nodes=tuple(draft.nodes),
                outside=draft.outside,
            )

    def _add(self, kind: EndKind, family: Family, found: Sequence[_Found | None]) -> _Draft | None:
        """The class of something that is this on each side; None where it is on neither."""
        if not any(found):
            return None
        key = (kind, family, tuple(None if one is None else one[0] for one in found))
        if key not in self._drafts:
            self._drafts[key] = _Draft(tuple(None if one is None else one[1] for one in found))
        if kind is not EndKind.HOST:
            for keys, one in zip(self._keys_at, found, strict=True):
                if one is not None:
                    keys.setdefault(one[1].address, key)
        return self._drafts[key]

    def _add_node(self, name: str, places: Sequence[NodePlace | None]) -> None:
        for family in self._families:
            found: list[_Found | None] = []
            for place in places:
                address = None if place is None else _of_family(place.own or place.addresses, family)
                if place is None or address is None:
                    found.append(None)
                    continue
                side = Side(node_labels=self._seen_of_node(place), membership=self._member(address))
                found.append((side, Example(ObjectKey("", name), address)))
            draft = self._add(EndKind.NODE, family, found)
            if draft is not None:
                draft.nodes[name] = None

    def _add_pod(self, pods: Sequence[PodEnd | None]) -> None:
        workload = next(pod.workload for pod in reversed(pods) if pod is not None)
        for is_host in {pod.is_host_network for pod in pods if pod is not None}:
            kind = EndKind.HOST if is_host else EndKind.POD
            for family in self._families:
                found: list[_Found | None] = []
                for number, pod in enumerate(pods):
                    is_one = pod is not None and pod.is_host_network is is_host
                    address = _of_family(pod.addresses, family) if pod is not None and is_one else None
                    found.append(None if pod is None or address is None else self._pod(number, pod, address))
                draft = self._add(kind, family, found)
                if draft is not None:
                    draft.workloads[workload] = draft.workloads.get(workload, 0) + 1
                key = (kind, family, tuple(None if one is None else one[0] for one in found))
                for by_pod, one in zip(self._pods_at, found, strict=True):
                    if one is not None:
                        by_pod.setdefault(one[1].key, []).append(key)

    def _pod(self, number: int, pod: PodEnd, address: Addr) -> _Found:
        node_labels = self._node_labels[number].get(pod.node) if pod.is_host_network else None
        side = Side(
            namespace=pod.key.namespace,
            labels=self._seen_of_pod(pod.labels),
            ports=frozenset((port.name, port.protocol.value, port.number) for port in pod.ports),
            node_labels=node_labels or frozenset(),
            membership=self._member(address),
        )
        return side, Example(pod.key, address, pod.labels, pod.ports)

    def _add_stand_in(self, stand_ins: Sequence[PodFacts | None]) -> None:
        for family in self._families:
            found: list[_Found | None] = []
            for facts in stand_ins:
                address = None if facts is None else _of_family(facts.addresses, family)
                if facts is None or address is None:
                    found.append(None)
                    continue
                side = Side(
                    namespace=facts.key.namespace,
                    labels=self._seen_of_pod(facts.labels),
                    ports=frozenset((p.name, p.protocol.value, p.number) for p in facts.ports),
                    membership=self._member(address),
                )
                found.append((side, Example(facts.key, address, facts.labels, facts.ports)))
            self._add(EndKind.DNS, family, found)

    def _add_outside(self, outside: OutsideClass, count: int) -> None:
        found = (Side(membership=outside.membership), Example(ObjectKey("", str(outside)), outside.example))
        draft = self._add(EndKind.OUTSIDE, outside.family, (found,) * count)
        if draft is not None:
            draft.outside = outside

    def _member(self, address: Addr) -> int:
        return self._looked.addresses.membership(address)

    def _seen_of_pod(self, labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
        return frozenset(pair for pair in labels.items() if pair[0] in self._looked.pod_labels)

    def _seen_of_node(self, place: NodePlace) -> frozenset[tuple[str, str]]:
        return frozenset(pair for pair in place.labels.items() if pair[0] in self._looked.node_labels)


def _families_of(scenes: Iterable[Scene]) -> tuple[Family, ...]:
    """Those that pods have."""
    found = {
        family_of(a)
        for scene in scenes
        for pod in scene.pods.values()
        for a in pod.addresses
        if not pod.is_host_network
    }
    return tuple(family for family in Family if family in found) or tuple(Family)


def _of_family(addresses: Iterable[Addr], family: Family) -> Addr | None:
    return next((address for address in addresses if family_of(address) is family), None)


def _names(sides: Iterable[Mapping[K, object]]) -> list[K]:
    """The keys of all of them, each once, in order."""
    return sorted({key for side in sides for key in side})  # type: ignore[type-var] # names and keys have an order
