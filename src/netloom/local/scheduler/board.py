"""What is where: nodes, the pods on them, and what those leave for others. In: changes; out: answers that cost no search. Pure.

Pods with the same labels in the same namespace are one *class*: however many there are, a selector looks at each class once. What pods that
are there want of those that come (anti-affinity, preferences) is kept by what is wanted, likewise.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from netloom.local.controllers.node_health import implied_taints
from netloom.local.controllers.objects import Node
from netloom.local.controllers.placement import Taint
from netloom.local.scheduler.wants import HARD_WEIGHT, Amounts, HostPort, Term, Wants, amounts

K = TypeVar("K", bound=Hashable)

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - what a port says that names no address
_MOST_REMEMBERED = 10_000
_MOST_TALLIES = 512
Class = tuple[str, frozenset[tuple[str, str]], bool]
"""Namespace, labels, and whether the pods are on their way out."""


class Place:
    """A node, and what is on it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.node: Node | None = None
        self.labels: Mapping[str, str] = {}
        self.taints: tuple[Taint, ...] = ()
        self.room: Amounts = {}
        """What it has to give; empty where it does not say."""
        self.used: Amounts = {}
        self.pods: dict[str, Wants] = {}
        self.ports: Counter[HostPort] = Counter()
        self.kin: Counter[tuple[str, str]] = Counter()

    def renew(self, node: Node) -> None:
        """The node is like this now."""
        self.node = node
        self.labels = node.metadata.labels
        self.taints = implied_taints(node)
        self.room = amounts(node.status.allocatable)

    def count(self, wants: Wants, sign: int) -> None:
        """One pod more, or less."""
        for name, value in wants.requests.items():
            self.used[name] = self.used.get(name, 0) + sign * value
        for port in wants.ports:
            _count(self.ports, port, sign)
        _count(self.kin, wants.kin, sign)

    def is_port_taken(self, wanted: HostPort) -> bool:
        """A port of the node is a pod's already; no address means all of them."""
        address, protocol, number = wanted
        if wanted in self.ports or (ANY_ADDRESS, protocol, number) in self.ports:
            return True
        return address == ANY_ADDRESS and any(p[1:] == (protocol, number) for p in self.ports)


