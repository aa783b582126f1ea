"""What one Service asks to be announced, and which nodes may do it. Pure.

Comes in: a Service of type LoadBalancer, where its ready endpoints are. Goes out: its addresses with the fields that gave them, and the nodes. Not here:
who of them does it (``elect``), and Services that share an address (``duties``).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netloom.api.core import Service
from netloom.api.discovery import EndpointSlice
from netloom.api.load_balancers import LOAD_BALANCER_CLASS
from netloom.model.claims import Seniority, seniority
from netloom.model.inputs import NodeFacts
from netloom.model.load_balancers.status import CONDITION
from netloom.model.provenance import Source, source_of
from netloom.model.services.addresses import AddressReader
from netloom.model.services.frontends import FrontendKind
from netloom.model.services.labels import opt_out
from netloom.model.services.slices import Usability, read_slice
from netloom.units import Addr, Cidr, ObjectKey


class Offer(msgspec.Struct, frozen=True):
    """One Service's wish."""

    service: ObjectKey
    seniority: Seniority
    addresses: tuple[tuple[Addr, Source], ...]
    nodes: frozenset[str] | None
    """Those with ready endpoints, under ``externalTrafficPolicy: Local``; None: any."""
    is_given: bool = False
    """Whether our controller has given the addresses: they are announced even where no pool has them any more."""


def is_ours(service: Service) -> bool:
    """Whether a Service's addresses are for us to announce: type LoadBalancer, of no class or of ours, and served by our dataplane."""
    spec = service.spec
    return (
        spec.type == "LoadBalancer"
        and spec.load_balancer_class in ("", LOAD_BALANCER_CLASS)
        and not opt_out(service.metadata.labels)
    )


def ready_nodes(slice_: EndpointSlice) -> frozenset[str]:
    """Where a slice has ready endpoints, as the health check at ``spec.healthCheckNodePort`` counts them: only slices with ports count."""
    read = read_slice(slice_)
    if not read.ports:
        return frozenset()
    return frozenset(one.node for one in read.endpoints if one.usability is Usability.READY and one.node)


class OfferReader:
    """Reads Services, with the cluster's ranges in mind: an address in one of them is served by nobody, hence not announced."""

    def __init__(self, *, cluster_cidrs: tuple[Cidr, ...], service_cidrs: tuple[Cidr, ...]) -> None:
        facts = NodeFacts(name="", cluster_cidrs=cluster_cidrs, service_cidrs=service_cidrs)
        self._addresses = AddressReader(facts)

    def read(self, service: Service, nodes: Iterable[frozenset[str]]) -> Offer | None:
        """The Service's wish; ``nodes`` are those of its slices. None where there is nothing to announce."""
        if not is_ours(service):
            return None
        subject = source_of("Service", service.metadata)
        addresses = tuple(
            (given.address, subject.at(given.field))
            for given in self._addresses.read(service, subject).given
            if given.kind is FrontendKind.LOAD_BALANCER
        )
        if not addresses:
            return None
        is_local = service.spec.external_traffic_policy == "Local"
        where = frozenset().union(*nodes) if is_local else None
        is_given = any(one.type == CONDITION for one in service.status.conditions)
        return Offer(service.key, seniority(service.metadata), addresses, where, is_given)
