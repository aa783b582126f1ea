"""Which addresses are announced, by which means, and by which nodes. Pure.

Comes in: Services of type LoadBalancer with their slices, LoadBalancerPools, EgressGateways, Nodes, and which of them are gone. Goes out: a ``Duty`` for each address, and
Findings. Two forms with one meaning: ``Announcing.compute`` from nothing, ``Announcing.update`` change by change. Not here: who of the candidates answers
(``elect``), external IPs (nobody announces them: whoever sets them sees to that).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from netloom.api.core import Node, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.load_balancers import BGP, LAYER2
from netloom.model.announcing.offers import Offer, OfferReader, is_ours, ready_nodes
from netloom.model.announcing.view import Announced, AnnounceView, Duty
from netloom.model.egress import gateways
from netloom.model.load_balancers.pools import read_pools
from netloom.model.provenance import Finding, Source
from netloom.model.routes.peers import read_node
from netloom.model.routes.ways import UNDERLAY_ANNOTATION, read_underlay
from netloom.model.services.labels import served_service
from netloom.units import Addr, Cidr, ObjectKey

EXCLUDED_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
"""A Node with it, whatever its value, has no traffic of load balancers (KEP-1143)."""


_EVERY_MEANS = (LAYER2, BGP)
"""Of an address that a Service keeps although no pool has it any more. One that no pool has and that we did not give is somebody else's to announce."""


class Announcing:
    """The duties of a cluster's nodes, following its objects.

    A change of one Service or slice costs what that Service costs; asking for all duties costs what there are addresses.

    Args:
        cluster_cidrs: all pods.
        service_cidrs: all ClusterIPs.
        everywhere: whether nodes answer at layer 2 for addresses that lie in none of their networks, too.
    """

    def __init__(
        self,
        *,
        cluster_cidrs: tuple[Cidr, ...] = (),
        service_cidrs: tuple[Cidr, ...] = (),
        everywhere: bool = False,
    ) -> None:
        self._reader = OfferReader(cluster_cidrs=cluster_cidrs, service_cidrs=service_cidrs)
        self._everywhere = everywhere
        self._services: dict[ObjectKey, Service] = {}
        self._ready: dict[ObjectKey, dict[ObjectKey, frozenset[str]]] = {}
        """By Service and slice; of all Services, for a slice may come before its Service does."""
        self._of_slice: dict[ObjectKey, ObjectKey] = {}
        self._offers: dict[ObjectKey, Offer] = {}

    @property
    def services(self) -> Mapping[ObjectKey, Service]:
        """Those whose addresses are for us to announce."""
        return self._services

    def service_changed(self, key: ObjectKey, service: Service | None) -> bool:
        """A Service is now this, or None: gone. Whether that may make other duties."""
        if service is None or not is_ours(service):
            known = self._services.pop(key, None) is not None
            self._offers.pop(key, None)
            return known
        self._services[key] = service
        self._read(key)
        return True

    def slice_changed(self, key: ObjectKey, slice_: EndpointSlice | None) -> bool:
        """An EndpointSlice is now this, or None: gone. Whether that makes other duties."""
        owner = None if slice_ is None else served_service(slice_)
        before = self._of_slice.pop(key, None)
        if before is not None and before != owner:
            self._drop(before, key)
        if slice_ is not None and owner is not None:
            self._of_slice[key] = owner
            self._ready.setdefault(owner, {})[key] = ready_nodes(slice_)
        changed = [self._read(one) for one in {before, owner} if one is not None]
        return any(changed)

    def announced(self, view: AnnounceView) -> Announced:
        """All duties; of ``view`` only what is no Service and no slice counts."""
        return _merge(self._offers.values(), view, everywhere=self._everywhere)

    @staticmethod
    def compute(
        view: AnnounceView,
        *,
        cluster_cidrs: tuple[Cidr, ...] = (),
        service_cidrs: tuple[Cidr, ...] = (),
        everywhere: bool = False,
    ) -> Announced:
        """All duties of a cluster. This is the definition; following changes is its optimisation."""
        reader = OfferReader(cluster_cidrs=cluster_cidrs, service_cidrs=service_cidrs)
        slices: dict[ObjectKey, list[frozenset[str]]] = {}
        for slice_ in view.slices.values():
            if (owner := served_service(slice_)) is not None:
                slices.setdefault(owner, []).append(ready_nodes(slice_))
        offers = (reader.read(service, slices.get(key, ())) for key, service in view.services.items())
        return _merge((o for o in offers if o is not None), view, everywhere=everywhere)

    def _drop(self, owner: ObjectKey, key: ObjectKey) -> None:
        slices = self._ready.get(owner, {})
        slices.pop(key, None)
        if not slices:
            self._ready.pop(owner, None)

    def _read(self, key: ObjectKey) -> bool:
        """Whether the Service's wish is another now."""
        service = self._services.get(key)
        if service is None:
            return False
        before = self._offers.pop(key, None)
        offer = self._reader.read(service, self._ready.get(key, {}).values())
        if offer is not None:
            self._offers[key] = offer
        return offer != before


