"""Which pods leave by which addresses of which nodes: from everything at once, or kept up to date change by change.

Comes in: EgressGateways, Pods, Namespaces, Nodes, nodes that are held dead. Goes out: :class:`EgressState`, what an update changed of it,
and Findings. Not here: what one gateway says (``gateways.py``).

Of several gateways that select a pod the oldest counts, then the first by name, for each destination that it concerns. Of several addresses
of a family each pod has one, by its name. In a family of which a gateway names no address it says nothing; where it names some and none can be
used, nothing leaves. Without gateways nothing is kept
but what is known of nodes and labels of namespaces.
"""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from netloom.api.core import Pod
from netloom.api.egress import EgressAddress
from netloom.model.announcing.elect import elected
from netloom.model.announcing.gone import GoneNode
from netloom.model.claims import Changed, Claims
from netloom.model.egress.gateways import Candidate, Gateway, Holding, holdings, read_candidate, read_gateway
from netloom.model.egress.state import (
    MOST_EXITS,
    NOBODYS,
    EgressDelta,
    EgressPod,
    EgressState,
    Exit,
    PodWay,
    TunnelEnd,
)
from netloom.model.held import take_over
from netloom.model.inputs import Changes, ClusterView, NodeFacts
from netloom.model.policy.pods import PodFacts, read_pod
from netloom.model.provenance import Finding, Source
from netloom.model.routes.ways import node_address_in
from netloom.model.state import changed_values
from netloom.units import Addr, Cidr, Family, ObjectKey, family_of

_EVERYWHERE: Mapping[Family, Cidr] = {
    Family.V4: ipaddress.ip_network("0.0.0.0/0"),
    Family.V6: ipaddress.ip_network("::/0"),
}


