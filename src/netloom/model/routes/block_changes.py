"""Routes to blocks and ranges of pods, following changes: what ``blocks.build_blocks`` gives, at the cost of what has changed.

Comes in: pools, blocks and nodes that are others now. Goes out: routes, ranges and Findings, and what of the routes has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from netloom.api.pools import IPBlock, IPPool
from netloom.model.addresses.blocks import Block, read_block
from netloom.model.addresses.ranges import is_within
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding
from netloom.model.routes.blocks import (
    Holders,
    is_outside,
    merged_ranges,
    own_ranges,
    pool_ranges,
    route_of,
)
from netloom.model.routes.peers import NodeRanges
from netloom.model.state import PeerRoute, PodRange
from netloom.units import Cidr, ObjectKey


class BlockNetwork:
    """Pools and blocks as one node sees them. See ``routes``, ``ranges``, ``findings``.

    Args:
        facts: what this node is.
        route_changed: called with each range whose route is about to change, and its route until now.
    """

    def __init__(self, facts: NodeFacts, route_changed: Callable[[Cidr, PeerRoute | None], None]) -> None:
        self._facts = facts
        self._route_changed = route_changed
        self._pools: dict[ObjectKey, IPPool] = {}
        self._pool_ranges: list[Cidr] = []
        self._pool_findings: tuple[Finding, ...] = ()
        self._nodes: dict[str, NodeRanges] = {}
        self._blocks: dict[ObjectKey, Block] = {}
        self._of_node: dict[str, set[ObjectKey]] = {}
        self._singles: dict[ObjectKey, Block] = {}
        self._outside: dict[ObjectKey, Cidr] = {}
        self._holders = Holders()
        self._bad: dict[ObjectKey, Finding] = {}
        self._unreached: dict[ObjectKey, Finding] = {}
        self.routes: dict[Cidr, PeerRoute] = {}
        self.ranges: dict[Cidr, PodRange] = {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What could not be used as written."""
        return (*self._pool_findings, *self._bad.values(), *self._unreached.values())

    def update(
        self,
        pools: Mapping[ObjectKey, IPPool | None],
        blocks: Mapping[ObjectKey, IPBlock | None],
        nodes: Mapping[ObjectKey, NodeRanges | None],
    ) -> bool:
        """Take over what has changed; False where that is nothing."""
        if not (pools or blocks or nodes):
            return False
        dirty: set[ObjectKey] = set()
        for key, node in nodes.items():
            self._take_node(key.name, node, dirty)
        for key, block in blocks.items():
            self._take_block(key, block, dirty)
        if pools or (nodes and self._pools):
            dirty |= self._take_pools(pools)
        for key in dirty:
            self._settle(key)
        own = [self._blocks[key].cidr for key in self._of_node.get(self._facts.name, ())]
        away = [
            b.cidr
            for b in self._singles.values()
            if own and b.node != self._facts.name and self._holders.let_go(b)
        ]
        self.ranges = merged_ranges(self._pool_ranges, self._outside.values(), own_ranges(own, away))
        return True

    def _take_node(self, name: str, node: NodeRanges | None, dirty: set[ObjectKey]) -> None:
        before = self._nodes.pop(name, None)
        if before is not None:
            self._holders.remove_node(before)
        if node is not None:
            self._nodes[name] = node
            self._holders.add_node(node)
        dirty |= self._of_node.get(name, set())
        for one in (before, node):
            if one is not None:
                dirty |= self._singles_in(cidr for _, cidr in one.cidrs)

    def _take_block(self, key: ObjectKey, block: IPBlock | None, dirty: set[ObjectKey]) -> None:
        before = self._blocks.pop(key, None)
        self._bad.pop(key, None)
        if before is not None:
            self._holders.remove_block(before)
            self._singles.pop(key, None)
            siblings = self._of_node[before.node]
            siblings.discard(key)
            if not siblings:
                del self._of_node[before.node]
            self._drop(key, before)
        read = None if block is None else read_block(block)
        if isinstance(read, Finding):
            self._bad[key] = read
        elif read is not None:
            self._blocks[key] = read
            self._holders.add_block(read)
            self._of_node.setdefault(read.node, set()).add(key)
            if read.is_single:
                self._singles[key] = read
            dirty.add(key)
        for one in (before, read):
            if isinstance(one, Block) and not one.is_single:
                dirty |= self._singles_in((one.cidr,))

    def _take_pools(self, pools: Mapping[ObjectKey, IPPool | None]) -> set[ObjectKey]:
        for key, pool in pools.items():
            if pool is None:
                self._pools.pop(key, None)
            else:
                self._pools[key] = pool
        before = self._pool_ranges
        self._pool_ranges, findings = pool_ranges(self._pools.values(), self._nodes, self._facts)
        self._pool_findings = tuple(findings)
        return set() if before == self._pool_ranges else set(self._blocks)

    def _singles_in(self, ranges: Iterable[Cidr]) -> set[ObjectKey]:
        if not self._singles:
            return set()
        wider = list(ranges)
        return {key for key, b in self._singles.items() if any(is_within(b.cidr, one) for one in wider)}

    def _drop(self, key: ObjectKey, block: Block) -> None:
        """Its name follows from its range, so nobody else has either."""
        self._outside.pop(key, None)
        self._unreached.pop(key, None)
        if block.cidr in self.routes:
            self._route_changed(block.cidr, self.routes.pop(block.cidr))

    def _settle(self, key: ObjectKey) -> None:
        block = self._blocks.get(key)
        if block is None:
            return
        route = route_of(block, self._nodes.get(block.node), self._holders, self._facts)
        self._unreached.pop(key, None)
        if isinstance(route, Finding):
            self._unreached[key] = route
            route = None
        held = self.routes.get(block.cidr)
        if route != held:
            self._route_changed(block.cidr, held)
            if route is None:
                del self.routes[block.cidr]
            else:
                self.routes[block.cidr] = route
        self._outside.pop(key, None)
        if block.node != self._facts.name and is_outside(block.cidr, self._pool_ranges):
            self._outside[key] = block.cidr
