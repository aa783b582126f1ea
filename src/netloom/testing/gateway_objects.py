"""Objects of Gateway API for tests, from few words; documents go through the same decoding as those of a cluster.

In: names as ``namespace/name``, what is special. Out: typed objects, views. Not here: whole clusters, certificates (``gateway_certificates.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from netloom.api.core import ConfigMap, Namespace, Secret, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.gateway import (
    GROUP,
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
    Written,
)
from netloom.api.ingress import Ingress, IngressClass
from netloom.api.meta import KubeObject
from netloom.api.traffic import TrafficPolicy
from netloom.model.gateways.status import CONTROLLER
from netloom.model.gateways.view import GatewayView
from netloom.units import ObjectKey

Document = dict[str, Any]
T = TypeVar("T", bound=KubeObject)
W = TypeVar("W", bound=Written)

_FIELDS: dict[type[KubeObject], str] = {
    GatewayClass: "classes",
    Gateway: "gateways",
    ListenerSet: "listener_sets",
    HTTPRoute: "http_routes",
    GRPCRoute: "grpc_routes",
    TLSRoute: "tls_routes",
    TCPRoute: "tcp_routes",
    UDPRoute: "udp_routes",
    ReferenceGrant: "grants",
    BackendTLSPolicy: "backend_tls",
    Service: "services",
    EndpointSlice: "slices",
    Namespace: "namespaces",
    Secret: "secrets",
    ConfigMap: "config_maps",
    Ingress: "ingresses",
    IngressClass: "ingress_classes",
    TrafficPolicy: "traffic",
}


def field_of(type_: type[KubeObject]) -> str:
    """Field of ``GatewayView`` that has objects of this type."""
    return _FIELDS[type_]


def view_of(*objects: KubeObject, now: float = 0.0) -> GatewayView:
    """A view that has these objects."""
    kinds: dict[str, dict[ObjectKey, KubeObject]] = {}
    for one in objects:
        kinds.setdefault(_FIELDS[type(one)], {})[one.key] = one
    return GatewayView(now=now, **kinds)  # type: ignore[arg-type] # each object is under the field of its type


def meta(
    name: str, *, created: str = "2026-01-01T00:00:00Z", generation: int = 1, **more: object
) -> Document:
    """Metadata of ``namespace/name``, or of a name where the kind is of the whole cluster."""
    namespace, _, own = name.rpartition("/")
    return {
        "name": own,
        "namespace": namespace,
        "creationTimestamp": created,
        "generation": generation,
        **more,
    }


def of(type_: type[T], document: Mapping[str, object]) -> T:
    """The object of a document, decoded as a watch does."""
    return msgspec.json.decode(msgspec.json.encode(document), type=type_)


def written(type_: type[W], name: str, spec: object, **about: Any) -> W:  # noqa: ANN401 - of metadata
    """An object with this spec."""
    return of(type_, {"metadata": meta(name, **about), "spec": spec})


def gateway_class(name: str = "netloom", controller: str = CONTROLLER, **spec: object) -> GatewayClass:
    """A GatewayClass, ours unless it says otherwise."""
    return written(GatewayClass, name, {"controllerName": controller, **spec})


def listener(
    name: str = "http", port: int = 80, protocol: str = "HTTP", origin: str = "All", **more: object
) -> Document:
    """A listener that takes routes of all namespaces; ``origin``: of which."""
    return {
        "name": name,
        "port": port,
        "protocol": protocol,
        "allowedRoutes": {"namespaces": {"from": origin}},
        **more,
    }


def tls(*secrets: str, mode: str = "Terminate", **more: object) -> Document:
    """TLS of a listener, with Secrets of its own namespace or of ``namespace/name``."""
    refs = []
    for one in secrets:
        namespace, _, name = one.rpartition("/")
        refs.append({"name": name, **({"namespace": namespace} if namespace else {})})
    return {"mode": mode, "certificateRefs": refs, **more}


def gateway(
    name: str = "infra/edge", *listeners: Document, about: Document | None = None, **spec: object
) -> Gateway:
    """A Gateway of our class, with one HTTP listener if no other is given."""
    said = {"gatewayClassName": "netloom", "listeners": list(listeners or (listener(),)), **spec}
    return written(Gateway, name, said, **(about or {}))


def listener_set(name: str, parent: str, *listeners: Document, **about: Any) -> ListenerSet:  # noqa: ANN401
    """Listeners that are added to the Gateway ``parent``."""
    namespace, _, own = parent.rpartition("/")
    spec = {"parentRef": {"name": own, "namespace": namespace}, "listeners": list(listeners)}
    return written(ListenerSet, name, spec, **about)


def parent(
    name: str = "infra/edge", section: str | None = None, port: int | None = None, kind: str = "Gateway"
) -> Document:
    """A parentRef."""
    namespace, _, own = name.rpartition("/")
    found: Document = {"group": GROUP, "kind": kind, "namespace": namespace, "name": own}
    return found | ({"sectionName": section} if section else {}) | ({"port": port} if port else {})


def backend(service: str = "web", port: int | None = 80, weight: int = 1, **more: object) -> Document:
    """A backendRef to a Service of the route's namespace, or to ``namespace/name``."""
    namespace, _, name = service.rpartition("/")
    found: Document = {"name": name, "weight": weight, **more}
    return (
        found | ({"port": port} if port is not None else {}) | ({"namespace": namespace} if namespace else {})
    )


def rule(
    path: str = "/", kind: str = "PathPrefix", to: Iterable[Document] | None = None, **more: object
) -> Document:
    """A rule with one match; requests go to Service web if nothing else is said."""
    match: Document = {"path": {"type": kind, "value": path}}
    for field in ("headers", "queryParams", "method"):
        if field in more:
            match[field] = more.pop(field)
    return {"matches": [match], "backendRefs": list((backend(),) if to is None else to), **more}


