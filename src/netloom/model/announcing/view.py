"""What announcing depends on, and what comes of it: the cluster's objects that say which addresses there are, and duties. Only values."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.api.bgp import BGPPeer
from netloom.api.load_balancers import LoadBalancerPool
from netloom.model.announcing.elect import elected
from netloom.model.inputs import ClusterView
from netloom.model.provenance import Finding, Source
from netloom.units import Addr, ObjectKey


class AnnounceView(ClusterView, frozen=True, kw_only=True):
    """The cluster as a speaker reads it. Of Services only those of type LoadBalancer need to be there, and their slices."""

    load_balancer_pools: Mapping[ObjectKey, LoadBalancerPool] = {}
    bgp_peers: Mapping[ObjectKey, BGPPeer] = {}


class Duty(msgspec.Struct, frozen=True, kw_only=True):
    """An address outside that nodes answer for."""

    address: Addr
    candidates: tuple[str, ...]
    """Nodes that may have it under the traffic policies of all that use it, sorted; those that are gone are not among them."""
    layer2: tuple[str, ...] = ()
    """Those of the candidates that may answer for it on a network of theirs; ``elect.elected`` says who does. None where it is not announced so."""
    bgp: bool = False
    """Whether routes to it are announced, by those that ``routed_by`` names."""
    users: tuple[ObjectKey, ...] = ()
    """The Services behind it, the oldest first; none where an egress gateway sends from it."""
    source: Source
    """The field that gave the address."""

    @property
    def routed_by(self) -> tuple[str, ...]:
        """Nodes that announce a route to it: all candidates, but of an address that pods leave by only the one by which they do."""
        if not self.bgp or self.users:
            return self.candidates if self.bgp else ()
        owner = elected(str(self.address), self.candidates)
        return () if owner is None else (owner,)


class Announced(msgspec.Struct, frozen=True):
    """All duties, and what could not be one."""

    duties: Mapping[Addr, Duty] = {}
    findings: tuple[Finding, ...] = ()


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What parts of a speaker are told, whole, each time that something of it has changed."""

    node: str
    """The node of the speaker."""
    view: AnnounceView
    """Services of type LoadBalancer, without slices, and all else; ``gone`` has who takes no duties."""
    duties: Mapping[Addr, Duty]
