"""What one TrafficPolicy says, with its Secrets and its Service looked up.

Comes in: a TrafficPolicy, Secrets, pools, grants. Goes out: a ``Traffic``, or in words what cannot be used. Not here: whom it is for (``traffic.py``).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Iterator, Mapping

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from netloom.api.core import Secret
from netloom.api.durations import milliseconds
from netloom.api.gateway import read_spec
from netloom.api.traffic import (
    GROUP,
    HTPASSWD_KEY,
    JWT_KEY,
    BasicAuthSpec,
    ExternalAuthSpec,
    JwtSpec,
    TrafficPolicy,
    TrafficPolicySpec,
)
from netloom.model.gateways.grants import Grants, Referrer
from netloom.model.gateways.plan import BasicAuth, ExternalAuth, Jwt, Outliers, RateLimit, Traffic
from netloom.model.gateways.pools import PoolRefs
from netloom.model.provenance import source_of
from netloom.units import Cidr, ObjectKey, parse_addr, parse_cidr

_LONGEST_PERIOD_S = 86_400


class SpecTrouble(msgspec.Struct, frozen=True, order=True):
    """A field of a policy that cannot be used. Requests that it is for are refused: a policy that fails must not open a door."""

    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class SpecReader:
    """Reads policies against the Secrets, Services and grants of a cluster."""

    def __init__(self, secrets: Mapping[ObjectKey, Secret], grants: Grants) -> None:
        self._secrets = secrets
        self._grants = grants

    def read(self, policy: TrafficPolicy, pools: PoolRefs) -> Traffic | tuple[SpecTrouble, ...]:
        """What a policy says, or everything that is wrong with it."""
        reading = read_spec(policy, TrafficPolicySpec)
        spec, namespace = reading.value, policy.metadata.namespace
        troubles = [SpecTrouble(one.field, one.problem) for one in reading.unread]
        basic = self._basic(spec.basic_auth, namespace, troubles) if spec.basic_auth else None
        jwt = self._jwt(spec.jwt, namespace, troubles) if spec.jwt else None
        external = (
            self._external(spec.external_auth, namespace, pools, troubles) if spec.external_auth else None
        )
        rate = None
        if spec.rate_limit is not None:
            period = milliseconds(spec.rate_limit.period) / 1000
            if not 1 <= period <= _LONGEST_PERIOD_S or period % 1:
                troubles.append(SpecTrouble("spec.rateLimit.period", "must be whole seconds, from 1s to 24h"))
            rate = RateLimit(spec.rate_limit.requests, int(period))
        outliers = None
        if spec.outliers is not None:
            outliers = Outliers(spec.outliers.errors, max(1, milliseconds(spec.outliers.ejected) // 1000))
        allow = tuple(_sources(spec.allowed_sources, troubles))
        if troubles:
            return tuple(sorted(troubles))
        return Traffic(
            source=source_of("TrafficPolicy", policy.metadata, "spec"),
            basic=basic,
            jwt=jwt,
            external=external,
            rate=rate,
            allow=allow,
            retries=spec.retries.attempts if spec.retries else None,
            retry_on=spec.retries.on if spec.retries else (),
            outliers=outliers,
            body_bytes=spec.max_body_bytes,
            session_cookie=spec.session_cookie.name if spec.session_cookie else "",
        )

    def _basic(self, spec: BasicAuthSpec, namespace: str, troubles: list[SpecTrouble]) -> BasicAuth | None:
        field = "spec.basicAuth.secretRef"
        text = self._secret(field, namespace, spec.secret_ref.name, HTPASSWD_KEY, troubles)
        if text is None:
            return None
        lines = [line.strip() for line in text.splitlines()]
        users = tuple(
            (name, secret)
            for name, _, secret in (
                line.partition(":") for line in lines if line and not line.startswith("#")
            )
        )
        if not users or not all(name and secret for name, secret in users):
            problem = (
                f"key {HTPASSWD_KEY} of Secret {namespace}/{spec.secret_ref.name} holds no lines of name:hash"
            )
            troubles.append(SpecTrouble(field, problem))
            return None
        if plain := next((name for name, secret in users if not _is_hash(secret)), None):
            problem = f"the password of {plain} is no crypt(3) hash; make it with openssl passwd -6"
            troubles.append(SpecTrouble(field, problem))
            return None
        return BasicAuth(spec.realm, users)

    def _jwt(self, spec: JwtSpec, namespace: str, troubles: list[SpecTrouble]) -> Jwt | None:
        field = "spec.jwt.secretRef"
        text = self._secret(field, namespace, spec.secret_ref.name, JWT_KEY, troubles)
        if text is None:
            return None
        if not spec.algorithm.startswith("HS") and not _is_public_key(text):
            problem = f"key {JWT_KEY} of Secret {namespace}/{spec.secret_ref.name} is no public key as PEM"
            troubles.append(SpecTrouble(field, problem))
            return None
        return Jwt(spec.algorithm, text, spec.issuer, spec.audience)

    def _external(
        self, spec: ExternalAuthSpec, namespace: str, pools: PoolRefs, troubles: list[SpecTrouble]
    ) -> ExternalAuth | None:
        ref, field = spec.backend_ref, "spec.externalAuth.backendRef"
        key = ObjectKey(ref.namespace or namespace, ref.name)
        referrer = Referrer("TrafficPolicy", namespace, GROUP)
        if not self._grants.allows(referrer, "", "Service", key.namespace, key.name):
            problem = f"no ReferenceGrant in {key.namespace} lets TrafficPolicies of {namespace} refer to Service {key.name}"
            troubles.append(SpecTrouble(field, problem))
            return None
        port = pools.port_of(key, ref.port)
        if isinstance(port, str):
            troubles.append(SpecTrouble(field, port))
            return None
        return ExternalAuth(pools.key(key, port.port), spec.path, spec.response_headers)

    def _secret(
        self, field: str, namespace: str, name: str, key: str, troubles: list[SpecTrouble]
    ) -> str | None:
        secret = self._secrets.get(ObjectKey(namespace, name))
        if secret is None:
            troubles.append(SpecTrouble(field, f"Secret {namespace}/{name} is not there"))
            return None
        try:
            text = base64.b64decode(secret.data.get(key, ""), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            text = ""
        if not text:
            troubles.append(SpecTrouble(field, f"Secret {namespace}/{name} has no text under {key}"))
            return None
        return text


def _sources(texts: tuple[str, ...], troubles: list[SpecTrouble]) -> Iterator[Cidr]:
    for number, text in enumerate(texts):
        address = parse_addr(text)
        found = parse_cidr(text) if address is None else ipaddress.ip_network(address)
        if found is None:
            troubles.append(SpecTrouble(f"spec.allowedSources[{number}]", f'"{text}" is no address or range'))
        else:
            yield found


def _is_hash(secret: str) -> bool:
    """Forms of crypt(3) and of htpasswd; of these engines know what the C library knows."""
    return secret.startswith(("$1$", "$2a$", "$2b$", "$2y$", "$5$", "$6$", "$7$", "$y$")) or len(secret) == 13


def _is_public_key(text: str) -> bool:
    try:
        serialization.load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True
