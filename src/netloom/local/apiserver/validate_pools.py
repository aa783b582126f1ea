"""Rules for IPPools and IPBlocks. Pure.

Comes in: a document whose types fit. Goes out: FieldErrors. Elsewhere the CustomResourceDefinitions of deploy/crds say the same, as far
as their language goes. Not here: which pools overlap, and what a pool means (netloom.model.addresses).
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
from netloom.model.addresses.blocks import block_name
from netloom.units import Addr, Cidr, parse_addr, parse_cidr

_MOST_CIDRS = 64
_MOST_RESERVED = 1024
_SIZES = {"ipv4": (20, 32), "ipv6": (112, 128)}
_SELECTORS = ("nodeSelector", "namespaceSelector", "podSelector")


def ip_pool(document: Mapping[str, Any]) -> Errors:
    """A netloom.io/v1alpha1 IPPool."""
    if document.get("spec") is None:
        yield required("spec")
        return
    spec = mapping(document["spec"])
    texts = items(spec.get("cidrs"))
    if not texts:
        yield required("spec.cidrs", "a pool without addresses is of no use")
    if len(texts) > _MOST_CIDRS:
        yield too_many("spec.cidrs", len(texts), _MOST_CIDRS)
    yield from _sizes(mapping(spec.get("blockSize")))
    yield from _cidrs(texts, mapping(spec.get("blockSize")))
    for name in _SELECTORS:
        if spec.get(name) is not None:
            yield from names.label_selector(f"spec.{name}", spec[name])
    yield from _reserved(items(spec.get("reserved")))


def ip_block(document: Mapping[str, Any], old: Mapping[str, Any] | None) -> Errors:
    """A netloom.io/v1alpha1 IPBlock."""
    if document.get("spec") is None:
        yield required("spec")
        return
    spec = mapping(document["spec"])
    if not spec.get("node"):
        yield required("spec.node")
    cidr = _range(spec.get("cidr"))
    if cidr is None:
        yield invalid("spec.cidr", spec.get("cidr"), "must be a range without bits behind its prefix")
    elif mapping(document.get("metadata")).get("name") != block_name(cidr):
        hint = f"must be {block_name(cidr)}, for that makes a range one that nobody else can claim"
        yield invalid("metadata.name", mapping(document.get("metadata")).get("name"), hint)
    if old is not None and mapping(old.get("spec")) != spec:
        yield forbidden("spec", "a block does not change; delete it, and make another")


def _sizes(sizes: Mapping[str, Any]) -> Errors:
    for family, (least, most) in _SIZES.items():
        size = sizes.get(family)
        if isinstance(size, int) and not least <= size <= most:
            yield invalid(f"spec.blockSize.{family}", size, f"must be between {least} and {most}, inclusive")


def _cidrs(texts: list[Any], sizes: Mapping[str, Any]) -> Errors:
    seen: list[Cidr] = []
    for number, text in enumerate(texts):
        path = f"spec.cidrs[{number}]"
        cidr = _range(text)
        if cidr is None:
            yield invalid(path, text, "must be a range without bits behind its prefix, such as 10.1.0.0/16")
            continue
        size = sizes.get(f"ipv{cidr.version}")
        if isinstance(size, int) and size < cidr.prefixlen:
            hint = f"is smaller than a block of the pool (spec.blockSize.ipv{cidr.version} is {size})"
            yield invalid(path, text, hint)
        if text in texts[:number]:
            yield duplicate(path, text)
        elif any(_overlap(cidr, other) for other in seen):
            yield invalid(path, text, "overlaps with another range of this pool")
        seen.append(cidr)


def _reserved(texts: list[Any]) -> Errors:
    if len(texts) > _MOST_RESERVED:
        yield too_many("spec.reserved", len(texts), _MOST_RESERVED)
    for number, text in enumerate(texts):
        if _range(text) is None and _address(text) is None:
            yield invalid(
                f"spec.reserved[{number}]", text, "must be an address or a range, such as 10.1.0.0/28"
            )


def _range(text: Json) -> Cidr | None:
    return parse_cidr(text) if isinstance(text, str) and "/" in text else None


def _address(text: Json) -> Addr | None:
    return parse_addr(text) if isinstance(text, str) else None


def _overlap(one: Cidr, other: Cidr) -> bool:
    if isinstance(one, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and one.overlaps(other)
    return isinstance(other, ipaddress.IPv6Network) and one.overlaps(other)
