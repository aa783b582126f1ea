"""The names that one Service gives: addresses, ports, endpoints, reverse names, aliases.

Comes in: a Service and its EndpointSlices. Goes out: a Part. The rules are those of the Kubernetes DNS specification 1.1,
sections 2.3 (ClusterIP), 2.4 (headless) and 2.5 (ExternalName), and besides them zonal names of headless Services.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netloom.api.core import Service
from netloom.api.discovery import Endpoint, EndpointSlice
from netloom.model.names.records import (
    NameSettings,
    Part,
    RecordCollector,
    RecordType,
    is_domain_name,
    is_label,
)
from netloom.model.names.reverse import reverse_name
from netloom.model.provenance import Finding, source_of
from netloom.units import Addr, parse_addr

# SRV priority and weight are not prescribed (specification 2.3.2); all the same, so that clients spread evenly.
_PRIORITY_WEIGHT = "0 100"


def service_part(service: Service, slices: Iterable[EndpointSlice], settings: NameSettings) -> Part:
    """The names of one Service.

    A headless Service without a published endpoint has no name at all (specification 2.4.1: NXDOMAIN). One whose ClusterIP
    is not allocated yet has none either.
    """
    meta, spec = service.metadata, service.spec
    source = source_of("Service", meta)
    if not (is_label(meta.name) and is_label(meta.namespace)):
        return Part(findings=(Finding(source.at("metadata.name"), "no DNS label, so it has no name"),))
    if spec.type == "ExternalName":
        return _external_name(service, settings)
    name = f"{meta.name}.{meta.namespace}.svc.{settings.cluster_domain}"
    records = RecordCollector(ttl=settings.ttl)
    findings: list[Finding] = []
    if not service.is_headless:
        _cluster_ips(service, name, records, findings)
    _endpoints(service, slices, name, records, findings)
    return Part(records.collected(), tuple(findings))


def _external_name(service: Service, settings: NameSettings) -> Part:
    meta = service.metadata
    target = service.spec.external_name.lower().rstrip(".")
    source = source_of("Service", meta, "spec.externalName")
    if parse_addr(target) is not None:
        hint = "use a headless Service with an EndpointSlice that holds the address"
        return Part(findings=(Finding(source, f"{target} is an address, and an alias must be a name", hint),))
    if not is_domain_name(target):
        return Part(
            findings=(
                Finding(source, f"{target!r} is no domain name", "write a name such as db.example.org"),
            )
        )
    records = RecordCollector(ttl=settings.ttl)
    records.add(f"{meta.name}.{meta.namespace}.svc.{settings.cluster_domain}", RecordType.CNAME, target)
    return Part(records.collected())


def _cluster_ips(service: Service, name: str, records: RecordCollector, findings: list[Finding]) -> None:
    spec = service.spec
    source = source_of("Service", service.metadata)
    found = False
    for index, text in enumerate(spec.cluster_ips or (spec.cluster_ip,)):
        address = parse_addr(text)
        if address is not None:
            found = True
            records.add_address(name, address)
            records.add(reverse_name(address), RecordType.PTR, name)
        elif text:
            findings.append(Finding(source.at(f"spec.clusterIPs[{index}]"), f"{text!r} is no address"))
    if not found:
        return
    for index, port in enumerate(spec.ports):
        if is_label(port.name):
            owner = f"_{port.name}._{port.protocol.lower()}.{name}"
            records.add(owner, RecordType.SRV, f"{_PRIORITY_WEIGHT} {port.port} {name}")
        elif port.name:
            where = source.at(f"spec.ports[{index}].name")
            findings.append(Finding(where, f"{port.name!r} is no DNS label, so the port has no SRV record"))


def _endpoints(
    service: Service,
    slices: Iterable[EndpointSlice],
    name: str,
    records: RecordCollector,
    findings: list[Finding],
) -> None:
    """Names of endpoints: all of a headless Service; of others only those whose slice gives a hostname (a StatefulSet's pods)."""
    for piece in slices:
        ports = _named_ports(piece) if service.is_headless else ()
        for endpoint, address in _published(service, piece):
            hostname = (endpoint.hostname or "").lower()
            if hostname and not is_label(hostname):
                source = source_of("EndpointSlice", piece.metadata, "endpoints.hostname")
                findings.append(
                    Finding(source, f"{endpoint.hostname!r} is no DNS label", "its address names it instead")
                )
                hostname = ""
            if not hostname and not service.is_headless:
                continue
            own = f"{hostname or dashed(address)}.{name}"
            records.add_address(own, address)
            records.add(reverse_name(address), RecordType.PTR, own)
            served = [(prefix, f"{_PRIORITY_WEIGHT} {port} {own}") for prefix, port in ports]
            if service.is_headless:
                records.add_address(name, address)
                for zonal in _zonal_names(name, endpoint.zone):
                    records.add_address(zonal, address)
                    for _, server in served:
                        records.add(zonal, RecordType.SRV, server)
                records.add_name(f"*.pin._zone.{name}")
            for prefix, server in served:
                records.add(f"{prefix}.{name}", RecordType.SRV, server)


def _zonal_names(name: str, zone: str | None) -> Iterator[str]:
    """The names that lead to an endpoint by the zone that it is in (``topology.kubernetes.io/zone``).

    Those of CoreDNS's option ``zonal``: ``ZONE.pin._zone.SERVICE`` has the endpoints of that zone and nothing else,
    ``ZONE.prefer._zone.SERVICE`` all where that zone has none; so the wildcards stand for any other word in the place of ZONE, which
    may have dots.
    """
    yield f"*.prefer._zone.{name}"
    if zone and is_domain_name(zone.lower()):
        yield f"{zone.lower()}.pin._zone.{name}"
        yield f"{zone.lower()}.prefer._zone.{name}"


def _named_ports(piece: EndpointSlice) -> tuple[tuple[str, int], ...]:
    """Prefix and number of each named port. Nobody translates ports of a headless Service, so the endpoint's own count."""
    return tuple(
        (f"_{p.name}._{(p.protocol or 'TCP').lower()}", p.port)
        for p in piece.ports or ()
        if p.name and p.port is not None and is_label(p.name)
    )


def _published(service: Service, piece: EndpointSlice) -> Iterator[tuple[Endpoint, Addr]]:
    """Endpoints with a name that may be seen: ready, or all where ``spec.publishNotReadyAddresses`` says so."""
    for endpoint in piece.endpoints:
        if not endpoint.addresses or not (endpoint.is_ready or service.spec.publish_not_ready_addresses):
            continue
        if not endpoint.hostname and not service.is_headless:
            continue  # nameless, as most of 50,000 endpoints are: their addresses need not be read
        address = parse_addr(endpoint.addresses[0])
        if address is not None:
            yield endpoint, address


def dashed(address: Addr) -> str:
    """An address as one label: ``10-244-1-3``; IPv6 in its short form, ``2001-db8--1``."""
    return str(address).replace(".", "-").replace(":", "-")
