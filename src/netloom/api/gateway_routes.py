"""gateway.networking.k8s.io: what the specs of routes say.

Comes in: nothing. Goes out: structs for ``api/gateway.read_spec``. A field that may be absent has the default that the specification gives it.
Not here: the kinds themselves (``gateway.py``), what they mean (``model/gateways``).
"""

from __future__ import annotations

import msgspec

from netloom.api.gateway import ObjectReference, ParentReference


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    """Base of what is written in specs: every field may be absent."""


class Header(_Spec, frozen=True):
    """A name and a value (HTTPHeader)."""

    name: str = ""
    value: str = ""


class ValueMatch(_Spec, frozen=True):
    """A header or query parameter that must be there."""

    type: str = "Exact"
    name: str = ""
    value: str = ""


class PathMatch(_Spec, frozen=True):
    """HTTPPathMatch."""

    type: str = "PathPrefix"
    value: str = "/"


class HTTPMatch(_Spec, frozen=True):
    """HTTPRouteMatch: everything that is said must hold."""

    path: PathMatch = PathMatch()
    headers: tuple[ValueMatch, ...] = ()
    query_params: tuple[ValueMatch, ...] = ()
    method: str = ""


class GRPCMethodMatch(_Spec, frozen=True):
    """GRPCMethodMatch: ``/service/method``."""

    type: str = "Exact"
    service: str = ""
    method: str = ""


class GRPCMatch(_Spec, frozen=True):
    """GRPCRouteMatch."""

    method: GRPCMethodMatch | None = None
    headers: tuple[ValueMatch, ...] = ()


class HeaderFilter(_Spec, frozen=True):
    """HTTPHeaderFilter."""

    set: tuple[Header, ...] = ()
    add: tuple[Header, ...] = ()
    remove: tuple[str, ...] = ()


class PathModifier(_Spec, frozen=True):
    """HTTPPathModifier."""

    type: str = ""
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class RequestRedirect(_Spec, frozen=True):
    """HTTPRequestRedirectFilter."""

    scheme: str | None = None
    hostname: str | None = None
    path: PathModifier | None = None
    port: int | None = None
    status_code: int = 302


class URLRewrite(_Spec, frozen=True):
    """HTTPURLRewriteFilter."""

    hostname: str | None = None
    path: PathModifier | None = None


class Fraction(_Spec, frozen=True):
    """A part of requests."""

    numerator: int = 0
    denominator: int = 100


class BackendReference(_Spec, frozen=True):
    """BackendObjectReference: a Service's port, unless it says another kind."""

    group: str = ""
    kind: str = "Service"
    name: str = ""
    namespace: str | None = None
    port: int | None = None


class RequestMirror(_Spec, frozen=True):
    """HTTPRequestMirrorFilter."""

    backend_ref: BackendReference = BackendReference()
    percent: int | None = None
    fraction: Fraction | None = None


class CORSFilter(_Spec, frozen=True):
    """HTTPCORSFilter."""

    allow_origins: tuple[str, ...] = ()
    allow_credentials: bool = False
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: int = 5


class Filter(_Spec, frozen=True):
    """HTTPRouteFilter and GRPCRouteFilter; the field that ``type`` names is there."""

    type: str = ""
    request_header_modifier: HeaderFilter | None = None
    response_header_modifier: HeaderFilter | None = None
    request_mirror: RequestMirror | None = None
    request_redirect: RequestRedirect | None = None
    url_rewrite: URLRewrite | None = None
    cors: CORSFilter | None = None
    extension_ref: ObjectReference | None = None


class BackendRef(BackendReference, frozen=True):
    """A backend with its weight, and filters of its own (HTTPBackendRef, GRPCBackendRef, BackendRef)."""

    weight: int = 1
    filters: tuple[Filter, ...] = ()


class Timeouts(_Spec, frozen=True):
    """HTTPRouteTimeouts; durations as GEP-2257 writes them, ``0s`` is none."""

    request: str | None = None
    backend_request: str | None = None


class Retry(_Spec, frozen=True):
    """HTTPRouteRetry; ``backoff`` is a duration."""

    codes: tuple[int, ...] = ()
    attempts: int | None = None
    backoff: str | None = None


class HTTPRule(_Spec, frozen=True):
    """HTTPRouteRule."""

    name: str = ""
    matches: tuple[HTTPMatch, ...] = ()
    filters: tuple[Filter, ...] = ()
    backend_refs: tuple[BackendRef, ...] = ()
    timeouts: Timeouts | None = None
    retry: Retry | None = None


class GRPCRule(_Spec, frozen=True):
    """GRPCRouteRule."""

    name: str = ""
    matches: tuple[GRPCMatch, ...] = ()
    filters: tuple[Filter, ...] = ()
    backend_refs: tuple[BackendRef, ...] = ()


class StreamRule(_Spec, frozen=True):
    """TLSRouteRule, TCPRouteRule, UDPRouteRule."""

    name: str = ""
    backend_refs: tuple[BackendRef, ...] = ()


class RouteSpec(_Spec, frozen=True):
    """What all routes have."""

    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[str, ...] = ()
    """None of TCPRoute and UDPRoute."""


class HTTPRouteSpec(RouteSpec, frozen=True):
    """HTTPRouteSpec. Without rules there is one: every path, and no backend."""

    rules: tuple[HTTPRule, ...] | None = None


class GRPCRouteSpec(RouteSpec, frozen=True):
    """GRPCRouteSpec."""

    rules: tuple[GRPCRule, ...] = ()


class StreamRouteSpec(RouteSpec, frozen=True):
    """TLSRouteSpec, TCPRouteSpec, UDPRouteSpec."""

    rules: tuple[StreamRule, ...] = ()