def _merge(offers: Iterable[Offer], view: AnnounceView, *, everywhere: bool) -> Announced:
    by_address: dict[Addr, list[tuple[Offer, Source]]] = {}
    for offer in offers:
        for address, source in offer.addresses:
            by_address.setdefault(address, []).append((offer, source))
    findings: list[Finding] = []
    able = {
        key.name: node
        for key, node in view.nodes.items()
        if key not in view.gone and EXCLUDED_LABEL not in node.metadata.labels
    }
    everyone = tuple(sorted(able))
    networks = _Networks(able if by_address else {}, everywhere=everywhere)
    # what a hundred Nodes say of themselves is read where there is anything to announce
    nodes = view.nodes.items() if by_address else ()
    own = {address: name.name for name, node in nodes for address in read_node(node).addresses}
    pools, _ = read_pools(view.load_balancer_pools.values(), {})
    means = {name: view.load_balancer_pools[ObjectKey("", name)].spec.announce for name in pools}
    duties: dict[Addr, Duty] = {}
    for address, users in by_address.items():
        users.sort(key=lambda user: user[0].seniority)
        source = users[0][1]
        if (holder := own.get(address)) is not None:
            problem = f"{address} is an address of Node {holder}: not announced"
            findings.append(Finding(source, problem, "take it out of the pool"))
            continue
        kept = _EVERY_MEANS if any(offer.is_given for offer, _ in users) else ()
        words = next((means[pool.name] for pool in pools.values() if pool.has(address)), kept)
        if not words:
            continue
        candidates, clash = _candidates(address, users, everyone)
        findings.extend(clash)
        near = networks.near(address) if LAYER2 in words else frozenset()
        duties[address] = Duty(
            address=address,
            candidates=candidates,
            layer2=tuple(name for name in candidates if name in near),
            bgp=BGP in words,
            users=tuple(offer.service for offer, _ in users),
            source=source,
        )
    for duty in gateways.duties(view):
        if (other := duties.setdefault(duty.address, duty)) is not duty:
            problem = (
                f"{duty.address} is an address of {other.source.subject}, too, whose nodes answer for it"
            )
            findings.append(Finding(duty.source, problem, "let the gateway have addresses that no pool has"))
    return Announced(duties, tuple(sorted(findings)))


def _candidates(
    address: Addr, users: list[tuple[Offer, Source]], everyone: tuple[str, ...]
) -> tuple[tuple[str, ...], Iterator[Finding]]:
    """Nodes that can serve all who share an address. Who has no endpoint anywhere is served by nobody, and asks for nothing."""
    asking = [(offer, source) for offer, source in users if offer.nodes != frozenset()]
    if not asking:
        return (), iter(())
    bound = [offer.nodes for offer, _ in asking if offer.nodes is not None]
    if not bound:
        return everyone, iter(())
    found = bound[0].intersection(*bound)
    able = tuple(name for name in everyone if name in found)
    return able, _clash(address, asking) if not found and len(bound) > 1 else iter(())


def _clash(address: Addr, users: list[tuple[Offer, Source]]) -> Iterator[Finding]:
    names = ", ".join(f"Service {offer.service}" for offer, _ in users)
    for offer, source in users:
        if offer.nodes is not None:
            problem = f"{address} is shared by {names}, and no node has endpoints of all of them: nobody answers for it"
            hint = "give them addresses of their own, or externalTrafficPolicy: Cluster"
            yield Finding(source.at("spec.externalTrafficPolicy"), problem, hint)


class _Networks:
    """Which nodes have a network that an address lies in. Nodes share networks, so there are few of these."""

    def __init__(self, nodes: Mapping[str, Node], *, everywhere: bool) -> None:
        self._all = frozenset(nodes) if everywhere else None
        self._nodes: dict[Cidr, set[str]] = {}
        for name, node in nodes.items():
            underlay = read_underlay(node.metadata.annotations.get(UNDERLAY_ANNOTATION, ""))
            for segment in () if underlay is None else underlay.segments:
                self._nodes.setdefault(segment.interface.network, set()).add(name)

    def near(self, address: Addr) -> frozenset[str]:
        """Names of nodes."""
        if self._all is not None:
            return self._all
        return frozenset().union(
            *(
                n
                for network, n in self._nodes.items()
                if network.version == address.version and address in network
            )
        )
