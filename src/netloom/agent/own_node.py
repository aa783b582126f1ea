"""What this node is, as its Node object says, and what of that the kernel must have before anything else.

In: the Node as it changes. Out: facts, as soon as they are complete, and again whenever they change. A Node that loses its
addresses or pod ranges goes on as it was: pods run on it. Not here: what follows from the facts (the model).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Iterable

import msgspec

from netloom.api.core import Node
from netloom.errors import KernelError
from netloom.linux.rtnl import Rtnl
from netloom.model.facts import facts_of
from netloom.model.inputs import ClusterFacts, NodeFacts
from netloom.model.routes.ways import TUNNELS, Underlay
from netloom.units import Addr, Cidr, ObjectKey

log = logging.getLogger(__name__)

LOOPBACK = "lo"


class OwnNode:
    """The Node object of this agent.

    Args:
        name: of the Node.
        cluster: settings of the cluster.
        on_change: called with new facts, but for the first.
        underlay: reads from the kernel how a node with these addresses is connected.
        needs_range: whether a node without ``spec.podCIDRs`` has no addresses for pods: not where there are pools.
        pools: ranges of all pools; asked again by ``pools_changed``.
    """

    def __init__(
        self,
        name: str,
        *,
        cluster: ClusterFacts,
        on_change: Callable[[NodeFacts], None],
        underlay: Callable[[tuple[Addr, ...]], Underlay],
        needs_range: Callable[[], bool] = lambda: True,
        pools: Callable[[], tuple[Cidr, ...]] = lambda: (),
    ) -> None:
        self.name = name
        self.known = asyncio.Event()
        """Set once there are facts."""
        self._key = ObjectKey("", name)
        self._cluster = cluster
        self._on_change = on_change
        self._underlay = underlay
        self._needs_range = needs_range
        self._pools = pools
        self._node: Node | None = None
        self._facts: NodeFacts | None = None
        self._version = ""

    @property
    def node(self) -> Node | None:
        """The object as it is; None where there is none."""
        return self._node

    @property
    def uid(self) -> str:
        """Of the object; empty where there is none."""
        return self._node.metadata.uid if self._node is not None else ""

    @property
    def facts(self) -> NodeFacts | None:
        """The last complete ones; None before the first."""
        return self._facts

    @property
    def version(self) -> str:
        """The resourceVersion in which we first saw these facts: whoever has that knows the way here."""
        return self._version

    def changed(self, key: ObjectKey, node: Node | None) -> None:
        """Any Node is now this, or None: gone."""
        if key != self._key:
            return
        self._node = node
        if node is None:
            log.warning("Node %s has been deleted; this node goes on as it was", self.name)
            return
        self._take(node)

    def pools_changed(self) -> None:
        """There are other pools now: a node without a range of its own can do with them, and tunnels know their ranges."""
        if self._node is not None:
            self._take(self._node)

    def underlay_changed(self) -> None:
        """The kernel has to be asked again how this node is connected."""
        if self._node is not None:
            self._take(self._node)

    def _take(self, node: Node) -> None:
        facts = facts_of(node, self._cluster)
        # the kernel's word counts: the annotation is for the others, and may be of before
        pools = self._pools() if facts.fabric in TUNNELS else ()
        facts = msgspec.structs.replace(facts, underlay=self._look(facts), pool_cidrs=pools)
        had_range = self._facts is not None and self._facts.pod_cidrs
        if not facts.addresses or (not facts.pod_cidrs and (had_range or self._needs_range())):
            if self._facts is not None:
                log.warning(
                    "Node %s: has no pod range or no address any more; this node goes on as it was", self.name
                )
            return
        if facts == self._facts:
            return
        first = self._facts is None
        self._facts, self._version = facts, node.metadata.resource_version
        if first:
            self.known.set()
        else:
            self._on_change(facts)

    def _look(self, facts: NodeFacts) -> Underlay:
        try:
            return self._underlay(facts.addresses)
        except KernelError as error:
            log.warning("Node %s: how it is connected cannot be read: %s", self.name, error)
            return facts.underlay if self._facts is None else self._facts.underlay


def answer_at(addresses: Iterable[Addr]) -> None:
    """Put addresses on this node at which its own servers are reached without translation.

    Those of the cluster's DNS, and the next hop of its pods: that is in no Service range, and nobody else can reach it.
    """
    with Rtnl() as rtnl:
        present = {a.interface.ip for a in rtnl.addresses(LOOPBACK)}
        for address in addresses:
            if address not in present:
                rtnl.add_address(LOOPBACK, ipaddress.ip_interface(address))
