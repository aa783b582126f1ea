"""The annotations of the retired controller, and what becomes of each: the table that documents and lists of losses are made from.

Comes in: nothing. Goes out: ``KNOWN``. Not here: how they are turned (``routes.py``, ``policies.py`` ...), what they did (``retired.py``).
"""

from __future__ import annotations

import enum

import msgspec

PREFIX = "nginx.ingress.kubernetes.io/"


class Fate(enum.Enum):
    """How much of an annotation's meaning comes over."""

    KEPT = "kept"
    PART = "in part"
    """Something of it, or under conditions; the list of losses says which."""
    NONE = "none"
    IDLE = "not needed"
    """It was about the controller itself; nothing of what clients see depends on it."""


class Known(msgspec.Struct, frozen=True):
    """What becomes of one annotation."""

    fate: Fate
    becomes: str
    """In a few words, for the table."""


def _kept(becomes: str) -> Known:
    return Known(Fate.KEPT, becomes)


def _part(becomes: str) -> Known:
    return Known(Fate.PART, becomes)


def _none(becomes: str) -> Known:
    return Known(Fate.NONE, becomes)


def _idle(becomes: str) -> Known:
    return Known(Fate.IDLE, becomes)


_RAW = "configuration of another program; say what it was for in a route or a TrafficPolicy"

