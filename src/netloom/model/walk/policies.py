"""What policies say where a packet meets them: of its sender on the sender's node, of its receiver on the receiver's.

Comes in: the way so far. Goes out: the way with one more step, or its ending. Policies see the destination after Services have
translated it and the source that came to the node: what the node itself puts in its place, it does afterwards. Not here: what policies
mean (``model/policy``).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import msgspec

from netloom.model.policy.judge import Judgement
from netloom.model.policy.state import Direction, Rule, Special
from netloom.model.policy.verdicts import Traffic
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.packet import Origin, Packet
from netloom.model.walk.steps import Branch, Ending, Outcome, Stage
from netloom.model.walk.trail import Trail
from netloom.units import Addr, Protocol, family_of

_DNS_PORT = 53

_SOMEWHERE: dict[int, Addr] = {4: IPv4Address(0), 6: IPv6Address(0)}
"""Stands for a client whose address nobody named: only rules about every address mean it."""


def past_policies(cluster: ClusterModel, trail: Trail, direction: Direction) -> Trail | Branch:
    """Past the policies of one end."""
    judgement = cluster.judge.judge(direction, traffic_of(trail.packet, trail.came_from))
    if not judgement.policies:
        return trail
    who = f"{direction.value} of pod {judgement.pod}"
    if judgement.rule is not None:
        verb = "allowed" if judgement.is_allowed else "denied"
        text = f"{who}: {verb}{_because(judgement.rule)}"
        trail = trail.then(Stage.POLICY, text, judgement.rule.source)
    elif judgement.is_allowed:
        count = _count(len(judgement.policies), "policy", "policies")
        trail = trail.then(Stage.POLICY, f"{who}: allowed, no rule of {count} denies it", *judgement.policies)
    else:
        sources = tuple(source.at("spec.podSelector") for source in judgement.isolating)
        trail = trail.then(Stage.POLICY, f"{who}: nothing allows it", *sources)
    if judgement.is_allowed:
        return trail
    ending = denial(judgement)
    hint = ending.hint
    if trail.came_from is None:
        said = hint.replace(str(_SOMEWHERE[trail.packet.destination.version]), "the client")
        again = "ask again with the client's address in place of internet"
        hint = f"{said}; {again}" if said else again
    return trail.ends(ending.outcome, ending.reason, hint, ending.sources)


def without_dns(cluster: ClusterModel, origin: Origin) -> Ending | None:
    """How looking up a name ends for a pod that policies let ask none of the cluster's DNS addresses; None where they do."""
    ending = None
    for dns in cluster.facts.dns_addresses:
        source = origin.address(family_of(dns))
        if source is None:
            continue
        judgement = cluster.judge.judge(Direction.EGRESS, Traffic(source, dns, Protocol.UDP, _DNS_PORT))
        if judgement.is_allowed:
            return None
        ending = denial(judgement)
    if ending is None:
        return None
    reason = f"the name is not looked up: {ending.reason}, at {listed_dns(cluster)} port {_DNS_PORT}/udp"
    return msgspec.structs.replace(ending, reason=reason)


def listed_dns(cluster: ClusterModel) -> str:
    """The addresses of the cluster's DNS."""
    return " or ".join(map(str, cluster.facts.dns_addresses))


def denial(judgement: Judgement) -> Ending:
    """How a way ends where policies deny it."""
    who = f"{judgement.direction.value} of pod {judgement.pod}"
    if judgement.rule is not None:
        source = judgement.rule.source
        reason = f"{who} is denied by {source.subject}{_because(judgement.rule)}"
        return Ending(Outcome.DROPPED, reason, "", (source,))
    isolated = _count(len(judgement.isolating), "NetworkPolicy isolates", "NetworkPolicies isolate")
    reason = f"{isolated} {who}, and none allows this"
    if judgement.miss is None:
        return Ending(Outcome.DROPPED, reason, "", judgement.isolating)
    return Ending(Outcome.DROPPED, reason, judgement.miss.text, (judgement.miss.source,))


def traffic_of(packet: Packet, came_from: Addr | None) -> Traffic:
    """A packet as policies see it on a node that it came to from this address."""
    source = _SOMEWHERE[packet.destination.version] if came_from is None else came_from
    return Traffic(source, packet.destination, packet.protocol, packet.port)


def _because(rule: Rule) -> str:
    if isinstance(rule.peers, Special):
        return f", it comes from {rule.peers.value}"
    return f" by its rule {rule.name}" if rule.name else ""


def _count(number: int, one: str, several: str) -> str:
    return f"1 {one}" if number == 1 else f"{number} {several}"
