"""netloom.io/v1alpha1 TrafficPolicy: who may send requests, how many, and how they are tried.

An object keeps its spec as it was written (``Written``): ``read_spec`` gives the typed one. Not here: what it means (``model/gateways/traffic.py``).
"""

from __future__ import annotations

import msgspec

from netloom.api.gateway import ObjectReference, Written

GROUP = "netloom.io"
HTPASSWD_KEY = "auth"
"""Key of the Secret of ``basicAuth``: lines of htpasswd."""
JWT_KEY = "key"
"""Key of the Secret of ``jwt``: a public key as PEM, or the secret of an HMAC."""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    """Base of what is written in specs: every field may be absent."""


class SecretName(_Spec, frozen=True):
    """A Secret of the policy's namespace."""

    name: str = ""


class BasicAuthSpec(_Spec, frozen=True):
    """Name and password (RFC 7617)."""

    realm: str = "Restricted"
    secret_ref: SecretName = SecretName()


class JwtSpec(_Spec, frozen=True):
    """A bearer token (RFC 7519)."""

    algorithm: str = ""
    secret_ref: SecretName = SecretName()
    issuer: str = ""
    audience: str = ""


class ServiceReference(_Spec, frozen=True):
    """A Service and its port."""

    group: str = ""
    kind: str = "Service"
    name: str = ""
    namespace: str | None = None
    port: int = 0


class ExternalAuthSpec(_Spec, frozen=True):
    """A Service that is asked for each request."""

    backend_ref: ServiceReference = ServiceReference()
    path: str = "/"
    response_headers: tuple[str, ...] = ()


class RateLimitSpec(_Spec, frozen=True):
    """Requests of one client address."""

    requests: int = 0
    period: str = "1s"


class RetriesSpec(_Spec, frozen=True):
    """Further tries."""

    attempts: int = 0
    on: tuple[int, ...] = ()


class OutliersSpec(_Spec, frozen=True):
    """Endpoints that fail are left out for a while."""

    errors: int = 0
    ejected: str = "30s"


class SessionCookieSpec(_Spec, frozen=True):
    """A cookie keeps a client with its endpoint."""

    name: str = ""


class TrafficPolicySpec(_Spec, frozen=True):
    """What a TrafficPolicy asks for."""

    target_refs: tuple[ObjectReference, ...] = ()
    basic_auth: BasicAuthSpec | None = None
    jwt: JwtSpec | None = None
    external_auth: ExternalAuthSpec | None = None
    rate_limit: RateLimitSpec | None = None
    allowed_sources: tuple[str, ...] = ()
    retries: RetriesSpec | None = None
    outliers: OutliersSpec | None = None
    max_body_bytes: int | None = None
    session_cookie: SessionCookieSpec | None = None


class TrafficPolicy(Written, frozen=True):
    """netloom.io/v1alpha1 TrafficPolicy."""

    KIND = "TrafficPolicy"
