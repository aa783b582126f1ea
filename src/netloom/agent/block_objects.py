"""IPBlocks at the API server: made, told of, deleted. In: what the cluster has, our words. Out: requests, and waits for the watch.

Not here: which block, and why (``blocks``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from netloom.errors import AlreadyExists, NotFound, Unavailable
from netloom.kube.client import KubeClient
from netloom.kube.resources import IP_BLOCKS
from netloom.kube.status import Conflict
from netloom.model.addresses.blocks import Block, block_name
from netloom.model.addresses.cluster import PoolCluster
from netloom.units import Cidr, ObjectKey

T = TypeVar("T")

FINALIZER = "netloom.io/addresses"
WANTED_ANNOTATION = "netloom.io/wanted-by"
"""Of an IPBlock of one address: namespace/name of a pod on another node that asks for it."""
PATIENCE_S = 5.0
"""How long a claim waits for the API server's word of it, and for other nodes' grants; then the runtime is told to try again."""


class BlockObjects:
    """The IPBlocks that one node makes.

    Args:
        client: an open client.
        node: this node's name.
        cluster: pools, blocks and nodes; ``changed`` is to be called after each change of it.
        patience_s: for how long others are waited for.
    """

    def __init__(self, *, client: KubeClient, node: str, cluster: PoolCluster, patience_s: float) -> None:
        self.patience_s = patience_s
        self._client = client
        self._node = node
        self._cluster = cluster
        self._moved = asyncio.Event()
        self._dropped: set[str] = set()
        """The uids of blocks that were deleted here; the watch may still tell of them."""

    def changed(self) -> None:
        """An IPBlock, IPPool or Node is another now, or gone."""
        self._moved.set()

    async def until(self, state: Callable[[], T | None], problem: str) -> T:
        """What ``state`` gives as soon as it gives something.

        Raises:
            Unavailable: it gave nothing in time; ``problem`` says what that means.
        """
        try:
            async with asyncio.timeout(self.patience_s):
                while (found := state()) is None:
                    self._moved.clear()
                    await self._moved.wait()
                return found
        except TimeoutError as error:
            raise Unavailable(problem, "try again") from error

    async def create(self, cidr: Cidr, pool: str) -> bool:
        """Make the block of a range for this node; False where that range has one already.

        Raises:
            NetloomError: the API server does not take it.
        """
        body = {
            "apiVersion": IP_BLOCKS.api_version,
            "kind": IP_BLOCKS.kind,
            "metadata": {"name": block_name(cidr), "finalizers": [FINALIZER]},
            "spec": {"cidr": str(cidr), "node": self._node, "pool": pool},
        }
        try:
            await self._client.create(IP_BLOCKS, body)
        except AlreadyExists:
            return False
        return True

    async def told(self, cidr: Cidr) -> Block:
        """Wait for our own watch to tell of a block of ours: it has told of all that were made before, then.

        Raises:
            Unavailable: it does not.
        """

        def mine() -> Block | None:
            block = self._cluster.blocks.get(block_name(cidr))
            return block if block is not None and block.node == self._node and self.is_live(block) else None

        return await self.until(mine, f"the API server has not told of IPBlock {block_name(cidr)}")

    def is_live(self, block: Block) -> bool:
        """False for one that we have deleted and the watch still tells of."""
        return block.source.uid not in self._dropped

    def forget(self) -> None:
        """What the watch tells of no more need not be remembered."""
        self._dropped &= {block.source.uid for block in self._cluster.blocks.values()}

    async def want(self, block: Block, pod: str) -> None:
        """Have the node of a block of one address know which pod asks for it.

        Raises:
            NetloomError: the API server does not answer.
        """
        annotations = {"metadata": {"annotations": {WANTED_ANNOTATION: pod}}}
        with contextlib.suppress(NotFound):
            await self._client.patch(IP_BLOCKS, ObjectKey("", block.name), annotations)

    async def answer(self, block: Block, words: str) -> None:
        """Say of another node's block that lies in a range of ours whether it may be used.

        Raises:
            NetloomError: the API server does not answer.
        """
        body = {"status": {"grants": {self._node: words}}}
        with contextlib.suppress(NotFound):  # it was not waited for
            await self._client.patch(IP_BLOCKS, ObjectKey("", block.name), body, subresource="status")

    async def delete(self, block: Block) -> None:
        """The block goes: first the wish, then what keeps it.

        Raises:
            NetloomError: the API server does not answer; to be repeated.
        """
        with contextlib.suppress(NotFound, Conflict):  # a namesake is another block
            key = ObjectKey("", block.name)
            await self._client.delete(IP_BLOCKS, key, preconditions_uid=block.source.uid)
            self._dropped.add(block.source.uid)
            await self._client.patch(IP_BLOCKS, key, {"metadata": {"finalizers": None}})
