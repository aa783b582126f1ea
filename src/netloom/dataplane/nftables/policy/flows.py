"""Which established flows the policies of a node deny now. Pure.

In: the table of policies as the kernel has it, and a flow. Out: whether its first packet would be dropped today. What the node
itself sends is never denied; of a flow between two pods each node judges its own end.
"""

from __future__ import annotations

from collections.abc import Collection

from netloom.dataplane.nftables.policy.table import PolicyTable
from netloom.model.policy.state import Action, Chain, ChainKey, Direction, PolicyDelta, Rule, SetKey, Special
from netloom.program.conntrack import Flow
from netloom.units import Addr


def is_denied(flow: Flow, table: PolicyTable, own: Collection[Addr] = ()) -> bool:
    """Whether a flow may not go on; ``own`` are the addresses of the node itself."""
    client, server = flow.original.source, flow.reply.source
    sender, receiver = table.pods.get(client), table.pods.get(server)
    if sender is not None and sender.egress is not None and _is_refused(flow, sender.egress, table):
        return True
    if receiver is None or receiver.ingress is None or client in table.own_node or client in own:
        return False
    return _is_refused(flow, receiver.ingress, table)


def may_deny(delta: PolicyDelta, table: PolicyTable) -> bool:
    """Whether a change can have denied something: peers that only come to rules that accept have not."""
    if delta.chains or delta.pods or any(change is None or change.removed for change in delta.sets.values()):
        return True
    return bool(delta.sets) and any(
        rule.action is not Action.ACCEPT for chain in table.chains.values() for rule in chain.rules
    )


def _is_refused(flow: Flow, key: ChainKey, table: PolicyTable) -> bool:
    chain = table.chains.get(key)
    return chain is not None and _verdict(flow, key.direction, chain, table) is Action.DENY


def _verdict(flow: Flow, direction: Direction, chain: Chain, table: PolicyTable) -> Action:
    passed = None
    for rule in chain.rules:
        if rule.tier is passed or not _matches(flow, direction, rule, table):
            continue
        if rule.action is not Action.PASS:
            return rule.action
        passed = rule.tier
    return chain.default


def _matches(flow: Flow, direction: Direction, rule: Rule, table: PolicyTable) -> bool:
    other = flow.original.source if direction is Direction.INGRESS else flow.reply.source
    if rule.peers is Special.OWN_NODE:
        return False
    if isinstance(rule.peers, Special):
        if flow.original.source != flow.reply.source:
            return False
    elif rule.peers is not None and not _is_in(other, rule.peers, table):
        return False
    if rule.ports is None and not rule.endpoints:
        return True
    port = flow.reply.source_port
    if any(
        ports.protocol.number == flow.protocol and ports.first <= port <= ports.last
        for ports in rule.ports or ()
    ):
        return True
    place = (flow.reply.source.packed, flow.protocol, port)
    return any(place in table.sets.get(endpoints, ()) for endpoints in rule.endpoints)


def _is_in(address: Addr, key: SetKey, table: PolicyTable) -> bool:
    members = table.sets.get(key, frozenset())
    packed = address.packed
    if (packed,) in members:
        return True
    size = len(packed)
    for atom, *_ in members:
        if not isinstance(atom, bytes) or len(atom) == size:
            return False  # a set of addresses
        if atom[:size] <= packed <= atom[size:]:
            return True
    return False
