"""What the gateways of a cluster should do: the face between the model and an engine. Values only.

Comes in: nothing; ``build.py`` makes the values from Gateways, routes and Ingresses. Goes out: a ``Plan``, the same for every node,
with nothing of any engine in it. Not here: conditions of objects (``status.py``), configuration of HAProxy (``gateway/config.py``).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from netloom.model.provenance import Source
from netloom.units import Addr, Cidr, ObjectKey, Protocol


class Transport(enum.Enum):
    """What clients speak at a door before anything is decided."""

    HTTP = "HTTP"
    """HTTP/1.1 and HTTP/2 with prior knowledge, not encrypted."""
    TLS = "TLS"
    """A ClientHello first; listeners are told apart by its server name. HTTPS, and TLS."""
    TCP = "TCP"
    UDP = "UDP"


class PathKind(enum.Enum):
    """How a path is compared (HTTPRoute ``matches[].path.type``, Ingress ``pathType``)."""

    EXACT = "Exact"
    PREFIX = "PathPrefix"
    """Element by element: ``/a`` is a prefix of ``/a`` and ``/a/b``, not of ``/ab``."""
    REGEX = "RegularExpression"
    """RE2-like; the whole path must match."""


class ValueMatch(msgspec.Struct, frozen=True, gc=False):
    """A header or query parameter that must be there with this value. Names of headers are in lower case."""

    name: str
    value: str
    is_regex: bool = False


class Match(msgspec.Struct, frozen=True, gc=False):
    """What a request must be. Everything that is said must hold."""

    path_kind: PathKind = PathKind.PREFIX
    path: str = "/"
    method: str = ""
    """Empty: any."""
    headers: tuple[ValueMatch, ...] = ()
    queries: tuple[ValueMatch, ...] = ()


class HeaderChange(msgspec.Struct, frozen=True, gc=False):
    """A change of headers: first remove, then set, then add. In order as written."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()


class PathChange(msgspec.Struct, frozen=True, gc=False):
    """Another path: the whole of it, or what the rule's prefix matched."""

    value: str
    prefix: str | None = None
    """The matched prefix that ``value`` takes the place of; None: ``value`` is the full path."""


class Redirect(msgspec.Struct, frozen=True, gc=False):
    """An answer that sends the client elsewhere. Empty fields keep what the request has."""

    status: int = 302
    scheme: str = ""
    hostname: str = ""
    port: int | None = None
    """None: what follows from the specification (none where ``scheme`` says one; else the listener's)."""
    path: PathChange | None = None


class Rewrite(msgspec.Struct, frozen=True, gc=False):
    """What the backend is asked in place of what the client asked."""

    hostname: str = ""
    path: PathChange | None = None


class Cors(msgspec.Struct, frozen=True, gc=False):
    """Answers to questions of browsers (Fetch standard; HTTPRoute filter CORS)."""

    origins: tuple[str, ...] = ()
    """``https://shop.example``, with ``*`` for one part of it, or ``*`` alone."""
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age_s: int = 5
    credentials: bool = False


class Mirror(msgspec.Struct, frozen=True, gc=False):
    """A copy of requests to a pool whose answers nobody reads."""

    pool: str
    numerator: int = 100
    denominator: int = 100


class Share(msgspec.Struct, frozen=True, gc=False):
    """A pool and its weight among those of a rule."""

    pool: str
    """Key of ``Plan.pools``; empty: requests that fall here are answered with status 500 (no such backend, or no grant)."""
    weight: int
    source: Source
    request: HeaderChange = HeaderChange()
    """Filters of the backendRef itself."""
    response: HeaderChange = HeaderChange()


class BasicAuth(msgspec.Struct, frozen=True, gc=False):
    """HTTP basic authentication (RFC 7617)."""

    realm: str
    users: tuple[tuple[str, str], ...]
    """Name and crypt(3) hash; never shown."""

    def __repr__(self) -> str:
        return f"BasicAuth(realm={self.realm!r}, {len(self.users)} users)"


class Jwt(msgspec.Struct, frozen=True, gc=False):
    """A bearer token that must verify (RFC 7519)."""

    algorithm: str
    key: str
    """PEM of a public key, or the secret of an HMAC; never shown."""
    issuer: str = ""
    audience: str = ""

    def __repr__(self) -> str:
        return f"Jwt(algorithm={self.algorithm!r}, issuer={self.issuer!r}, audience={self.audience!r})"


class ExternalAuth(msgspec.Struct, frozen=True, gc=False):
    """A service that is asked for each request, with its method, path and headers; 2xx lets it through."""

    pool: str
    path: str = "/"
    response_headers: tuple[str, ...] = ()
    """Headers of its answer that the backend gets."""


class RateLimit(msgspec.Struct, frozen=True, gc=False):
    """Requests of one client address; more are answered with status 429."""

    requests: int
    period_s: int


class Outliers(msgspec.Struct, frozen=True, gc=False):
    """An endpoint with this many errors in a row gets no requests for a while."""

    errors: int
    ejected_s: int = 30


class Traffic(msgspec.Struct, frozen=True, gc=False):
    """What a TrafficPolicy says of the requests of a rule."""

    source: Source | None = None
    basic: BasicAuth | None = None
    jwt: Jwt | None = None
    external: ExternalAuth | None = None
    rate: RateLimit | None = None
    allow: tuple[Cidr, ...] = ()
    """Clients that are let in; empty: all."""
    retries: int | None = None
    """Further tries after failures before the backend began to answer."""
    retry_on: tuple[int, ...] = ()
    """Status codes that are tried again."""
    outliers: Outliers | None = None
    body_bytes: int | None = None
    """Largest body of a request."""
    session_cookie: str = ""
    """Name of a cookie that keeps a client with its endpoint: the pools of the rule have it, too."""


