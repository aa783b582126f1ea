"""The virtual addresses and families of one Service, checked.

Comes in: a Service. Goes out: its ClusterIPs with the field each comes from, its families, and Findings.
"""

from __future__ import annotations

import msgspec

from netloom.api.core import Service
from netloom.model.provenance import Finding, Source
from netloom.units import Addr, Family, family_of, parse_addr

_FAMILIES = {family.address_type: family for family in Family}


class ClusterAddress(msgspec.Struct, frozen=True, gc=False):
    """One usable ClusterIP and the field that gave it."""

    address: Addr
    field: str


def unusable_as_target(address: Addr) -> str:
    """Why packets cannot be sent to this address from another host; empty where they can.

    The same addresses are refused by the API server for endpoints (core/v1 validation of non-special addresses): a
    translation to 127.0.0.1 would open services of the node that nobody offered.
    """
    for is_so, word in (
        (address.is_unspecified, "unspecified"),
        (address.is_loopback, "loopback"),
        (address.is_link_local, "link-local"),
        (address.is_multicast, "multicast"),
    ):
        if is_so:
            return f"is a {word} address" if word != "unspecified" else "is the unspecified address"
    return ""


def read_cluster_addresses(
    service: Service, subject: Source
) -> tuple[tuple[ClusterAddress, ...], tuple[Finding, ...]]:
    """The ClusterIPs that can be served (``spec.clusterIPs``, or ``spec.clusterIP`` where only that is set).

    Empty for headless Services, ExternalName, and Services that no address has been given to yet.
    """
    spec = service.spec
    if spec.type == "ExternalName" or service.is_headless:
        return (), ()
    if spec.cluster_ips:
        given = [(f"spec.clusterIPs[{i}]", text) for i, text in enumerate(spec.cluster_ips)]
    else:
        given = [("spec.clusterIP", spec.cluster_ip)] if spec.cluster_ip else []
    usable: dict[Addr, ClusterAddress] = {}
    findings: list[Finding] = []
    for field, text in given:
        address = parse_addr(text)
        if address is None:
            findings.append(
                Finding(subject.at(field), f'"{text}" is no IP address', "let the API server choose one")
            )
        elif trouble := unusable_as_target(address):
            findings.append(Finding(subject.at(field), f"{text} {trouble}", "let the API server choose one"))
        elif address in usable:
            findings.append(
                Finding(subject.at(field), f"{text} repeats {usable[address].field}", "remove one")
            )
        else:
            usable[address] = ClusterAddress(address, field)
    return tuple(usable.values()), tuple(findings)


def read_families(
    service: Service, addresses: tuple[ClusterAddress, ...], subject: Source
) -> tuple[tuple[Family, ...], tuple[Finding, ...]]:
    """The families that the Service's NodePorts are served in: ``spec.ipFamilies``, else those of its ClusterIPs."""
    if not service.spec.ip_families:
        return tuple(dict.fromkeys(family_of(given.address) for given in addresses)), ()
    findings = tuple(
        Finding(subject.at(f"spec.ipFamilies[{i}]"), f'"{text}" is no IP family', "use IPv4 or IPv6")
        for i, text in enumerate(service.spec.ip_families)
        if text not in _FAMILIES
    )
    families = dict.fromkeys(_FAMILIES[text] for text in service.spec.ip_families if text in _FAMILIES)
    return tuple(families), findings