class EgressGateways:
    """What egress gateways mean for one node, following the cluster.

    Args:
        facts: the node.
        pods: all pods of the cluster, as they are whenever ``update`` is called.
    """

    def __init__(self, facts: NodeFacts, pods: Mapping[ObjectKey, Pod]) -> None:
        self._pods = pods
        self._gateways: dict[ObjectKey, Gateway] = {}
        self._nodes: dict[ObjectKey, Candidate] = {}
        self._gone: dict[ObjectKey, GoneNode] = {}
        self._labels: dict[str, Mapping[str, str]] = {}
        """Of namespaces that have some."""
        self.refit(facts)

    def refit(self, facts: NodeFacts) -> None:
        """Everything anew, for a node that is another now."""
        self._facts = facts
        self._claims: Claims[Addr, EgressPod] = Claims(_dispute)
        self._placed: dict[ObjectKey, frozenset[PodWay]] = {}
        """The ways of each pod, wherever it is."""
        self._counts: Counter[PodWay] = Counter()
        self._told_here: set[ObjectKey] = set()
        self._statuses: dict[ObjectKey, tuple[EgressAddress, ...]] = {}
        self._both: dict[tuple[str, str], dict[ObjectKey, None]] = {}
        self._pairs: dict[ObjectKey, list[tuple[str, str]]] = {}
        self._ordered: list[Gateway] = []
        self._holdings: dict[Addr, Holding] = {}
        self._ways: dict[tuple[str, Addr], PodWay] = {}
        self._mine: frozenset[Addr] = frozenset()
        self._exits: dict[Addr, Exit] = {}
        self._inside: frozenset[Addr] = frozenset()
        self._ends: dict[str, TunnelEnd] = {}
        self._held_findings: tuple[Finding, ...] = ()
        self._findings: tuple[Finding, ...] | None = None
        if self._gateways:
            self._hold()
            changed: Changed[Addr, EgressPod] = Changed()
            for key in self._pods:
                self._place(key, changed)
            self._statuses = self._said()

    @property
    def state(self) -> EgressState:
        """What there is now, as a value that no later update changes."""
        pods = {address: one for address, one in self._claims.held.items() if one.ways}
        return EgressState(pods, dict(self._exits), self._inside, dict(self._ends), dict(self._statuses))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What could not be used as written, and which gateways are about the same pods."""
        if self._findings is None:
            read = (finding for gateway in self._ordered for finding in gateway.findings)
            self._findings = (*read, *self._held_findings, *self._conflicts())
        return self._findings

    @staticmethod
    def compute(view: ClusterView, facts: NodeFacts) -> tuple[EgressState, tuple[Finding, ...]]:
        """What gateways mean for the node of ``facts``, from everything at once; and Findings."""
        if not view.egress_gateways:
            return EgressState(), ()
        whole = EgressGateways(facts, view.pods)
        whole.update(
            Changes(
                egress_gateways=view.egress_gateways,
                pods=view.pods,
                namespaces=view.namespaces,
                nodes=view.nodes,
                gone=view.gone,
            )
        )
        return whole.state, whole.findings

    def update(self, changes: Changes) -> EgressDelta:
        """Take over what changed; ``pods`` that this was made with are as after it."""
        had_any = bool(self._gateways)
        read = {
            key: None if one is None else read_gateway(one) for key, one in changes.egress_gateways.items()
        }
        is_other = bool(take_over(self._gateways, read))
        seen = {key: None if one is None else read_candidate(one) for key, one in changes.nodes.items()}
        has_moved = [*take_over(self._nodes, seen), *take_over(self._gone, changes.gone)]
        relabelled = self._hear_labels(changes)
        if not self._gateways and not had_any:
            return EgressDelta()
        self._findings = None
        changed: Changed[Addr, EgressPod] = Changed()
        exits, ends, inside = self._exits, self._ends, self._inside
        is_all = (is_other or has_moved) and (self._hold() or is_other)
        for key in self._dirty(changes, relabelled, is_all=bool(is_all)):
            self._place(key, changed)
        before, self._statuses = self._statuses, self._said()
        return EgressDelta(
            pods={
                address: after if after is not None and after.ways else None
                for address, before, after in changed.items()
                if (before is not None and before.ways) or (after is not None and after.ways)
            },
            exits=changed_values(exits, self._exits),
            nodes=None if inside == self._inside else self._inside,
            ends=changed_values(ends, self._ends),
            statuses=changed_values(before, self._statuses),
        )

    def _hear_labels(self, changes: Changes) -> set[str]:
        """Names of the namespaces whose labels are others now."""
        found = set()
        for key, namespace in changes.namespaces.items():
            labels = {} if namespace is None else namespace.metadata.labels
            if labels != self._labels.get(key.name, {}):
                found.add(key.name)
            if labels:
                self._labels[key.name] = labels
            else:
                self._labels.pop(key.name, None)
        return found

    def _dirty(self, changes: Changes, namespaces: set[str], *, is_all: bool) -> Collection[ObjectKey]:
        if is_all:
            return {**dict.fromkeys(self._pods), **dict.fromkeys(self._placed)}
        found = dict.fromkeys(changes.pods)
        if namespaces:
            found.update((key, None) for key in self._pods if key.namespace in namespaces)
        return found

    def _hold(self) -> bool:
        """Who has which address, and what follows but for pods; gives whether pods have to be looked at anew."""
        self._ordered = sorted(self._gateways.values(), key=lambda one: one.seniority)
        gone = {one.name for one in self._gone.values()}
        self._holdings, self._held_findings = holdings(self._ordered, self._nodes.values(), gone)
        called = numbers(itertools.islice(self._holdings, MOST_EXITS))
        self._exits = {
            address: Exit(address, elected(str(address), one.live) or "", called[address], one.source)
            for address, one in self._holdings.items()
            if address in called
        }
        self._held_findings += tuple(_too_many(one) for a, one in self._holdings.items() if a not in called)
        here = self._facts.name
        mine = frozenset(a for a, one in self._holdings.items() if here in one.candidates)
        ways = {
            (gateway.name, address): _way(gateway, address, field)
            for gateway in self._ordered
            for address, field in gateway.addresses.items()
        }
        for gateway in self._ordered:
            for family, nobodys in NOBODYS.items():
                if gateway.is_about(family) and not self._exits.keys() & set(gateway.of_family(family)):
                    way = _way(gateway, nobodys, gateway.field_of(family))
                    ways[gateway.name, nobodys] = way
                    self._exits.setdefault(nobodys, Exit(nobodys, "", 0, way.source))
        self._inside = (
            frozenset(a for one in self._nodes.values() for a in one.addresses) if ways else frozenset()
        )
        meets = {name for one in self._holdings.values() for name in one.candidates}
        self._ends = {
            one.name: TunnelEnd(one.name, node_address_in(one.ranges.cidrs[0][1]))
            for one in self._nodes.values()
            if one.ranges.cidrs and one.name != here and (mine or one.name in meets)
        }
        live = [one.name for one in self._nodes.values() if one.name not in gone and not one.is_unready]
        self._told_here = {key for key in self._gateways if elected(f"status of {key}", live) == here}
        is_other = (mine, ways) != (self._mine, self._ways)
        self._mine, self._ways = mine, ways
        return is_other

    def _place(self, key: ObjectKey, changed: Changed[Addr, EgressPod]) -> None:
        """By which addresses a pod leaves."""
        for pair in self._pairs.pop(key, ()):
            both = self._both[pair]
            del both[key]
            if not both:
                del self._both[pair]
        pod = self._pods.get(key)
        read = read_pod(pod) if pod is not None and self._gateways else None
        if read is None:
            self._claims.release(key, changed)
            self._count(key, None)
            return
        labels = self._labels.get(key.namespace, {})
        chosen = [one for one in self._ordered if one.selects(read.labels, labels)]
        ways = {family: self._ways_of(key, chosen, family) for family in Family} if chosen else {}
        is_here = read.node == self._facts.name
        values = {}
        for address in read.addresses:
            found = ways.get(family_of(address), ())
            concerns = is_here or any(way.address in self._mine for way in found)
            values[address] = EgressPod(key, read.node, found if concerns else ())
        self._claims.replace(key, read.rank, values, changed)
        self._count(
            key, frozenset(way for address in read.addresses for way in ways.get(family_of(address), ()))
        )
        if len(chosen) > 1:
            self._note_pairs(key, read, chosen)

    def _count(self, key: ObjectKey, ways: frozenset[PodWay] | None) -> None:
        """A pod leaves these ways; None: it is gone."""
        self._counts.subtract(self._placed.pop(key, ()))
        if ways is not None:
            self._placed[key] = ways
            self._counts.update(ways)

    def _said(self) -> dict[ObjectKey, tuple[EgressAddress, ...]]:
        """The statuses that are this node's to write."""
        return {
            key: tuple(
                EgressAddress(str(one), self._exits[one].node, self._counts[self._ways[gateway.name, one]])
                for one in gateway.addresses
                if one in self._exits
            )
            for key, gateway in self._gateways.items()
            if key in self._told_here
        }

    def _ways_of(self, pod: ObjectKey, gateways: Iterable[Gateway], family: Family) -> tuple[PodWay, ...]:
        found = []
        for gateway in gateways:
            if not gateway.is_about(family):
                continue
            given = [one for one in gateway.of_family(family) if one in self._exits] or [NOBODYS[family]]
            usable = [
                one for one in given if one in self._holdings and not self._holdings[one].is_taken
            ] or given
            address = elected(str(pod), map(str, usable)) if len(usable) > 1 else None
            for one in usable:
                if address in (None, str(one)):
                    found.append(self._ways[gateway.name, one])
                    break
        return tuple(found)

    def _note_pairs(self, key: ObjectKey, pod: PodFacts, gateways: list[Gateway]) -> None:
        """Gateways that say different things of the same packets of this pod."""
        families = {family_of(address) for address in pod.addresses}
        for number, younger in enumerate(gateways):
            for older in gateways[:number]:
                if _share_destinations(older, younger, families):
                    pair = (older.name, younger.name)
                    self._both.setdefault(pair, {})[key] = None
                    self._pairs.setdefault(key, []).append(pair)

    def _conflicts(self) -> Iterable[Finding]:
        sources = {one.name: one.source for one in self._ordered}
        for (older, younger), pods in self._both.items():
            more = f" and {len(pods) - 1} more" if len(pods) > 1 else ""
            problem = (
                f"Pod {min(pods)}{more} would leave by EgressGateway {older}, too: to destinations of both it leaves by that one, "
                "which is older or the first by name"
            )
            hint = "part the pods, or the destinations"
            yield Finding(sources[younger].at("spec.podSelector"), problem, hint)


