"""gateway.networking.k8s.io: the kinds of Gateway API, standard channel, and what their specs say.

An object keeps its spec and status as they were written, so that none is lost for one field that cannot be read: ``read_spec`` gives the typed
spec, every field of which may be absent, and names what could not be read. Not here: what it means (``model/gateways``).
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

import msgspec

from netloom.api.lenient import Reading, read
from netloom.api.meta import KubeObject, LabelSelector

GROUP = "gateway.networking.k8s.io"
GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
"""On what is made for a Gateway (GEP-1762)."""
CLASS_LABEL = "gateway.networking.k8s.io/gateway-class-name"

T = TypeVar("T")


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    """Base of what is written in specs: every field may be absent."""


class Written(KubeObject, frozen=True):
    """An object whose spec and status are JSON values."""

    KIND: ClassVar[str] = ""
    spec: object = None
    status: object = None


class ParametersReference(_Spec, frozen=True):
    """Where an implementation's own settings are; ``namespace`` of a GatewayClass only."""

    group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str | None = None


class GatewayClassSpec(_Spec, frozen=True):
    """Whose the class is."""

    controller_name: str = ""
    parameters_ref: ParametersReference | None = None
    description: str = ""


class GatewayClass(Written, frozen=True):
    """GatewayClass, of the whole cluster."""

    KIND = "GatewayClass"


class ObjectReference(_Spec, frozen=True):
    """Another object: a certificate, an authority, what a policy is about."""

    group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str | None = None
    section_name: str | None = None


class SecretReference(_Spec, frozen=True):
    """A Secret, unless it says another kind (SecretObjectReference)."""

    group: str = ""
    kind: str = "Secret"
    name: str = ""
    namespace: str | None = None


class ListenerTLS(_Spec, frozen=True):
    """How TLS is handled at a listener (ListenerTLSConfig)."""

    mode: str = "Terminate"
    certificate_refs: tuple[SecretReference, ...] = ()
    options: dict[str, str] = {}


class RouteGroupKind(_Spec, frozen=True):
    """A kind of routes."""

    group: str = GROUP
    kind: str = ""


class FromNamespaces(_Spec, frozen=True):
    """Which namespaces something may come from; each place has a default of its own for ``from``."""

    from_: str | None = msgspec.field(name="from", default=None)
    selector: LabelSelector | None = None


class AllowedRoutes(_Spec, frozen=True):
    """Which routes a listener lets attach."""

    namespaces: FromNamespaces = FromNamespaces()
    kinds: tuple[RouteGroupKind, ...] = ()


class Listener(_Spec, frozen=True):
    """A listener of a Gateway or of a ListenerSet."""

    name: str = ""
    hostname: str | None = None
    port: int = 0
    protocol: str = ""
    tls: ListenerTLS | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()


class GatewayAddress(_Spec, frozen=True):
    """An address that is asked for; without a value any of the type."""

    type: str = "IPAddress"
    value: str = ""


