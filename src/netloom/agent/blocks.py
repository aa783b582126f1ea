"""This node's blocks of pools: claimed when pods need them, lent to others by address, given back when nobody uses them.

In: what the cluster has (``PoolCluster``). Out: IPBlocks of this node, and what it says of others'. Two nodes never give one address:

- A range has one name, and the API server makes an object of one name once. Whoever makes a block then waits until its own watch
  has told of it: so it knows every block that was made before. If one of those overlaps, it takes its own back.
- A single address, which a pod asks for, may lie in another node's range. That node notes in its record that the address is no longer
  its own, if nobody has it there, and says so in ``status.grants``; only then the address is given.
- A block has a finalizer: deleted by anybody, it stays until its node has seen that no pod has an address of it.

Not here: which block (``model/addresses``), which address (``cni/ipam``), routes (``model/routes``), blocks of nodes that are gone.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import TypeVar

from netloom.agent.block_objects import PATIENCE_S, WANTED_ANNOTATION, BlockObjects
from netloom.clock import Clock
from netloom.cni.ipam.lease import Exhausted
from netloom.cni.ipam.store import REUSE_DELAY_S, AddressStore
from netloom.errors import NetloomError, Unavailable
from netloom.kube.client import KubeClient
from netloom.linux import netns
from netloom.model.addresses.blocks import GRANTED, Block, block_name, free_blocks
from netloom.model.addresses.cluster import PoolCluster
from netloom.model.addresses.pools import Pool, pool_of
from netloom.model.addresses.ranges import alone, holds, is_within, overlap
from netloom.units import Addr, Cidr

log = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_S = 10.0
"""How often blocks are looked at that might be given back."""
_RETRY_S = 1.0
_MOST_TRIES = 32


class BlockKeeper:
    """The blocks of one node.

    Args:
        client: an open client.
        node: this node's name.
        store: its record of addresses.
        cluster: pools, blocks and nodes; ``changed`` is to be called after each change of it.
        clock: the time.
        pod_with: the pod (namespace/name) that has an address, as far as is known here; empty where none is.
        idle_s: for how long a block stays that nobody uses.
        patience_s: for how long others are waited for.
    """

    def __init__(  # noqa: PLR0913 - what it joins, each by name
        self,
        *,
        client: KubeClient,
        node: str,
        store: AddressStore,
        cluster: PoolCluster,
        clock: Clock,
        pod_with: Callable[[Addr], str] = lambda _: "",
        idle_s: float = REUSE_DELAY_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._objects = BlockObjects(client=client, node=node, cluster=cluster, patience_s=patience_s)
        self._node = node
        self._store = store
        self._cluster = cluster
        self._clock = clock
        self._pod_with = pod_with
        self._idle_s = idle_s
        self._due = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._under_way: set[Cidr] = set()
        self._sure: dict[Cidr, float] = {}
        """Blocks that are this node's and nobody else's, and when that was seen."""
        self._lent: set[str] = set()

    # --- what there is

    def own(self) -> list[Block]:
        """This node's blocks of which addresses are given, in order."""
        return [
            b
            for b in self._cluster.own_blocks()
            if b.cidr in self._sure and not b.is_leaving and self._cluster.is_granted(b)
        ]

    def blocks_of(self, pools: tuple[Pool, ...], version: int) -> list[Cidr]:
        """This node's blocks of some pools, in the order of the pools; not those that were claimed for one address."""
        own = [block for block in self.own() if block.cidr.version == version]
        return [
            block.cidr
            for pool in pools
            for block in own
            if (not block.is_single or pool.sizes[version] == block.cidr.max_prefixlen)
            and any(is_within(block.cidr, whole) for whole in pool.cidrs)
        ]

    def block_with(self, address: Addr) -> Cidr | None:
        """This node's block with an address; the narrowest."""
        found = [block.cidr for block in self.own() if holds((block.cidr,), address)]
        return max(found, key=lambda cidr: cidr.prefixlen, default=None)

    # --- claiming

    async def claim(self, pool: Pool, version: int) -> Cidr:
        """Have one more block of a pool.

        Raises:
            Exhausted: the pool has none left.
            Unavailable: the API server does not answer; try again.
        """
        async with self._claiming:
            tried: list[Cidr] = []
            for _ in range(_MOST_TRIES):
                taken = [*self._cluster.taken(pool, version), *tried]
                cidr = next(free_blocks(pool, version, taken, self._node), None)
                if cidr is None:
                    break
                tried.append(cidr)
                self._under_way.add(cidr)
                try:
                    if await self._create(cidr, pool.name) and await self._keep(
                        await self._objects.told(cidr)
                    ):
                        log.info("IPPool %s: block %s is this node's", pool.name, cidr)
                        return cidr
                finally:
                    self._under_way.discard(cidr)
        raise Exhausted(
            f"IPPool {pool.name}: all its blocks of IPv{version} are taken",
            "add a range to its spec.cidrs, or delete pods",
            version=version,
        )

    async def claim_address(self, address: Addr, pool: Pool | None, pod: str) -> None:
        """Have an address that a pod asks for, wherever it is.

        Raises:
            Unavailable: another pod or node has it, or who has to say so does not answer.
        """
        cidr = alone(address)
        holder = self._cluster.blocks.get(block_name(cidr))
        if self._cluster.is_in_node_range(address) or self.block_with(address) is not None:
            if holder is not None and holder.node != self._node:
                await self._wait_for(holder, pod)
                await _blocking(functools.partial(self._store.return_to, address, pod))
            return
        self._under_way.add(cidr)
        try:
            if holder is None or holder.node != self._node or holder.is_leaving:
                await self._come_by(cidr, pool, pod)
            await self._granted(cidr)
            await self._open(cidr)
        finally:
            self._under_way.discard(cidr)

    async def _keep(self, block: Block) -> bool:
        """Whether nobody else has anything of a block of ours; where somebody has, it is taken back, if nobody uses it."""
        others = self._cluster.others_in(block.cidr)
        ranges = [one for name, one in self._cluster.node_ranges() if name != self._node]
        if not block.is_single and (
            any(not b.is_single for b in others) or any(overlap(one, block.cidr) for one in ranges)
        ):
            if await _blocking(functools.partial(self._store.close_range, block.cidr)):
                await self._delete(block)
            else:
                log.error("block %s overlaps with what others have; nothing more of it is given", block.cidr)
            return False
        for single in others if not block.is_single else ():
            await self._grant(single)
        await self._open(block.cidr)
        return True

    async def _create(self, cidr: Cidr, pool: str) -> bool:
        self._sure.pop(cidr, None)
        return await self._objects.create(cidr, pool)

    async def _delete(self, block: Block) -> None:
        self._sure.pop(block.cidr, None)
        await self._objects.delete(block)

    async def _open(self, cidr: Cidr) -> None:
        await _blocking(functools.partial(self._store.open_range, cidr))
        self._sure[cidr] = self._clock.monotonic()

    async def _come_by(self, cidr: Cidr, pool: Pool | None, pod: str) -> None:
        """Make the block of one address. Where another node has it, that is told who wants it: it may be the pod that was there."""
        name = block_name(cidr)
        if await self._create(cidr, pool.name if pool is not None else ""):
            await self._objects.told(cidr)
            return
        holder = await self._objects.until(
            lambda: self._cluster.blocks.get(name), f"IPBlock {name} cannot be read"
        )
        if holder.node == self._node and self._objects.is_live(holder) and not holder.is_leaving:
            return
        await self._wait_for(holder, pod)
        if not await self._create(cidr, pool.name if pool is not None else ""):
            raise Unavailable(f"{cidr.network_address} went to another node just now", "try again")
        await self._objects.told(cidr)

    async def _wait_for(self, holder: Block, pod: str) -> None:
        """Have another node know who wants its block of one address, and wait until it is gone."""
        await self._objects.want(holder, pod)
        address = holder.cidr.network_address
        try:
            await self._objects.until(lambda: True if holder.name not in self._cluster.blocks else None, "")
        except Unavailable as error:
            who, where = self._pod_with(address), f"on {holder.node} (IPBlock {holder.name})"
            problem = (
                f"{address} belongs to pod {who} {where}" if who else f"{address} is still in use {where}"
            )
            hint = "it comes here when no pod has it there and it has rested; try again, or ask for another"
            raise Unavailable(problem, hint) from error

    async def _granted(self, cidr: Cidr) -> None:
        """Wait until every node in whose range an address is has given it up."""
        name, address = block_name(cidr), cidr.network_address

        def answers() -> dict[str, str] | None:
            block = self._cluster.blocks.get(name)
            if block is None or block.node != self._node:
                return {"": "its block has been deleted meanwhile"}
            grantors = self._cluster.grantors(cidr)
            return {n: block.grants[n] for n in grantors} if grantors <= block.grants.keys() else None

        try:
            said = await self._objects.until(answers, "")
        except Unavailable as error:
            waited = ", ".join(sorted(self._cluster.grantors(cidr)))
            await self._take_back(name)
            problem = f"{address} is in the range of {waited}, which has not given it up"
            raise Unavailable(problem, "see that its agent runs; try again, or ask for another") from error
        refused = {node: why for node, why in said.items() if why != GRANTED}
        if refused:
            await self._take_back(name)
            node, why = min(refused.items())
            where = f" on {node}" if node else ""
            raise Unavailable(f"{address}: {why}{where}", "ask for another, or delete that pod")

    async def _take_back(self, name: str) -> None:
        """A block of one address that was not granted; unless somebody here has it all the same."""
        block = self._cluster.blocks.get(name)
        if block is None or block.node != self._node:
            return
        if await _blocking(functools.partial(self._store.close_range, block.cidr)):
            await self._delete(block)

    # --- keeping

    def changed(self) -> None:
        """An IPBlock, IPPool or Node is another now, or gone."""
        self._objects.changed()
        self._due.set()

    async def run(self) -> None:
        """Lend and give back until cancelled."""
        everything_at = 0.0
        while True:
            now = self._clock.monotonic()
            is_time = now >= everything_at
            wait = _LOOK_S
            try:
                await self.look(everything=is_time)
                if is_time:
                    everything_at = now + _LOOK_S
            except NetloomError as error:
                log.warning("blocks of pools: %s", error)
                wait = _RETRY_S
            try:
                async with asyncio.timeout(wait):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()

    async def look(self, *, everything: bool = True) -> None:
        """One turn: say what is lent, take back what others do not need any more, give back what is not needed here.

        Args:
            everything: also blocks that nothing is known to have happened to.

        Raises:
            NetloomError: the API server or the record cannot be written; to be repeated.
        """
        self._objects.forget()
        await self.lend()
        for block in self._cluster.own_blocks():
            if block.cidr in self._under_way:
                continue
            if self._objects.is_live(block) and block.cidr not in self._sure and not block.is_leaving:
                await self._keep(block)  # of an agent before this one
            if self._objects.is_live(block) or block.is_leaving:
                await self._look_at(block, everything=everything)
        if everything:
            await self._restore()

    async def lend(self) -> None:
        """Addresses that other nodes have of this one's ranges are given to nobody here.

        Raises:
            NetloomError: the API server or the record cannot be written; to be repeated.
        """
        singles = self._cluster.singles_of_others()
        for block in singles:
            if block.name not in self._lent or self._node not in block.grants:
                await self._grant(block)
        kept = {block.name for block in singles}
        if self._lent - kept:
            await _blocking(functools.partial(self._store.take_back, kept))
            self._lent &= kept

    async def _grant(self, block: Block) -> None:
        """Give up an address that another node asks for, if nobody has it here, and say so."""
        address = block.cidr.network_address
        holding = await _blocking(functools.partial(self._store.lend, address, block.name))
        answer = GRANTED
        if holding is None:
            self._lent.add(block.name)
        else:
            answer = f"it belongs to {f'pod {holding.pod}' if holding.pod else holding.attachment}"
        before = block.grants.get(self._node)
        if before == answer:
            return
        if before == GRANTED:
            log.error(
                "%s is given twice: on %s (IPBlock %s); %s here", address, block.node, block.name, answer
            )
            return
        await self._objects.answer(block, answer)

    async def _look_at(self, block: Block, *, everything: bool) -> None:
        """Give a block back that nobody uses."""
        annotations = self._cluster.objects[block.name].metadata.annotations
        wanted_by = annotations.get(WANTED_ANNOTATION, "") if block.is_single else ""
        has_pool = pool_of(block.cidr, self._cluster.pools.values()) is not None
        if has_pool or (block.is_single and not block.pool):
            idle_since = self._sure.get(block.cidr, 0.0)
            is_old = everything and self._clock.monotonic() - idle_since >= self._idle_s
            if not (is_old or wanted_by or block.is_leaving):
                return
        close = functools.partial(self._store.close_range, block.cidr, at_once_for=wanted_by)
        if await _blocking(close):
            log.info("block %s is given back", block.cidr)
            await self._delete(block)

    async def _restore(self) -> None:
        """A block that somebody took from us by force, while pods have addresses of it, is made again."""
        for cidr in [cidr for cidr in self._sure if block_name(cidr) not in self._cluster.blocks]:
            usage = await _blocking(functools.partial(self._store.usage, cidr))
            if cidr in self._under_way or not usage.used:
                self._sure.pop(cidr, None)
                continue
            log.error("IPBlock %s was deleted by force, and pods have addresses of it: made again", cidr)
            pool = pool_of(cidr, self._cluster.pools.values())
            if not await self._create(cidr, pool.name if pool is not None else ""):
                log.error("addresses of %s may be given twice: another node has the block now", cidr)


async def _blocking(work: Callable[[], T]) -> T:
    return await netns.run_in_async(None, work)
