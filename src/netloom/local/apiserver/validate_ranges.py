"""Rules for ServiceCIDR and IPAddress. Pure.

Comes in: a document with defaults, and the one it replaces. Goes out: FieldErrors. Not here: which address is free
(allocate.py). Source: API reference of networking.k8s.io/v1; RFC 5952 for the one text that an address has.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import invalid, items, mapping, required, too_many
from netloom.local.apiserver.validate_names import Errors

_FAMILIES = 2

Document = Mapping[str, Any]


def address_name_problem(text: str) -> str:
    """What keeps a text from being the name of an IPAddress: it is the address, in its one text."""
    try:
        found = str(ipaddress.ip_address(text))
    except ValueError:
        return "must be a valid IP address"
    return "" if found == text else f"not a valid IP in canonical format (RFC 5952): write {found}"


def ip_address(document: Document, old: Document | None) -> Errors:
    """A networking.k8s.io/v1 IPAddress."""
    spec = mapping(document.get("spec"))
    if spec.get("parentRef") is None:
        yield required("spec.parentRef")
    else:
        parent = mapping(spec["parentRef"])
        yield from names.named("spec.parentRef.resource", parent.get("resource"), _segment)
        yield from names.named("spec.parentRef.name", parent.get("name"), _segment)
        yield from names.optional("spec.parentRef.group", parent.get("group"), names.subdomain_problem)
        yield from names.optional("spec.parentRef.namespace", parent.get("namespace"), _segment)
    if old is not None and spec != mapping(old.get("spec")):
        yield invalid("spec", spec, "field is immutable")


def _segment(text: str) -> str:
    return "must not hold '/' or '%'" if {"/", "%"} & set(text) else ""


def service_cidr(document: Document, old: Document | None) -> Errors:
    """A networking.k8s.io/v1 ServiceCIDR."""
    cidrs = items(mapping(document.get("spec")).get("cidrs"))
    if not cidrs:
        yield required("spec.cidrs", "at least one CIDR required")
    if len(cidrs) > _FAMILIES:
        yield too_many("spec.cidrs", len(cidrs), _FAMILIES)
    versions = set()
    for number, text in enumerate(cidrs):
        path = f"spec.cidrs[{number}]"
        try:
            found = ipaddress.ip_network(str(text), strict=False)
        except ValueError:
            yield invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
            continue
        if str(found) != text:
            yield invalid(path, text, f"must be in canonical form ({found})")
        if found.version in versions:
            yield invalid(
                "spec.cidrs",
                cidrs,
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            )
        versions.add(found.version)
    before = items(mapping((old or {}).get("spec")).get("cidrs"))
    # a second family may come to the first, nothing else changes
    if old is not None and cidrs != before and not (len(before) == 1 and cidrs[:1] == before):
        yield invalid("spec.cidrs", cidrs, "field is immutable")
