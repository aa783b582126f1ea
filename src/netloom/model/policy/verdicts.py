"""What a ``PolicyState`` says of a packet: the values that a plane compiles, read the way a plane has to read them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from netloom.model.policy.state import (
    Action,
    Chain,
    ChainKey,
    Direction,
    Endpoint,
    Members,
    NetworkPeers,
    PolicyState,
    PortRange,
    Rule,
    SetKey,
    Special,
)
from netloom.units import Addr, Protocol

MembersOf = Callable[[SetKey], Members]
"""Who is in a set; of large ones it is enough to tell of those that the packet is about."""


class Traffic(msgspec.Struct, frozen=True):
    """The first packet of a connection where policy sees it: destination translated already, source not yet."""

    source: Addr
    destination: Addr
    protocol: Protocol | None
    """None for whatever has no ports, such as ICMP: only rules that ask for no port match it."""
    port: int = 0

    def other(self, direction: Direction) -> Addr:
        """The far end, seen from the pod under the policy."""
        return self.source if direction is Direction.INGRESS else self.destination

    def own(self, direction: Direction) -> Addr:
        """The address of the pod under the policy."""
        return self.destination if direction is Direction.INGRESS else self.source


class Verdict(msgspec.Struct, frozen=True):
    """What is done with the packet, and the rule that says so; None: no rule did, and this is what the chain does then."""

    action: Action
    """Never ``PASS``."""
    rule: Rule | None = None
    key: ChainKey | None = None
    """None where the pod is under no policy for this direction."""


def decide(state: PolicyState, direction: Direction, traffic: Traffic) -> Verdict:
    """What the node of the state does with a packet to or from one of its pods."""
    pod = state.pods.get(traffic.own(direction))
    key = None if pod is None else pod.ingress if direction is Direction.INGRESS else pod.egress
    if key is None:
        return Verdict(Action.ACCEPT)
    chain = state.chains[key]
    is_own_node = traffic.other(direction) in state.own_node
    rule = deciding_rule(chain, direction, traffic, state.sets.__getitem__, is_own_node=is_own_node)
    return Verdict(chain.default if rule is None else rule.action, rule, key)


def deciding_rule(
    chain: Chain, direction: Direction, traffic: Traffic, members: MembersOf, *, is_own_node: bool
) -> Rule | None:
    """The first rule that matches and does not pass; None where the chain's default decides."""
    passed = None
    for rule in chain.rules:
        if rule.tier is passed or not matches(rule, direction, traffic, members, is_own_node=is_own_node):
            continue
        if rule.action is not Action.PASS:
            return rule
        passed = rule.tier
    return None


def matches(
    rule: Rule, direction: Direction, traffic: Traffic, members: MembersOf, *, is_own_node: bool
) -> bool:
    """Whether a rule is about a packet."""
    other = traffic.other(direction)
    match rule.peers:
        case Special.OWN_NODE:
            is_peer = is_own_node
        case Special.SELF:
            is_peer = traffic.source == traffic.destination
        case None:
            is_peer = True
        case NetworkPeers(cidrs=cidrs):
            is_peer = any(other in cidr for cidr in cidrs)
        case key:
            is_peer = other in members(key)
    return is_peer and _is_port(rule, traffic, members)


def _is_port(rule: Rule, traffic: Traffic, members: MembersOf) -> bool:
    if rule.ports is None:
        return True
    if traffic.protocol is None:
        return False
    if any(in_range(ports, traffic) for ports in rule.ports):
        return True
    endpoint = Endpoint(traffic.destination, traffic.protocol, traffic.port)
    return any(endpoint in members(key) for key in rule.endpoints)


def in_range(ports: PortRange, traffic: Traffic) -> bool:
    """Whether a packet goes to one of these ports."""
    return traffic.protocol is ports.protocol and ports.first <= traffic.port <= ports.last
