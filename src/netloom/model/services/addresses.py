"""The virtual addresses and families of one Service, checked.

Comes in: a Service. Goes out: its ClusterIPs with the field each comes from, its families, and Findings.
"""

from __future__ import annotations

from ipaddress import IPv4Address

import msgspec

from netloom.api.core import Service
from netloom.model.provenance import Finding, Source
from netloom.units import Addr, Family, family_of, parse_addr

_OCTETS = {str(number): number for number in range(256)}
_ORDINARY = frozenset(range(1, 224)) - {127, 169}
"""First octets behind which no IPv4 address is loopback, link-local, multicast or unspecified."""
_FAMILIES = {family.address_type: family for family in Family}


class ClusterAddress(msgspec.Struct, frozen=True, gc=False):
    """One usable ClusterIP and the field that gave it."""

    address: Addr
    field: str


def read_address(text: str) -> tuple[Addr | None, str]:
    """An address that packets can be sent to from another host, or None and what is wrong with the text.

    What is refused here the API server refuses for endpoints too (core/v1 validation of non-special addresses): a
    translation to 127.0.0.1 would open services of the node that nobody offered.

    The short way is for what nearly all of 50,000 endpoints have, an ordinary dotted quad: it takes half the time.
    """
    try:
        a, b, c, d = text.split(".")
        first = _OCTETS[a]
        address: Addr | None = IPv4Address(first << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d])
        if first in _ORDINARY:
            return address, ""
    except (ValueError, KeyError):
        address = parse_addr(text)
    if address is None:
        return None, f'"{text}" is no IP address'
    trouble = _trouble_of(address)
    return (None, f"{text} {trouble}") if trouble else (address, "")


def _trouble_of(address: Addr) -> str:
    for is_so, trouble in (
        (address.is_unspecified, "is the unspecified address"),
        (address.is_loopback, "is a loopback address"),
        (address.is_link_local, "is a link-local address"),
        (address.is_multicast, "is a multicast address"),
    ):
        if is_so:
            return trouble
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
        address, trouble = read_address(text)
        if address is None:
            findings.append(Finding(subject.at(field), trouble, "let the API server choose one"))
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
