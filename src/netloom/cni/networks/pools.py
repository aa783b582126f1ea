"""Pools of addresses for further networks: a NetworkPool read, an address of it chosen. Pure.

In: the object, the addresses that are taken. Out: an address and what goes with it, or InvalidObject that names the field. The choice
begins at a place that follows from the pod's name: nodes that choose at the same time seldom choose the same, and a pod that comes
back tends to get the address that it had. Not here: who has what (``leases``).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Collection, Iterator

import msgspec

from netloom.api.networks import NetworkPool
from netloom.errors import InvalidObject
from netloom.units import Addr, Cidr, parse_addr, parse_cidr

MAX_POOL_NAME = 63
"""Bytes of a pool's name: leases carry it as a label."""

Span = tuple[int, int]


class PoolRoute(msgspec.Struct, frozen=True):
    """A route for pods; ``via`` None: on the link itself."""

    destination: Cidr
    via: Addr | None


class Segment(msgspec.Struct, frozen=True):
    """The addresses of one family: in the order of giving them out, as spans of numbers, both ends included."""

    cidrs: tuple[Cidr, ...]
    spans: tuple[Span, ...]
    barred: tuple[Span, ...]
    """Network and broadcast addresses, gateways: what nobody may have even if asked for."""
    gateway: Addr | None

    @property
    def size(self) -> int:
        """How many addresses can be given out."""
        return sum(last - first + 1 for first, last in self.spans)

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.cidrs[0].version


class Pool(msgspec.Struct, frozen=True):
    """A pool that can be used."""

    name: str
    segments: tuple[Segment, ...]
    routes: tuple[PoolRoute, ...] = ()
    keep_seconds: int = 0

    def segment_of(self, address: Addr) -> Segment | None:
        """The segment that an address is of, if somebody may have it."""
        for segment in self.segments:
            inside = segment.version == address.version and any(address in cidr for cidr in segment.cidrs)
            if inside and not _within(int(address), segment.barred):
                return segment
        return None

    def prefix_of(self, address: Addr) -> int:
        """Prefix length of an address: its segment's."""
        found = [
            c.prefixlen
            for s in self.segments
            for c in s.cidrs
            if c.version == address.version and address in c
        ]
        return max(found, default=address.max_prefixlen)


def read(pool: NetworkPool) -> Pool:
    """A pool, if it can be used.

    Raises:
        InvalidObject: it cannot; names the field.
    """
    spec, reader = pool.spec, _Reader(f"NetworkPool {pool.metadata.name}")
    if len(pool.metadata.name.encode()) > MAX_POOL_NAME:
        raise reader.wrong(
            "metadata.name", f"is longer than {MAX_POOL_NAME} bytes", "leases carry it as a label"
        )
    if not spec.cidrs:
        raise reader.wrong("spec.cidrs", "is empty", "write at least one range, such as 10.80.0.0/24")
    cidrs = [reader.cidr(f"spec.cidrs[{i}]", text) for i, text in enumerate(spec.cidrs)]
    for number, cidr in enumerate(cidrs):
        if any(_overlap(cidr, other) for other in cidrs[:number]):
            raise reader.wrong(
                f"spec.cidrs[{number}]", f"{cidr} overlaps another", "write ranges that share no address"
            )
    gateways = [reader.inside(f"spec.gateways[{i}]", t, cidrs) for i, t in enumerate(spec.gateways)]
    for number, gateway in enumerate(gateways):
        if any(gateway.version == other.version for other in gateways[:number]):
            raise reader.wrong(
                f"spec.gateways[{number}]", "is a second one of its family", "write one of each family"
            )
    wanted = [
        reader.span(f"spec.ranges[{i}]", f"{r.start}-{r.end}", cidrs) for i, r in enumerate(spec.ranges)
    ]
    reserved = [reader.span(f"spec.reserved[{i}]", text, cidrs) for i, text in enumerate(spec.reserved)]
    segments = []
    for version in dict.fromkeys(c.version for c in cidrs):
        own = tuple(c for c in cidrs if c.version == version)
        way = next((g for g in gateways if g.version == version), None)
        barred = (*_ends(own), *(((int(way), int(way)),) if way is not None else ()))
        given = [s for v, s in wanted if v == version] or [(int(c[0]), int(c[-1])) for c in own]
        spans = _without(given, [*barred, *(s for v, s in reserved if v == version)])
        segments.append(Segment(own, tuple(spans), barred, way))
    if not any(segment.spans for segment in segments):
        raise reader.wrong("spec", "leaves no address to give out", "widen spec.ranges, or reserve less")
    if spec.keep_seconds < 0:
        raise reader.wrong("spec.keepSeconds", f"{spec.keep_seconds} is negative", "0 keeps no address")
    routes = tuple(reader.route(i, r.dst, r.gw, gateways) for i, r in enumerate(spec.routes))
    return Pool(pool.metadata.name, tuple(segments), routes, spec.keep_seconds)


