"""Which pods leave the cluster by which addresses, as one node knows it. Values only.

Not here: how they follow from objects (``exits.py``), what becomes of one packet (``leaving.py``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from netloom.api.egress import EgressAddress
from netloom.model.provenance import Source
from netloom.units import Addr, Cidr, Family, ObjectKey, family_of

K = TypeVar("K")
V = TypeVar("V")

MOST_EXITS = 4094
"""Addresses of all gateways together; the marks of packets have no room for more."""

NOBODYS: Mapping[Family, Addr] = {
    Family.V4: ipaddress.IPv4Address(0),
    Family.V6: ipaddress.IPv6Address(0),
}
"""Stands for the address where a gateway means a family and has no usable one: no node ever has it, so nothing leaves by it."""


class Exit(msgspec.Struct, frozen=True):
    """An address by which pods leave, and the node that has it: empty while nobody may."""

    address: Addr
    node: str
    number: int
    """What it is called in marks and tables of routes: from 1 to ``MOST_EXITS``; 0 for those of ``NOBODYS``."""
    source: Source


class PodWay(msgspec.Struct, frozen=True, cache_hash=True):
    """What one EgressGateway says of a pod's packets in one family."""

    gateway: Source
    address: Addr
    source: Source
    """The field that names the address."""
    destinations: tuple[Cidr, ...] | None = None
    """None: all that is outside of the cluster."""
    excepts: tuple[Cidr, ...] = ()
    falls_back: bool = False
    """Whether packets leave by the pod's own node while nobody has the address."""

    def concerns(self, destination: Addr) -> bool:
        """Whether packets to an address outside leave this way."""
        if any(destination in cidr for cidr in self.excepts):
            return False
        return self.destinations is None or any(destination in cidr for cidr in self.destinations)


class EgressPod(msgspec.Struct, frozen=True):
    """An address of a pod that leaves by gateways, the first that concerns a destination."""

    pod: ObjectKey
    node: str
    ways: tuple[PodWay, ...]


class TunnelEnd(msgspec.Struct, frozen=True):
    """A node that packets are exchanged with on their way out: its address among its pods, which every fabric leads to."""

    node: str
    address: Addr


class EgressState(msgspec.Struct, frozen=True):
    """What of egress gateways concerns one node."""

    pods: Mapping[Addr, EgressPod] = {}
    """Those of this node; where it may have an address, also those of other nodes that leave by it."""
    exits: Mapping[Addr, Exit] = {}
    nodes: frozenset[Addr] = frozenset()
    """Addresses of nodes: packets to them do not leave the cluster. None where there are no gateways."""
    ends: Mapping[str, TunnelEnd] = {}
    """By node."""
    statuses: Mapping[ObjectKey, tuple[EgressAddress, ...]] = {}
    """What this node writes into gateways' status: each is one node's to write."""

    @property
    def is_empty(self) -> bool:
        """Whether there are no gateways."""
        return not self.exits


class EgressDelta(msgspec.Struct, frozen=True):
    """What an update changed: per key the new value, or None where it is gone."""

    pods: Mapping[Addr, EgressPod | None] = {}
    exits: Mapping[Addr, Exit | None] = {}
    nodes: frozenset[Addr] | None = None
    """All of them, where they are others now."""
    ends: Mapping[str, TunnelEnd | None] = {}
    statuses: Mapping[ObjectKey, tuple[EgressAddress, ...] | None] = {}

    @property
    def is_empty(self) -> bool:
        """True where nothing has to be done."""
        return not (self.pods or self.exits or self.ends or self.statuses) and self.nodes is None


NEAR: Mapping[Family, tuple[Cidr, ...]] = {
    Family.V4: (ipaddress.ip_network("169.254.0.0/16"), ipaddress.ip_network("224.0.0.0/4")),
    Family.V6: (ipaddress.ip_network("fe80::/10"), ipaddress.ip_network("ff00::/8")),
}
"""Link-local addresses, which every node has its own behind, and groups: no matter of gateways."""


def way_of(state: EgressState, pod: Addr, destination: Addr) -> PodWay | None:
    """What a gateway says of a packet of a pod to an address outside; None: nothing."""
    found = state.pods.get(pod)
    if found is None or destination in state.nodes:
        return None
    if any(destination in cidr for cidr in NEAR[family_of(destination)]):
        return None
    return next((way for way in found.ways if way.concerns(destination)), None)


def advanced(state: EgressState, delta: EgressDelta) -> EgressState:
    """The state after a change."""
    return EgressState(
        pods=_advanced(state.pods, delta.pods),
        exits=_advanced(state.exits, delta.exits),
        nodes=state.nodes if delta.nodes is None else delta.nodes,
        ends=_advanced(state.ends, delta.ends),
        statuses=_advanced(state.statuses, delta.statuses),
    )


def _advanced(held: Mapping[K, V], changes: Mapping[K, V | None]) -> Mapping[K, V]:
    if not changes:
        return held
    after = {key: value for key, value in held.items() if key not in changes}
    after.update((key, value) for key, value in changes.items() if value is not None)
    return after
