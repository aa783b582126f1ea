"""Which addresses a node has to give, who has them, and who had them. In: its record, pools and blocks. Out: a report, a value.

Not here: asking other nodes, and how it is shown (``cli/ipam``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from netloom.clock import rfc3339
from netloom.cni.ipam.lease import Holding
from netloom.cni.ipam.store import AddressStore, usable
from netloom.model.addresses.blocks import Block
from netloom.model.addresses.cluster import PoolCluster
from netloom.model.addresses.pools import Pool
from netloom.model.addresses.ranges import holds, overlap
from netloom.units import Cidr

_MOST = (1 << 63) - 1
"""More free addresses are not counted: they do not fit into a number of 64 bits."""


class PoolReport(msgspec.Struct, frozen=True):
    """A pool as this node reads it."""

    name: str
    cidrs: tuple[str, ...]
    disabled: bool
    blocks: dict[str, int]
    """How many blocks each node has of it."""


class RangeReport(msgspec.Struct, frozen=True):
    """A range from which this node gives addresses: its own, or a block."""

    cidr: str
    pool: str
    """The IPPool; empty for the node's own range."""
    used: int
    quarantined: int
    """In use until a moment ago; given again only where nothing else is left."""
    lent: int
    """Taken over by other nodes, because pods there asked for them."""
    free: int
    """What may be given now."""
    is_leaving: bool = False
    """Nothing of it is given any more."""


class AddressReport(msgspec.Struct, frozen=True):
    """One address that this node gave at least once."""

    address: str
    pod: str
    """Namespace/name of who has it, or had it last; empty for what is no pod of the cluster."""
    container: str
    """Empty where nobody has it now."""
    interface: str
    since: str
    """Since when that is so (RFC 3339); empty where that is not known."""
    range: str
    """The range that it is of; empty where this node has that no more."""
    pool: str
    block: str = ""
    """The IPBlock with which another node took it over."""


class NodeAddresses(msgspec.Struct, frozen=True):
    """One node's answer."""

    node: str
    ranges: tuple[RangeReport, ...]
    pools: tuple[PoolReport, ...]
    addresses: tuple[AddressReport, ...]


def node_addresses(node: str, store: AddressStore, cluster: PoolCluster) -> NodeAddresses:
    """The report of one node.

    Raises:
        StorageError: its record cannot be read.
    """
    ranges = tuple(_ranges(store, cluster))
    return NodeAddresses(
        node=node,
        ranges=tuple(report for _, report in ranges),
        pools=tuple(_pool(pool, cluster) for _, pool in sorted(cluster.pools.items())),
        addresses=tuple(_address(holding, ranges) for holding in store.holdings()),
    )


def _ranges(store: AddressStore, cluster: PoolCluster) -> Iterator[tuple[Cidr, RangeReport]]:
    for cidr in cluster.own_ranges:
        first, last = usable(cidr)
        yield cidr, _range(cidr, "", max(0, int(last) - int(first) + 1), store)
    for block in cluster.own_blocks():
        yield block.cidr, _block(block, store, cluster)


def _block(block: Block, store: AddressStore, cluster: PoolCluster) -> RangeReport:
    pool = cluster.pools.get(block.pool)
    reserved = pool.reserved if pool is not None else ()
    size = block.cidr.num_addresses - _covered(block.cidr, reserved)
    found = _range(block.cidr, block.pool, size, store)
    return msgspec.structs.replace(found, is_leaving=block.is_leaving)


def _covered(cidr: Cidr, reserved: tuple[Cidr, ...]) -> int:
    """How many addresses of a range are reserved."""
    ends: list[tuple[int, int]] = []
    for one in reserved:
        if overlap(one, cidr):
            low = max(int(one.network_address), int(cidr.network_address))
            ends.append((low, min(int(one.broadcast_address), int(cidr.broadcast_address))))
    count, beyond = 0, -1
    for low, high in sorted(ends):
        count += max(0, high - max(low, beyond) + 1)
        beyond = max(beyond, high + 1)
    return count


def _range(cidr: Cidr, pool: str, size: int, store: AddressStore) -> RangeReport:
    usage = store.usage(cidr)
    free = min(_MOST, max(0, size - usage.used - usage.lent))
    return RangeReport(str(cidr), pool, usage.used, usage.quarantined, usage.lent, free)


def _pool(pool: Pool, cluster: PoolCluster) -> PoolReport:
    counts: dict[str, int] = {}
    for block in cluster.blocks.values():
        if any(overlap(block.cidr, cidr) for cidr in pool.cidrs):
            counts[block.node] = counts.get(block.node, 0) + 1
    return PoolReport(pool.name, tuple(map(str, pool.cidrs)), pool.is_disabled, dict(sorted(counts.items())))


def _address(holding: Holding, ranges: Sequence[tuple[Cidr, RangeReport]]) -> AddressReport:
    fitting = [(cidr, one) for cidr, one in ranges if holds((cidr,), holding.address)]
    narrowest = max(fitting, key=lambda pair: pair[0].prefixlen, default=None)
    attachment = holding.attachment
    return AddressReport(
        address=str(holding.address),
        pod=holding.pod,
        container="" if attachment is None else attachment.container,
        interface="" if attachment is None else attachment.interface,
        since=rfc3339(holding.since) if holding.since else "",
        range="" if narrowest is None else narrowest[1].cidr,
        pool="" if narrowest is None else narrowest[1].pool,
        block=holding.block,
    )