def choose(segment: Segment, taken: Collection[Addr], *, seed: str) -> Addr | None:
    """A free address; None where all are taken. The same seed and the same taken ones give the same."""
    size = segment.size
    if not size:
        return None
    begin = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16]) % size
    used = {int(address) for address in taken if address.version == segment.version}
    for step in range(min(size, len(used) + 1)):
        number = _at(segment.spans, (begin + step) % size)
        if number not in used:
            return ipaddress.IPv4Address(number) if segment.version == 4 else ipaddress.IPv6Address(number)
    return None


def lease_name(pool: str, address: Addr) -> str:
    """Name of the object for an address of a pool: creating it is taking the address, and only one can."""
    return f"{pool}-{address.exploded.replace('.', '-').replace(':', '-')}"


class _Reader:
    """Reads fields of one object; errors name them."""

    def __init__(self, subject: str) -> None:
        self._subject = subject

    def wrong(self, field: str, problem: str, hint: str) -> InvalidObject:
        return InvalidObject(self._subject, field, problem, hint)

    def cidr(self, field: str, text: str) -> Cidr:
        found = parse_cidr(text)
        if found is None:
            raise self.wrong(
                field, f"{text!r} is no CIDR", "write it without host bits, such as 10.80.0.0/24"
            )
        if found.is_multicast or found.is_loopback:
            raise self.wrong(field, f"{text} is no range for pods", "take one that interfaces may have")
        return found

    def inside(self, field: str, text: str, cidrs: list[Cidr]) -> Addr:
        found = parse_addr(text)
        if found is None:
            raise self.wrong(field, f"{text!r} is no address", "such as 10.80.0.1")
        if not any(found.version == c.version and found in c for c in cidrs):
            raise self.wrong(field, f"{text} is in none of spec.cidrs", "write an address of the pool")
        return found

    def span(self, field: str, text: str, cidrs: list[Cidr]) -> tuple[int, Span]:
        """An address, a CIDR, or ``first-last``: its version, and its ends as numbers."""
        if (cidr := parse_cidr(text)) is not None:
            first, last = cidr[0], cidr[-1]
        else:
            start, dash, end = text.partition("-")
            first = self.inside(field, start.strip(), cidrs)
            last = self.inside(field, end.strip(), cidrs) if dash else first
        if first.version != last.version or int(first) > int(last):
            raise self.wrong(field, f"{text} ends before it begins", "write the lower address first")
        if not any(first.version == c.version and first in c and last in c for c in cidrs):
            raise self.wrong(field, f"{text} is not within one of spec.cidrs", "write addresses of the pool")
        return first.version, (int(first), int(last))

    def route(self, number: int, dst: str, gw: str, gateways: list[Addr]) -> PoolRoute:
        destination = self.cidr(f"spec.routes[{number}].dst", dst)
        if not gw:
            return PoolRoute(
                destination, next((g for g in gateways if g.version == destination.version), None)
            )
        via = parse_addr(gw)
        if via is None or via.version != destination.version:
            raise self.wrong(f"spec.routes[{number}].gw", f"{gw!r} is no address of the family of {dst}", "")
        return PoolRoute(destination, via)


def _overlap(one: Cidr, other: Cidr) -> bool:
    return one.version == other.version and one.overlaps(other)


def _ends(cidrs: tuple[Cidr, ...]) -> Iterator[Span]:
    """The network's own address, and in IPv4 the last, which means everybody; ranges of two or one have neither (RFC 3021)."""
    for cidr in cidrs:
        if cidr.max_prefixlen - cidr.prefixlen < 2:
            continue
        yield int(cidr[0]), int(cidr[0])
        if cidr.version == 4:
            yield int(cidr[-1]), int(cidr[-1])


def _without(spans: list[Span], holes: list[Span]) -> list[Span]:
    """Spans less the holes, in order, none overlapping."""
    merged: list[Span] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    for hole_first, hole_last in holes:
        pieces: list[Span] = []
        for first, last in merged:
            if hole_last < first or hole_first > last:
                pieces.append((first, last))
                continue
            pieces += [(first, hole_first - 1)] if first < hole_first else []
            pieces += [(hole_last + 1, last)] if hole_last < last else []
        merged = pieces
    return merged


def _at(spans: tuple[Span, ...], index: int) -> int:
    for first, last in spans:
        if index <= last - first:
            return first + index
        index -= last - first + 1
    raise IndexError(index)


def _within(number: int, spans: tuple[Span, ...]) -> bool:
    return any(first <= number <= last for first, last in spans)
