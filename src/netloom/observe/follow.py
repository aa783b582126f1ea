"""A cluster that is followed: every kind that the network depends on, watched. In: a client. Out: the view now, and word of changes."""

from __future__ import annotations

import asyncio
from typing import Any

from netloom.api.bgp import BGPPeer
from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.core import Namespace, Node, Pod, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.egress import EgressGateway
from netloom.api.load_balancers import LoadBalancerPool
from netloom.api.networking import NetworkPolicy
from netloom.api.pools import IPBlock, IPPool
from netloom.kube import resources
from netloom.kube.client import KubeClient
from netloom.kube.watch import Reflector
from netloom.model.announcing.view import AnnounceView
from netloom.observe.edge import KINDS, Edge
from netloom.units import ObjectKey


class FollowedCluster:
    """Watches. ``run`` until cancelled; ``view`` is whole from the first ``changed`` on.

    Args:
        client: an open client with the right to list and watch.
        with_edge: what gateways depend on, too.
    """

    def __init__(self, client: KubeClient, *, with_edge: bool = False) -> None:
        self._changes = asyncio.Event()
        self._kinds: dict[str, Reflector[Any]] = {
            "services": self._follow(client, resources.SERVICES, Service),
            "slices": self._follow(client, resources.ENDPOINT_SLICES, EndpointSlice),
            "pods": self._follow(client, resources.PODS, Pod),
            "nodes": self._follow(client, resources.NODES, Node),
            "namespaces": self._follow(client, resources.NAMESPACES, Namespace),
            "policies": self._follow(client, resources.NETWORK_POLICIES, NetworkPolicy),
            "cluster_policies": self._follow(
                client, resources.CLUSTER_NETWORK_POLICIES, ClusterNetworkPolicy
            ),
            "pools": self._follow(client, resources.IP_POOLS, IPPool),
            "blocks": self._follow(client, resources.IP_BLOCKS, IPBlock),
            "egress_gateways": self._follow(client, resources.EGRESS_GATEWAYS, EgressGateway),
            "load_balancer_pools": self._follow(client, resources.LOAD_BALANCER_POOLS, LoadBalancerPool),
            "bgp_peers": self._follow(client, resources.BGP_PEERS, BGPPeer),
        }

        self._edge = {
            one.kind: Reflector(
                client, one.resource, one.type, on_change=self._note, field_selector=one.fields
            )
            for one in (KINDS if with_edge else ())
        }

    @property
    def edge(self) -> Edge:
        """What gateways depend on, as it is known now."""
        return Edge({name: dict(kind.items) for name, kind in self._edge.items()})

    @property
    def view(self) -> AnnounceView:
        """The cluster as it is known now."""
        return AnnounceView(**{name: dict(kind.items) for name, kind in self._kinds.items()})

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, kind in (*self._kinds.items(), *self._edge.items()):
                tasks.create_task(kind.run(), name=f"watch {name}")

    async def changed(self) -> None:
        """Return when something is not what it was the last time; the first time, when everything has been read."""
        for kind in (*self._kinds.values(), *self._edge.values()):
            await kind.synced.wait()
        await self._changes.wait()
        self._changes.clear()

    def _follow(self, client: KubeClient, resource: resources.Resource, type_: type[Any]) -> Reflector[Any]:
        return Reflector(client, resource, type_, on_change=self._note)

    def _note(self, _: ObjectKey, __: object) -> None:
        self._changes.set()
