"""Gateways as ``why`` needs them: every kind that they depend on, listed or followed. In: a client, a cluster. Out: their plan."""

from __future__ import annotations

from typing import Any

from netloom.clock import Clock
from netloom.gateway.watches import FIRST, REST
from netloom.kube.client import KubeClient
from netloom.model.gateways.build import compute
from netloom.model.gateways.plan import Plan
from netloom.model.gateways.view import GatewayView
from netloom.model.inputs import ClusterView
from netloom.observe.loading import load_kind

FROM_CLUSTER = ("services", "slices", "namespaces")
"""Kinds that a view of the cluster has already."""
KINDS = tuple(one for one in (*FIRST, *REST) if one.kind not in FROM_CLUSTER)
"""Those that are read besides."""


class Edge:
    """What of the API gateways need beside the view of the cluster."""

    def __init__(self, kinds: dict[str, Any]) -> None:
        self._kinds = kinds

    def plan(self, view: ClusterView, clock: Clock) -> Plan:
        """What gateways do in this cluster now."""
        of_cluster = {name: getattr(view, name) for name in FROM_CLUSTER}
        return compute(GatewayView(**of_cluster, **self._kinds, now=clock.wall())).plan


async def load_edge(client: KubeClient) -> Edge:
    """Everything once, a list for each kind.

    Raises:
        Unavailable: the API server does not answer.
        NetloomError: Secrets, or another kind, may not be read.
    """
    return Edge({one.kind: await load_kind(client, one.resource, one.type, one.fields) for one in KINDS})
