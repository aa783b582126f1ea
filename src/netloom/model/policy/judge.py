"""One packet, judged at both ends, and why: the rule that decides, or what comes nearest to allowing it.

Comes in: a cluster and a packet where policy sees it (``Traffic``). Goes out: a ``Judgement`` for the sender's egress and one for the
receiver's ingress. Made from the objects alone, for pods of any node; a node's ``PolicyState`` gives the same verdicts
(``verdicts.decide``), and a property test holds the two together.
"""

from __future__ import annotations

import msgspec

from netloom.model.policy.chains import build_chain, chain_key
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.domains import covers
from netloom.model.policy.members import pod_members
from netloom.model.policy.nearest import Miss, nearest_miss
from netloom.model.policy.pods import PodFacts
from netloom.model.policy.state import (
    Action,
    ChainKey,
    Direction,
    DomainPeers,
    EndpointPeers,
    Members,
    NodePeers,
    PodPeers,
    Rule,
    SetKey,
)
from netloom.model.policy.verdicts import Traffic, deciding_rule
from netloom.model.provenance import Source
from netloom.units import Addr, ObjectKey


class Judgement(msgspec.Struct, frozen=True):
    """What policies say at one end of a connection."""

    direction: Direction
    pod: ObjectKey | None
    """The pod at this end; None where there is none that a policy could be about."""
    action: Action
    """Never ``PASS``."""
    rule: Rule | None = None
    """The rule that decides; None: none did."""
    policies: tuple[Source, ...] = ()
    """Those about this pod and direction."""
    isolating: tuple[Source, ...] = ()
    """The NetworkPolicies among them, where they have the last word."""
    miss: Miss | None = None
    """Where nothing allowed the packet: what comes nearest to it."""

    @property
    def is_allowed(self) -> bool:
        """The packet passes this end."""
        return self.action is Action.ACCEPT


class Judge:
    """Judges packets in one cluster; asks it anew each time, so the cluster may change in between.

    Args:
        cluster: whom policies are about.
        explains: looks for the nearest miss, which is most of the work where there are many rules.
    """

    def __init__(self, cluster: PolicyCluster, *, explains: bool = True) -> None:
        self._cluster = cluster
        self._explains = explains

    def both(self, traffic: Traffic) -> tuple[Judgement, Judgement]:
        """At the sender, and at the receiver."""
        return self.judge(Direction.EGRESS, traffic), self.judge(Direction.INGRESS, traffic)

    def judge(self, direction: Direction, traffic: Traffic) -> Judgement:
        """At one end; the pod there is the one that holds the address."""
        pod = self._cluster.holder(traffic.own(direction))
        if pod is None or pod.is_stand_in:
            return Judgement(direction, None, Action.ACCEPT)
        key = chain_key(direction, self._cluster.policies_of(pod), pod)
        if key is None:
            return Judgement(direction, pod.key, Action.ACCEPT)
        return self._under(pod, key, traffic)

    def _under(self, pod: PodFacts, key: ChainKey, traffic: Traffic) -> Judgement:
        direction = key.direction
        readings = [self._cluster.readings[ref] for ref in key.policies]
        chain = build_chain(key, readings, pod.node)
        place = self._cluster.places.get(pod.node)
        is_own_node = place is not None and traffic.other(direction) in place.own
        far_end = _FarEnd(self._cluster, traffic.other(direction))
        rule = deciding_rule(chain, direction, traffic, far_end.members, is_own_node=is_own_node)
        action = chain.default if rule is None else rule.action
        miss = None
        if self._explains and rule is None and action is Action.DENY:
            isolating = [reading for reading in readings if reading.source in chain.isolating]
            miss = nearest_miss(self._cluster, direction, isolating, pod, traffic)
        return Judgement(
            direction=direction,
            pod=pod.key,
            action=action,
            rule=rule,
            policies=tuple(reading.source for reading in readings),
            isolating=chain.isolating,
            miss=miss,
        )


class _FarEnd:
    """Sets as they matter to one packet: with the members that its far end puts into them, and no others."""

    def __init__(self, cluster: PolicyCluster, address: Addr) -> None:
        self._cluster = cluster
        self._address = address
        self._pod = cluster.holder(address)

    def members(self, key: SetKey) -> Members:
        """What the far end is in a set; empty where it is not in it. Ranges are not asked for: they are in the key."""
        if isinstance(key, PodPeers | EndpointPeers):
            peers = key if isinstance(key, PodPeers) else key.pods
            if self._pod is None or not self._cluster.selects(peers, self._pod):
                return {}
            return dict.fromkeys(pod_members(key, self._pod, (self._address,)), self._pod.key)
        if isinstance(key, NodePeers):
            places = self._cluster.places_of(key.nodes)
            names = [name for name, place in places if self._address in place.addresses]
            return {self._address: ObjectKey("", min(names))} if names else {}
        if isinstance(key, DomainPeers):
            known = self._cluster.domains.values()
            named = [
                one.name for one in known if self._address in one.addresses and covers(key.names, one.name)
            ]
            return {self._address: ObjectKey("", min(named))} if named else {}
        return {}
