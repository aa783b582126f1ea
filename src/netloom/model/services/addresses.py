"""The addresses at which one Service is served, checked.

Comes in: a Service, the ranges of pods and of Services. Goes out: its ClusterIPs, LoadBalancer addresses and external IPs with
the field each comes from, its families, and Findings.

An address in the range of pods is not served, whoever asks for it: it would hide the pod that has it. Nor is a LoadBalancer
address or external IP in the range of ClusterIPs, unless it is the Service's own ClusterIP: whoever may write
``spec.externalIPs`` could else take the traffic of any Service there (the API leaves it to the implementation).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from netloom.api.core import Service
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding, Source
from netloom.model.services.frontends import FrontendKind
from netloom.model.services.ranges import Ranges
from netloom.model.services.texts import read_address
from netloom.units import Addr, Family, family_of

_FAMILIES = {family.address_type: family for family in Family}
_V4, _V6, _CLUSTER_IP = Family.V4, Family.V6, FrontendKind.CLUSTER_IP
_IP_MODES = ("VIP", "Proxy")


class GivenAddress(msgspec.Struct, frozen=True, gc=False):
    """One address of a Service that can be served, and the field that gave it."""

    address: Addr
    family: Family
    kind: FrontendKind
    """Never NodePort."""
    field: str


class Addresses(msgspec.Struct, frozen=True, gc=False):
    """Where a Service is served, but for NodePorts."""

    given: tuple[GivenAddress, ...] = ()
    """In the order in which they count: ClusterIPs, LoadBalancer addresses, external IPs."""
    families: tuple[Family, ...] = ()
    """Of its ClusterIPs, in their order; in these it has NodePorts, too. As for kube-proxy, a Service without a ClusterIP of a
    family has nothing in it."""
    findings: tuple[Finding, ...] = ()


_NONE = Addresses()


class AddressReader:
    """Reads the addresses of Services, for one node."""

    def __init__(self, facts: NodeFacts) -> None:
        self._pods = Ranges((*facts.cluster_cidrs, *facts.pod_cidrs))
        self._services = Ranges(facts.service_cidrs)

    def read(self, service: Service, subject: Source) -> Addresses:
        """All addresses of a Service; ``subject`` names it.

        None for headless Services, ExternalName, and Services that no ClusterIP has been given to yet.
        """
        spec = service.spec
        if spec.type == "ExternalName" or spec.cluster_ip == "None":
            return _NONE
        findings: list[Finding] = []
        usable: list[GivenAddress] = []
        families: list[Family] = []
        for field, text in _given_cluster_ips(service):
            read = read_address(text)
            if isinstance(read, str):
                findings.append(Finding(subject.at(field), read, "let the API server choose one"))
                continue
            address, value = read
            family = _V4 if address.version == 4 else _V6
            if family not in families:
                families.append(family)
            if trouble := self._hides_pods(text, family, value):
                findings.append(Finding(subject.at(field), trouble, "keep the two ranges apart"))
            elif usable and (other := _same(usable, address)) is not None:
                findings.append(Finding(subject.at(field), f"{text} repeats {other.field}", "remove one"))
            else:
                usable.append(GivenAddress(address, family, _CLUSTER_IP, field))
        if families and (spec.external_ips or service.status.load_balancer.ingress):
            findings.extend(self._read_outside(service, subject, usable, families))
        if spec.ip_families:
            findings.extend(_family_findings(service, subject, families))
        return Addresses(tuple(usable), tuple(families), tuple(findings))

    def _read_outside(
        self, service: Service, subject: Source, usable: list[GivenAddress], families: list[Family]
    ) -> Iterator[Finding]:
        """LoadBalancer addresses and external IPs, put into ``usable``; what cannot be served is found."""
        given: list[tuple[FrontendKind, str, str]] = []
        if service.spec.type == "LoadBalancer":
            yield from _read_ingress(service, subject, given)
        given += [
            (FrontendKind.EXTERNAL_IP, f"spec.externalIPs[{i}]", text)
            for i, text in enumerate(service.spec.external_ips)
        ]
        for kind, field, text in given:
            read = read_address(text)
            if isinstance(read, str):
                yield Finding(subject.at(field), read, "use an address that reaches the nodes from outside")
                continue
            address, value = read
            family = family_of(address)
            if (other := _same(usable, address)) is not None:
                yield Finding(subject.at(field), f"{text} repeats {other.field}", "remove one")
            elif trouble := self._hides_pods(text, family, value):
                yield Finding(subject.at(field), trouble, "use an address outside of the cluster's ranges")
            elif (cidr := self._services.holder(family, value)) is not None:
                problem = f"{text} lies in {cidr}, the range of ClusterIPs: not served"
                yield Finding(subject.at(field), problem, "use an address outside of the cluster's ranges")
            elif family not in families:
                problem = f"{text}: {subject.subject} has no {family.address_type} family: not served"
                yield Finding(subject.at(field), problem, f"add {family.address_type} to spec.ipFamilies")
            else:
                usable.append(GivenAddress(address, family, kind, field))

    def _hides_pods(self, text: str, family: Family, value: int) -> str:
        """What is wrong with an address in the range of pods; nothing where Services have a range within it."""
        cidr = self._pods.holder(family, value)
        if cidr is None or self._services.holder(family, value) is not None:
            return ""
        return f"{text} lies in {cidr}, the range of pods: not served, it would hide a pod"


def _same(usable: Iterable[GivenAddress], address: Addr) -> GivenAddress | None:
    return next((one for one in usable if one.address == address), None)


def _given_cluster_ips(service: Service) -> Iterable[tuple[str, str]]:
    """Field and text of each: ``spec.clusterIPs``, or ``spec.clusterIP`` where only that is set."""
    spec = service.spec
    if spec.cluster_ips:
        if len(spec.cluster_ips) == 1:
            return (("spec.clusterIPs[0]", spec.cluster_ips[0]),)
        return [(f"spec.clusterIPs[{i}]", text) for i, text in enumerate(spec.cluster_ips)]
    return (("spec.clusterIP", spec.cluster_ip),) if spec.cluster_ip else ()


def _read_ingress(
    service: Service, subject: Source, given: list[tuple[FrontendKind, str, str]]
) -> Iterator[Finding]:
    """Addresses of a load balancer that leaves them in the packets (KEP-1860 ipMode VIP, which is what absent means)."""
    for index, ingress in enumerate(service.status.load_balancer.ingress):
        field = f"status.loadBalancer.ingress[{index}]"
        if ingress.ip_mode is not None and ingress.ip_mode not in _IP_MODES:
            problem = f'"{ingress.ip_mode}" is no ipMode: {ingress.ip} is not served'
            yield Finding(subject.at(f"{field}.ipMode"), problem, "use VIP or Proxy")
        elif ingress.ip and ingress.ip_mode != "Proxy":
            given.append((FrontendKind.LOAD_BALANCER, f"{field}.ip", ingress.ip))


def _family_findings(service: Service, subject: Source, families: Sequence[Family]) -> Iterator[Finding]:
    for index, text in enumerate(service.spec.ip_families):
        family = _FAMILIES.get(text)
        if family is None:
            field = f"spec.ipFamilies[{index}]"
            yield Finding(subject.at(field), f'"{text}" is no IP family', "use IPv4 or IPv6")
        elif families and family not in families:
            problem = f"{text}, but no ClusterIP is of it: not served in it"
            yield Finding(subject.at(f"spec.ipFamilies[{index}]"), problem, "let the API server give one")
