"""Rules for NetworkPolicies. Pure.

Comes in: a document with defaults. Goes out: FieldErrors. Not here: what a policy means (netloom.model). Source: API
reference of networking.k8s.io/v1 NetworkPolicy.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import (
    duplicate,
    forbidden,
    invalid,
    items,
    mapping,
    required,
    too_many,
)
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.validate_names import Errors
from netloom.local.apiserver.validate_services import port_protocol
from netloom.units import Cidr, parse_cidr

_DIRECTIONS = ("Egress", "Ingress")


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
        yield too_many("spec.policyTypes", len(types), len(_DIRECTIONS))
        return
    for number, word in enumerate(types):
        yield from names.one_of(f"spec.policyTypes[{number}]", word, _DIRECTIONS, needed=True)
        if word in types[:number]:
            yield duplicate(f"spec.policyTypes[{number}]", word)


def _port(path: str, port: Mapping[str, Any]) -> Errors:
    yield from port_protocol(f"{path}.protocol", port.get("protocol"))
    number, last = port.get("port"), port.get("endPort")
    if number is not None:
        yield from names.port_or_name(f"{path}.port", number)
    if last is None:
        return
    if number is None:
        yield required(f"{path}.port", "must be specified when `endPort` is")
    elif isinstance(number, str):
        yield invalid(f"{path}.endPort", last, "may not be specified when `port` is not numeric")
    elif last < number:
        yield invalid(f"{path}.endPort", last, "must be greater than or equal to `port`")
    yield from names.port(f"{path}.endPort", last)


def _peer(path: str, peer: Mapping[str, Any]) -> Errors:
    for field in ("podSelector", "namespaceSelector"):
        if field in peer:
            yield from names.label_selector(f"{path}.{field}", peer[field])
    selects = "podSelector" in peer or "namespaceSelector" in peer
    if "ipBlock" in peer:
        if selects:
            yield forbidden(path, "may not specify both `ipBlock` and a selector")
        yield from _block(f"{path}.ipBlock", mapping(peer["ipBlock"]))
    elif not selects:
        yield required(path, "must specify a peer")


def _block(path: str, block: Mapping[str, Any]) -> Errors:
    text = block.get("cidr")
    if not text:
        yield required(f"{path}.cidr")
        return
    whole = _range(text)
    if whole is None:
        yield invalid(f"{path}.cidr", text, "must be a range such as 192.0.2.0/24 or 2001:db8::/32")
        return
    for number, entry in enumerate(items(block.get("except"))):
        here, part = f"{path}.except[{number}]", _range(entry)
        if part is None:
            yield invalid(here, entry, "must be a range such as 192.0.2.0/28 or 2001:db8::/64")
        elif part.version != whole.version or part == whole or not part.subnet_of(whole):  # type: ignore[arg-type] # versions equal
            yield invalid(here, entry, "must be a strict subset of `cidr`")


def _range(text: Json) -> Cidr | None:
    """A range; host bits are allowed, as the API allows them here."""
    if not isinstance(text, str) or "/" not in text:
        return None
    exact = parse_cidr(text)
    if exact is not None:
        return exact
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
