"""What a walk gives: steps, each with its sources, branches where the way divides, and how each of them ends. Values only."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from netloom.model.provenance import Source
from netloom.model.walk.packet import Packet


class Stage(enum.Enum):
    """Part of the network that a step belongs to, in the order that a packet meets them."""

    NAME = "name"
    ANNOUNCE = "announce"
    """Who of the nodes is told to have an address outside."""
    SERVICE = "service"
    LEFT_OUT = "left out"
    """An endpoint that is none of the Service's backends."""
    ENDPOINT = "endpoint"
    NAT = "nat"
    LINK = "link"
    """An interface between a pod and its node."""
    ROUTE = "route"
    FABRIC = "fabric"
    POLICY = "policy"
    GATEWAY = "gateway"
    """What a gateway does to a request (Ingress, Gateway API)."""
    DELIVERY = "delivery"
    REPLY = "reply"
    """The way of the answers."""


class Step(msgspec.Struct, frozen=True):
    """One thing that happens to the packet, and the objects and fields that it follows from."""

    stage: Stage
    where: str
    """Node, or pod for what happens before the packet leaves it; empty outside."""
    text: str
    sources: tuple[Source, ...] = ()


class Outcome(enum.Enum):
    """How a way ends, as far as the API's objects tell."""

    DELIVERED = "DELIVERED"
    """It arrives at a pod or node. Whether a process listens there, no object says."""
    EXTERNAL = "EXTERNAL"
    """It leaves the cluster; what happens there is not ours to say."""
    REJECTED = "REJECTED"
    """Refused at once."""
    DROPPED = "DROPPED"
    """Not answered: the sender waits until it gives up."""
    UNREACHABLE = "UNREACHABLE"
    """There is no way."""


_GRAVITY = (Outcome.DELIVERED, Outcome.EXTERNAL, Outcome.REJECTED, Outcome.DROPPED, Outcome.UNREACHABLE)


class Ending(msgspec.Struct, frozen=True):
    """How a way ends, why, and what to do about it."""

    outcome: Outcome
    reason: str
    hint: str = ""
    sources: tuple[Source, ...] = ()


class Branch(msgspec.Struct, frozen=True):
    """One of the ways that a new connection may take."""

    share: Fraction
    """Part of new connections that go this way."""
    steps: tuple[Step, ...]
    """After those that all branches share."""
    ending: Ending
    packet: Packet | None = None
    """The packet as it is where the way ends; None where none is sent."""


class Walk(msgspec.Struct, frozen=True):
    """From origin to destination: the steps that all connections share, then the branches."""

    origin: str
    destination: str
    steps: tuple[Step, ...]
    branches: tuple[Branch, ...]
    """At least one; their shares add up to 1."""
    ending: Ending
    """The worst of the branches' endings."""


def walk_of(origin: str, destination: str, branches: Sequence[Branch]) -> Walk:
    """Branches with all their steps, as a walk: what they begin with in common is said once."""
    common = 0
    shortest = min(len(branch.steps) for branch in branches)
    while common < shortest and all(b.steps[common] == branches[0].steps[common] for b in branches):
        common += 1
    return Walk(
        origin=origin,
        destination=destination,
        steps=branches[0].steps[:common],
        branches=tuple(msgspec.structs.replace(b, steps=b.steps[common:]) for b in branches),
        ending=_worst(branches),
    )


def _worst(branches: Sequence[Branch]) -> Ending:
    worst = max(branches, key=lambda branch: _GRAVITY.index(branch.ending.outcome)).ending
    share = sum((b.share for b in branches if b.ending.outcome is worst.outcome), Fraction(0))
    if share == 1 and len({b.ending for b in branches}) == 1:
        return worst
    if worst.outcome is Outcome.DELIVERED:
        return Ending(
            Outcome.DELIVERED, f"to {len(branches)} backends, {_shares(branches)} of new connections each"
        )
    if share == 1:
        return worst
    part = f"{share} of new connections: {worst.reason}"
    return Ending(worst.outcome, part, worst.hint, worst.sources)


def _shares(branches: Sequence[Branch]) -> str:
    return " or ".join(str(share) for share in sorted({b.share for b in branches}))
