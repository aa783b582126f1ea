"""discovery.k8s.io/v1: EndpointSlice."""

from __future__ import annotations

import msgspec

from netloom.api.meta import KubeObject
from netloom.units import ObjectKey

SERVICE_NAME_LABEL = "kubernetes.io/service-name"


class EndpointConditions(msgspec.Struct, frozen=True, gc=False):
    """discovery/v1 EndpointConditions; nil ready and serving mean true, nil terminating means false."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetRef(msgspec.Struct, frozen=True, gc=False):
    """core/v1 ObjectReference of an endpoint, as far as we read it."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class HintedZone(msgspec.Struct, frozen=True, gc=False):
    """discovery/v1 ForZone."""

    name: str


class HintedNode(msgspec.Struct, frozen=True, gc=False):
    """discovery/v1 ForNode."""

    name: str


class EndpointHints(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """discovery/v1 EndpointHints: the zones and nodes whose clients should use this endpoint."""

    for_zones: tuple[HintedZone, ...] = ()
    for_nodes: tuple[HintedNode, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """discovery/v1 Endpoint. Only ``addresses[0]`` is used, as the API says of consumers."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    node_name: str | None = None
    target_ref: TargetRef | None = None
    zone: str | None = None
    hints: EndpointHints | None = None

    @property
    def is_ready(self) -> bool:
        """Ready unless said otherwise (discovery/v1 EndpointConditions.ready)."""
        return self.conditions.ready is not False

    @property
    def is_serving(self) -> bool:
        """Serving unless said otherwise (discovery/v1 EndpointConditions.serving, as of 1.33)."""
        return self.conditions.serving is not False

    @property
    def is_terminating(self) -> bool:
        """Terminating (discovery/v1 EndpointConditions.terminating)."""
        return self.conditions.terminating is True


class EndpointPort(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """discovery/v1 EndpointPort; a missing port number means "all ports" and is not used by Services."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    app_protocol: str | None = None


class EndpointSlice(KubeObject, frozen=True, gc=False, rename="camel"):
    """discovery.k8s.io/v1 EndpointSlice."""

    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] | None = None

    @property
    def service(self) -> ObjectKey | None:
        """The Service that this slice belongs to, by its label; None for an orphan."""
        name = self.metadata.labels.get(SERVICE_NAME_LABEL, "")
        return ObjectKey(self.metadata.namespace, name) if name else None