KNOWN: dict[str, Known] = {
    "rewrite-target": _part("filter URLRewrite: whole paths, and prefixes with a capture group of the rest"),
    "use-regex": _part("path type RegularExpression; the pattern must be RE2"),
    "ssl-redirect": _kept(
        "HTTPRoute at the HTTP listener with RequestRedirect 308; on where the Ingress has TLS"
    ),
    "force-ssl-redirect": _kept("HTTPRoute at the HTTP listener with RequestRedirect 308"),
    "preserve-trailing-slash": _idle("redirects keep the path as it is"),
    "app-root": _part("rule Exact / with RequestRedirect 302; the query is kept, not dropped"),
    "permanent-redirect": _part("filter RequestRedirect 301; the query is kept, not dropped"),
    "permanent-redirect-code": _kept("filter RequestRedirect statusCode"),
    "temporal-redirect": _part("filter RequestRedirect 302; the query is kept, not dropped"),
    "temporal-redirect-code": _kept("filter RequestRedirect statusCode"),
    "from-to-www-redirect": _kept("HTTPRoute for the other name with RequestRedirect 308"),
    "canary": _kept("backendRefs and rules beside the main Ingress' own"),
    "canary-weight": _kept("backendRefs weight"),
    "canary-weight-total": _kept("backendRefs weight"),
    "canary-by-header": _kept("matches headers"),
    "canary-by-header-value": _kept("matches headers Exact"),
    "canary-by-header-pattern": _part("matches headers RegularExpression; the pattern must be RE2"),
    "canary-by-cookie": _kept("matches headers Cookie RegularExpression"),
    "enable-cors": _part("filter CORS; OPTIONS that are no preflight go to the backend"),
    "cors-allow-origin": _kept("filter CORS allowOrigins"),
    "cors-allow-methods": _kept("filter CORS allowMethods"),
    "cors-allow-headers": _kept("filter CORS allowHeaders"),
    "cors-expose-headers": _kept("filter CORS exposeHeaders"),
    "cors-allow-credentials": _kept("filter CORS allowCredentials"),
    "cors-max-age": _kept("filter CORS maxAge"),
    "proxy-read-timeout": _part("timeouts backendRequest: of the whole answer, not between two reads"),
    "proxy-send-timeout": _none(
        "requests are not timed while they are sent; timeouts request is of the whole"
    ),
    "proxy-connect-timeout": _none("the engine's own, 5 s"),
    "proxy-body-size": _kept("TrafficPolicy maxBodyBytes"),
    "client-body-buffer-size": _idle("bodies are not buffered"),
    "proxy-next-upstream": _part(
        "TrafficPolicy retries: http_5xx become status codes, error and timeout are always tried again"
    ),
    "proxy-next-upstream-tries": _kept("TrafficPolicy retries attempts"),
    "proxy-next-upstream-timeout": _none("timeouts request bounds all tries together"),
    "backend-protocol": _part("GRPC: GRPCRoute; HTTPS, GRPCS: BackendTLSPolicy, which verifies"),
    "ssl-passthrough": _kept("TLSRoute at a listener of mode Passthrough"),
    "auth-type": _part("basic: TrafficPolicy basicAuth; digest has no counterpart"),
    "auth-secret": _kept("TrafficPolicy basicAuth secretRef; of the same namespace"),
    "auth-secret-type": _part("auth-file only"),
    "auth-realm": _kept("TrafficPolicy basicAuth realm"),
    "auth-url": _part("TrafficPolicy externalAuth, where it is a Service of this cluster"),
    "auth-response-headers": _kept("TrafficPolicy externalAuth responseHeaders"),
    "auth-method": _none("the method is the request's own"),
    "auth-signin": _none("who is refused gets the answer of the Service that was asked; let that redirect"),
    "auth-signin-redirect-param": _none("see auth-signin"),
    "auth-proxy-set-headers": _none("the Service gets the request's own headers"),
    "auth-cache-key": _none("answers are not kept"),
    "auth-cache-duration": _none("answers are not kept"),
    "auth-always-set-cookie": _none("cookies of the Service that was asked reach nobody"),
    "auth-snippet": _none(_RAW),
    "enable-global-auth": _idle("there is no global one"),
    "whitelist-source-range": _kept("TrafficPolicy allowedSources"),
    "allowlist-source-range": _kept("TrafficPolicy allowedSources"),
    "denylist-source-range": _none("a NetworkPolicy or a firewall can refuse addresses"),
    "satisfy": _none("all conditions of a TrafficPolicy must hold"),
    "limit-rps": _part("TrafficPolicy rateLimit: no burst of five times, and 429 in place of 503"),
    "limit-rpm": _part("TrafficPolicy rateLimit: no burst of five times, and 429 in place of 503"),
    "limit-burst-multiplier": _none("rateLimit has no burst"),
    "limit-connections": _none("connections of a client are not counted"),
    "limit-rate": _none("answers are not slowed"),
    "limit-rate-after": _none("answers are not slowed"),
    "limit-whitelist": _none("rateLimit is for everybody"),
    "limit-allowlist": _none("rateLimit is for everybody"),
    "affinity": _kept("TrafficPolicy sessionCookie"),
    "affinity-mode": _part("persistent; balanced moves clients when endpoints come"),
    "affinity-canary-behavior": _none("a cookie keeps an endpoint, not a share"),
    "session-cookie-name": _kept("TrafficPolicy sessionCookie name"),
    "session-cookie-path": _none("the cookie is for /"),
    "session-cookie-max-age": _none("the cookie lives as long as the browser"),
    "session-cookie-expires": _none("the cookie lives as long as the browser"),
    "session-cookie-samesite": _none("the browser's default"),
    "session-cookie-secure": _none("the browser's default"),
    "session-cookie-domain": _none("the request's host"),
    "session-cookie-conditional-samesite-none": _none("the browser's default"),
    "session-cookie-change-on-failure": _idle("a client whose endpoint is gone gets another one"),
    "upstream-vhost": _kept("filter URLRewrite hostname"),
    "server-alias": _part("hostnames; regular expressions have no counterpart"),
    "x-forwarded-prefix": _kept("filter RequestHeaderModifier"),
    "custom-headers": _part("filter ResponseHeaderModifier, where the ConfigMap is among the files"),
    "mirror-target": _part("filter RequestMirror, where it is a Service of this cluster"),
    "mirror-host": _none("the copy has the request's own host"),
    "mirror-request-body": _idle("copies have their bodies"),
    "configuration-snippet": _none(_RAW),
    "server-snippet": _none(_RAW),
    "stream-snippet": _none(_RAW),
    "auth-tls-secret": _none("Gateway spec.tls.frontend: put the authority into a ConfigMap under ca.crt"),
    "auth-tls-verify-client": _none("Gateway spec.tls.frontend mode"),
    "auth-tls-verify-depth": _none("the engine's own"),
    "auth-tls-error-page": _none("the handshake fails"),
    "auth-tls-pass-certificate-to-upstream": _none("certificates of clients are not passed on"),
    "auth-tls-match-cn": _none("any certificate of the authority counts"),
    "proxy-ssl-secret": _none("Gateway spec.tls.backend clientCertificateRef"),
    "proxy-ssl-name": _part("BackendTLSPolicy validation hostname"),
    "proxy-ssl-verify": _part("BackendTLSPolicy always verifies"),
    "proxy-ssl-verify-depth": _none("the engine's own"),
    "proxy-ssl-ciphers": _none("the engine's own"),
    "proxy-ssl-protocols": _none("the engine's own"),
    "proxy-ssl-server-name": _idle("the server name is always sent"),
    "ssl-ciphers": _none("the engine's own: what TLS 1.2 and 1.3 recommend"),
    "ssl-prefer-server-ciphers": _none("the engine's own"),
    "default-backend": _none("a Service without endpoints is answered with 503"),
    "custom-http-errors": _none("answers of backends go on as they are"),
    "disable-proxy-intercept-errors": _idle("answers of backends go on as they are"),
    "load-balance": _none("the least loaded endpoint is taken"),
    "upstream-hash-by": _none("sessionCookie can keep a client with an endpoint"),
    "upstream-hash-by-subset": _none("see upstream-hash-by"),
    "upstream-hash-by-subset-size": _none("see upstream-hash-by"),
    "service-upstream": _none("requests go to endpoints, not to the Service's address"),
    "proxy-redirect-from": _none("filter ResponseHeaderModifier can set Location"),
    "proxy-redirect-to": _none("filter ResponseHeaderModifier can set Location"),
    "proxy-cookie-domain": _none("cookies of backends go on as they are"),
    "proxy-cookie-path": _none("cookies of backends go on as they are"),
    "proxy-request-buffering": _idle("bodies are not buffered"),
    "proxy-buffering": _idle("answers are not buffered"),
    "proxy-buffer-size": _idle("answers are not buffered"),
    "proxy-buffers-number": _idle("answers are not buffered"),
    "proxy-busy-buffers-size": _idle("answers are not buffered"),
    "proxy-max-temp-file-size": _idle("answers are not buffered"),
    "proxy-http-version": _idle("1.1 always"),
    "connection-proxy-header": _idle("upgrades are passed on"),
    "http2-push-preload": _idle("no browser takes pushes any more"),
    "enable-access-log": _none("access logs are of the whole gateway"),
    "enable-rewrite-log": _idle("netloom why says which rule a request meets"),
    "enable-opentelemetry": _none("no traces are made"),
    "enable-modsecurity": _none("no firewall for requests"),
    "enable-owasp-core-rules": _none("no firewall for requests"),
    "modsecurity-snippet": _none("no firewall for requests"),
    "modsecurity-transaction-id": _none("no firewall for requests"),
}
"""By name, without the prefix."""
