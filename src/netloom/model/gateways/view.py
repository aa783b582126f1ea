"""The only argument of the gateways' model: what the cluster says, and what changed. Values only.

Comes in: nothing; whoever watches fills it. Goes out: ``GatewayView`` and ``GatewayChanges``. Not here: what any of it means.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.api.core import ConfigMap, Namespace, Secret, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.gateway import (
    BackendTLSPolicy,
    Gateway,
    GatewayClass,
    GRPCRoute,
    HTTPRoute,
    ListenerSet,
    ReferenceGrant,
    TCPRoute,
    TLSRoute,
    UDPRoute,
)
from netloom.api.ingress import Ingress, IngressClass
from netloom.api.traffic import TrafficPolicy
from netloom.units import ObjectKey


class GatewayView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of the cluster that gateways depend on, as the API server has it."""

    classes: Mapping[ObjectKey, GatewayClass] = {}
    gateways: Mapping[ObjectKey, Gateway] = {}
    listener_sets: Mapping[ObjectKey, ListenerSet] = {}
    http_routes: Mapping[ObjectKey, HTTPRoute] = {}
    grpc_routes: Mapping[ObjectKey, GRPCRoute] = {}
    tls_routes: Mapping[ObjectKey, TLSRoute] = {}
    tcp_routes: Mapping[ObjectKey, TCPRoute] = {}
    udp_routes: Mapping[ObjectKey, UDPRoute] = {}
    grants: Mapping[ObjectKey, ReferenceGrant] = {}
    backend_tls: Mapping[ObjectKey, BackendTLSPolicy] = {}
    ingresses: Mapping[ObjectKey, Ingress] = {}
    ingress_classes: Mapping[ObjectKey, IngressClass] = {}
    traffic: Mapping[ObjectKey, TrafficPolicy] = {}
    services: Mapping[ObjectKey, Service] = {}
    slices: Mapping[ObjectKey, EndpointSlice] = {}
    namespaces: Mapping[ObjectKey, Namespace] = {}
    secrets: Mapping[ObjectKey, Secret] = {}
    config_maps: Mapping[ObjectKey, ConfigMap] = {}
    now: float = 0.0
    """Seconds since the epoch; certificates are valid, or not, at this time."""


class GatewayChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What changed since the last update: per kind, key to the new object, or None where it is gone."""

    classes: Mapping[ObjectKey, GatewayClass | None] = {}
    gateways: Mapping[ObjectKey, Gateway | None] = {}
    listener_sets: Mapping[ObjectKey, ListenerSet | None] = {}
    http_routes: Mapping[ObjectKey, HTTPRoute | None] = {}
    grpc_routes: Mapping[ObjectKey, GRPCRoute | None] = {}
    tls_routes: Mapping[ObjectKey, TLSRoute | None] = {}
    tcp_routes: Mapping[ObjectKey, TCPRoute | None] = {}
    udp_routes: Mapping[ObjectKey, UDPRoute | None] = {}
    grants: Mapping[ObjectKey, ReferenceGrant | None] = {}
    backend_tls: Mapping[ObjectKey, BackendTLSPolicy | None] = {}
    ingresses: Mapping[ObjectKey, Ingress | None] = {}
    ingress_classes: Mapping[ObjectKey, IngressClass | None] = {}
    traffic: Mapping[ObjectKey, TrafficPolicy | None] = {}
    services: Mapping[ObjectKey, Service | None] = {}
    slices: Mapping[ObjectKey, EndpointSlice | None] = {}
    namespaces: Mapping[ObjectKey, Namespace | None] = {}
    secrets: Mapping[ObjectKey, Secret | None] = {}
    config_maps: Mapping[ObjectKey, ConfigMap | None] = {}
    now: float | None = None
    """The time, where it went on; None: as before."""
