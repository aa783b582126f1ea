"""The nftables table that a tunnel has for itself. Pure. In: the node's facts. Out: one transaction for each family.

Two things that routes alone cannot do. The node's own packets to pods of other nodes get the address that the node has among its
pods, also where the kernel chose their source before it knew that they go into the tunnel (a Service that was translated):
only that leads their answers back through the tunnel. And where packets may travel encrypted only, those from and to pods are
dropped at every interface that is not our own, whatever routes somebody has added.

Not here: Services and policies (``dataplane``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

import msgspec

from netloom.model.inputs import NodeFacts
from netloom.program.names import (
    EGRESS_LINK,
    FABRIC_LINK_PREFIX,
    NFT_ONLY_INSIDE_IN,
    NFT_ONLY_INSIDE_OUT,
    NFT_TUNNEL_SOURCE,
    NFT_UDP_TABLE,
    NFT_WIREGUARD_TABLE,
    POD_LINK_PREFIX,
    UDP_LINK,
    WIREGUARD_LINK,
)
from netloom.program.nft import AddChain, AddRule, AddTable, Chain, DeleteTable, Hook, Op, Transaction
from netloom.units import Cidr, Family, family_of

_RAW = -300
_BEHIND_SOURCE_NAT = 101
"""Behind Services and masquerading (100): what they translate has its address already."""
_LAST = 300


class TunnelTable(msgspec.Struct, frozen=True):
    """The name of a tunnel's tables, one of each family, and of its interface.

    ``only_inside`` says that nothing from or to a pod passes an interface that is not ours.
    """

    name: str
    device: str
    only_inside: bool = False


UDP_TABLE = TunnelTable(NFT_UDP_TABLE, UDP_LINK)
WIREGUARD_TABLE = TunnelTable(NFT_WIREGUARD_TABLE, WIREGUARD_LINK, only_inside=True)


def tunnel_rules(facts: NodeFacts, table: TunnelTable) -> tuple[Transaction, ...]:
    """The tables of both families, made anew in one step each.

    Args:
        facts: of the node.
        table: whose.
    """
    return tuple(_table(facts, family, table) for family in Family)


def no_tunnel_rules(table: TunnelTable) -> tuple[Transaction, ...]:
    """Take the tables away; no error where there are none."""
    return tuple(Transaction(family, table.name, (AddTable(), DeleteTable())) for family in Family)


def pod_ranges(facts: NodeFacts) -> tuple[Cidr, ...]:
    """All addresses of pods, but for networks that the node itself is on: the tunnel's own packets must pass."""
    ranges: list[Cidr] = [*facts.cluster_cidrs, *facts.pod_cidrs, *facts.pool_cidrs]
    for segment in facts.underlay.segments:
        ranges = [left for cidr in ranges for left in _without(cidr, segment.interface.network)]
    for address in facts.addresses:
        ranges = [left for cidr in ranges for left in _without(cidr, ipaddress.ip_network(address))]
    return (*_merged(ranges, Family.V4), *_merged(ranges, Family.V6))


def _table(facts: NodeFacts, family: Family, table: TunnelTable) -> Transaction:
    ops: list[Op] = [AddTable(), DeleteTable(), AddTable()]
    pods = [cidr for cidr in pod_ranges(facts) if family_of(cidr) is family]
    if pods:
        ops.append(AddChain(Chain(NFT_TUNNEL_SOURCE, Hook("nat", "postrouting", _BEHIND_SOURCE_NAT))))
        ops.append(
            AddRule(
                NFT_TUNNEL_SOURCE,
                f'oifname "{table.device}" {family.value} saddr != {_set(pods)} masquerade fully-random',
                "answers come back through the tunnel",
            )
        )
    if table.only_inside and pods:
        # what comes out of the egress tunnel was in this one before, and goes into it
        ours = f'{{ "lo", "{POD_LINK_PREFIX}*", "{EGRESS_LINK}" }}'
        for name, hook, side, link in (
            (NFT_ONLY_INSIDE_IN, Hook("filter", "prerouting", _RAW), "saddr", "iifname"),
            (NFT_ONLY_INSIDE_OUT, Hook("filter", "postrouting", _LAST), "daddr", "oifname"),
        ):
            ops.append(AddChain(Chain(name, hook)))
            ops.append(
                AddRule(
                    name,
                    f"{link} != {ours} {family.value} {side} {_set(pods)} counter drop",
                    "pods are reached encrypted only",
                )
            )
    return Transaction(family, table.name, tuple(ops))


assert FABRIC_LINK_PREFIX.startswith(POD_LINK_PREFIX)  # noqa: S101 - one pattern is for both


def _set(ranges: Iterable[Cidr]) -> str:
    return "{ " + ", ".join(map(str, ranges)) + " }"


def _merged(ranges: Iterable[Cidr], family: Family) -> tuple[Cidr, ...]:
    # Overlapping ranges in one set are refused by nft.
    if family is Family.V4:
        return tuple(ipaddress.collapse_addresses(r for r in ranges if isinstance(r, ipaddress.IPv4Network)))
    return tuple(ipaddress.collapse_addresses(r for r in ranges if isinstance(r, ipaddress.IPv6Network)))


def _without(cidr: Cidr, other: Cidr) -> Iterator[Cidr]:
    if not cidr.overlaps(other):  # of two families: never
        yield cidr
    elif isinstance(cidr, ipaddress.IPv4Network):
        if isinstance(other, ipaddress.IPv4Network) and other.subnet_of(cidr):
            yield from cidr.address_exclude(other)
    elif isinstance(other, ipaddress.IPv6Network) and other.subnet_of(cidr):
        yield from cidr.address_exclude(other)
