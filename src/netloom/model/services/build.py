"""One Service and its EndpointSlices, as the frontends that a node answers.

Comes in: a Service, its slices, what the node is. Goes out: frontends, a health check, and Findings. Not here: two Services that
want the same address (``model/network.py`` decides), names (``model/names``), policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from netloom.api.core import Service
from netloom.api.discovery import EndpointSlice
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding, Source, source_of
from netloom.model.services.addresses import Addresses, AddressReader, GivenAddress
from netloom.model.services.backends import Candidates, candidates_of
from netloom.model.services.frontends import (
    Frontend,
    FrontendAction,
    FrontendKey,
    FrontendKind,
    HealthCheck,
)
from netloom.model.services.health_check import read_health_check
from netloom.model.services.labels import opt_out
from netloom.model.services.pools import Pools
from netloom.model.services.ports import ServedPort, read_ports, read_protocol
from netloom.model.services.slices import ReadSlice, read_slice
from netloom.model.services.source_ranges import read_source_ranges
from netloom.model.services.spec import EXTERNAL_POLICY, INTERNAL_POLICY, Settings, read_settings
from netloom.model.services.topology import Place
from netloom.units import Cidr, Family, ObjectKey, Protocol, ServicePortKey

_DNS_PORT = 53
_CLUSTER_IP, _LOAD_BALANCER = FrontendKind.CLUSTER_IP, FrontendKind.LOAD_BALANCER
_SCTP = Protocol.SCTP


class ServiceBuild(msgspec.Struct, frozen=True):
    """What one Service gives on one node. No two frontends have the same key."""

    frontends: tuple[Frontend, ...] = ()
    findings: tuple[Finding, ...] = ()
    health_port: int = 0
    """``spec.healthCheckNodePort``; 0 where there is no health check."""
    health_check: HealthCheck | None = None


_NOTHING = ServiceBuild()


def build(service: Service, slices: Iterable[EndpointSlice], facts: NodeFacts) -> ServiceBuild:
    """What a Service gives on the node of ``facts``; the order of ``slices`` makes no difference."""
    return ServiceBuilder(facts).build(service, [read_slice(one) for one in slices])


class ServiceBuilder:
    """Builds Services for one node."""

    def __init__(self, facts: NodeFacts) -> None:
        self._facts = facts
        self._addresses = AddressReader(facts)
        self._dns = frozenset(facts.dns_addresses)
        self._place = Place(facts.name, facts.zone)

    def build(self, service: Service, slices: Sequence[ReadSlice]) -> ServiceBuild:
        """Frontends, health check and Findings of a Service with these slices, in whatever order.

        Headless Services and ExternalName have names only, hence nothing here (core/v1 ServiceSpec.clusterIP, .type); nor has
        what is left to another proxy (``labels.py``). A frontend nobody can answer for rejects.
        """
        spec = service.spec
        if spec.type == "ExternalName" or spec.cluster_ip == "None" or opt_out(service.metadata.labels):
            return _NOTHING
        subject = source_of("Service", service.metadata)
        addresses = self._addresses.read(service, subject)
        ports, port_findings = read_ports(service, subject)
        settings, setting_findings = read_settings(service, subject)
        if len(slices) > 1:
            slices = sorted(slices, key=_slice_name)
        findings = [*addresses.findings, *port_findings, *setting_findings]
        for one in slices:
            findings += one.findings
        if addresses.families and not _agree(addresses.families, ports, slices):
            findings.extend(_contradictions(service, subject, addresses.families, slices))
        work = _Work(service.key, subject, settings, self._place)
        if spec.type == "LoadBalancer":
            own = self._facts.addresses
            work.ranges, range_findings = read_source_ranges(service, subject, addresses.given, own)
            findings.extend(range_findings)
        frontends: list[Frontend] = []
        for family in addresses.families:
            for port in ports:
                frontends.extend(self._frontends(work, addresses, family, port, slices))
        health_port, health_check = 0, None
        if spec.health_check_node_port:
            health_port, health_check, found = read_health_check(service, subject, slices, self._facts.name)
            findings.extend(found)
        return ServiceBuild(tuple(frontends), tuple(findings), health_port, health_check)

    def _frontends(
        self,
        work: _Work,
        addresses: Addresses,
        family: Family,
        port: ServedPort,
        slices: Sequence[ReadSlice],
    ) -> Iterator[Frontend]:
        """All of one port in one family; its endpoints are looked at once."""
        pools = work.pools(candidates_of(slices, family, port))
        for given in addresses.given:
            if given.family is not family:
                continue
            if given.kind is not _CLUSTER_IP:
                yield work.outer_frontend(given, port, pools)
            elif self._is_dns(given, port):
                yield work.node_local(given, port)
            else:
                yield work.cluster_frontend(given, port, pools)
        if port.node_port and work.has_node_ports:
            yield work.node_frontend(family, port, pools)

    def _is_dns(self, given: GivenAddress, port: ServedPort) -> bool:
        return port.port == _DNS_PORT and port.protocol is not _SCTP and given.address in self._dns


class _Work:
    """What every frontend of one ``build`` shares."""

    def __init__(self, key: ObjectKey, subject: Source, settings: Settings, place: Place) -> None:
        self._key = key
        self._subject = subject
        self._settings = settings
        self._place = place
        self.has_node_ports = settings.has_node_ports
        self.ranges: dict[Family, tuple[Cidr, ...]] | None = None

    def pools(self, candidates: Candidates) -> Pools:
        """Who of these endpoints is used."""
        return Pools(candidates, self._place, self._settings.distribution)

    def node_local(self, given: GivenAddress, port: ServedPort) -> Frontend:
        """The cluster DNS address, which this node's own server answers."""
        return Frontend(
            FrontendKey(given.family, given.address, port.protocol, port.port),
            given.kind,
            ServicePortKey(self._key, port.name, port.protocol),
            FrontendAction.NODE_LOCAL,
            (),
            False,
            self._source_at(given, port),
        )

    def cluster_frontend(self, given: GivenAddress, port: ServedPort, pools: Pools) -> Frontend:
        """A ClusterIP: ``spec.internalTrafficPolicy`` decides."""
        settings = self._settings
        pool = pools.local(INTERNAL_POLICY) if settings.is_internal_local else pools.cluster
        return Frontend(
            key=FrontendKey(given.family, given.address, port.protocol, port.port),
            kind=_CLUSTER_IP,
            service_port=ServicePortKey(self._key, port.name, port.protocol),
            action=pool.action,
            backends=pool.backends,
            masquerade=False,
            source=self._source_at(given, port),
            left_out=pool.left_out,
            affinity_s=settings.affinity_s,
            draining=pools.draining(pool),
        )

    def outer_frontend(self, given: GivenAddress, port: ServedPort, pools: Pools) -> Frontend:
        """A LoadBalancer address or external IP: ``spec.externalTrafficPolicy`` decides."""
        key = FrontendKey(given.family, given.address, port.protocol, port.port)
        ranges = None
        if self.ranges is not None and given.kind is _LOAD_BALANCER:
            ranges = self.ranges[given.family]
        return self._external(key, given.kind, self._source_at(given, port), port, pools, ranges)

    def node_frontend(self, family: Family, port: ServedPort, pools: Pools) -> Frontend:
        """The NodePort at addresses of the node: ``spec.externalTrafficPolicy`` decides."""
        key = FrontendKey(family, None, port.protocol, port.node_port)
        source = self._subject.at(f"spec.ports[{port.index}].nodePort")
        return self._external(key, FrontendKind.NODE_PORT, source, port, pools, None)

    def _external(
        self,
        key: FrontendKey,
        kind: FrontendKind,
        source: Source,
        port: ServedPort,
        pools: Pools,
        ranges: tuple[Cidr, ...] | None,
    ) -> Frontend:
        is_local = self._settings.is_external_local
        cluster = pools.cluster
        pool = pools.local(EXTERNAL_POLICY) if is_local else cluster
        return Frontend(
            key=key,
            kind=kind,
            service_port=ServicePortKey(self._key, port.name, port.protocol),
            action=pool.action,
            backends=pool.backends,
            masquerade=not is_local,
            source=source,
            left_out=pool.left_out,
            inside=cluster if is_local else None,
            affinity_s=self._settings.affinity_s,
            source_ranges=ranges,
            draining=pools.draining(pool, cluster),
        )

    def _source_at(self, given: GivenAddress, port: ServedPort) -> Source:
        return self._subject.at(f"{given.field}, spec.ports[{port.index}].port")


