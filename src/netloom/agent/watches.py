"""The watches of a node's agent. In: a client. Out: each object as it changes, and those that are there now. Not here: what follows from them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.core import Namespace, Node, Pod, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.egress import EgressGateway
from netloom.api.networking import NetworkPolicy
from netloom.api.pools import IPBlock, IPPool
from netloom.kube import resources
from netloom.kube.client import KubeClient
from netloom.kube.watch import Reflector
from netloom.units import ObjectKey

OnChange = Callable[[str, ObjectKey, Any], None]
"""Called with the kind (a field name of ``Changes``), a key, and the object or None: gone."""


class Watches:
    """One watch for each kind that the model reads.

    Args:
        client: of the API.
        on_change: hears of every difference.
        on_seen: hears up to which resourceVersion every event of a kind has been told.
    """

    def __init__(
        self, client: KubeClient, *, on_change: OnChange, on_seen: Callable[[str, str], None]
    ) -> None:
        self._client = client
        self._on_change = on_change
        self._on_seen = on_seen
        self.slices = self._follow("slices", resources.ENDPOINT_SLICES, EndpointSlice)
        self.pods = self._follow("pods", resources.PODS, Pod)
        self.nodes = self._follow("nodes", resources.NODES, Node)
        self.namespaces = self._follow("namespaces", resources.NAMESPACES, Namespace)
        self.egress_gateways = self._follow("egress_gateways", resources.EGRESS_GATEWAYS, EgressGateway)
        self.all: tuple[Reflector[Any], ...] = (
            self._follow("services", resources.SERVICES, Service),
            self.slices,
            self.pods,
            self.namespaces,
            self._follow("policies", resources.NETWORK_POLICIES, NetworkPolicy),
            self._follow("cluster_policies", resources.CLUSTER_NETWORK_POLICIES, ClusterNetworkPolicy),
            self._follow("pools", resources.IP_POOLS, IPPool),
            self._follow("blocks", resources.IP_BLOCKS, IPBlock),
            self.egress_gateways,
            self.nodes,
        )

    async def synced(self) -> None:
        """Return when each has read the cluster once."""
        for reflector in self.all:
            await reflector.synced.wait()

    def _follow(self, kind: str, resource: resources.Resource, type_: type[Any]) -> Reflector[Any]:
        return Reflector(
            self._client,
            resource,
            type_,
            on_change=functools.partial(self._on_change, kind),
            on_seen=functools.partial(self._on_seen, kind),
        )
