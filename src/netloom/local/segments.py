"""Where the nodes of a local cluster are on its underlay: segments, and the addresses that each of them has. Pure.

Comes in: ranges, how many nodes and segments. Goes out: segments with their router's addresses, and one place for each node. A
cluster has one segment, or several that a router joins. Not here: cables (``underlay.py``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import msgspec

from netloom.units import Addr, Cidr, Family, family_of

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

FIRST_NODE = 11
"""Host number of node-1."""
_SEGMENT_PREFIX_V6 = 64
"""What hosts expect of an IPv6 segment (RFC 4291 section 2.5.1)."""


class Segment(msgspec.Struct, frozen=True):
    """One network of nodes; all families of it are on the same cables."""

    index: int
    networks: tuple[Cidr, ...]

    @property
    def gateways(self) -> tuple[Addr, ...]:
        """The router's addresses on it, one a family: the first ones."""
        return tuple(network.network_address + 1 for network in self.networks)

    @property
    def router_interfaces(self) -> tuple[Interface, ...]:
        """The same with their prefixes."""
        pairs = zip(self.gateways, self.networks, strict=True)
        return tuple(ipaddress.ip_interface(f"{address}/{network.prefixlen}") for address, network in pairs)


class Place(msgspec.Struct, frozen=True):
    """Where a node is."""

    segment: Segment
    interfaces: tuple[Interface, ...]
    """Its addresses with the prefix of its segment, one a family."""

    @property
    def addresses(self) -> tuple[Addr, ...]:
        """Its addresses, one a family."""
        return tuple(interface.ip for interface in self.interfaces)


def segments_of(ranges: Sequence[Cidr], count: int) -> tuple[Segment, ...]:
    """The ranges shared out: equal parts of an IPv4 range; of an IPv6 range one /64 after the other where it has so many."""
    parts = [part(cidr, count) for cidr in ranges]
    return tuple(
        Segment(index, tuple(_nth(cidr, prefix, index) for cidr, prefix in zip(ranges, parts, strict=True)))
        for index in range(count)
    )


def part(cidr: Cidr, count: int) -> int:
    """Prefix length of each of ``count`` segments in a range; longer than the family allows where it has no room."""
    shared = cidr.prefixlen + (count - 1).bit_length()
    return max(shared, _SEGMENT_PREFIX_V6) if cidr.version == 6 and shared <= _SEGMENT_PREFIX_V6 else shared


def least_part(family: Family, nodes: int) -> int:
    """Longest prefix of a segment on which this many nodes have their addresses."""
    return family.bits - (host_number(family, nodes - 1) + 1).bit_length()


def host_number(family: Family, index: int) -> int:
    """Of the node with this index (0 is node-1): 11 and on in IPv4, and in IPv6 what reads the same: ``::11`` and on."""
    return FIRST_NODE + index if family is Family.V4 else int(str(FIRST_NODE + index), 16)


def place_of(segments: Sequence[Segment], index: int, nodes: int) -> Place:
    """Where the node with this index is: neighbours in number share a segment; of three nodes on two segments the first two do."""
    segment = segments[index * len(segments) // nodes]
    interfaces = tuple(
        ipaddress.ip_interface(
            f"{network.network_address + host_number(family_of(network), index)}/{network.prefixlen}"
        )
        for network in segment.networks
    )
    return Place(segment, interfaces)


def _nth(cidr: Cidr, prefix: int, index: int) -> Cidr:
    start = int(cidr.network_address) + (index << (cidr.max_prefixlen - prefix))
    return type(cidr)((start, prefix))