def http_route(
    name: str = "shop/web",
    *rules: Document,
    hosts: Iterable[str] = (),
    parents: Iterable[Document] | None = None,
    **about: Any,  # noqa: ANN401
) -> HTTPRoute:
    """An HTTPRoute at Gateway infra/edge, with one rule for everything if none is given."""
    return _route(HTTPRoute, name, list(rules or (rule(),)), hosts, parents, about)


def grpc_route(
    name: str = "shop/rpc",
    *rules: Document,
    hosts: Iterable[str] = (),
    parents: Iterable[Document] | None = None,
    **about: Any,  # noqa: ANN401
) -> GRPCRoute:
    """A GRPCRoute at Gateway infra/edge."""
    return _route(GRPCRoute, name, list(rules or ({"backendRefs": [backend()]},)), hosts, parents, about)


def stream_route(
    type_: type[W],
    name: str,
    *to: Document,
    hosts: Iterable[str] = (),
    parents: Iterable[Document] | None = None,
    **about: Any,  # noqa: ANN401
) -> W:
    """A TLSRoute, TCPRoute or UDPRoute with these backends."""
    return _route(type_, name, [{"backendRefs": list(to or (backend(),))}], hosts, parents, about)


def _route(
    type_: type[W],
    name: str,
    rules: list[Document],
    hosts: Iterable[str],
    parents: Iterable[Document] | None,
    about: Document,
) -> W:
    spec: Document = {"parentRefs": list((parent(),) if parents is None else parents), "rules": rules}
    if hosts:
        spec["hostnames"] = list(hosts)
    return written(type_, name, spec, **about)


def grant(
    name: str, *, origin: tuple[str, str], to: tuple[str, str | None], group: str = ""
) -> ReferenceGrant:
    """A ReferenceGrant: ``origin`` is kind and namespace of who refers, ``to`` kind and name (None: all)."""
    target: Document = {"group": group, "kind": to[0]} | ({"name": to[1]} if to[1] else {})
    spec = {"from": [{"group": GROUP, "kind": origin[0], "namespace": origin[1]}], "to": [target]}
    return written(ReferenceGrant, name, spec)


def service(name: str = "shop/web", *ports: Document, **spec: object) -> Service:
    """A Service with port 80 if no other is given."""
    said = {
        "clusterIP": "192.0.2.250",
        "ports": list(ports or ({"name": "http", "port": 80, "protocol": "TCP"},)),
        **spec,
    }
    return of(Service, {"metadata": meta(name), "spec": said})


def gateway_service(name: str, addresses: Iterable[str], **node_ports: int) -> Service:
    """The Service of a gateway: ``p80_tcp=30080`` is a port with its nodePort."""
    ports = [
        {
            "name": one.replace("_", "-"),
            "port": int(one[1:].partition("_")[0]),
            "protocol": one.partition("_")[2].upper(),
            "nodePort": number,
        }
        for one, number in node_ports.items()
    ]
    return of(
        Service,
        {
            "metadata": meta(name),
            "spec": {"type": "LoadBalancer", "ports": ports},
            "status": {"loadBalancer": {"ingress": [{"ip": one} for one in addresses]}},
        },
    )


def endpoint_slice(
    service_name: str = "shop/web",
    *endpoints: str | Document,
    suffix: str = "a",
    ports: Iterable[Document] | None = None,
) -> EndpointSlice:
    """Endpoints of a Service; a bare address is ready."""
    namespace, _, name = service_name.rpartition("/")
    labels = {"kubernetes.io/service-name": name}
    given = [{"addresses": [one]} if isinstance(one, str) else one for one in endpoints]
    own = [{"name": "http", "port": 8080, "protocol": "TCP"}] if ports is None else list(ports)
    document = {"addressType": "IPv4", "endpoints": given, "ports": own}
    return of(EndpointSlice, {"metadata": meta(f"{namespace}/{name}-{suffix}", labels=labels), **document})


def namespace(name: str, **labels: str) -> Namespace:
    """A Namespace with labels."""
    return of(Namespace, {"metadata": meta(name, labels=labels)})


def config_map(name: str, **data: str) -> ConfigMap:
    """A ConfigMap; ``ca_crt`` is key ``ca.crt``."""
    return of(
        ConfigMap,
        {"metadata": meta(name), "data": {key.replace("_", "."): text for key, text in data.items()}},
    )


def backend_tls(
    name: str, *services: str, section: str | None = None, about: Document | None = None, **validation: object
) -> BackendTLSPolicy:
    """A BackendTLSPolicy about Services of its namespace; system authorities if no others are said."""
    said: Document = {"hostname": "web.example.org", **validation}
    if "caCertificateRefs" not in said:
        said.setdefault("wellKnownCACertificates", "System")
    targets = [
        {"group": "", "kind": "Service", "name": one, **({"sectionName": section} if section else {})}
        for one in services
    ]
    return written(BackendTLSPolicy, name, {"targetRefs": targets, "validation": said}, **(about or {}))


def traffic(name: str, *targets: tuple[str, str, str], **said: object) -> TrafficPolicy:
    """A TrafficPolicy; a target is kind, name and section of a Gateway or route."""
    refs = [
        {"group": GROUP, "kind": kind, "name": own, **({"sectionName": section} if section else {})}
        for kind, own, section in targets
    ]
    return written(TrafficPolicy, name, {"targetRefs": refs, **said})


def conditions(status: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Type to status and reason, of anything that has conditions."""
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}