def _slice_name(slice_: ReadSlice) -> str:
    return slice_.source.name


def _agree(families: Sequence[Family], ports: Sequence[ServedPort], slices: Sequence[ReadSlice]) -> bool:
    """Whether slices have no family and no port but those of their Service: nearly always, and cheap to see."""
    wanted = {port.key for port in ports}
    return all(one.family in families and one.ports.keys() <= wanted for one in slices)


def _contradictions(
    service: Service, subject: Source, families: Sequence[Family], slices: Sequence[ReadSlice]
) -> Iterator[Finding]:
    """What slices say that their Service does not know of."""
    wanted = {(port.name, port.protocol) for port in service.spec.ports}
    unreadable = {port.name for port in service.spec.ports if read_protocol(port.protocol) is None}
    for slice_ in slices:
        if slice_.family is not None and slice_.family not in families:
            problem = f"{slice_.family.address_type}, and {subject.subject} has no ClusterIP of it: not used"
            hint = "correct the slice, or spec.ipFamilies of the Service"
            yield Finding(slice_.source.at("addressType"), problem, hint)
        for (name, protocol), (_, index) in slice_.ports.items():
            if (name, protocol) not in wanted and name not in unreadable:
                which = f'named "{name}" with protocol {protocol}' if name else f"{protocol} without a name"
                problem = f"{subject.subject} has no port {which}: not used"
                hint = "correct the slice, or spec.ports of the Service"
                yield Finding(slice_.source.at(f"ports[{index}]"), problem, hint)
