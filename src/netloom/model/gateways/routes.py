"""Routes of HTTP and gRPC: each match of each rule as a ``Rule``, with what the whole cluster says of its backends.

Comes in: an HTTPRoute or GRPCRoute, the surroundings. Goes out: a ``ReadRoute``. Not here: which listeners take it (``attach.py``), the order among routes
(``hosts.py``), TLSRoute, TCPRoute and UDPRoute (``stream_routes.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from netloom.api.core import Service
from netloom.api.durations import is_duration, milliseconds
from netloom.api.gateway import GRPCRoute, HTTPRoute, ParentReference, Route, read_spec
from netloom.api.gateway_routes import BackendRef, GRPCRouteSpec, GRPCRule, HTTPRouteSpec, HTTPRule, RouteSpec
from netloom.api.lenient import Reading
from netloom.model.gateways.backend_tls import BackendPolicies
from netloom.model.gateways.backends import Backends, Use
from netloom.model.gateways.filters import Filtered, FilterReader
from netloom.model.gateways.grants import Grants, Referrer
from netloom.model.gateways.hostnames import is_hostname
from netloom.model.gateways.matches import Rank, Ranked, grpc_matches, http_matches
from netloom.model.gateways.plan import PathChange, PoolProtocol, Rule, Share, Traffic
from netloom.model.gateways.pools import PoolWish
from netloom.model.gateways.traffic_lookup import TrafficLookup
from netloom.model.gateways.troubles import UNSUPPORTED, Trouble
from netloom.model.provenance import Source, source_of
from netloom.units import ObjectKey

_NO_BACKEND, _UNAVAILABLE = 500, 503
_MOST_WEIGHT = 1_000_000
_NO_RULES = "has no rule"


class RouteKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """A route of any kind."""

    kind: str
    key: ObjectKey

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class RankedRule(msgspec.Struct, frozen=True, gc=False):
    """A rule, the precedence of its match, and its place in the route."""

    rank: Rank
    place: int
    rule: Rule


class Around(msgspec.Struct, frozen=True):
    """What of the cluster the meaning of a route depends on."""

    services: Mapping[ObjectKey, Service]
    grants: Grants
    policies: BackendPolicies
    traffic: TrafficLookup


class ReadRoute(msgspec.Struct, frozen=True):
    """What a route says, apart from where it attaches."""

    key: RouteKey
    created: str
    """Time of creation as the API writes it; it sorts. One that never was created is the newest."""
    source: Source
    parents: tuple[ParentReference, ...]
    parents_unread: frozenset[int] = frozenset()
    hostnames: tuple[str, ...] = ()
    rules: tuple[RankedRule, ...] = ()
    """Of HTTPRoute and GRPCRoute."""
    shares: tuple[Share, ...] = ()
    """Of the other kinds, where the listener carries what it gets."""
    ended_shares: tuple[Share, ...] = ()
    """The same where the listener ends TLS: a BackendTLSPolicy counts."""
    dropped: tuple[Trouble, ...] = ()
    """Why rules are left out."""
    dropped_rules: tuple[int, ...] = ()
    is_void: bool = False
    """Nothing of it can be used."""
    unresolved: tuple[Trouble, ...] = ()
    notes: tuple[Trouble, ...] = ()
    """What is left out and makes no rule invalid."""
    wishes: Mapping[str, PoolWish] = {}
    services: frozenset[ObjectKey] = frozenset()

    @property
    def age(self) -> tuple[str, str, str]:
        """Older first, then by namespace/name: who comes before whom where nothing else decides."""
        return self.created, f"{self.key.key.namespace}/{self.key.key.name}", self.key.kind


def read_hostnames(
    reading: Reading[RouteSpec],
) -> tuple[tuple[str, ...], list[Trouble], list[Trouble]]:
    """Host names that can be used, what is left out, and why the whole route is void: it must not become one of all hosts."""
    given = reading.value.hostnames
    notes = [
        Trouble(f"spec.hostnames[{i}]", UNSUPPORTED, f'"{name}" is no host name')
        for i, name in enumerate(given)
        if not is_hostname(name)
    ]
    void = [Trouble(u.field, UNSUPPORTED, u.problem) for u in reading.under("spec.hostnames")]
    if notes and len(notes) == len(given):
        void, notes = notes, []
    return tuple(dict.fromkeys(name for name in given if is_hostname(name))), notes, void


def unread_parents(reading: Reading[RouteSpec]) -> frozenset[int]:
    """Places of parentRefs that are not as they were written."""
    count = len(reading.value.parent_refs)
    return frozenset(i for i in range(count) if reading.unread and reading.under(f"spec.parentRefs[{i}]"))


def read_route(route: HTTPRoute | GRPCRoute, around: Around) -> ReadRoute:
    """What this route says."""
    if isinstance(route, HTTPRoute):
        http = read_spec(route, HTTPRouteSpec)
        rules: Sequence[HTTPRule | GRPCRule] = (HTTPRule(),) if http.value.rules is None else http.value.rules
        return _Reader(route, around, http).read(rules)
    grpc = read_spec(route, GRPCRouteSpec)
    return _Reader(route, around, grpc).read(grpc.value.rules)


def key_of(route: Route) -> RouteKey:
    """Its key."""
    return RouteKey(type(route).KIND, route.key)


class _Reader:
    """One reading of one route."""

    def __init__(
        self,
        route: HTTPRoute | GRPCRoute,
        around: Around,
        reading: Reading[HTTPRouteSpec] | Reading[GRPCRouteSpec],
    ) -> None:
        self._key = key_of(route)
        self._route = route
        self._reading = reading
        self._traffic = around.traffic
        self._backends = Backends(around.services, around.grants, around.policies)
        self._referrer = Referrer(self._key.kind, self._key.key.namespace)
        self._is_grpc = isinstance(route, GRPCRoute)
        self._protocol = PoolProtocol.H2C if self._is_grpc else PoolProtocol.HTTP
        self._source = source_of(self._key.kind, route.metadata)
        self._unresolved: list[Trouble] = []
        self._rules: list[RankedRule] = []

    def read(self, rules: Sequence[HTTPRule | GRPCRule]) -> ReadRoute:
        hostnames, notes, void = read_hostnames(self._reading)
        void += [
            Trouble(u.field, UNSUPPORTED, u.problem)
            for u in self._reading.unread
            if u.field in ("spec", "spec.rules")
        ]
        if not rules:
            void.append(Trouble("spec.rules", UNSUPPORTED, _NO_RULES))
        dropped: list[Trouble] = []
        dropped_rules: list[int] = []
        for index, rule in enumerate(rules):
            invalid = self._rule(index, rule)
            if invalid:
                dropped += invalid
                dropped_rules.append(index)
        is_void = bool(void) or len(dropped_rules) == len(rules)
        return ReadRoute(
            key=self._key,
            created=self._route.metadata.creation_timestamp or "9",
            source=self._source,
            parents=self._reading.value.parent_refs,
            parents_unread=unread_parents(self._reading),
            hostnames=hostnames,
            rules=() if is_void else tuple(self._rules),
            dropped=(*void, *dropped),
            dropped_rules=tuple(dropped_rules),
            is_void=is_void,
            unresolved=tuple(self._unresolved),
            notes=tuple(notes),
            wishes=self._backends.pools.wishes,
            services=frozenset(self._backends.pools.asked),
        )

    def _rule(self, index: int, rule: HTTPRule | GRPCRule) -> list[Trouble]:
        """Takes the rule over, or says why not."""
        field = f"spec.rules[{index}]"
        invalid = [Trouble(u.field, UNSUPPORTED, u.problem) for u in self._reading.under(field)]
        if isinstance(rule, HTTPRule):
            matches = http_matches(rule.matches, field, invalid)
        else:
            matches = grpc_matches(rule.matches, field, invalid)
        draft = self._draft(index, rule, matches, invalid)
        if invalid:
            return invalid
        is_prefix_replaced = any(
            change is not None and change.path is not None and change.path.prefix is not None
            for change in (draft.redirect, draft.rewrite)
        )
        for place, one in enumerate(matches):
            at = self._source.at(f"{field}.matches[{place}]" if rule.matches else field)
            own = replace(draft, match=one.match, source=at)
            if is_prefix_replaced:
                own = _with_prefix(own)
            self._rules.append(RankedRule(one.rank, len(self._rules), own))
        return []

    def _draft(
        self, index: int, rule: HTTPRule | GRPCRule, matches: Sequence[Ranked], invalid: list[Trouble]
    ) -> Rule:
        """The rule without its match."""
        field = f"spec.rules[{index}]"
        traffic, fault = self._policies(rule.name)
        use = Use(self._protocol, traffic.session_cookie, traffic.outliers)
        filters = FilterReader(self._referrer, self._backends, self._traffic, use)
        done = (
            filters.of_rule(rule.filters, (m.match.path_kind for m in matches), field)
            if rule.filters
            else Filtered()
        )
        if done.traffic is not None:
            traffic = self._traffic.joined(done.traffic, traffic)
            use = Use(self._protocol, traffic.session_cookie, traffic.outliers)
        invalid += done.invalid
        self._unresolved += done.unresolved
        shares = tuple(self._shares(rule.backend_refs, filters, use, field, invalid))
        request_s = backend_s = None
        if isinstance(rule, HTTPRule):
            request_s, backend_s = _timeouts(rule, field, invalid)
            traffic = _retries(rule, traffic, field, invalid)
        if done.redirect is not None and rule.backend_refs:
            problem = "a rule that redirects has no backends"
            invalid.append(Trouble(f"{field}.backendRefs", "IncompatibleFilters", problem))
        fault = fault or done.fault
        if not fault and done.redirect is None and not any(share.weight for share in shares):
            fault = _UNAVAILABLE if self._is_grpc else _NO_BACKEND
        return Rule(
            name=f"{self._key} rule {rule.name or index}",
            source=self._source,
            match=matches[0].match,
            shares=shares,
            redirect=done.redirect,
            rewrite=done.rewrite,
            request=done.request,
            response=done.response,
            cors=done.cors,
            mirrors=tuple(done.mirrors),
            request_timeout_s=request_s,
            backend_timeout_s=backend_s,
            fault=fault,
            traffic=traffic,
            is_grpc=self._is_grpc,
        )

    def _policies(self, section: str) -> tuple[Traffic, int]:
        """What TrafficPolicies say of the rule, and the status where one of them cannot be used: it fails closed."""
        found = self._traffic.about(self._key.kind, self._key.key, section, self._backends.pools)
        if isinstance(found, str):
            return Traffic(), _NO_BACKEND
        return found or Traffic(), 0

    def _shares(
        self, refs: Sequence[BackendRef], filters: FilterReader, use: Use, field: str, invalid: list[Trouble]
    ) -> list[Share]:
        shares = []
        for index, ref in enumerate(refs):
            at = f"{field}.backendRefs[{index}]"
            if not 0 <= ref.weight <= _MOST_WEIGHT:
                problem = f"{ref.weight} is no weight; use 0 to {_MOST_WEIGHT}"
                invalid.append(Trouble(f"{at}.weight", UNSUPPORTED, problem))
            backend = self._backends.resolve(ref, self._referrer, use, at)
            if backend.trouble is not None:
                self._unresolved.append(backend.trouble)
            own = filters.of_backend(ref.filters, at) if ref.filters else Filtered()
            invalid += own.invalid
            if ref.weight:
                source = self._source.at(at)
                shares.append(Share(backend.pool, ref.weight, source, own.request, own.response))
        return shares


def _with_prefix(rule: Rule) -> Rule:
    """What the match's prefix is replaced by is known only with the match."""
    redirect, rewrite = rule.redirect, rule.rewrite
    if redirect is not None:
        redirect = replace(redirect, path=_prefixed(redirect.path, rule.match.path))
    if rewrite is not None:
        rewrite = replace(rewrite, path=_prefixed(rewrite.path, rule.match.path))
    return replace(rule, redirect=redirect, rewrite=rewrite)