def numbers(addresses: Iterable[Addr]) -> dict[Addr, int]:
    """A number for each address, as far as there are numbers; one more address rarely changes those of others."""
    taken: set[int] = set()
    found: dict[Addr, int] = {}
    for address in sorted(addresses, key=lambda one: (one.version, one.packed))[:MOST_EXITS]:
        number = int.from_bytes(hashlib.blake2b(address.packed, digest_size=4).digest(), "big") % MOST_EXITS
        while number in taken:
            number = (number + 1) % MOST_EXITS
        taken.add(number)
        found[address] = number + 1
    return found


def _share_destinations(one: Gateway, other: Gateway, families: Iterable[Family]) -> bool:
    excepts = (*one.excepts, *other.excepts)
    for family in families:
        if not (one.is_about(family) and other.is_about(family)):
            continue
        for pair in itertools.product(_destinations(one, family), _destinations(other, family)):
            narrower = max(pair, key=lambda cidr: cidr.prefixlen)
            is_shared = all(_is_within(narrower, cidr) for cidr in pair)
            if is_shared and not any(_is_within(narrower, cidr) for cidr in excepts):
                return True
    return False


def _destinations(gateway: Gateway, family: Family) -> tuple[Cidr, ...]:
    given = gateway.destinations
    if given is None:
        return (_EVERYWHERE[family],)
    return tuple(cidr for cidr in given if family_of(cidr) is family)


def _is_within(inner: Cidr, outer: Cidr) -> bool:
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and inner.network_address in outer
    )


def _way(gateway: Gateway, address: Addr, field: str) -> PodWay:
    return PodWay(
        gateway=gateway.source,
        address=address,
        source=gateway.source.at(field),
        destinations=gateway.destinations,
        excepts=gateway.excepts,
        falls_back=gateway.falls_back,
    )


def _too_many(one: Holding) -> Finding:
    problem = f"older gateways have {MOST_EXITS} addresses already, so nothing leaves by {one.address}"
    return Finding(one.source, problem, "name fewer addresses in all gateways together")


def _dispute(holder: EgressPod, loser: EgressPod) -> Finding:
    """Of two pods with one address."""
    source = Source("Pod", loser.pod.namespace, loser.pod.name, field="status.podIPs")
    problem = f"Pod {holder.pod} has this address, too, and leaves the cluster with it"
    return Finding(source, problem, f"see which of both is there: kubectl get pod -A, node {loser.node}")
