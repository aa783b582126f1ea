"""Pod CIDRs of nodes. In: Nodes, IPPools and the cluster's ranges; out: `spec.podCIDR(s)` of every node that has none.

What is taken is read from the nodes themselves, so that a restart continues exactly; what a pool has is no node's. Not here: addresses of pods (cni/ipam).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netloom.api.pools import IPPoolSpec
from netloom.errors import NetloomError
from netloom.kube.events import EventRecorder
from netloom.kube.resources import IP_POOLS, NODES
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Loaded, Node
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import Cidr, ObjectKey, parse_cidr

MASK = {4: 24, 6: 64}
"""Prefix of a node's range in each family (kube-controller-manager ``--node-cidr-mask-size-ipv4/6``)."""


class PoolRanges(Loaded, frozen=True):
    """A netloom.io/v1alpha1 IPPool, as far as its ranges go."""

    spec: IPPoolSpec = IPPoolSpec()


class Exhausted(NetloomError):
    """The cluster's pod range has no room for another node."""


def next_free(cluster: Cidr, mask: int, used: Iterable[Cidr]) -> Cidr | None:
    """The lowest range of this prefix length within the cluster's that no used one overlaps; None where there is none.

    Args:
        cluster: the cluster's pod range.
        mask: prefix length of the answer, at least that of ``cluster``.
        used: ranges that are taken; other families are ignored, any prefix length is fine.
    """
    bits = cluster.max_prefixlen
    first = int(cluster.network_address)
    size = 1 << (bits - mask)
    end = first + cluster.num_addresses
    taken = sorted(
        (int(u.network_address), int(u.broadcast_address)) for u in used if u.version == cluster.version
    )
    candidate = first
    for low, high in taken:
        if high < candidate:
            continue
        if low >= candidate + size:
            break
        # Round up to the next multiple of the size after what is taken.
        candidate += -(-(high + 1 - candidate) // size) * size
    return type(cluster)((candidate, mask)) if candidate + size <= end else None


class NodeIpamLoop:
    """Gives every node its pod ranges; one worker, because two at once could choose the same."""

    def __init__(self, informers: Informers, cluster: Sequence[Cidr], events: EventRecorder) -> None:
        self._client = informers.client
        self._cluster = tuple(cluster)
        self._events = events
        self._nodes = informers.of(NODES, Node)
        self._pools = informers.of(IP_POOLS, PoolRanges)
        self._given: dict[str, tuple[Cidr, ...]] = {}
        self._waiting: set[ObjectKey] = set()
        self.queue: WorkQueue[ObjectKey] = WorkQueue("node-ipam", self.sync)
        self._nodes.on_change(self._changed)

    async def sync(self, key: ObjectKey) -> None:
        """Give one node its ranges, if it has none."""
        node = self._nodes.get(key)
        self._waiting.discard(key)
        if node is None or node.is_terminating or node.spec.pod_cidr:
            return
        chosen = self._given.get(node.uid) or self._choose(node)
        # Recorded before it is written: an answer that is lost must not lead to a second choice for another node.
        self._given[node.uid] = chosen
        texts = [str(c) for c in chosen]
        await self._client.patch(NODES, key, {"spec": {"podCIDR": texts[0], "podCIDRs": texts}})

    def _choose(self, node: Node) -> tuple[Cidr, ...]:
        used = [c for given in self._given.values() for c in given]
        used += [
            c for n in self._nodes.items.values() for text in _texts(n) if (c := parse_cidr(text)) is not None
        ]
        used += [
            c
            for pool in self._pools.items.values()
            for text in pool.spec.cidrs
            if (c := parse_cidr(text)) is not None
        ]
        chosen = []
        for cluster in self._cluster:
            mask = max(MASK[cluster.version], cluster.prefixlen)
            free = next_free(cluster, mask, used)
            if free is None:
                self._waiting.add(node.key)
                problem = f"Node {node.key}: spec.podCIDR: no /{mask} is free in the pod range {cluster}"
                self._events.emit(
                    NODES, node.key, node.uid, reason="CIDRNotAvailable", message=problem, warning=True
                )
                raise Exhausted(problem, "remove a node, or begin again with a wider --pod-cidr")
            chosen.append(free)
        return tuple(chosen)

    def _changed(self, old: Node | None, new: Node | None) -> None:
        if new is not None:
            if new.spec.pod_cidr:
                self._given.pop(new.uid, None)
            if old is None or old.uid == new.uid:
                self.queue.mark(new.key)
        if old is not None and (new is None or new.uid != old.uid):
            self._given.pop(old.uid, None)
            # Its range is free again: whoever waits may have it.
            for key in (*self._waiting, *((new.key,) if new is not None else ())):
                self.queue.mark(key)


def _texts(node: Node) -> tuple[str, ...]:
    return node.spec.pod_cidrs or ((node.spec.pod_cidr,) if node.spec.pod_cidr else ())
