"""Everything about addresses of one node, joined: pools, blocks, offers, and what nobody uses any more.

In: what the agent follows. Out: offers for CNI, a report for who asks. It decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from netloom.agent.admission import Admission
from netloom.agent.blocks import BlockKeeper
from netloom.agent.pod_addresses import PodAddresses
from netloom.agent.unused import AbandonedBlocks, UnusedLeases
from netloom.api.core import Namespace, Node, Pod
from netloom.api.pools import IPBlock, IPPool
from netloom.clock import Clock
from netloom.cni.ipam.lease import Lease
from netloom.cni.ipam.store import AddressStore
from netloom.errors import NetloomError
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.model.addresses.cluster import PoolCluster
from netloom.model.inputs import ClusterFacts
from netloom.observe.addresses import NodeAddresses, node_addresses
from netloom.units import Addr, Cidr, ObjectKey

log = logging.getLogger(__name__)

_RETRY_S = 1.0


class NodeIpam:
    """The addresses of one node.

    Args:
        node: its name.
        client: an open client.
        store: its record of addresses.
        facts: settings of the cluster.
        reserved: what nobody on this node is given.
        admission: knows this node's pods.
        pods: all pods, as they are known here.
        namespaces: all namespaces, likewise.
        events: where Events go.
        clock: the time.
        idle_s: for how long this node keeps a block that nobody uses.
    """

    def __init__(  # noqa: PLR0913 - what it joins, each by name
        self,
        *,
        node: str,
        client: KubeClient,
        store: AddressStore,
        facts: ClusterFacts,
        reserved: tuple[Cidr, ...],
        admission: Admission,
        pods: Mapping[ObjectKey, Pod],
        namespaces: Mapping[ObjectKey, Namespace],
        events: EventRecorder,
        clock: Clock,
        idle_s: float,
    ) -> None:
        self._node = node
        self._client = client
        self._store = store
        self._pods = pods
        self._clock = clock
        occupied = dict.fromkeys(facts.service_cidrs, "the range of Services")
        self._cluster = PoolCluster(node, occupied)
        self._keeper = BlockKeeper(
            client=client,
            node=node,
            store=store,
            cluster=self._cluster,
            clock=clock,
            pod_with=self._pod_with,
            idle_s=idle_s,
        )
        self.offers = PodAddresses(
            node=node,
            known=admission.known,
            pod_now=admission.pod,
            namespaces=namespaces,
            cluster=self._cluster,
            keeper=self._keeper,
            reserved=reserved,
            events=events,
        )
        self._abandoned = AbandonedBlocks(
            client=client, node=node, cluster=self._cluster, pods=pods, clock=clock
        )

    @property
    def has_pools(self) -> bool:
        """Whether there is an IPPool at all."""
        return self._cluster.has_pools

    @property
    def pool_cidrs(self) -> tuple[Cidr, ...]:
        """Ranges of all pools that can be used."""
        return tuple(sorted({c for p in self._cluster.pools.values() for c in p.cidrs}, key=str))

    def pool_changed(self, key: ObjectKey, pool: IPPool | None) -> None:
        """An IPPool is now this, or None: gone."""
        self._cluster.pool_changed(key, pool)
        self._keeper.changed()

    def block_changed(self, key: ObjectKey, block: IPBlock | None) -> None:
        """An IPBlock is now this, or None: gone."""
        self._cluster.block_changed(key, block)
        self._keeper.changed()

    def node_changed(self, key: ObjectKey, node: Node | None) -> None:
        """A Node is now this, or None: gone."""
        self._cluster.node_changed(key, node)
        self._keeper.changed()

    async def start(self) -> None:
        """Return when nothing is given here any more that others have; to be called before CNI gives anything."""
        while True:
            try:
                await self._keeper.look()
            except NetloomError as error:
                log.warning("blocks of pools, again in %.0f s: %s", _RETRY_S, error)
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def run(self, reclaim: Callable[[Lease], Awaitable[bool]]) -> None:
        """Keep blocks and leases until cancelled; ``reclaim`` is ``Verbs.reclaim``."""
        unused = UnusedLeases(
            client=self._client,
            node=self._node,
            store=self._store,
            pods=self._pods,
            reclaim=reclaim,
            clock=self._clock,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keeper.run(), name="blocks")
            tasks.create_task(unused.run(), name="unused leases")
            tasks.create_task(self._abandoned.run(), name="abandoned blocks")

    def _pod_with(self, address: Addr) -> str:
        """Asked only where somebody else has what a pod wants: a look at every pod."""
        text = str(address)
        found = (key for key, pod in self._pods.items() if any(ip.ip == text for ip in pod.status.pod_ips))
        return str(next(found, ""))

    def report(self) -> NodeAddresses:
        """For people and programs who ask.

        Raises:
            StorageError: the record cannot be read.
        """
        return node_addresses(self._node, self._store, self._cluster)
