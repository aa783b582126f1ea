"""Rules for EgressGateways. Pure.

Comes in: a document whose types fit. Goes out: FieldErrors. Elsewhere the CustomResourceDefinition of deploy/crds says the same, as far as
its language goes. Not here: addresses that others have, and what a gateway means (netloom.model.egress.gateways).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netloom.api.egress import DROP, NODE
from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import duplicate, invalid, items, mapping, required, too_many
from netloom.local.apiserver.validate_names import Errors
from netloom.model.egress.gateways import is_usable
from netloom.units import parse_addr, parse_cidr

_MOST_ADDRESSES = 64
_MOST_RANGES = 256


def egress_gateway(document: Mapping[str, Any]) -> Errors:
    """A netloom.io/v1alpha1 EgressGateway."""
    if document.get("spec") is None:
        yield required("spec")
        return
    spec = mapping(document["spec"])
    for name in ("podSelector", "namespaceSelector", "nodeSelector"):
        if spec.get(name) is not None:
            yield from names.label_selector(f"spec.{name}", spec[name])
    yield from _addresses(items(spec.get("addresses")))
    for name in ("destinations", "exceptDestinations"):
        yield from _ranges(f"spec.{name}", items(spec.get(name)))
    yield from names.one_of("spec.whenUnavailable", spec.get("whenUnavailable"), (DROP, NODE))


def _addresses(texts: list[Any]) -> Errors:
    if not texts:
        yield required("spec.addresses", "pods need an address to leave by")
    if len(texts) > _MOST_ADDRESSES:
        yield too_many("spec.addresses", len(texts), _MOST_ADDRESSES)
    seen = set()
    for number, text in enumerate(texts):
        path = f"spec.addresses[{number}]"
        address = parse_addr(text) if isinstance(text, str) else None
        if address is None or not is_usable(address):
            yield invalid(path, text, "must be the address of one host, such as 192.0.2.10 or 2001:db8::10")
        elif address in seen:
            yield duplicate(path, text)
        seen.add(address)


def _ranges(path: str, texts: list[Any]) -> Errors:
    if len(texts) > _MOST_RANGES:
        yield too_many(path, len(texts), _MOST_RANGES)
    for number, text in enumerate(texts):
        if not isinstance(text, str) or "/" not in text or parse_cidr(text) is None:
            hint = "must be a range without bits behind its prefix, such as 198.51.100.0/24"
            yield invalid(f"{path}[{number}]", text, hint)
        elif text in texts[:number]:
            yield duplicate(f"{path}[{number}]", text)