class Rule(msgspec.Struct, frozen=True, gc=False):
    """What becomes of requests that match, first match in the host's order."""

    name: str
    """For access logs: ``HTTPRoute shop/web rule 2``, or the rule's own name."""
    source: Source
    """Route and field: ``spec.rules[2].matches[0]``."""
    match: Match
    shares: tuple[Share, ...] = ()
    """Where requests go. Empty and no redirect: status 500 (or 404 for an Ingress without a backend)."""
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    request: HeaderChange = HeaderChange()
    response: HeaderChange = HeaderChange()
    cors: Cors | None = None
    mirrors: tuple[Mirror, ...] = ()
    request_timeout_s: float | None = None
    """For the whole of request and answer; 0: none."""
    backend_timeout_s: float | None = None
    """For one try."""
    fault: int = 0
    """Status that all requests get, because the rule cannot be done as written; 0: none."""
    traffic: Traffic = Traffic()
    is_grpc: bool = False
    """Faults are gRPC statuses, and backends speak HTTP/2."""


class Host(msgspec.Struct, frozen=True, gc=False):
    """Rules of one host name, in order of precedence."""

    name: str
    """``shop.example``, ``*.example`` (one or more labels before it), or empty: any."""
    rules: tuple[Rule, ...]


class Stream(msgspec.Struct, frozen=True, gc=False):
    """Connections that go on as they are, by server name where there is one."""

    hostname: str
    """Empty: any; ``*.example`` as in ``Host``."""
    shares: tuple[Share, ...]
    name: str
    source: Source


class Certificate(msgspec.Struct, frozen=True, gc=False):
    """A chain and its key as PEM, checked to belong together; the key is never shown."""

    source: Source
    """The Secret."""
    chain: str
    key: str
    names: tuple[str, ...]
    """DNS names of its subject."""
    not_after: float
    """Seconds since the epoch."""

    def __repr__(self) -> str:
        return f"Certificate({self.source}, names={self.names!r}, not_after={self.not_after!r})"


class ClientCertificates(msgspec.Struct, frozen=True, gc=False):
    """Whom clients must prove to be (Gateway ``spec.tls.frontend``)."""

    authorities: str
    """PEM."""
    is_required: bool = True
    """False: whoever shows none, or one that does not verify, is let in as well."""


class ListenerTls(msgspec.Struct, frozen=True, gc=False):
    """How TLS ends here."""

    certificates: tuple[Certificate, ...]
    """The first is shown to clients whose server name none of them has."""
    clients: ClientCertificates | None = None
    least_version: str = "TLSv1.2"
    alpn: tuple[str, ...] = ("h2", "http/1.1")


class Listener(msgspec.Struct, frozen=True, gc=False):
    """What one listener of a Gateway takes at a door."""

    name: str
    source: Source
    """Gateway (or ListenerSet) and ``spec.listeners[i]``."""
    hostname: str = ""
    """Empty: any; requests for other hosts are another listener's, or answered 404."""
    tls: ListenerTls | None = None
    """None at a door of transport TLS: passed through as it is."""
    hosts: tuple[Host, ...] = ()
    """Most specific first: names, then wildcards from long to short, then any."""
    streams: tuple[Stream, ...] = ()
    """Most specific first. Of a listener without HTTP."""
    is_stream: bool = False
    """Connections are carried as they are (protocols TLS, TCP, UDP), never requests: tells an HTTPS listener without routes from a TLS one."""


class Door(msgspec.Struct, frozen=True, gc=False):
    """A port of a gateway: a socket on each node that serves it."""

    gateway: ObjectKey
    source: Source
    """Gateway, or IngressClass."""
    port: int
    """As clients dial it."""
    transport: Transport
    listeners: tuple[Listener, ...]
    """Most specific host name first."""
    node_port: int | None = None
    """Where each node's engine listens: the nodePort of the gateway's Service; None until there is one."""

    @property
    def protocol(self) -> Protocol:
        """Of the socket."""
        return Protocol.UDP if self.transport is Transport.UDP else Protocol.TCP


class BackendTls(msgspec.Struct, frozen=True, gc=False):
    """TLS to a backend (BackendTLSPolicy)."""

    hostname: str
    """Server name sent, and checked in its certificate unless ``names`` says otherwise."""
    authorities: str = ""
    """PEM; empty: the system's."""
    names: tuple[str, ...] = ()
    source: Source | None = None


class PoolProtocol(enum.Enum):
    """What backends speak (Service ``appProtocol``)."""

    HTTP = "HTTP"
    """HTTP/1.1, with upgrades such as WebSocket."""
    H2C = "kubernetes.io/h2c"
    TCP = "TCP"
    UDP = "UDP"
    """Never an engine's: our own dataplane carries datagrams."""


class Endpoint(msgspec.Struct, frozen=True, order=True, gc=False):
    """One place that answers."""

    address: Addr
    port: int
    node: str = ""
    is_draining: bool = False
    """It terminates and still serves: used when no other is left (KEP-1669)."""


class Pool(msgspec.Struct, frozen=True, gc=False):
    """Endpoints of one Service port, as gateways use them."""

    key: str
    """``namespace/name/port`` and what makes it differ from others of the port (protocol, TLS): stable while the meaning is."""
    service: ObjectKey
    port: int
    protocol: PoolProtocol
    endpoints: tuple[Endpoint, ...]
    """In order, without repetition; those that serve."""
    source: Source
    tls: BackendTls | None = None
    session_cookie: str = ""
    """Name of a cookie that keeps a client with its endpoint; empty: none."""
    outliers: Outliers | None = None


class Plan(msgspec.Struct, frozen=True):
    """Everything that the engines of all nodes do."""

    doors: tuple[Door, ...] = ()
    pools: Mapping[str, Pool] = {}
