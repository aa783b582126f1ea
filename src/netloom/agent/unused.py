"""What nobody uses any more goes: leases of this node's pods that are gone, and blocks of nodes that are gone.

In: the record, the kernel's interfaces, the API server. Out: releases and deletions, each after two looks some time apart. While the
API server is away nothing is released on account of it: who is gone is asked anew, and only its own word counts.
Not here: GC as a runtime asks for it (``cni/verbs``).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping

from netloom.api.core import Pod
from netloom.clock import Clock
from netloom.cni.ipam.gc import APART_S, Observations, replaced, without_interface
from netloom.cni.ipam.lease import Lease
from netloom.cni.ipam.store import AddressStore
from netloom.errors import NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import IP_BLOCKS, NODES, PODS
from netloom.kube.status import Conflict
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.model.addresses.blocks import Block
from netloom.model.addresses.cluster import PoolCluster
from netloom.model.addresses.ranges import holds
from netloom.program.names import pod_link
from netloom.units import ObjectKey, parse_addr

log = logging.getLogger(__name__)

LOOK_S = 30.0


class UnusedLeases:
    """Releases what a runtime forgot.

    Args:
        client: an open client.
        node: this node's name.
        store: the record.
        pods: all pods, as they are known here.
        reclaim: releases a lease, unless it is used after all (``Verbs.reclaim``).
        clock: the time.
        apart_s: seconds between two looks that count.
    """

    def __init__(  # noqa: PLR0913 - what it looks at, each by name
        self,
        *,
        client: KubeClient,
        node: str,
        store: AddressStore,
        pods: Mapping[ObjectKey, Pod],
        reclaim: Callable[[Lease], Awaitable[bool]],
        clock: Clock,
        apart_s: float = APART_S,
    ) -> None:
        self._client = client
        self._node = node
        self._store = store
        self._pods = pods
        self._reclaim = reclaim
        self._clock = clock
        self._seen = Observations(apart_s=apart_s)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except NetloomError as error:
                log.warning("addresses that nobody uses: %s", error)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> list[Lease]:
        """One look; what was released.

        Raises:
            NetloomError: the kernel, the record or the API server cannot be asked; nothing is released.
        """
        leases, links = await netns.run_in_async(None, self._what_there_is)
        link_of = {a: pod_link(a.container, a.interface) for a in (lease.attachment for lease in leases)}
        bare = without_interface(leases, links, link_of)
        missing = {lease.attachment for lease in bare}
        unused = [lease for lease in bare if self._may_be_gone(lease) or replaced(lease, leases, missing)]
        released = []
        for lease in self._seen.take(unused, self._clock.monotonic()):
            if not replaced(lease, leases, missing) and not await self._is_gone(lease):
                continue
            if await self._reclaim(lease):
                addresses = ", ".join(map(str, lease.addresses))
                log.warning("%s of %s: nobody uses them, released", addresses, lease.pod or lease.attachment)
                released.append(lease)
        return released

    def _what_there_is(self) -> tuple[list[Lease], frozenset[str]]:
        # leases first: one that is added meanwhile is not looked at, and its interface does no harm
        leases = self._store.leases()
        with Rtnl() as rtnl:
            return leases, frozenset(link.name for link in rtnl.links())

    def _may_be_gone(self, lease: Lease) -> bool:
        pod = self._pods.get(_key(lease.pod)) if lease.pod else None
        return pod is None or pod.spec.node_name != self._node

    async def _is_gone(self, lease: Lease) -> bool:
        """The API server's own word. What is no pod of the cluster has no other sign of life than its interface."""
        if not lease.pod:
            return True
        try:
            pod = await self._client.get(PODS, _key(lease.pod))
        except NotFound:
            return True
        where: str = (pod.get("spec") or {}).get("nodeName") or ""
        return where not in {"", self._node}


class AbandonedBlocks:
    """Frees blocks of nodes that are gone; of the nodes that are ready each block has one that sees to it.

    Args:
        client: an open client.
        node: this node's name.
        cluster: blocks and nodes.
        pods: all pods, as they are known here.
        clock: the time.
        apart_s: seconds between two looks that count.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        node: str,
        cluster: PoolCluster,
        pods: Mapping[ObjectKey, Pod],
        clock: Clock,
        apart_s: float = APART_S,
    ) -> None:
        self._client = client
        self._node = node
        self._cluster = cluster
        self._pods = pods
        self._clock = clock
        self._apart_s = apart_s
        self._first: dict[str, float] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except NetloomError as error:
                log.warning("blocks of nodes that are gone: %s", error)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> list[Block]:
        """One look; what was freed.

        Raises:
            NetloomError: the API server does not answer; nothing more is freed.
        """
        now = self._clock.monotonic()
        alone = [b for b in self._cluster.blocks.values() if b.node not in self._cluster.nodes]
        self._first = {b.source.uid: self._first.get(b.source.uid, now) for b in alone}
        freed = []
        for block in alone:
            is_old = now - self._first[block.source.uid] >= self._apart_s
            if not is_old or not self._is_ours_to_free(block) or self._is_used(block):
                continue
            if await self._is_node_gone(block.node):
                await self._free(block)
                freed.append(block)
        return freed

    def _is_ours_to_free(self, block: Block) -> bool:
        ready = sorted(name for name, node in self._cluster.nodes.items() if node.is_ready) or [self._node]
        number = int.from_bytes(hashlib.sha256(block.source.uid.encode()).digest()[:8])
        return ready[number % len(ready)] == self._node

    def _is_used(self, block: Block) -> bool:
        """Pods of the node that is gone may still be known; they go first."""
        return any(
            pod.spec.node_name == block.node
            and any(
                (a := parse_addr(ip.ip)) is not None and holds((block.cidr,), a) for ip in pod.status.pod_ips
            )
            for pod in self._pods.values()
        )

    async def _is_node_gone(self, node: str) -> bool:
        try:
            await self._client.get(NODES, ObjectKey("", node))
        except NotFound:
            return True
        return False

    async def _free(self, block: Block) -> None:
        key = ObjectKey("", block.name)
        log.warning("block %s: its node %s is gone, freed", block.cidr, block.node)
        with contextlib.suppress(NotFound, Conflict):
            await self._client.delete(IP_BLOCKS, key, preconditions_uid=block.source.uid)
            await self._client.patch(IP_BLOCKS, key, {"metadata": {"finalizers": None}})


def _key(pod: str) -> ObjectKey:
    namespace, _, name = pod.partition("/")
    return ObjectKey(namespace, name)
