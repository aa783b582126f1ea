"""Manifests of what is at a cluster's edge, read into views: pools and gateways. In: YAML as a user writes it. Out: views. Not here: what they mean."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from netloom.api.bgp import BGPPeer
from netloom.api.load_balancers import LoadBalancerPool
from netloom.kube.yaml_loader import Loader
from netloom.model.announcing.view import AnnounceView
from netloom.model.gateways.view import GatewayView
from netloom.model.inputs import ClusterView
from netloom.observe.edge import FROM_CLUSTER, KINDS
from netloom.testing.builders import load_view
from netloom.units import ObjectKey


def announce_view(text: str) -> AnnounceView:
    """A cluster with its LoadBalancerPools and BGPPeers."""
    view = load_view(text)
    pools = (msgspec.convert(raw, LoadBalancerPool) for raw in _documents(text, "LoadBalancerPool"))
    peers = (msgspec.convert(raw, BGPPeer) for raw in _documents(text, "BGPPeer"))
    fields = {name: getattr(view, name) for name in ClusterView.__struct_fields__}
    return AnnounceView(
        **fields,
        load_balancer_pools={pool.key: pool for pool in pools},
        bgp_peers={peer.key: peer for peer in peers},
    )


def edge_view(view: ClusterView, text: str, now: float) -> GatewayView:
    """What gateways see of a cluster and of these manifests, at a time (seconds since the epoch)."""
    fields: dict[str, dict[ObjectKey, Any]] = {}
    for one in KINDS:
        objects = (msgspec.convert(raw, one.type) for raw in _documents(text, one.resource.kind))
        fields[one.kind] = {obj.key: obj for obj in objects}
    of_cluster = {name: getattr(view, name) for name in FROM_CLUSTER}
    return GatewayView(**of_cluster, **fields, now=now)


def _documents(text: str, kind: str) -> list[Any]:
    return [d for d in yaml.load_all(text, Loader=Loader) if d is not None and d.get("kind") == kind]
