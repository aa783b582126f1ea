"""Definition of our own TrafficPolicy (netloom.io/v1alpha1). Goes out: a schema as words.py makes them."""

from __future__ import annotations

from gateways import UNIQUE_TARGETS, policy_status
from words import (
    Schema,
    duration,
    group,
    group_of,
    kind_of,
    local,
    name,
    named,
    namespace,
    number,
    port,
    section,
    several,
    text,
    words,
)

COLUMNS = {
    "TrafficPolicy": [
        {"name": "Targets", "type": "string", "jsonPath": ".spec.targetRefs[*].name"},
        {
            "name": "Accepted",
            "type": "string",
            "jsonPath": '.status.ancestors[*].conditions[?(@.type=="Accepted")].status',
        },
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
}
_TARGETS = (
    "self.all(t, (t.group == 'gateway.networking.k8s.io' && t.kind in ['Gateway', 'HTTPRoute', 'GRPCRoute']) || "
    "(t.group == 'networking.k8s.io' && t.kind == 'Ingress'))",
    "targetRefs must be Gateways, HTTPRoutes or GRPCRoutes of gateway.networking.k8s.io, or Ingresses of networking.k8s.io",
)
_NO_SECTION = (
    "self.all(t, t.kind == 'Ingress' ? !has(t.sectionName) : true)",
    "an Ingress has no sections; leave sectionName out",
)
_ALGORITHMS = (
    "HS256",
    "HS384",
    "HS512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
)


def _secret(about: str) -> Schema:
    return group(about, {"name": name()}, needed=("name",))


def traffic_policy() -> Schema:
    """netloom.io/v1alpha1 TrafficPolicy."""
    target = local("What the policy is for.")
    target["properties"]["sectionName"] = section("A listener of the Gateway, or a rule of the route.")
    basic = group(
        "Name and password (RFC 7617).",
        {
            "realm": text("Shown to people.", least=1, longest=253, pattern=r'^[^"\\\x00-\x1f]+$', default="Restricted"),
            "secretRef": _secret("Its key auth holds lines of htpasswd."),
        },
        needed=("secretRef",),
    )  # fmt: skip
    jwt = group(
        "A bearer token (RFC 7519).",
        {
            "algorithm": words("How it is signed.", *_ALGORITHMS),
            "secretRef": _secret("Its key key holds a public key as PEM, or the secret of an HMAC."),
            "issuer": text("What iss must be.", longest=1024),
            "audience": text("What aud must be, or contain.", longest=1024),
        },
        needed=("algorithm", "secretRef"),
    )
    backend = group(
        "The Service.",
        {
            "group": group_of(default=""),
            "kind": kind_of(default="Service"),
            "name": name(),
            "namespace": namespace("The policy's own where it is missing; others need a ReferenceGrant."),
            "port": port(),
        },
        needed=("name", "port"),
        rules=(("self.group == '' && self.kind == 'Service'", "backendRef must be a Service"),),
    )
    external = group(
        "A Service that is asked for each request; 2xx lets it through.",
        {
            "backendRef": backend,
            "path": text("What it is asked.", longest=1024, pattern="^/", default="/"),
            "responseHeaders": several(
                text(least=1, longest=256),
                "Headers of its answer that the backend gets.",
                unique=True,
                most=64,
            ),
        },
        needed=("backendRef",),
    )
    rate = group(
        "Requests of one client address; more are answered with 429.",
        {
            "requests": number("How many.", least=1, most=1000000),
            "period": duration("In how long; whole seconds, up to a day.", default="1s"),
        },
        needed=("requests",),
    )
    retries = group(
        "Further tries.",
        {
            "attempts": number("How many.", least=0, most=10),
            "on": several(
                number(least=400, most=599), "Status codes that are tried again.", unique=True, most=16
            ),
        },
        needed=("attempts",),
    )
    outliers = group(
        "Endpoints with so many errors in a row get no requests for a while.",
        {
            "errors": number("How many.", least=1, most=1000),
            "ejected": duration("How long.", default="30s"),
        },
        needed=("errors",),
    )
    cookie = group(
        "A cookie keeps a client with its endpoint.",
        {"name": text(least=1, longest=64, pattern=r"^[A-Za-z0-9_.-]+$")},
        needed=("name",),
    )
    spec = group(
        "What is wanted. Of several policies for one thing the oldest counts, field by field; a route's before its Gateway's.",
        {
            "targetRefs": several(target, "What it is for.", least=1, most=16, rules=(UNIQUE_TARGETS, _TARGETS, _NO_SECTION)),
            "basicAuth": basic,
            "jwt": jwt,
            "externalAuth": external,
            "rateLimit": rate,
            "allowedSources": several(text(longest=49, pattern="^[0-9a-fA-F.:]+(/[0-9]{1,3})?$"), "Addresses and ranges of clients; others are answered with 403.", unique=True, most=256),
            "retries": retries,
            "outliers": outliers,
            "maxBodyBytes": number("Larger requests are answered with 413.", wide=True, least=1),
            "sessionCookie": cookie,
        },
        needed=("targetRefs",),
    )  # fmt: skip
    return named(
        "TrafficPolicy", "who may send requests, how many, and how they are tried.", spec, policy_status()
    )