class Board:
    """All nodes and pods, as the scheduler goes by."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._where: dict[str, str] = {}
        """Pod uid -> node."""
        self._classes: dict[Class, Counter[str]] = {}
        """How many pods of a class are on each node."""
        self.repelling: dict[Term, Counter[str]] = {}
        """Required anti-affinity of pods that are there: on which nodes they are."""
        self.attracting: dict[tuple[Term, int], Counter[str]] = {}
        """What pods that are there would like, likewise."""
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._hits: dict[Term, dict[Class, bool]] = {}
        self._tallies: dict[tuple[Term, bool], Counter[str]] = {}

    @property
    def places(self) -> list[Place]:
        """Nodes that are there."""
        return [place for place in self._places.values() if place.node is not None]

    def place(self, name: str) -> Place | None:
        """The node of this name."""
        found = self._places.get(name)
        return found if found is not None and found.node is not None else None

    def put_node(self, node: Node) -> None:
        """A node is there, or has changed."""
        self._place(node.metadata.name).renew(node)

    def drop_node(self, name: str) -> None:
        """A node has gone; its pods may still be there for a while."""
        place = self._places.get(name)
        if place is not None:
            place.node = None
            if not place.pods:
                del self._places[name]

    def put_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """A namespace has these labels, or is gone."""
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels
        self._hits.clear()
        self._tallies.clear()

    def node_of(self, uid: str) -> str:
        """Where a pod is; empty where it is nowhere."""
        return self._where.get(uid, "")

    def add(self, wants: Wants, node: str) -> None:
        """A pod is on a node, in place of where it was."""
        uid = wants.pod.uid
        self.remove(uid)
        place = self._place(node)
        place.pods[uid] = wants
        self._where[uid] = node
        place.count(wants, 1)
        self._index(wants, node, 1)

    def remove(self, uid: str) -> Wants | None:
        """A pod is nowhere any more; what it wanted, if it was somewhere."""
        node = self._where.pop(uid, None)
        if node is None:
            return None
        place = self._places[node]
        wants = place.pods.pop(uid)
        place.count(wants, -1)
        self._index(wants, node, -1)
        if place.node is None and not place.pods:
            del self._places[node]
        return wants

    @contextlib.contextmanager
    def without(self, uids: Iterable[str]) -> Iterator[None]:
        """As if these pods were not there."""
        places = [(self.node_of(uid), uid) for uid in uids]
        taken = [(wants, node) for node, uid in places if (wants := self.remove(uid)) is not None]
        try:
            yield
        finally:
            for wants, node in taken:
                self.add(wants, node)

    def by_value(self, term: Term) -> Counter[str]:
        """How many pods that a term means are in each value of its topology key."""
        return self.values_of(term, self._tally(term, counts_leaving=True))

    def by_values_of_all(self, key: str, terms: Sequence[Term]) -> Counter[str]:
        """How many pods that all of these terms mean are in each value of a topology key."""
        found: Counter[str] = Counter()
        for class_, nodes in self._classes.items():
            if all(self.hits(term, class_) for term in terms):
                self._add_values(found, key, nodes)
        return found

    def by_node(self, term: Term) -> Counter[str]:
        """How many pods that a term means are on each node, without those on their way out."""
        return self._tally(term, counts_leaving=False)

    def _tally(self, term: Term, *, counts_leaving: bool) -> Counter[str]:
        """Pods that a term means, by node; counted once, and kept up to date from then on."""
        key = (term, counts_leaving)
        found = self._tallies.get(key)
        if found is None:
            if len(self._tallies) >= _MOST_TALLIES:
                self._tallies.clear()
            found = self._tallies[key] = Counter()
            for class_, nodes in self._classes.items():
                if (counts_leaving or not class_[2]) and self.hits(term, class_):
                    found.update(nodes)
        return found

    def values_of(self, term: Term, nodes: Counter[str]) -> Counter[str]:
        """Pods on these nodes, by value of the term's topology key."""
        found: Counter[str] = Counter()
        self._add_values(found, term.topology_key, nodes)
        return found

    def hits(self, term: Term, class_: Class) -> bool:
        """A term means pods of this class."""
        if len(self._hits) > _MOST_REMEMBERED:
            self._hits.clear()
        known = self._hits.setdefault(term, {})
        found = known.get(class_)
        if found is None:
            if len(known) > _MOST_REMEMBERED:
                known.clear()
            found = known[class_] = self._means(term, class_)
        return found

    def _means(self, term: Term, class_: Class) -> bool:
        namespace, labels, _ = class_
        if namespace not in term.namespaces:
            if term.of_namespaces is None:
                return False
            if not term.of_namespaces.matches(self._namespaces.get(namespace, {})):
                return False
        return term.selector.matches(dict(labels))

    def _add_values(self, found: Counter[str], key: str, nodes: Counter[str]) -> None:
        for name, count in nodes.items():
            value = self._places[name].labels.get(key)
            if value is not None:
                found[value] += count

    def _index(self, wants: Wants, node: str, sign: int) -> None:
        class_ = class_of(wants)
        _count_at(self._classes, class_, node, sign)
        for (term, counts_leaving), tally in self._tallies.items():
            if (counts_leaving or not class_[2]) and self.hits(term, class_):
                _count(tally, node, sign)
        for term in wants.apart:
            _count_at(self.repelling, term, node, sign)
        for term, weight in wants.weighted:
            _count_at(self.attracting, (term, weight), node, sign)
        for term in wants.near:
            _count_at(self.attracting, (term, HARD_WEIGHT), node, sign)

    def _place(self, name: str) -> Place:
        return self._places.setdefault(name, Place(name))


def class_of(wants: Wants) -> Class:
    """The class of a pod."""
    meta = wants.pod.metadata
    return meta.namespace, frozenset(meta.labels.items()), wants.pod.is_terminating


def _count(counter: Counter[K], key: K, sign: int) -> None:
    counter[key] += sign
    if not counter[key]:
        del counter[key]


def _count_at(table: dict[K, Counter[str]], key: K, node: str, sign: int) -> None:
    counter = table.setdefault(key, Counter())
    _count(counter, node, sign)
    if not counter:
        del table[key]
