"""Pools, blocks and nodes' ranges of a cluster as one node sees them, following changes.

Comes in: IPPools, IPBlocks and Nodes, object by object. Goes out: which blocks are whose, who else has a say in an address.
Not here: claiming and giving back (agent), routes (``model/routes``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netloom.api.core import Node
from netloom.api.pools import IPBlock, IPPool
from netloom.model.addresses.blocks import GRANTED, Block, read_block
from netloom.model.addresses.pools import Pool, read_pools
from netloom.model.addresses.ranges import holds, is_within, overlap
from netloom.model.provenance import Finding
from netloom.model.routes.peers import read_node
from netloom.units import Addr, Cidr, ObjectKey


class PoolCluster:
    """See ``pools``, ``blocks`` and the questions below.

    Args:
        node: whose view it is.
        occupied: ranges that no pool may have, and who has them.
    """

    def __init__(self, node: str, occupied: Mapping[Cidr, str]) -> None:
        self._node = node
        self._occupied = dict(occupied)
        self._pool_objects: dict[ObjectKey, IPPool] = {}
        self._pools: dict[str, Pool] | None = {}
        self._ranges: dict[str, tuple[Cidr, ...]] = {}
        self.blocks: dict[str, Block] = {}
        """By name; only those that can be used."""
        self.objects: dict[str, IPBlock] = {}
        """The same, as the API server has them."""
        self.nodes: dict[str, Node] = {}
        self._mine: dict[str, Block] = {}
        self._near: dict[str, Block] = {}
        """Blocks of other nodes that overlap with ranges or blocks of this one: few, however many there are."""

    # --- following

    def pool_changed(self, key: ObjectKey, pool: IPPool | None) -> None:
        """An IPPool is now this, or None: gone."""
        if pool is None:
            self._pool_objects.pop(key, None)
        else:
            self._pool_objects[key] = pool
        self._pools = None

    def block_changed(self, key: ObjectKey, block: IPBlock | None) -> None:
        """An IPBlock is now this, or None: gone."""
        read = None if block is None else read_block(block)
        was_mine = self._mine.pop(key.name, None) is not None
        self._near.pop(key.name, None)
        if block is None or read is None or isinstance(read, Finding):
            self.blocks.pop(key.name, None)
            self.objects.pop(key.name, None)
        else:
            self.blocks[key.name] = read
            self.objects[key.name] = block
            if read.node == self._node:
                self._mine[key.name] = read
            elif self._is_near(read):
                self._near[key.name] = read
        if was_mine or key.name in self._mine:
            self._look_around()

    def _look_around(self) -> None:
        """This node has other ranges or blocks than before."""
        self._near = {
            name: block
            for name, block in self.blocks.items()
            if block.node != self._node and self._is_near(block)
        }

    def _is_near(self, block: Block) -> bool:
        return any(overlap(block.cidr, one) for one in self.own_ranges) or any(
            overlap(block.cidr, one.cidr) for one in self._mine.values()
        )

    def node_changed(self, key: ObjectKey, node: Node | None) -> None:
        """A Node is now this, or None: gone."""
        before = self._ranges.get(key.name, ())
        if node is None:
            self._ranges.pop(key.name, None)
            self.nodes.pop(key.name, None)
        else:
            self.nodes[key.name] = node
            self._ranges[key.name] = tuple(cidr for _, cidr in read_node(node).cidrs)
        if key.name == self._node and self._ranges.get(key.name, ()) != before:
            self._look_around()

    # --- questions

    @property
    def pools(self) -> Mapping[str, Pool]:
        """All pools by name, as they can be used."""
        if self._pools is None:
            self._pools = read_pools(self._pool_objects.values(), self._occupied)[0]
        return self._pools

    @property
    def has_pools(self) -> bool:
        """Whether there is an IPPool at all."""
        return bool(self._pool_objects)

    @property
    def own_ranges(self) -> tuple[Cidr, ...]:
        """Node ``spec.podCIDRs`` of this node."""
        return self._ranges.get(self._node, ())

    def node_ranges(self) -> Iterator[tuple[str, Cidr]]:
        """The same of every node, with its name."""
        for name, ranges in self._ranges.items():
            for cidr in ranges:
                yield name, cidr

    def own_blocks(self) -> list[Block]:
        """This node's blocks, in order."""
        return sorted(
            self._mine.values(), key=lambda b: (b.cidr.version, int(b.cidr.network_address), b.cidr.prefixlen)
        )

    def others_in(self, cidr: Cidr) -> list[Block]:
        """Other nodes' blocks that overlap with a range."""
        return [b for b in self.blocks.values() if b.node != self._node and overlap(b.cidr, cidr)]

    def taken(self, pool: Pool, version: int) -> list[Cidr]:
        """What a new block of a pool must not overlap with.

        Blocks of one address do not count, unless all of the pool are so: whoever has the block around them leaves them out.
        """
        is_of_singles = pool.sizes[version] == (32 if version == 4 else 128)
        found = [b.cidr for b in self.blocks.values() if is_of_singles or not b.is_single]
        return found + [cidr for _, cidr in self.node_ranges()]

    def elsewhere(self) -> tuple[Cidr, ...]:
        """Blocks of other nodes with more than one address, within this node's ranges: nothing of them is given here."""
        mine = self.own_ranges
        return tuple(
            b.cidr
            for b in self._near.values()
            if not b.is_single and any(overlap(b.cidr, one) for one in mine)
        )

    def singles_of_others(self) -> list[Block]:
        """Other nodes' blocks of one address that lie in this node's ranges or blocks."""
        mine = [*self.own_ranges, *(b.cidr for b in self.own_blocks() if not b.is_single)]
        return [b for b in self._near.values() if b.is_single and any(is_within(b.cidr, one) for one in mine)]

    def grantors(self, cidr: Cidr) -> set[str]:
        """The other nodes in whose ranges or blocks a block of one address lies."""
        wider = {
            b.node
            for b in self.blocks.values()
            if b.node != self._node and b.cidr != cidr and is_within(cidr, b.cidr)
        }
        ranges = {name for name, one in self.node_ranges() if name != self._node and is_within(cidr, one)}
        return wider | ranges

    def is_granted(self, block: Block) -> bool:
        """Whether everybody has given up a block of one address; others need no word of anybody."""
        return not block.is_single or all(block.grants.get(n) == GRANTED for n in self.grantors(block.cidr))

    def pool_with(self, address: Addr) -> Pool | None:
        """The pool that an address is of."""
        return next((pool for pool in self.pools.values() if pool.has(address)), None)

    def is_in_node_range(self, address: Addr) -> bool:
        """Whether it is in this node's own range."""
        return holds(self.own_ranges, address)