class Infrastructure(_Spec, frozen=True):
    """What goes on to what is made for a Gateway."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    parameters_ref: ParametersReference | None = None


class AllowedListeners(_Spec, frozen=True):
    """Which ListenerSets may add listeners; absent: none."""

    namespaces: FromNamespaces = FromNamespaces()


class FrontendValidation(_Spec, frozen=True):
    """Whom clients must prove to be."""

    ca_certificate_refs: tuple[ObjectReference, ...] = ()
    mode: str = "AllowValidOnly"


class FrontendTLS(_Spec, frozen=True):
    """TLS with clients, for all ports or for one."""

    validation: FrontendValidation | None = None


class PortFrontendTLS(_Spec, frozen=True):
    """TLS with clients at one port."""

    port: int = 0
    tls: FrontendTLS = FrontendTLS()


class FrontendTLSConfig(_Spec, frozen=True):
    """Client certificates (Gateway ``spec.tls.frontend``)."""

    default: FrontendTLS = FrontendTLS()
    per_port: tuple[PortFrontendTLS, ...] = ()


class BackendTLSConfig(_Spec, frozen=True):
    """The certificate that the Gateway shows to backends (Gateway ``spec.tls.backend``)."""

    client_certificate_ref: SecretReference | None = None


class GatewayTLS(_Spec, frozen=True):
    """TLS settings of a whole Gateway."""

    frontend: FrontendTLSConfig | None = None
    backend: BackendTLSConfig | None = None


class GatewaySpec(_Spec, frozen=True):
    """What a Gateway asks for."""

    gateway_class_name: str = ""
    listeners: tuple[Listener, ...] = ()
    addresses: tuple[GatewayAddress, ...] = ()
    infrastructure: Infrastructure = Infrastructure()
    allowed_listeners: AllowedListeners | None = None
    tls: GatewayTLS = GatewayTLS()


class Gateway(Written, frozen=True):
    """Gateway."""

    KIND = "Gateway"


class ParentReference(_Spec, frozen=True):
    """What a route, or a ListenerSet, attaches to."""

    group: str = GROUP
    kind: str = "Gateway"
    namespace: str | None = None
    name: str = ""
    section_name: str | None = None
    port: int | None = None


class ListenerSetSpec(_Spec, frozen=True):
    """More listeners of a Gateway."""

    parent_ref: ParentReference = ParentReference()
    listeners: tuple[Listener, ...] = ()


class ListenerSet(Written, frozen=True):
    """ListenerSet."""

    KIND = "ListenerSet"


class HTTPRoute(Written, frozen=True):
    """HTTPRoute; its spec is ``api/gateway_routes.HTTPRouteSpec``."""

    KIND = "HTTPRoute"


class GRPCRoute(Written, frozen=True):
    """GRPCRoute; its spec is ``api/gateway_routes.GRPCRouteSpec``."""

    KIND = "GRPCRoute"


class TLSRoute(Written, frozen=True):
    """TLSRoute; its spec is ``api/gateway_routes.StreamRouteSpec``."""

    KIND = "TLSRoute"


class TCPRoute(Written, frozen=True):
    """TCPRoute; its spec is ``api/gateway_routes.StreamRouteSpec``."""

    KIND = "TCPRoute"


class UDPRoute(Written, frozen=True):
    """UDPRoute; its spec is ``api/gateway_routes.StreamRouteSpec``."""

    KIND = "UDPRoute"


Route = HTTPRoute | GRPCRoute | TLSRoute | TCPRoute | UDPRoute


class GrantFrom(_Spec, frozen=True):
    """Who may refer to objects of the grant's namespace."""

    group: str = ""
    kind: str = ""
    namespace: str = ""


class GrantTo(_Spec, frozen=True):
    """What may be referred to; without a name all of the kind."""

    group: str = ""
    kind: str = ""
    name: str | None = None


class ReferenceGrantSpec(_Spec, frozen=True):
    """Every ``from`` may refer to every ``to``."""

    from_: tuple[GrantFrom, ...] = msgspec.field(name="from", default=())
    to: tuple[GrantTo, ...] = ()


class ReferenceGrant(Written, frozen=True):
    """ReferenceGrant; has no status."""

    KIND = "ReferenceGrant"


class SubjectAltName(_Spec, frozen=True):
    """A name that a backend's certificate may have."""

    type: str = ""
    hostname: str = ""
    uri: str = ""


class BackendTLSValidation(_Spec, frozen=True):
    """How a backend's certificate is judged."""

    ca_certificate_refs: tuple[ObjectReference, ...] = ()
    well_known_ca_certificates: str = msgspec.field(name="wellKnownCACertificates", default="")
    hostname: str = ""
    subject_alt_names: tuple[SubjectAltName, ...] = ()


class BackendTLSPolicySpec(_Spec, frozen=True):
    """TLS to the backends of Services."""

    target_refs: tuple[ObjectReference, ...] = ()
    validation: BackendTLSValidation = BackendTLSValidation()
    options: dict[str, str] = {}


class BackendTLSPolicy(Written, frozen=True):
    """BackendTLSPolicy."""

    KIND = "BackendTLSPolicy"


def read_spec(obj: Written, type_: type[T]) -> Reading[T]:
    """The spec of an object as this struct; what cannot be read counts as absent, and is named."""
    return read(obj.spec, type_)
