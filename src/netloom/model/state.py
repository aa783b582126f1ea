"""What the model says: the state of one node's network, and the difference between two states. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from netloom.model.egress.state import EgressDelta, EgressState
from netloom.model.policy.differences import difference as policy_difference
from netloom.model.policy.state import PolicyDelta, PolicyState
from netloom.model.provenance import Finding, Source
from netloom.model.routes.ways import DEFAULT_MTU, Way
from netloom.model.services.frontends import Backend, Frontend, FrontendKey, HealthCheck
from netloom.units import Addr, Cidr, ObjectKey, Protocol

K = TypeVar("K")
V = TypeVar("V")


class PeerRoute(msgspec.Struct, frozen=True, gc=False):
    """The pods of another node, the node's address that they are behind, and the way to it.

    Where the way is a tunnel, ``via`` is where the outer packet goes, of whatever family. ``key`` is the node's public key where
    the way is encrypted. ``mtu`` in bytes is what a pod's packet may measure on this way, as far as both ends' networks tell.
    """

    destination: Cidr
    via: Addr
    node: str
    source: Source
    way: Way = Way.DIRECT
    key: str = ""
    mtu: int = DEFAULT_MTU

    @property
    def is_plain(self) -> bool:
        """Pods' packets travel as they are: the peer's node itself has the way back to the pods of this one, too."""
        return self.way.is_plain


class PodRange(msgspec.Struct, frozen=True, gc=False):
    """A range of pods that is none of a node's own ``spec.podCIDRs``; ``is_own``: of pods of this node."""

    cidr: Cidr
    is_own: bool


class LocalPod(msgspec.Struct, frozen=True, gc=False):
    """An address of a pod on this node (never a host-network pod)."""

    address: Addr
    pod: ObjectKey
    uid: str
    keeps_source: Source | None = None
    """The annotation by which it leaves the cluster with its own address (``egress/leaving.py``); None: as the node's settings say."""


class NetworkState(msgspec.Struct, frozen=True):
    """One node's network as it should be. Equal states mean equal networks."""

    frontends: Mapping[FrontendKey, Frontend] = {}
    routes: Mapping[Cidr, PeerRoute] = {}
    local_pods: Mapping[Addr, LocalPod] = {}
    ranges: Mapping[Cidr, PodRange] = {}
    """Besides ``NodeFacts.pod_cidrs`` and ``cluster_cidrs``; they may overlap."""
    health_checks: Mapping[int, HealthCheck] = {}
    """By ``spec.healthCheckNodePort``."""
    policy: PolicyState = PolicyState()
    egress: EgressState = EgressState()
    findings: tuple[Finding, ...] = ()


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """What an update changed: per key the new value, or None where it is gone. Empty where nothing changed."""

    frontends: Mapping[FrontendKey, Frontend | None] = {}
    routes: Mapping[Cidr, PeerRoute | None] = {}
    local_pods: Mapping[Addr, LocalPod | None] = {}
    ranges: Mapping[Cidr, PodRange | None] = {}
    flows: tuple[FrontendKey, ...] = ()
    """Frontends at which flows may live on that would not be made any more; to be looked at after the switch."""
    health_checks: Mapping[int, HealthCheck | None] = {}
    policy: PolicyDelta = PolicyDelta()
    egress: EgressDelta = EgressDelta()

    @property
    def is_empty(self) -> bool:
        """True where nothing has to be done."""
        services = self.frontends or self.flows or self.health_checks
        places = self.routes or self.local_pods or self.ranges
        return not (services or places) and self.policy.is_empty and self.egress.is_empty


def difference(before: NetworkState, after: NetworkState) -> Delta:
    """What leads from one state to the other."""
    frontends = changed_values(before.frontends, after.frontends)
    return Delta(
        frontends=frontends,
        routes=changed_values(before.routes, after.routes),
        local_pods=changed_values(before.local_pods, after.local_pods),
        ranges=changed_values(before.ranges, after.ranges),
        flows=tuple(
            key for key, now in frontends.items() if may_end_flows(key, before.frontends.get(key), now)
        ),
        health_checks=changed_values(before.health_checks, after.health_checks),
        policy=policy_difference(before.policy, after.policy),
        egress=EgressDelta(
            pods=changed_values(before.egress.pods, after.egress.pods),
            exits=changed_values(before.egress.exits, after.egress.exits),
            nodes=None if before.egress.nodes == after.egress.nodes else after.egress.nodes,
            ends=changed_values(before.egress.ends, after.egress.ends),
            statuses=changed_values(before.egress.statuses, after.egress.statuses),
        ),
    )


def may_end_flows(key: FrontendKey, before: Frontend | None, after: Frontend | None) -> bool:
    """Whether flows at this frontend may live on in conntrack that nobody would create any more.

    A UDP flow belongs to the backends that new ones are sent to; a UDP frontend that has just begun to balance also loses
    what was tracked before: such flows passed untranslated, and a client that keeps sending keeps them alive for ever. A TCP or
    SCTP connection lives for as long as its endpoint is in the slices at all, whatever its condition: it drains.
    """
    if before is not None and after is not None and before.source_ranges != after.source_ranges:
        return True
    were, are = _keepers(key, before), _keepers(key, after)
    if any(_is_lost(old, new) for old, new in zip(were, are, strict=True)):
        return True
    return key.protocol is Protocol.UDP and any(are) and not any(were)


Places = frozenset[tuple[Addr, int]]


def keepers(frontend: Frontend, *, inside: bool) -> Places:
    """Where established flows of a client may go on: of one inside (a pod of this node, the node itself), or of any other."""
    return frozenset((backend.address, backend.port) for backend in _keeping(frontend, inside=inside))


def _keeping(frontend: Frontend, *, inside: bool) -> list[Backend]:
    if frontend.key.protocol is Protocol.UDP:
        pool = frontend.inside if inside and frontend.inside is not None else frontend
        return list(pool.backends)
    return [
        *frontend.backends,
        *frontend.draining,
        *(frontend.inside.backends if frontend.inside is not None else ()),
    ]


def _keepers(key: FrontendKey, frontend: Frontend | None) -> tuple[list[Backend], ...]:
    """For clients outside, and for those inside where they are others."""
    if frontend is None:
        return [], []
    outside = _keeping(frontend, inside=False)
    return outside, _keeping(frontend, inside=True) if key.protocol is Protocol.UDP else outside


def _is_lost(old: Sequence[Backend], new: Sequence[Backend]) -> bool:
    """Whether there is a place in ``old`` that is not in ``new``. Most backends are the same objects: seen without a look inside."""
    if old is new:
        return False
    before, after = set(map(id, old)), set(map(id, new))
    gone = [backend for backend in old if id(backend) not in after]
    if not gone:
        return False
    # No place is in one frontend as two objects: what went can only have come back as one that is new.
    places = {(int(backend.address), backend.port) for backend in new if id(backend) not in before}
    return any((int(backend.address), backend.port) not in places for backend in gone)


def changed_values(before: Mapping[K, V], after: Mapping[K, V]) -> dict[K, V | None]:
    """Each key whose value is another now; None where it is gone."""
    changed: dict[K, V | None] = {key: None for key in before if key not in after}
    changed.update((key, value) for key, value in after.items() if before.get(key) != value)
    return changed
