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
_FAMILIES = {family.address_type: family for family in Family}


class ClusterAddress(msgspec.Struct, frozen=True, gc=False):
    """One usable ClusterIP and the field that gave it."""

    address: Addr
    field: str


def read_address(text: str) -> Addr | None:
    """``units.parse_addr``, in half the time for what nearly all of 50,000 endpoints have: a dotted quad."""
    try:
        a, b, c, d = text.split(".")
        return IPv4Address(_OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d])
    except (ValueError, KeyError):
        return parse_addr(text)


def unusable_as_target(address: Addr) -> str:
    """Why packets cannot be sent to this address from another host; empty where they can.

    The same addresses are refused by the API server for endpoints (core/v1 validation of non-special addresses): a
    translation to 127.0.0.1 would open services of the node that nobody offered.
    """
    first, second = address.packed[:2]
    return _check_v4(address, first, second) if address.version == 4 else _check_v6(address, first, second)


# By the first two bytes and not by ``ipaddress``' own predicates: those cost ten times as much, 50,000 times at start.
def _check_v4(address: Addr, first: int, second: int) -> str:
    if first == 127:
        return "is a loopback address"  # RFC 1122 section 3.2.1.3
    if 224 <= first < 240:
        return "is a multicast address"  # RFC 5771
    if first == 169 and second == 254:
        return "is a link-local address"  # RFC 3927
    return "is the unspecified address" if first == 0 and address.is_unspecified else ""


def _check_v6(address: Addr, first: int, second: int) -> str:
    if first == 0xFF:
        return "is a multicast address"  # RFC 4291 section 2.7
    if first == 0xFE and second & 0xC0 == 0x80:
        return "is a link-local address"  # RFC 4291 section 2.5.6
    if first == 0 and address.is_loopback:
        return "is a loopback address"
    return "is the unspecified address" if first == 0 and address.is_unspecified else ""


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
        address = read_address(text)
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
