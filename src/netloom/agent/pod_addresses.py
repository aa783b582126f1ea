"""Which addresses the pods of this node may have: what CNI asks before it gives one.

In: pods, namespaces and nodes as the API server has them, this node's blocks. Out: offers, and Events on pods that got nothing.
Not here: the rules (``model/addresses``), claiming blocks (``blocks``), giving addresses (``cni/ipam``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from netloom.agent.blocks import BlockKeeper
from netloom.api.core import Namespace, Pod
from netloom.cni.ipam.lease import Exhausted
from netloom.cni.ipam.offers import Offer
from netloom.errors import NetloomError, Unavailable
from netloom.kube.events import EventRecorder
from netloom.kube.resources import PODS
from netloom.model.addresses.choose import Choice, choose
from netloom.model.addresses.cluster import PoolCluster
from netloom.model.addresses.ranges import alone, holds
from netloom.units import Addr, Cidr, ObjectKey

log = logging.getLogger(__name__)

NO_ADDRESS = "NoAddress"
"""Reason of the Event on a pod that got no address."""


class PodAddresses:
    """The offers of one node.

    Args:
        node: its name.
        known: gives a pod by namespace/name, once it is known here; raises Unavailable where it is not.
        pod_now: gives it at once; None where it is not known.
        namespaces: all of them, as they are.
        cluster: pools, blocks and nodes.
        keeper: this node's blocks.
        reserved: what nobody on this node is given, besides what pools reserve.
        events: where Events go.
    """

    def __init__(  # noqa: PLR0913 - what it joins, each by name
        self,
        *,
        node: str,
        known: Callable[[str], Awaitable[Pod]],
        pod_now: Callable[[str], Pod | None],
        namespaces: Mapping[ObjectKey, Namespace],
        cluster: PoolCluster,
        keeper: BlockKeeper,
        reserved: tuple[Cidr, ...],
        events: EventRecorder,
    ) -> None:
        self._node = node
        self._known = known
        self._pod_now = pod_now
        self._namespaces = namespaces
        self._cluster = cluster
        self._keeper = keeper
        self._reserved = reserved
        self._events = events
        self._more = asyncio.Lock()

    async def offer(self, pod: str, wished: tuple[Addr, ...]) -> Offer:
        """What this pod may have; see ``cni.ipam.offers``.

        Raises:
            InvalidObject: it asks for what it may not have.
            Unavailable: it is not known here, or an address that it asks for is somebody else's.
        """
        ranges = self._cluster.own_ranges
        if not pod:
            if not ranges:
                raise _no_range(self._node)
            return Offer(ranges=ranges, requested=wished, reserved=self._left_out(Choice()))
        choice = await self._choice(pod)
        if not choice.pools and not ranges:
            raise _no_range(self._node)
        for address in choice.requested:
            if holds(self._reserved, address):
                raise Unavailable(
                    f"{address} is reserved on {self._node} (agent configuration)", "ask for another"
                )
            await self._keeper.claim_address(address, choice.pool_of(address), pod)
        return self._offer(choice, wished, hurry=not choice.pools)

    async def more(self, pod: str, offer: Offer, error: Exhausted) -> Offer:
        """A further block; at last also addresses that were in use a moment ago.

        Raises:
            Exhausted: all addresses that this pod may have are in use.
            Unavailable: the API server does not answer; try again.
        """
        if not pod or offer.hurry:
            raise error if not pod else await self._spent(pod, error)
        choice = await self._choice(pod)
        pools = choice.pools_of(error.version)
        async with self._more:  # whoever waited finds the block of the one before
            fresh = self._offer(choice, offer.requested, hurry=False)
            if not set(fresh.blocks) <= set(offer.blocks):
                return fresh
            for pool in pools:
                try:
                    await self._keeper.claim(pool, error.version)
                except Exhausted:
                    continue
                return self._offer(choice, offer.requested, hurry=False)
        return self._offer(choice, offer.requested, hurry=True)

    def failed(self, pod: str, error: NetloomError) -> None:
        """A word on the pod, for people; repeated, it is counted."""
        found = self._pod_now(pod)
        if found is not None:
            uid = found.metadata.uid
            self._events.emit(PODS, found.key, uid, reason=NO_ADDRESS, message=str(error), warning=True)

    async def _choice(self, name: str) -> Choice:
        pod = await self._known(name)
        return choose(
            pod,
            self._namespaces.get(ObjectKey("", pod.metadata.namespace)),
            self._cluster.nodes.get(self._node),
            self._cluster.pools,
            (cidr for _, cidr in self._cluster.node_ranges()),
        )

    def _offer(self, choice: Choice, wished: tuple[Addr, ...], *, hurry: bool) -> Offer:
        """Pools where there are some of a family, else the node's own ranges; and where an address that is asked for is."""
        requested = choice.requested or wished
        ranges = [c for c in self._cluster.own_ranges if not choice.pools_of(c.version)]
        blocks = [b for version in (4, 6) for b in self._keeper.blocks_of(choice.pools_of(version), version)]
        for address in requested:
            if not holds((*ranges, *blocks), address):
                block = self._keeper.block_with(address)
                blocks += [alone(address)] if block is not None else []
        return Offer(
            ranges=tuple(ranges),
            blocks=tuple(blocks),
            requested=requested,
            reserved=self._left_out(choice),
            versions=tuple(version for pool in choice.pools for version in pool.versions),
            hurry=hurry,
        )

    def _left_out(self, choice: Choice) -> tuple[Cidr, ...]:
        return (
            *self._reserved,
            *self._cluster.elsewhere(),
            *(network for pool in choice.pools for network in pool.reserved),
        )

    async def _spent(self, pod: str, error: Exhausted) -> NetloomError:
        """What to say when nothing at all is left."""
        pools = (await self._choice(pod)).pools_of(error.version)
        if not pools:
            return error
        names = ", ".join(pool.name for pool in pools)
        return Exhausted(
            f"Pod {pod}: all IPv{error.version} addresses of IPPool {names} are in use",
            "add a range to spec.cidrs of the pool, or delete pods that have addresses of it",
            version=error.version,
        )


def _no_range(node: str) -> Unavailable:
    problem = f"Node {node} has no range of its own (spec.podCIDRs), and no IPPool is for this pod"
    return Unavailable(problem, "give nodes ranges, or make a pool with namespaceSelector: {}")
