"""Rules for LoadBalancerPools. Pure.

Comes in: a document whose types fit. Goes out: FieldErrors. Elsewhere the CustomResourceDefinition of deploy/crds says the same, as far
as its language goes. Not here: which pools overlap, and what a pool means (netloom.model.load_balancers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from netloom.api.load_balancers import BGP, LAYER2
from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import (
    duplicate,
    invalid,
    items,
    mapping,
    not_supported,
    required,
    too_many,
)
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.validate_names import Errors
from netloom.model.load_balancers.pools import unusable
from netloom.model.load_balancers.spans import Span, read_span

_MOST = 64
_MOST_RESERVED = 1024
_MOST_U32 = (1 << 32) - 1
_WELL_KNOWN = ("no-export", "no-advertise", "no-peer")
_LENGTHS = {"ipv4": 32, "ipv6": 128}
_NUMBERS = re.compile(r"\d{1,10}(:\d{1,10}){1,2}")


def load_balancer_pool(document: Mapping[str, Any]) -> Errors:
    """A netloom.io/v1alpha1 LoadBalancerPool."""
    if document.get("spec") is None:
        yield required("spec")
        return
    spec = mapping(document["spec"])
    if not items(spec.get("cidrs")) and not items(spec.get("ranges")):
        yield required("spec.cidrs", "a pool without addresses is of no use: write spec.cidrs or spec.ranges")
    yield from _addresses(spec)
    for name in ("namespaceSelector", "serviceSelector"):
        if spec.get(name) is not None:
            yield from names.label_selector(f"spec.{name}", spec[name])
    reserved = items(spec.get("reserved"))
    if len(reserved) > _MOST_RESERVED:
        yield too_many("spec.reserved", len(reserved), _MOST_RESERVED)
    for number, text in enumerate(reserved):
        if _span(text) is None:
            hint = "must be an address, a CIDR or first-last, such as 203.0.113.1-203.0.113.4"
            yield invalid(f"spec.reserved[{number}]", text, hint)
    yield from _announce(items(spec.get("announce")))
    yield from _bgp(mapping(spec.get("bgp")))


def _addresses(spec: Mapping[str, Any]) -> Errors:
    seen: list[Span] = []
    for field, sign, hint in (
        ("cidrs", "/", "must be a range without bits behind its prefix, such as 203.0.113.0/28"),
        ("ranges", "-", "must be the first and the last address, such as 203.0.113.16-203.0.113.31"),
    ):
        texts = items(spec.get(field))
        if len(texts) > _MOST:
            yield too_many(f"spec.{field}", len(texts), _MOST)
        for number, text in enumerate(texts):
            path = f"spec.{field}[{number}]"
            span = _span(text) if sign in str(text) else None
            if span is None:
                yield invalid(path, text, hint)
                continue
            if why := unusable(span):
                yield invalid(path, text, why)
            if text in texts[:number]:
                yield duplicate(path, text)
            elif any(span.meets(other) for other in seen):
                yield invalid(path, text, "overlaps with another range of this pool")
            seen.append(span)


def _announce(words: list[Any]) -> Errors:
    for number, word in enumerate(words):
        if word not in (LAYER2, BGP):
            yield not_supported(f"spec.announce[{number}]", word, (LAYER2, BGP))
        elif word in words[:number]:
            yield duplicate(f"spec.announce[{number}]", word)


def _bgp(bgp: Mapping[str, Any]) -> Errors:
    for field, is_right, hint in (
        ("communities", _is_community, "must be such as 65000:100, or one of " + ", ".join(_WELL_KNOWN)),
        ("largeCommunities", _is_large, "must be three numbers of 32 bits, such as 65000:1:2"),
    ):
        yield from _communities(f"spec.bgp.{field}", items(bgp.get(field)), is_right, hint)
    preference = bgp.get("localPref")
    if isinstance(preference, int) and not 0 <= preference <= _MOST_U32:
        yield invalid("spec.bgp.localPref", preference, f"must be between 0 and {_MOST_U32}, inclusive")
    lengths = mapping(bgp.get("aggregationLength"))
    for family, most in _LENGTHS.items():
        length = lengths.get(family)
        if isinstance(length, int) and not 1 <= length <= most:
            path = f"spec.bgp.aggregationLength.{family}"
            yield invalid(path, length, f"must be between 1 and {most}, inclusive")


def _communities(path: str, texts: list[Any], is_right: Callable[[Json], bool], hint: str) -> Errors:
    if len(texts) > _MOST:
        yield too_many(path, len(texts), _MOST)
    for number, text in enumerate(texts):
        if not is_right(text):
            yield invalid(f"{path}[{number}]", text, hint)
        elif text in texts[:number]:
            yield duplicate(f"{path}[{number}]", text)


def _is_community(text: Json) -> bool:
    return text in _WELL_KNOWN or _fits(text, 2, (1 << 16) - 1)


def _is_large(text: Json) -> bool:
    return _fits(text, 3, _MOST_U32)


def _fits(text: Json, count: int, most: int) -> bool:
    if not isinstance(text, str) or not _NUMBERS.fullmatch(text):
        return False
    numbers = [int(part) for part in text.split(":")]
    return len(numbers) == count and max(numbers) <= most


def _span(text: Json) -> Span | None:
    return read_span(text) if isinstance(text, str) else None
