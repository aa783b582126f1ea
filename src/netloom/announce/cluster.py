"""The cluster as a speaker follows it. In: watches. Out: duties and the situation, made anew when something of them has changed.

Changes that come in a heap make one situation. Not here: who is alive (``members``), and what the parts do with it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from netloom.announce.config import SpeakerConfig
from netloom.api.bgp import BGPPeer
from netloom.api.core import Node, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.egress import EgressGateway
from netloom.api.load_balancers import LoadBalancerPool
from netloom.clock import Clock
from netloom.kube import resources
from netloom.kube.client import KubeClient
from netloom.kube.watch import Reflector
from netloom.model.announcing.duties import Announcing
from netloom.model.announcing.gone import GoneNode, is_unready
from netloom.model.announcing.view import Announced, AnnounceView, Situation
from netloom.model.routes.peers import read_node
from netloom.units import Addr, ObjectKey, family_of, parse_cidr

_UNREADY_S = 10.0
"""So long a node may say that it is not ready before its duties are others'."""


class Cluster:
    """The objects that announcing depends on.

    Args:
        client: of the API.
        config: of the speaker.
        clock: the time.
        on_change: called when the situation may be another; cheap: may come in heaps.
    """

    def __init__(
        self, *, client: KubeClient, config: SpeakerConfig, clock: Clock, on_change: Callable[[], None]
    ) -> None:
        self._node = config.node
        self._clock = clock
        self._on_change = on_change
        self._addresses: dict[str, tuple[Addr, ...]] = {}
        """Of each Node; read once for each change, not for each situation."""
        self._unready: dict[str, float] = {}
        """Nodes that say that they are not ready, and since when; no longer heard of by the API: since ever."""
        self._announcing = Announcing(
            cluster_cidrs=tuple(c for text in config.cluster_cidrs if (c := parse_cidr(text)) is not None),
            service_cidrs=tuple(c for text in config.service_cidrs if (c := parse_cidr(text)) is not None),
            everywhere=bool(config.interfaces),
        )
        follow = functools.partial(self._follow, client)
        self._nodes = follow("nodes", resources.NODES, Node)
        self._pools = follow("pools", resources.LOAD_BALANCER_POOLS, LoadBalancerPool)
        self._peers = follow("peers", resources.BGP_PEERS, BGPPeer)
        self._egress = follow("egress", resources.EGRESS_GATEWAYS, EgressGateway)
        self.watches: tuple[Reflector[Any], ...] = (
            self._nodes,
            self._pools,
            self._peers,
            self._egress,
            follow("services", resources.SERVICES, Service),
            follow("slices", resources.ENDPOINT_SLICES, EndpointSlice),
        )
        self.announced = Announced()

    async def synced(self) -> None:
        """Return when everything has been read once."""
        for watch in self.watches:
            await watch.synced.wait()

    @property
    def nodes(self) -> Mapping[ObjectKey, Node]:
        """All Nodes."""
        return self._nodes.items

    def speakers(self) -> dict[str, Addr]:
        """The other nodes' addresses, of the family of this one's first where they have one."""
        first = self._addresses.get(self._node, ())
        found = {}
        for name, addresses in self._addresses.items():
            if name == self._node or not addresses:
                continue
            same = [a for a in addresses if first and family_of(a) is family_of(first[0])]
            found[name] = (same or addresses)[0]
        return found

    def unready(self, now: float) -> frozenset[str]:
        """Nodes that the API holds lost, or that have said for some time that they are not ready.

        A node whose agent begins anew says so for a moment, and forwards all the while: nothing of it is to move for that.
        """
        return frozenset(name for name, since in self._unready.items() if now - since >= _UNREADY_S)

    def _node_changed(self, name: str, node: Node | None) -> None:
        if node is None:
            self._addresses.pop(name, None)
        else:
            self._addresses[name] = read_node(node).addresses
        if node is None or not is_unready(node):
            self._unready.pop(name, None)
        elif any(c.type == "Ready" and c.status == "Unknown" for c in node.status.conditions):
            self._unready[name] = float("-inf")
        else:
            self._unready.setdefault(name, self._clock.monotonic())

    def situation(self, gone: frozenset[str]) -> Situation:
        """What the parts are told, where these nodes take no duties."""
        view = AnnounceView(
            nodes=dict(self._nodes.items),
            services=dict(self._announcing.services),
            egress_gateways=dict(self._egress.items),
            gone={ObjectKey("", name): GoneNode(name) for name in sorted(gone)},
            load_balancer_pools=dict(self._pools.items),
            bgp_peers=dict(self._peers.items),
        )
        self.announced = self._announcing.announced(view)
        return Situation(node=self._node, view=view, duties=self.announced.duties)

    def _follow(
        self, client: KubeClient, kind: str, resource: resources.Resource, type_: type[Any]
    ) -> Reflector[Any]:
        return Reflector(client, resource, type_, on_change=functools.partial(self._changed, kind))

    def _changed(self, kind: str, key: ObjectKey, value: Any) -> None:  # noqa: ANN401 - a struct of the kind, or None
        if kind == "services":
            if self._announcing.service_changed(key, value):
                self._on_change()
        elif kind == "slices":
            if self._announcing.slice_changed(key, value):
                self._on_change()
        else:
            if kind == "nodes":
                self._node_changed(key.name, value)
            self._on_change()
