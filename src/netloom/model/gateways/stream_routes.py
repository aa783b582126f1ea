"""TLSRoute, TCPRoute and UDPRoute: connections and datagrams that go to shares of backends.

Comes in: a route, the surroundings, whether its listeners end TLS. Goes out: a ``ReadRoute``. Not here: which listeners take it (``attach.py``).
"""

from __future__ import annotations

from netloom.api.gateway import TCPRoute, TLSRoute, UDPRoute, read_spec
from netloom.api.gateway_routes import StreamRouteSpec, StreamRule
from netloom.model.gateways.backends import Backends, Use
from netloom.model.gateways.grants import Referrer
from netloom.model.gateways.plan import PoolProtocol, Share
from netloom.model.gateways.routes import Around, ReadRoute, key_of, read_hostnames, unread_parents
from netloom.model.gateways.troubles import UNSUPPORTED, Trouble
from netloom.model.provenance import source_of

_MOST_WEIGHT = 1_000_000


def read_stream_route(route: TLSRoute | TCPRoute | UDPRoute, around: Around) -> ReadRoute:
    """What this route says."""
    reading = read_spec(route, StreamRouteSpec)
    key = key_of(route)
    is_tls = isinstance(route, TLSRoute)
    hostnames, notes, void = read_hostnames(reading) if is_tls else ((), [], [])
    if is_tls and not hostnames and not void:
        void.append(Trouble("spec.hostnames", UNSUPPORTED, "is empty, and a TLSRoute needs server names"))
    rules = reading.value.rules
    void += [
        Trouble(u.field, UNSUPPORTED, u.problem) for u in reading.unread if u.field.startswith("spec.rules")
    ]
    if len(rules) != 1:
        void.append(
            Trouble("spec.rules", UNSUPPORTED, f"has {len(rules)} rules, and exactly one is supported")
        )
    backends = Backends(around.services, around.grants, around.policies)
    unresolved: list[Trouble] = []
    reader = _Shares(route, backends, unresolved, void)
    shares = reader.of(rules[0], is_tls_ended=False) if rules else ()
    ended = shares if not rules or isinstance(route, UDPRoute) else reader.of(rules[0], is_tls_ended=True)
    return ReadRoute(
        key=key,
        created=route.metadata.creation_timestamp or "9",
        source=source_of(key.kind, route.metadata),
        parents=reading.value.parent_refs,
        parents_unread=unread_parents(reading),
        hostnames=hostnames,
        shares=() if void else shares,
        ended_shares=() if void else ended,
        dropped=tuple(dict.fromkeys(void)),
        is_void=bool(void),
        unresolved=tuple(dict.fromkeys(unresolved)),
        notes=tuple(notes),
        wishes=backends.pools.wishes,
        services=frozenset(backends.pools.asked),
    )


class _Shares:
    """Reads the backends of one route."""

    def __init__(
        self,
        route: TLSRoute | TCPRoute | UDPRoute,
        backends: Backends,
        unresolved: list[Trouble],
        void: list[Trouble],
    ) -> None:
        self._source = source_of(route.KIND, route.metadata)
        self._referrer = Referrer(route.KIND, route.metadata.namespace)
        self._protocol = PoolProtocol.UDP if isinstance(route, UDPRoute) else PoolProtocol.TCP
        self._backends = backends
        self._unresolved = unresolved
        self._void = void

    def of(self, rule: StreamRule, *, is_tls_ended: bool) -> tuple[Share, ...]:
        use = Use(self._protocol, is_tls_ours=is_tls_ended)
        shares = []
        for index, ref in enumerate(rule.backend_refs):
            at = f"spec.rules[0].backendRefs[{index}]"
            if not 0 <= ref.weight <= _MOST_WEIGHT:
                problem = f"{ref.weight} is no weight; use 0 to {_MOST_WEIGHT}"
                self._void.append(Trouble(f"{at}.weight", UNSUPPORTED, problem))
            backend = self._backends.resolve(ref, self._referrer, use, at)
            if backend.trouble is not None:
                self._unresolved.append(backend.trouble)
            if ref.weight:
                shares.append(Share(backend.pool, ref.weight, self._source.at(at)))
        return tuple(shares)
