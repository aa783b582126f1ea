"""References of routes to backends: which pool, or why none.

Comes in: a BackendObjectReference, whose it is, Services, grants, policies. Goes out: a ``Backend``: the key of a pool, or a ``Trouble`` for the condition
ResolvedRefs. Not here: endpoints, weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.api.core import Service, ServicePort
from netloom.api.gateway_routes import BackendReference
from netloom.model.gateways.backend_tls import BackendPolicies
from netloom.model.gateways.grants import Grants, Referrer
from netloom.model.gateways.plan import BackendTls, Outliers, PoolProtocol
from netloom.model.gateways.pools import PoolRefs, PoolUse
from netloom.model.gateways.troubles import BAD_PROTOCOL, INVALID_KIND, NOT_FOUND, NOT_PERMITTED, Trouble
from netloom.units import ObjectKey

_H2C = frozenset({"kubernetes.io/h2c", "grpc", "http2", "h2c"})
"""KEP-3726, and the names that other software uses for the same."""
_TLS = frozenset({"kubernetes.io/wss", "https", "wss", "grpcs"})
"""TLS without a word of whom to trust: that is what BackendTLSPolicy is for."""


class Use(msgspec.Struct, frozen=True, gc=False):
    """What a route asks of a backend besides being there."""

    protocol: PoolProtocol = PoolProtocol.HTTP
    """What is spoken where the Service does not say; TCP and UDP whatever it says."""
    session_cookie: str = ""
    outliers: Outliers | None = None
    is_tls_ours: bool = True
    """Whether a BackendTLSPolicy counts: not where the client's own TLS is passed through."""


class Backend(msgspec.Struct, frozen=True, gc=False):
    """What a reference comes to."""

    pool: str = ""
    """Key; empty where there is none."""
    service: ObjectKey | None = None
    """What was looked at, there or not: when it changes this must be looked at anew."""
    trouble: Trouble | None = None


class Backends:
    """Resolves the references of one route; collects the pools that it uses."""

    def __init__(
        self, services: Mapping[ObjectKey, Service], grants: Grants, policies: BackendPolicies
    ) -> None:
        self.pools = PoolRefs(services)
        self._services = services
        self._grants = grants
        self._policies = policies

    def resolve(self, reference: BackendReference, referrer: Referrer, use: Use, field: str) -> Backend:
        """The pool of this reference."""
        if (reference.group, reference.kind) != ("", "Service"):
            kind = f"{reference.group}/{reference.kind}" if reference.group else reference.kind
            return Backend(
                trouble=Trouble(field, INVALID_KIND, f"{kind} is no kind of backend; use a Service")
            )
        key = ObjectKey(reference.namespace or referrer.namespace, reference.name)
        self.pools.asked.add(key)
        transport = "UDP" if use.protocol is PoolProtocol.UDP else "TCP"
        port: ServicePort | Trouble
        if not self._grants.allows(referrer, "", "Service", key.namespace, key.name):
            problem = f"no ReferenceGrant in {key.namespace} lets {referrer.kind}s of {referrer.namespace} refer to Service {key.name}"
            port = Trouble(field, NOT_PERMITTED, problem)
        elif reference.port is None:
            port = Trouble(f"{field}.port", NOT_FOUND, f"says no port of Service {key}")
        else:
            found = self.pools.port_of(key, reference.port, transport)
            port = Trouble(field, NOT_FOUND, found) if isinstance(found, str) else found
        return Backend("", key, port) if isinstance(port, Trouble) else self._talk(key, port, use, field)

    def _talk(self, key: ObjectKey, port: ServicePort, use: Use, field: str) -> Backend:
        """How the port is talked to."""
        is_tcp = use.protocol is not PoolProtocol.UDP
        tls = self._policies.of(key, port.name) if use.is_tls_ours and is_tcp else None
        if isinstance(tls, str):
            # BackendTLSPolicy ``caCertificateRefs``: connections must fail, and the client must see a 5xx. The policy says why.
            return Backend("", key)
        protocol = _protocol_of(port, use, tls)
        if protocol is None:
            problem = f"appProtocol {port.app_protocol} of Service {key} needs a BackendTLSPolicy"
            return Backend("", key, Trouble(field, BAD_PROTOCOL, problem))
        how = PoolUse(protocol, tls, use.session_cookie, use.outliers)
        return Backend(self.pools.key(key, port.port, how), key)


def _protocol_of(port: ServicePort, use: Use, tls: BackendTls | None) -> PoolProtocol | None:
    """None where the backend cannot be talked to."""
    if use.protocol in (PoolProtocol.TCP, PoolProtocol.UDP):
        return use.protocol
    said = (port.app_protocol or "").lower()
    if said in _H2C:
        return PoolProtocol.H2C
    if said in _TLS and tls is None:
        return None
    return use.protocol
