"""The rules that pods are under, in the order in which they decide.

Comes in: the policies about a pod, as read, and what names of ports mean for it. Goes out: a ``ChainKey`` and its ``Chain``. The
order (ClusterNetworkPolicySpec.tier, priority, ingress):

1. Traffic from the pod's own node is accepted: its kubelet must be able to probe the pod (NetworkPolicySpec.ingress; rules of
   ClusterNetworkPolicy have no way to name nodes as sources). Ingress only: the API reference says it of nothing else.
2. Admin tier: policies by priority, rules as written. Among equal priorities, which the API leaves open, by name.
3. NetworkPolicies: where one isolates the pod, the pod's traffic to itself is accepted (concept page: "a pod cannot block access to
   itself"; cluster policies can, as their conformance tests demand), then what any of their rules matches; nothing else.
4. Baseline tier, only where no NetworkPolicy isolates the pod: as Admin.
5. Accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from netloom.model.policy.pods import PodFacts, node_source
from netloom.model.policy.reading.rules import PolicyReading, PortName, ReadPeer, ReadRule
from netloom.model.policy.state import (
    ALL_PODS,
    Action,
    Chain,
    ChainKey,
    Direction,
    EndpointPeers,
    NamedPort,
    NetworkPeers,
    PodPeers,
    PortRange,
    Rule,
    SetKey,
    Special,
    Tier,
)
from netloom.model.provenance import Source

_ITSELF = Source("Pod", "", "itself", field="status.podIPs")


def chain_key(direction: Direction, readings: Iterable[PolicyReading], pod: PodFacts) -> ChainKey | None:
    """The chain that a pod is under, given all policies about it; None where none of them is about this direction."""
    concerned = [reading for reading in readings if reading.rules(direction) is not None]
    if not concerned:
        return None
    names = _port_names(concerned) if direction is Direction.INGRESS else ()
    return ChainKey(
        direction,
        tuple(reading.ref for reading in concerned),
        tuple(NamedPort(n.name, n.protocol, named_ports(pod, n)) for n in names),
    )


def named_ports(pod: PodFacts, name: PortName) -> tuple[PortRange, ...]:
    """The ports of a pod that have this name: every container's, should two containers use it."""
    found = {
        PortRange(port.protocol, port.number, port.number)
        for port in pod.ports
        if port.name == name.name and name.protocol in (None, port.protocol)
    }
    return tuple(sorted(found, key=lambda port: port.order))


def _port_names(readings: Iterable[PolicyReading]) -> list[PortName]:
    names = {
        name
        for reading in readings
        for rule in reading.rules(Direction.INGRESS) or ()
        for name in rule.port_names
    }
    return sorted(names, key=lambda n: (n.name, n.protocol.value if n.protocol else ""))


def build_chain(key: ChainKey, readings: Sequence[PolicyReading], node: str) -> Chain:
    """The rules of a chain, for pods of a node; ``readings`` are the policies that the key names."""
    rules: list[Rule] = []
    if key.direction is Direction.INGRESS:
        rules.append(Rule(Tier.ADMIN, Action.ACCEPT, node_source(node), peers=Special.OWN_NODE))
    rules += _tier_rules(Tier.ADMIN, key, readings)
    isolating = tuple(r.source for r in readings if r.tier is Tier.NETWORK_POLICY)
    if isolating:
        rules.append(Rule(Tier.NETWORK_POLICY, Action.ACCEPT, _ITSELF, peers=Special.SELF))
        rules += _tier_rules(Tier.NETWORK_POLICY, key, readings)
    else:
        rules += _tier_rules(Tier.BASELINE, key, readings)
    return Chain(tuple(rules), Action.DENY if isolating else Action.ACCEPT, isolating)


def used_sets(chain: Chain) -> Iterator[SetKey]:
    """The sets that rules of a chain name; a set may come several times."""
    for rule in chain.rules:
        if rule.peers is not None and not isinstance(rule.peers, Special):
            yield rule.peers
        yield from rule.endpoints


def _tier_rules(tier: Tier, key: ChainKey, readings: Iterable[PolicyReading]) -> Iterator[Rule]:
    meanings = {PortName(port.name, port.protocol): port.ports for port in key.ports}
    for reading in sorted((r for r in readings if r.tier is tier), key=lambda r: (r.priority, r.ref)):
        for rule in reading.rules(key.direction) or ():
            for peer in (None,) if rule.peers is None else rule.peers:
                built = _rule(reading, rule, peer, key.direction, meanings)
                if built is not None:
                    yield built


def _rule(
    reading: PolicyReading,
    rule: ReadRule,
    peer: ReadPeer | None,
    direction: Direction,
    meanings: dict[PortName, tuple[PortRange, ...]],
) -> Rule | None:
    """One rule for one of its peers; None where it can match nothing."""
    ranges: set[PortRange] = set()
    endpoints: list[EndpointPeers] = []
    for port in rule.ports or ():
        if isinstance(port.port, PortRange):
            ranges.add(port.port)
        elif direction is Direction.INGRESS:
            ranges.update(meanings[port.port])
        else:
            pods = peer.key if peer is not None and isinstance(peer.key, PodPeers) else ALL_PODS
            endpoints.append(EndpointPeers(pods, port.port.name, port.port.protocol))
    if rule.ports is not None and not ranges and not endpoints:
        return None
    if peer is not None and peer.key == NetworkPeers():
        return None
    return Rule(
        tier=reading.tier,
        action=rule.action,
        source=reading.source.at(rule.field if peer is None else peer.field),
        peers=None if peer is None else peer.key,
        ports=None if rule.ports is None else tuple(sorted(ranges, key=lambda port: port.order)),
        endpoints=tuple(dict.fromkeys(endpoints)),
        name=rule.name,
    )
