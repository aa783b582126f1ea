"""Addresses of pools that nobody gives back come free: those of pods that are gone from nodes that are dead, and those kept long enough.

In: NetworkLeases, Pods, Nodes, NetworkPools. Out: leases deleted, or kept for their pod's name. A node gives its addresses back itself;
this is for those that cannot. A lease is given up when its pod was seen to be gone twice with some time between, and the API server,
asked about this one pod, says so, too. Every deletion names the lease's uid, so two processes that do this do no harm. Not here: taking
and giving back (``cni/networks/leases``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from netloom.api.core import Node
from netloom.api.meta import KubeObject
from netloom.api.networks import NetworkLease, NetworkPool
from netloom.clock import Clock, rfc3339
from netloom.cni.networks.lease_objects import kept
from netloom.errors import NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import NETWORK_LEASES, NETWORK_POOLS, NODES, PODS
from netloom.kube.status import Conflict
from netloom.kube.watch import Reflector
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

OBSERVE_S = 10.0
"""Time between two looks."""
PATIENCE_S = 10.0
"""For how long a pod must have been gone, on a node that is not ready."""
READY_PATIENCE_S = 60.0
"""The same on a node that is ready: its agent gives the address back as soon as the interface is gone."""


class Observations:
    """Since when pods of leases are gone. Pure but for its memory."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def doomed(
        self,
        leases: Iterable[NetworkLease],
        *,
        uids: Collection[str],
        names: Collection[str],
        ready: Collection[str],
        now: float,
    ) -> list[NetworkLease]:
        """Leases whose pods are gone for long enough, and were at an earlier look, too.

        Args:
            leases: all.
            uids: of all pods.
            names: of all pods, namespace/name; for leases that know no uid.
            ready: names of nodes that are ready.
            now: monotonic seconds.
        """
        gone = [lease for lease in leases if _is_gone(lease, uids, names)]
        before = self._since
        self._since = {lease.metadata.uid: before.get(lease.metadata.uid, now) for lease in gone}
        return [
            lease
            for lease in gone
            if lease.metadata.uid in before
            and now - before[lease.metadata.uid]
            >= (READY_PATIENCE_S if lease.spec.holder.node in ready else PATIENCE_S)
        ]


def overdue(leases: Iterable[NetworkLease], now: str) -> list[NetworkLease]:
    """Leases that were kept for a name, and long enough. ``now`` as RFC 3339, which sorts as it counts."""
    return [lease for lease in leases if not lease.spec.holder.container and lease.spec.kept_until <= now]


def _is_gone(lease: NetworkLease, uids: Collection[str], names: Collection[str]) -> bool:
    holder = lease.spec.holder
    if not holder.container:
        return False
    if holder.uid:
        return holder.uid not in uids
    return bool(holder.pod) and holder.pod not in names


class NetworkLeaseKeeper:
    """Gives up leases, until cancelled.

    Args:
        client: an open client.
        clock: the time.
        observe_s: seconds between two looks.
    """

    def __init__(self, client: KubeClient, *, clock: Clock, observe_s: float = OBSERVE_S) -> None:
        self._client = client
        self._clock = clock
        self._observe_s = observe_s
        self._observations = Observations()
        self._leases = _follow(client, NETWORK_LEASES, NetworkLease)
        self._pools = _follow(client, NETWORK_POOLS, NetworkPool)
        self._pods = _follow(client, PODS, KubeObject)
        self._nodes = _follow(client, NODES, Node)

    async def run(self) -> None:
        """Look again and again until cancelled. Nothing is given up before everything was read once."""
        every: tuple[Reflector[Any], ...] = (self._leases, self._pools, self._pods, self._nodes)
        async with asyncio.TaskGroup() as tasks:
            for reflector in every:
                tasks.create_task(reflector.run(), name="network-leases-watch")
            for reflector in every:
                await reflector.synced.wait()
            while True:
                await self.turn()
                await asyncio.sleep(self._observe_s)

    async def turn(self) -> None:
        """One look."""
        leases = tuple(self._leases.items.values())
        doomed = self._observations.doomed(
            leases,
            uids={pod.metadata.uid for pod in self._pods.items.values()},
            names={str(key) for key in self._pods.items},
            ready={node.metadata.name for node in self._nodes.items.values() if node.is_ready},
            now=self._clock.monotonic(),
        )
        try:
            for lease in overdue(leases, rfc3339(self._clock.wall())):
                await self._expire(lease)
            for lease in doomed:
                if not await self._is_there(lease):
                    await self._give_up(lease)
        except NetloomError as error:
            log.warning("giving up addresses of pods that are gone: %s", error)

    async def _is_there(self, lease: NetworkLease) -> bool:
        """What the API server itself says of the pod."""
        namespace, _, name = lease.spec.holder.pod.partition("/")
        if not name:
            return False
        try:
            pod: Mapping[str, Any] = await self._client.get(PODS, ObjectKey(namespace, name))
        except NotFound:
            return False
        return lease.spec.holder.uid in {"", pod["metadata"]["uid"]}

    async def _give_up(self, lease: NetworkLease) -> None:
        holder = lease.spec.holder
        log.warning(
            "NetworkLease %s comes free: pod %s is gone, and node %s has not given it back",
            lease.metadata.name, holder.pod, holder.node,
        )  # fmt: skip
        pool = self._pools.items.get(ObjectKey("", lease.spec.pool))
        if pool is None or not pool.spec.keep_seconds or not holder.pod:
            await self._delete(lease)
            return
        until = rfc3339(self._clock.wall() + pool.spec.keep_seconds)
        try:
            await self._client.update(NETWORK_LEASES, kept(lease, until))
        except (NotFound, Conflict) as error:
            log.debug("%s", error)

    async def _expire(self, lease: NetworkLease) -> None:
        """A pod of its name may take it at this moment, which changes its version and not its uid: so first nobody may."""
        try:
            await self._client.update(NETWORK_LEASES, kept(lease, lease.spec.kept_until, pod=""))
        except (NotFound, Conflict) as error:
            log.debug("%s", error)
            return
        await self._delete(lease)

    async def _delete(self, lease: NetworkLease) -> None:
        key = ObjectKey("", lease.metadata.name)
        try:
            await self._client.delete(NETWORK_LEASES, key, preconditions_uid=lease.metadata.uid)
        except (NotFound, Conflict) as error:
            log.debug("%s", error)


def _follow(client: KubeClient, resource: Any, kind: type[Any]) -> Reflector[Any]:  # noqa: ANN401 - one of our kinds
    return Reflector(client, resource, kind, on_change=_nothing)


def _nothing(key: ObjectKey, item: msgspec.Struct | None) -> None:
    """What has changed is seen at the next look."""
