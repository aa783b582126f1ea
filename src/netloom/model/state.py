"""What the model says: the state of one node's network, and the difference between two states. Values only."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.model.provenance import Finding, Source
from netloom.model.services.frontends import FlowClass, Frontend, FrontendKey
from netloom.units import Addr, Cidr, ObjectKey


class PeerRoute(msgspec.Struct, frozen=True):
    """The pods of another node, and the node's address that they are behind."""

    destination: Cidr
    via: Addr
    node: str
    source: Source


class LocalPod(msgspec.Struct, frozen=True):
    """An address of a pod on this node (never a host-network pod)."""

    address: Addr
    pod: ObjectKey
    uid: str


class NetworkState(msgspec.Struct, frozen=True):
    """One node's network as it should be. Equal states mean equal networks."""

    frontends: Mapping[FrontendKey, Frontend] = {}
    routes: Mapping[Cidr, PeerRoute] = {}
    local_pods: Mapping[Addr, LocalPod] = {}
    findings: tuple[Finding, ...] = ()


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """What an update changed: per key the new value, or None where it is gone. Empty where nothing changed."""

    frontends: Mapping[FrontendKey, Frontend | None] = {}
    routes: Mapping[Cidr, PeerRoute | None] = {}
    local_pods: Mapping[Addr, LocalPod | None] = {}
    flows: tuple[FlowClass, ...] = ()
    """Flows that may no longer live; to be removed after the switch."""

    @property
    def is_empty(self) -> bool:
        """True where nothing has to be done."""
        return not (self.frontends or self.routes or self.local_pods or self.flows)
