"""What policies say of whole sets of ends at once: a chain of rules run over numbers of which each bit is an end.

Comes in: classes of ends and the policies of one side. Goes out: for each receiver who may send to it, by ports. The chains are those
of the model (``model/policy/chains.py``); a property test holds every answer against its judge. A pod's own node, which always
reaches it, is none of the nodes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from netloom.model.claims import Seniority, Standing
from netloom.model.policy.chains import build_chain, chain_key
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.pods import PodFacts
from netloom.model.policy.reading.rules import PolicyReading
from netloom.model.policy.state import (
    Action,
    AddressSetKey,
    Chain,
    ChainKey,
    Direction,
    EndpointPeers,
    NetworkPeers,
    NodePeers,
    PodPeers,
    PortRange,
    Rule,
    Special,
)
from netloom.observe.reach.ends import End, EndKind, Ends, Example, LookedAt
from netloom.observe.reach.portspace import PortSpace, each_bit
from netloom.observe.reach.scene import Scene
from netloom.units import Addr, ObjectKey

Partition = Mapping[int, int]
"""Sets of ports to the ends for which it is exactly these; no end is in two. An end that is in none: no port."""


class Judged:
    """One side: all policies, run over all ends.

    Args:
        scene: the side.
        number: which of the sides of ``ends`` it is.
        ends: the classes.
        looked: by what they were made.
        ports: with every range of these policies, and every named port.
    """

    def __init__(self, scene: Scene, number: int, *, ends: Ends, looked: LookedAt, ports: PortSpace) -> None:
        self.number = number
        self._ends = ends
        self._looked = looked
        self._ports = ports
        self.present = ends.present(number)
        self.cluster = _cluster_of(scene, ends, number)
        """With one pod for each class."""
        self._at = {example.address: 0 for end in ends.ends if (example := end.examples[number]) is not None}
        for end in ends.ends:
            if (example := end.examples[number]) is not None:
                self._at[example.address] |= end.bit
        self._members: dict[AddressSetKey, int] = {}
        self._named: dict[EndpointPeers, dict[int, int]] = {}
        self._results: dict[ChainKey, Partition] = {}
        self._readings: dict[int, list[PolicyReading]] = {}
        self._networks: list[int] | None = None

    def allowed(self, end: End, direction: Direction) -> Partition | None:
        """By ports, who may send to an end (or, for egress, to whom it may send); None: whoever there is, everything."""
        example = end.examples[self.number]
        if end.kind is not EndKind.POD or example is None:
            return None
        facts = self.cluster.pods[example.key]
        if end.index not in self._readings:
            self._readings[end.index] = self.cluster.policies_of(facts)
        key = chain_key(direction, self._readings[end.index], facts)
        if key is None:
            return None
        found = self._results.get(key)
        if found is None:
            chain = build_chain(key, [self.cluster.readings[ref] for ref in key.policies], "")
            found = self._results[key] = self._run(chain)
        return found

    def _run(self, chain: Chain) -> Partition:
        """Every end through all rules; ends with the same fate so far go together."""
        fates = {(0, self._ports.everything, 0): self.present}
        tier = None
        for rule in chain.rules:
            if rule.tier is not tier:
                tier = rule.tier
                fates = _merged(
                    ((allow, open_ | passed, 0), m) for (allow, open_, passed), m in fates.items()
                )
            for members, ports in self._parts(rule):
                fates = _merged(_split(fates, members, ports, rule.action))
        found: dict[int, int] = {}
        for (allow, open_, passed), mask in fates.items():
            bits = allow | open_ | passed if chain.default is Action.ACCEPT else allow
            if bits:
                found[bits] = found.get(bits, 0) | mask
        return found

    def _parts(self, rule: Rule) -> Iterator[tuple[int, int]]:
        """The ends that a rule is about, with the ports that it is about there; an end may come several times."""
        members = self._peers(rule.peers) & self.present
        if rule.ports is None:
            yield members, self._ports.everything
            return
        bits = self._ports.all_bits(rule.ports)
        if bits:
            yield members, bits
        for key in rule.endpoints:
            for more, mask in self._endpoints(key).items():
                yield mask & members, more

    def _peers(self, peers: AddressSetKey | Special | None) -> int:
        if peers is None:
            return self.present
        if isinstance(peers, Special):
            return 0
        found = self._members.get(peers)
        if found is None:
            found = self._members[peers] = self._find(peers)
        return found

    def _find(self, peers: AddressSetKey) -> int:
        match peers:
            case PodPeers():
                addresses = (a for pod in self.cluster.pods_of(peers) for a in pod.addresses)
            case NodePeers(nodes=selector):
                addresses = (a for _, place in self.cluster.places_of(selector) for a in place.addresses)
            case NetworkPeers():
                return self._in_network(peers)
            case _:
                return 0
        found = 0
        for address in addresses:
            found |= self._at.get(address, 0)
        return found

    def _in_network(self, key: NetworkPeers) -> int:
        if self._networks is None:
            by_membership: dict[int, int] = {}
            for end, sides in zip(self._ends.ends, self._ends.sides, strict=True):
                side = sides[self.number]
                if side is not None:
                    _add(by_membership, side.membership, end.bit)
            self._networks = [0] * len(self._looked.addresses.places)
            for membership, mask in by_membership.items():
                for place in each_bit(membership):
                    self._networks[place] |= mask
        return self._networks[self._looked.addresses.places[key]]

    def _endpoints(self, key: EndpointPeers) -> dict[int, int]:
        """Ends with such a port, by the number that it is."""
        found = self._named.get(key)
        if found is None:
            found = self._named[key] = {}
            for pod in self.cluster.pods_of(key.pods):
                for port in pod.ports:
                    if port.name == key.port and key.protocol in (None, port.protocol):
                        bits = self._ports.bits(PortRange(port.protocol, port.number, port.number))
                        for address in pod.addresses:
                            _add(found, bits, self._at.get(address, 0))
        return found


_Fate = tuple[int, int, int]
"""Ports that are accepted, undecided, and passed on to the next tier."""


def _split(
    fates: Mapping[_Fate, int], members: int, ports: int, action: Action
) -> Iterator[tuple[_Fate, int]]:
    for fate, mask in fates.items():
        allow, open_, passed = fate
        decided = open_ & ports
        here = mask & members
        if not here or not decided:
            yield fate, mask
            continue
        if mask != here:
            yield fate, mask & ~here
        match action:
            case Action.ACCEPT:
                yield (allow | decided, open_ & ~decided, passed), here
            case Action.DENY:
                yield (allow, open_ & ~decided, passed), here
            case _:
                yield (allow, open_ & ~decided, passed | decided), here


def _merged(fates: Iterable[tuple[_Fate, int]]) -> dict[_Fate, int]:
    found: dict[_Fate, int] = {}
    for fate, mask in fates:
        found[fate] = found.get(fate, 0) | mask
    return found


def _add(masks: dict[int, int], key: int, mask: int) -> None:
    masks[key] = masks.get(key, 0) | mask


def _cluster_of(scene: Scene, ends: Ends, number: int) -> PolicyCluster:
    cluster = PolicyCluster()
    for name, labels in scene.namespaces.items():
        cluster.set_namespace(name, labels)
    for name, place in scene.nodes.items():
        cluster.set_place(name, place)
    for reading in scene.readings:
        cluster.set_reading(reading)
    addresses: dict[ObjectKey, list[Addr]] = {}
    found: dict[ObjectKey, tuple[Example, bool]] = {}
    for end in ends.ends:
        example = end.examples[number]
        if example is not None and end.kind in (EndKind.POD, EndKind.DNS):
            addresses.setdefault(example.key, []).append(example.address)
            found[example.key] = example, end.kind is EndKind.DNS
    for key, (example, is_stand_in) in found.items():
        facts = PodFacts(
            key=key,
            uid="",
            labels=example.labels,
            addresses=tuple(addresses[key]),
            node="",
            ports=example.ports,
            rank=Seniority(Standing.BY_RIGHT, False, "", key.namespace, key.name),
            is_stand_in=is_stand_in,
        )
        cluster.set_pod(key, facts)
    return cluster
