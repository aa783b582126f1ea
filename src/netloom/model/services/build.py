"""One Service and its EndpointSlices, as the frontends that a node answers.

Comes in: a Service, its slices, what the node is. Goes out: frontends and Findings. Not here: two Services that want the
same address (``model/network.py`` decides), names (``model/names``), policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from netloom.api.core import Service
from netloom.api.discovery import EndpointSlice
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding, Source, source_of
from netloom.model.services.addresses import ClusterAddress, read_cluster_addresses, read_families
from netloom.model.services.backends import Candidates, Locality, candidates_of, choose, read_slice
from netloom.model.services.frontends import Backend, Frontend, FrontendAction, FrontendKey, FrontendKind
from netloom.model.services.ports import ServedPort, read_ports
from netloom.units import Family, Protocol, ServicePortKey, family_of

_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_DNS_PORT = 53


class ServiceBuild(msgspec.Struct, frozen=True):
    """What one Service gives on one node. No two frontends have the same key."""

    frontends: tuple[Frontend, ...] = ()
    findings: tuple[Finding, ...] = ()


def build(service: Service, slices: Iterable[EndpointSlice], facts: NodeFacts) -> ServiceBuild:
    """The frontends of a Service on the node of ``facts``; the order of ``slices`` makes no difference.

    Headless Services and ExternalName have names only, hence no frontend (core/v1 ServiceSpec.clusterIP, .type).
    LoadBalancer has what NodePort has. A frontend nobody can answer for rejects.
    """
    subject = source_of("Service", service.metadata)
    addresses, address_findings = read_cluster_addresses(service, subject)
    if service.spec.type == "ExternalName" or service.is_headless:
        return ServiceBuild()
    ports, port_findings = read_ports(service, subject)
    families, family_findings = read_families(service, addresses, subject)
    read = [read_slice(s) for s in sorted(slices, key=lambda s: s.metadata.name)]
    work = _Work(service, subject, facts)
    frontends: list[Frontend] = []
    has_node_ports = service.spec.type in ("NodePort", "LoadBalancer")
    for family in (Family.V4, Family.V6):
        own = [a for a in addresses if family_of(a.address) is family]
        on_node = has_node_ports and family in families
        if not own and not on_node:
            continue
        for port in ports:
            candidates = candidates_of(read, family, port)
            frontends.extend(work.cluster_frontends(family, own, port, candidates))
            if on_node and port.node_port:
                frontends.append(work.node_frontend(family, port, candidates))
    findings = [*address_findings, *port_findings, *family_findings, *_spec_findings(service, subject)]
    for one in read:
        findings.extend(one.findings)
    return ServiceBuild(tuple(frontends), tuple(findings))


class _Work:
    """What every frontend of one ``build`` shares."""

    def __init__(self, service: Service, subject: Source, facts: NodeFacts) -> None:
        self._key = service.key
        self._subject = subject
        self._facts = facts
        spec = service.spec
        internal, external = spec.internal_traffic_policy, spec.external_traffic_policy
        self._internal = Locality(facts.name, "spec.internalTrafficPolicy") if internal == "Local" else None
        self._external = Locality(facts.name, "spec.externalTrafficPolicy") if external == "Local" else None

    def cluster_frontends(
        self, family: Family, addresses: list[ClusterAddress], port: ServedPort, candidates: Candidates
    ) -> Iterator[Frontend]:
        """One frontend for each ClusterIP of the family."""
        for given in addresses:
            is_dns = self._is_dns(given, port)
            backends, left_out = ((), ()) if is_dns else choose(candidates, self._internal)
            yield Frontend(
                key=FrontendKey(family, given.address, port.protocol, port.port),
                kind=FrontendKind.CLUSTER_IP,
                service_port=ServicePortKey(self._key, port.name, port.protocol),
                action=FrontendAction.NODE_LOCAL if is_dns else _action(backends),
                backends=backends,
                masquerade=False,
                source=self._subject.at(f"{given.field}, spec.ports[{port.index}].port"),
                left_out=left_out,
            )

    def node_frontend(self, family: Family, port: ServedPort, candidates: Candidates) -> Frontend:
        """The NodePort on every address of the node."""
        backends, left_out = choose(candidates, self._external)
        return Frontend(
            key=FrontendKey(family, None, port.protocol, port.node_port),
            kind=FrontendKind.NODE_PORT,
            service_port=ServicePortKey(self._key, port.name, port.protocol),
            action=_action(backends),
            backends=backends,
            masquerade=self._external is None,
            source=self._subject.at(f"spec.ports[{port.index}].nodePort"),
            left_out=left_out,
        )

    def _is_dns(self, given: ClusterAddress, port: ServedPort) -> bool:
        return (
            port.port == _DNS_PORT
            and port.protocol in (Protocol.UDP, Protocol.TCP)
            and given.address in self._facts.dns_addresses
        )


def _action(backends: tuple[Backend, ...]) -> FrontendAction:
    return FrontendAction.BALANCE if backends else FrontendAction.REJECT


def _spec_findings(service: Service, subject: Source) -> Iterator[Finding]:
    spec = service.spec
    if spec.type not in _TYPES:
        yield Finding(
            subject.at("spec.type"),
            f'"{spec.type}" is no type; served as ClusterIP',
            f"use one of {', '.join(_TYPES)}",
        )
    for field, value in (
        ("spec.internalTrafficPolicy", spec.internal_traffic_policy),
        ("spec.externalTrafficPolicy", spec.external_traffic_policy),
    ):
        if value not in ("Cluster", "Local"):
            yield Finding(
                subject.at(field),
                f'"{value}" is no traffic policy; served as Cluster',
                "use Cluster or Local",
            )
    if spec.session_affinity != "None":
        problem = f"{spec.session_affinity} is not kept: each connection may go to another endpoint"
        yield Finding(subject.at("spec.sessionAffinity"), problem, "this release balances without affinity")
    if spec.external_ips:
        yield Finding(
            subject.at("spec.externalIPs"), "are not served", "this release serves ClusterIPs and NodePorts"
        )
