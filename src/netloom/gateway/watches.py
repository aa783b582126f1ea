"""The watches that gateways need. In: a client. Out: each object as it changes, by the field of ``GatewayView`` that it belongs to.

There are two rounds: at first only the kinds without which no gateway has anything to do (classes, Gateways, Ingresses); the others, of
which there may be very many (Services, endpoints, Secrets), are followed from the moment at which there is a Gateway or an Ingress. Of
Secrets all are followed but those of types that can hold neither certificate nor key: which ones a Gateway needs may change with each
route and grant, and a watch for each would be thousands. Not here: what follows from them.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable
from typing import Any

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
from netloom.kube import resources
from netloom.kube.client import KubeClient
from netloom.kube.resources import Resource
from netloom.kube.watch import Reflector
from netloom.units import ObjectKey

OnChange = Callable[[str, ObjectKey, Any], None]
"""Called with the kind (a field name of ``GatewayView``), a key, and the object or None: gone."""

_NO_KEYS = ("helm.sh/release.v1", "kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token")


class Followed(msgspec.Struct, frozen=True):
    """A kind, and which objects of it."""

    kind: str
    resource: Resource
    type: type[Any]
    fields: str = ""
    """Field selector."""
    has_status: bool = False
    """Whether we say something in its status."""


FIRST = (
    Followed("classes", resources.GATEWAY_CLASSES, GatewayClass, has_status=True),
    Followed("gateways", resources.GATEWAYS, Gateway, has_status=True),
    Followed("ingress_classes", resources.INGRESS_CLASSES, IngressClass),
    Followed("ingresses", resources.INGRESSES, Ingress, has_status=True),
)
REST = (
    Followed("listener_sets", resources.LISTENER_SETS, ListenerSet, has_status=True),
    Followed("http_routes", resources.HTTP_ROUTES, HTTPRoute, has_status=True),
    Followed("grpc_routes", resources.GRPC_ROUTES, GRPCRoute, has_status=True),
    Followed("tls_routes", resources.TLS_ROUTES, TLSRoute, has_status=True),
    Followed("tcp_routes", resources.TCP_ROUTES, TCPRoute, has_status=True),
    Followed("udp_routes", resources.UDP_ROUTES, UDPRoute, has_status=True),
    Followed("grants", resources.REFERENCE_GRANTS, ReferenceGrant),
    Followed("backend_tls", resources.BACKEND_TLS_POLICIES, BackendTLSPolicy, has_status=True),
    Followed("traffic", resources.TRAFFIC_POLICIES, TrafficPolicy, has_status=True),
    Followed("services", resources.SERVICES, Service),
    Followed("slices", resources.ENDPOINT_SLICES, EndpointSlice),
    Followed("namespaces", resources.NAMESPACES, Namespace),
    Followed("secrets", resources.SECRETS, Secret, ",".join(f"type!={type_}" for type_ in _NO_KEYS)),
    Followed("config_maps", resources.CONFIG_MAPS, ConfigMap),
)
_WANTING = ("gateways", "ingresses")
"""Kinds that have something for gateways to do."""


class Watches:
    """One watch for each kind, in two rounds.

    Args:
        client: of the API.
        on_change: hears of every difference.
        on_seen: hears up to which resourceVersion every event of a kind has been told.
        on_synced: hears when everything has been read once.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        on_change: OnChange,
        on_seen: Callable[[str, str], None],
        on_synced: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_synced = on_synced
        self._client = client
        self._on_change = on_change
        self._on_seen = on_seen
        self._wanted = asyncio.Event()
        self._by_kind = {one.kind: self._follow(one) for one in (*FIRST, *REST)}
        self.synced = asyncio.Event()
        """Everything has been read once."""

    def items(self, kind: str) -> dict[ObjectKey, Any]:
        """The objects of a kind, as they are now; whole, with status and resourceVersion."""
        return self._by_kind[kind].items

    @property
    def is_wanted(self) -> bool:
        """Whether there was anything for gateways to do."""
        return self._wanted.is_set()

    async def run(self) -> None:
        """Follow until cancelled; the second round begins when something wants it, and then stays."""
        async with asyncio.TaskGroup() as tasks:
            await self._start(tasks, FIRST)
            await self._wanted.wait()
            await self._start(tasks, REST)
            self.synced.set()
            self._on_synced()

    async def first_synced(self) -> None:
        """Return when the kinds of the first round have been read once."""
        for one in FIRST:
            await self._by_kind[one.kind].synced.wait()

    async def _start(self, tasks: asyncio.TaskGroup, which: Iterable[Followed]) -> None:
        for one in which:
            tasks.create_task(self._by_kind[one.kind].run(), name=f"watch {one.kind}")
        for one in which:
            await self._by_kind[one.kind].synced.wait()

    def _follow(self, one: Followed) -> Reflector[Any]:
        return Reflector(
            self._client,
            one.resource,
            one.type,
            on_change=functools.partial(self._changed, one.kind),
            on_seen=functools.partial(self._on_seen, one.kind),
            field_selector=one.fields,
        )

    def _changed(self, kind: str, key: ObjectKey, value: Any) -> None:  # noqa: ANN401 - a struct of the kind, or None
        if kind in _WANTING and value is not None:
            self._wanted.set()
        self._on_change(kind, key, value)
