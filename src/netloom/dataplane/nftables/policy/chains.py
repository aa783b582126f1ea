"""A distinct set of policies as chains of the kernel. Pure.

In: the model's chain of rules. Out: one kernel chain for each tier that it has, with rules made of statements. A rule that accepts
returns, so that the other end's policies are asked next; one that denies drops; one that passes goes to the next tier.

What the node itself sends never comes here (``skeleton``): the model allows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec

from netloom.dataplane.nftables.policy.sets import container_of, digest
from netloom.model.policy.state import Action, Chain, ChainKey, Direction, PortRange, Rule, Special
from netloom.model.provenance import Source
from netloom.program import names
from netloom.program.nft import AddRule, Verdict
from netloom.program.nft_rules import (
    AddressIn,
    Count,
    Do,
    Limit,
    Log,
    PairIn,
    PortIn,
    ProtocolIs,
    Side,
    Statement,
    TupleIn,
    rule,
)
from netloom.units import Family

_MOST_SAID = 100
"""Letters of a rule's comment that say where it comes from."""
_LOGGED_A_SECOND = 50
"""Dropped packets that each denying rule hands to the agent; all are counted."""


class Program(msgspec.Struct, frozen=True):
    """The kernel's chains of one chain of the model, in the order of its tiers; packets enter at the first."""

    chains: tuple[tuple[str, tuple[AddRule, ...]], ...]

    @property
    def entry(self) -> str:
        """Where a pod's packets come to."""
        return self.chains[0][0]


def chain_name(key: ChainKey) -> str:
    """The chain that packets under these policies enter; the same name as long as the same policies apply."""
    return f"{names.NFT_POLICY_PREFIX}{key.direction.value}-{digest(repr(key))}"


def program_of(family: Family, key: ChainKey, chain: Chain) -> Program:
    """The chains and rules in one family."""
    name = chain_name(key)
    tiers = [list(rules) for _, rules in itertools.groupby(chain.rules, lambda one: one.tier)] or [[]]
    made: list[tuple[str, tuple[AddRule, ...]]] = []
    for index, rules in enumerate(tiers):
        here = f"{name}-{index}" if index else name
        following = f"{name}-{index + 1}" if index + 1 < len(tiers) else ""
        statements = [one for each in rules for one in _rules(family, key, each, following)]
        if following:
            statements.append(((Do(Verdict("goto", following)),), "to the next tier"))
        elif chain.default is Action.DENY:
            statements.extend(_deny((), _isolation(chain)))
        made.append((here, tuple(_said(family, here, *one) for one in statements)))
    return Program(tuple(made))


Said = tuple[tuple[Statement, ...], str]
"""Statements of one rule, and where it comes from."""


def _rules(family: Family, key: ChainKey, one: Rule, following: str) -> Iterator[Said]:
    if one.peers is Special.OWN_NODE:
        return  # what the node itself sends never comes here
    side = Side.SOURCE if key.direction is Direction.INGRESS else Side.DESTINATION
    peers: tuple[Statement, ...] = ()
    if isinstance(one.peers, Special):
        peers = (PairIn(names.NFT_HAIRPIN),)
    elif one.peers is not None:
        peers = (AddressIn(side, container_of(one.peers).name),)
    for match in _matches(one):
        # the ports first: to compare two numbers is cheaper than to look into a set
        statements = (*match, *peers)
        said = f"{one.source}"
        if one.action is Action.DENY:
            yield from _deny(statements, said)
        elif one.action is Action.ACCEPT:
            yield (*statements, Count(), Do(Verdict("return"))), said
        elif following:
            yield (*statements, Count(), Do(Verdict("goto", following))), said
        else:
            yield (*statements, Count(), Do(Verdict("return"))), f"{said}, and no tier follows"


def _matches(one: Rule) -> Iterator[tuple[Statement, ...]]:
    if one.ports is None and not one.endpoints:
        yield ()
    for ports in one.ports or ():
        yield _port(ports)
    for endpoints in one.endpoints:
        yield (TupleIn(container_of(endpoints).name),)


def _port(ports: PortRange) -> tuple[Statement, ...]:
    protocol = ProtocolIs(ports.protocol)
    if (ports.first, ports.last) == (0, 65535):
        return (protocol,)
    return (protocol, PortIn(ports.first, ports.last))


def _deny(statements: tuple[Statement, ...], said: str) -> Iterator[Said]:
    mark = f"{names.NFT_DENIED_PREFIX}{digest(repr(statements) + said)}"
    yield (*statements, Limit(_LOGGED_A_SECOND), Log(names.NFT_LOG_GROUP, mark)), said
    yield (*statements, Count(), Do(Verdict("drop"))), said


def _isolation(chain: Chain) -> str:
    """What a drop at the end of a chain is because of."""
    first: Source | None = chain.isolating[0] if chain.isolating else None
    others = f" and {len(chain.isolating) - 1} more" if len(chain.isolating) > 1 else ""
    return f"nothing allowed it; isolated by {first}{others}" if first is not None else "nothing allowed it"


def _said(family: Family, chain: str, statements: tuple[Statement, ...], said: str) -> AddRule:
    text = "".join(letter for letter in said if letter not in '"\\\n')[:_MOST_SAID]
    return rule(family, chain, statements, f"{text} {digest(repr(statements) + said)[:8]}")
