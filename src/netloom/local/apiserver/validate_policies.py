"""Rules for NetworkPolicies. Pure.

Comes in: a document with defaults. Goes out: FieldErrors, worded as kube-apiserver words them. Not here: what a policy means
(netloom.model). Source: API reference of networking.k8s.io/v1 NetworkPolicy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import (
    forbidden,
    invalid,
    items,
    mapping,
    not_supported,
    required,
)
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.validate_names import Errors
from netloom.local.apiserver.validate_services import PROTOCOLS
from netloom.units import Cidr

_DIRECTIONS = ("Egress", "Ingress")
_PREFIX = re.compile(r"[0-9a-fA-F.:]+/[0-9]{1,3}\Z")
"""An address and a length: no mask in dots and no zone, which Python reads and the API does not."""


def network_policy(document: Mapping[str, Any]) -> Errors:
    """A networking.k8s.io/v1 NetworkPolicy."""
    spec = mapping(document.get("spec"))
    yield from names.label_selector("spec.podSelector", spec.get("podSelector"))
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for number, item in enumerate(items(spec.get(direction))):
            rule, path = mapping(item), f"spec.{direction}[{number}]"
            for position, port in enumerate(items(rule.get("ports"))):
                yield from _port(f"{path}.ports[{position}]", mapping(port))
            for position, peer in enumerate(items(rule.get(peers))):
                yield from _peer(f"{path}.{peers}[{position}]", mapping(peer))
    types = items(spec.get("policyTypes"))
    if len(types) > len(_DIRECTIONS):
        yield invalid("spec.policyTypes", types, "may not specify more than two policyTypes")
        return
    for number, word in enumerate(types):
        if word not in _DIRECTIONS:
            yield not_supported(f"spec.policyTypes[{number}]", word, _DIRECTIONS)


def _port(path: str, port: Mapping[str, Any]) -> Errors:
    if (protocol := port.get("protocol")) not in (None, *PROTOCOLS):
        yield not_supported(f"{path}.protocol", protocol, PROTOCOLS)
    number, last = port.get("port"), port.get("endPort")
    if number is not None:
        yield from names.port_or_name(f"{path}.port", number)
    if last is None:
        return
    if number is None:
        yield invalid(f"{path}.endPort", last, "may not be specified when `port` is not specified")
    elif isinstance(number, str):
        yield invalid(f"{path}.endPort", last, "may not be specified when `port` is non-numeric")
    else:
        if last < number:
            yield invalid(f"{path}.endPort", last, "must be greater than or equal to `port`")
        yield from names.port(f"{path}.endPort", last)


def _peer(path: str, peer: Mapping[str, Any]) -> Errors:
    given = [
        field for field in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(field) is not None
    ]
    for field in given:
        if field == "ipBlock":
            yield from _block(f"{path}.ipBlock", mapping(peer["ipBlock"]))
        else:
            yield from names.label_selector(f"{path}.{field}", peer[field])
    if not given:
        yield required(path, "must specify a peer")
    elif len(given) > 1 and "ipBlock" in given:
        yield forbidden(path, "may not specify both ipBlock and another peer")


def _block(path: str, block: Mapping[str, Any]) -> Errors:
    text = block.get("cidr")
    if not text:
        yield required(f"{path}.cidr")
        return
    whole = address_range(text)
    if whole is None:
        yield invalid(f"{path}.cidr", text, _NO_RANGE)
    for number, entry in enumerate(items(block.get("except"))):
        here, part = f"{path}.except[{number}]", address_range(entry)
        if part is None:
            yield invalid(here, entry, _NO_RANGE)
        elif whole is not None and not _is_strictly_within(part, whole):
            yield invalid(here, entry, "must be a strict subset of `cidr`")


_NO_RANGE = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def _is_strictly_within(part: Cidr, whole: Cidr) -> bool:
    return (
        part.version == whole.version and part.prefixlen > whole.prefixlen and part.network_address in whole
    )


def address_range(text: Json) -> Cidr | None:
    """A range; bits behind the prefix are allowed, as the API allows them in policies. None where it is none."""
    if not isinstance(text, str) or not _PREFIX.match(text):
        return None
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    # the model reads no IPv4 addresses in IPv6 dress, and nor do CEL's own functions (isCIDR)
    is_mapped = found.version == 6 and found.network_address.ipv4_mapped is not None
    return None if is_mapped else found
