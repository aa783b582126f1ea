"""What announcing depends on: the cluster's objects that say which addresses there are, and which nodes are there. Only values."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.model.inputs import ClusterView
from netloom.model.provenance import Source
from netloom.units import Addr, ObjectKey


class Duty(msgspec.Struct, frozen=True, kw_only=True):
    """An address outside that nodes answer for."""

    address: Addr
    candidates: tuple[str, ...]
    """Nodes that may have it under the traffic policies of all that use it, sorted; those that are gone are not among them."""
    layer2: bool
    """Whether one of them answers for it (``elect.elected``)."""
    bgp: bool
    """Whether all of them announce a route to it."""
    users: tuple[ObjectKey, ...] = ()
    """The Services behind it, the oldest first; none where an egress gateway sends from it."""
    source: Source
    """The field that gave the address."""


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What parts of a speaker are told, whole, each time that something of it has changed."""

    node: str
    """The node of the speaker."""
    view: ClusterView
    """Nodes, Services of type LoadBalancer and whatever else says that an address is announced; ``gone`` among them."""
    duties: Mapping[Addr, Duty]
    fit: bool = True
    """Whether this node may have duties: its agent has had everything in force."""
