"""What the model says: the state of one node's network, and the difference between two states. Values only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from netloom.model.provenance import Finding, Source
from netloom.model.services.frontends import FlowClass, Frontend, FrontendAction, FrontendKey
from netloom.units import Addr, Cidr, ObjectKey, Protocol

K = TypeVar("K")
V = TypeVar("V")


class PeerRoute(msgspec.Struct, frozen=True, gc=False):
    """The pods of another node, and the node's address that they are behind."""

    destination: Cidr
    via: Addr
    node: str
    source: Source


class LocalPod(msgspec.Struct, frozen=True, gc=False):
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


def difference(before: NetworkState, after: NetworkState) -> Delta:
    """What leads from one state to the other."""
    frontends = changed_values(before.frontends, after.frontends)
    return Delta(
        frontends=frontends,
        routes=changed_values(before.routes, after.routes),
        local_pods=changed_values(before.local_pods, after.local_pods),
        flows=tuple(
            flow
            for key, now in frontends.items()
            for flow in ended_flows(key, before.frontends.get(key), now)
        ),
    )


def ended_flows(key: FrontendKey, before: Frontend | None, after: Frontend | None) -> Iterator[FlowClass]:
    """The flows at one frontend that live on in conntrack and that nobody would create any more.

    A frontend that balances no longer loses all of its flows; one that balances still, those to the backends that have gone
    (an equal address and port is the same backend, whatever slice it stands in). A UDP frontend that has just begun to
    balance loses what was tracked before: such flows passed untranslated, and a client that keeps sending keeps them
    alive for ever, never reaching a backend.
    """
    was_balancing = before is not None and before.action is FrontendAction.BALANCE
    is_balancing = after is not None and after.action is FrontendAction.BALANCE
    if before is not None and after is not None and was_balancing and is_balancing:
        kept = {(backend.address, backend.port) for backend in after.backends}
        for backend in before.backends:
            if (backend.address, backend.port) not in kept:
                yield FlowClass(key, backend)
    elif was_balancing or (is_balancing and key.protocol is Protocol.UDP):
        yield FlowClass(key, None)


def changed_values(before: Mapping[K, V], after: Mapping[K, V]) -> dict[K, V | None]:
    """Each key whose value is another now; None where it is gone."""
    changed: dict[K, V | None] = {key: None for key in before if key not in after}
    changed.update((key, value) for key, value in after.items() if before.get(key) != value)
    return changed