def _prefixed(change: PathChange | None, prefix: str) -> PathChange | None:
    return change if change is None or change.prefix is None else PathChange(change.value, prefix)


def _timeouts(rule: HTTPRule, field: str, invalid: list[Trouble]) -> tuple[float | None, float | None]:
    """Seconds for the whole, and for one try; 0 is none."""
    given = rule.timeouts
    if given is None:
        return None, None
    found: list[float | None] = []
    for name, text in (("request", given.request), ("backendRequest", given.backend_request)):
        seconds = None if text is None else milliseconds(text) / 1000
        if text is not None and not is_duration(text):
            problem = f'"{text}" is no duration; write 10s, 1m30s or 250ms'
            invalid.append(Trouble(f"{field}.timeouts.{name}", UNSUPPORTED, problem))
        found.append(seconds)
    request, backend = found
    if request and backend and backend > request:
        problem = f"{given.backend_request} is longer than request, which is {given.request}"
        invalid.append(Trouble(f"{field}.timeouts.backendRequest", UNSUPPORTED, problem))
    return request, backend


def _retries(rule: HTTPRule, traffic: Traffic, field: str, invalid: list[Trouble]) -> Traffic:
    given = rule.retry
    if given is None:
        return traffic
    for index, code in enumerate(given.codes):
        if not 400 <= code <= 599:
            problem = f"{code} is no status that can be tried again; use 400 to 599"
            invalid.append(Trouble(f"{field}.retry.codes[{index}]", UNSUPPORTED, problem))
    attempts = 1 if given.attempts is None else given.attempts
    if attempts < 0:
        invalid.append(Trouble(f"{field}.retry.attempts", UNSUPPORTED, f"{attempts} is no number of tries"))
    return replace(traffic, retries=attempts, retry_on=given.codes)
