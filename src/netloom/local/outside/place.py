"""Addresses at the edge of a local cluster: where the client outside is, and which addresses LoadBalancers get. Pure.

Comes in: segments of the underlay. Goes out: the client's interfaces, and ranges of addresses that no node has. With one segment the
client is on it; behind a router it is on a segment of its own, with addresses for documentation (RFC 5737, RFC 3849).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import msgspec

from netloom.local.segments import Interface, Segment, host_number
from netloom.units import Addr, Cidr, family_of

HOST = 9
"""Host number of the client; nodes begin behind it."""
_ELSEWHERE = (
    "198.51.100.0/28", "203.0.113.0/28", "192.0.2.0/28",
    "2001:db8:51::/64", "2001:db8:52::/64",
)  # fmt: skip
"""Where a client behind the router is: in the first of each family that nobody else has."""
_POOL = {4: 31, 6: 256}
"""How many addresses the pool of a fresh cluster has on each segment, by version, at most."""
_SHORT_BITS = 16


class Outside(msgspec.Struct, frozen=True):
    """Where the client is."""

    segment: Segment
    interfaces: tuple[Interface, ...]
    is_behind: bool
    """Behind the router, on a segment where no node is."""

    @property
    def gateways(self) -> tuple[Addr, ...]:
        """Its ways to everything else, one a family."""
        return self.segment.gateways


def outside_of(segments: Sequence[Segment], taken: Sequence[Cidr]) -> Outside:
    """The client's place; ``taken`` are all ranges of the cluster."""
    segment = segments[0] if len(segments) == 1 else Segment(-1, _free(segments[0].networks, taken))
    interfaces = tuple(
        ipaddress.ip_interface(f"{network.network_address + HOST}/{network.prefixlen}")
        for network in segment.networks
    )
    return Outside(segment, interfaces, is_behind=len(segments) > 1)


def _free(alike: Sequence[Cidr], taken: Sequence[Cidr]) -> tuple[Cidr, ...]:
    candidates = [ipaddress.ip_network(text) for text in _ELSEWHERE]
    found: list[Cidr] = []
    for network in alike:
        for candidate in candidates:
            same = [one for one in taken if one.version == candidate.version]
            if candidate.version == network.version and not any(_overlap(candidate, one) for one in same):
                found.append(candidate)
                break
    return tuple(found)


def spare_ranges(segments: Sequence[Segment], nodes: int) -> tuple[str, ...]:
    """The last addresses of each segment, as ``first-last``, that are no node's: what LoadBalancers get unless somebody says otherwise.

    Nodes of that segment can answer for them, and everybody on it asks there. Of IPv6 it is what is short to write: ``::ff00`` and on.
    """
    return tuple(text for network in _in_turn(segments) if (text := _spare(network, nodes)))


def _in_turn(segments: Sequence[Segment]) -> list[Cidr]:
    return [network for segment in segments for network in segment.networks]


def _spare(network: Cidr, nodes: int) -> str:
    base = int(network.network_address)
    size = network.num_addresses
    if network.version == 6 and size > 1 << _SHORT_BITS:
        size = 1 << _SHORT_BITS
    last = base + size - (2 if network.version == 4 else 1)
    behind = base + host_number(family_of(network), nodes - 1) + 1
    first = max(behind, last - _POOL[network.version] + 1)
    if first > last:
        return ""
    make = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    return f"{make(first)}-{make(last)}"


def _overlap(one: Cidr, other: Cidr) -> bool:
    return one.overlaps(other)
