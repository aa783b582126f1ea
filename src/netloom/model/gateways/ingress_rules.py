"""One Ingress as rules: its paths, its default backend, and where requests for them go.

Comes in: an Ingress, the pools, the TrafficPolicies. Goes out: a ``ReadIngress``; what cannot be used is answered with 503 and named in a Finding.
Not here: the order among Ingresses (``ingress.py``), certificates (``ingress_tls.py``).
"""

from __future__ import annotations

import msgspec

from netloom.api.core import ServicePort
from netloom.api.gateway import read_spec
from netloom.api.ingress import HTTPIngressPath, Ingress, IngressBackend, IngressSpec
from netloom.model.gateways.plan import Match, PathKind, PoolProtocol, Rule, Share, Traffic
from netloom.model.gateways.pools import PoolRefs, PoolUse
from netloom.model.gateways.traffic_lookup import TrafficLookup
from netloom.model.provenance import Finding, Source, source_of
from netloom.units import ObjectKey

_UNAVAILABLE, _NO_POLICY = 503, 500
_KINDS = {"Exact": PathKind.EXACT, "Prefix": PathKind.PREFIX, "ImplementationSpecific": PathKind.PREFIX}
"""ImplementationSpecific: as Prefix."""
_H2C = frozenset({"kubernetes.io/h2c", "grpc", "http2", "h2c"})


class PathRule(msgspec.Struct, frozen=True):
    """A path of a host, and the rule that it is."""

    host: str
    """Empty: any."""
    rule: Rule

    @property
    def place(self) -> tuple[object, ...]:
        """What two Ingresses cannot both have."""
        match = self.rule.match
        path = match.path if match.path_kind is PathKind.EXACT else match.path.rstrip("/")
        return match.path_kind, path

    def rank(self) -> tuple[int, int, str]:
        """For sorting: the longest path first, of equal ones Exact before Prefix (Ingress, multiple matches)."""
        match = self.rule.match
        is_prefix = match.path_kind is not PathKind.EXACT
        return -len(match.path.rstrip("/") if is_prefix else match.path), int(is_prefix), match.path


class ReadIngress(msgspec.Struct, frozen=True):
    """What an Ingress says."""

    key: ObjectKey
    source: Source
    spec: IngressSpec
    paths: tuple[PathRule, ...] = ()
    bare_hosts: tuple[str, ...] = ()
    """Hosts that are named without paths: everything of theirs goes to the default backend."""
    default: Rule | None = None


def read_ingress(
    ingress: Ingress, pools: PoolRefs, traffic: TrafficLookup, findings: list[Finding]
) -> ReadIngress:
    """The rules of an Ingress; ``findings`` gets what is wrong with it."""
    reading = read_spec(ingress, IngressSpec)
    source = source_of("Ingress", ingress.metadata)
    findings.extend(Finding(source.at(one.field), one.problem, "put it right") for one in reading.unread)
    reader = _Reader(ingress, source, pools, traffic, findings)
    spec = reading.value
    paths, bare = [], []
    for number, rule in enumerate(spec.rules):
        host = rule.host.lower()
        if rule.http is None:
            bare.append(host)
            continue
        for place, path in enumerate(rule.http.paths):
            read = reader.path(path, f"rules[{number}].http.paths[{place}]")
            if read is not None:
                paths.append(PathRule(host, read))
    default = None if spec.default_backend is None else reader.default(spec.default_backend)
    return ReadIngress(ingress.key, source, spec, tuple(paths), tuple(bare), default)


class _Reader:
    """Makes rules of the parts of one Ingress."""

    def __init__(
        self,
        ingress: Ingress,
        source: Source,
        pools: PoolRefs,
        traffic: TrafficLookup,
        findings: list[Finding],
    ) -> None:
        self._namespace = ingress.metadata.namespace
        self._source = source
        self._pools = pools
        self._findings = findings
        found = traffic.about("Ingress", ingress.key, "", pools)
        self._traffic = found if isinstance(found, Traffic) else Traffic()
        self._fault = _NO_POLICY if isinstance(found, str) else 0

    def path(self, path: HTTPIngressPath, field: str) -> Rule | None:
        """A rule for a path; None where nobody could say what the path means."""
        kind = _KINDS.get(path.path_type)
        text = path.path or "/"
        if kind is None or not text.startswith("/"):
            at, problem = (
                ("pathType", f'"{path.path_type}" is none of {", ".join(_KINDS)}')
                if kind is None
                else ("path", f'"{text}" does not begin with /')
            )
            self._note(f"spec.{field}.{at}", problem, "nothing is routed by it; put it right")
            return None
        return self._rule(field, Match(kind, text), path.backend, f"spec.{field}")

    def default(self, backend: IngressBackend) -> Rule:
        """The rule for what no other is for."""
        return self._rule("defaultBackend", Match(), backend, "spec.defaultBackend")

    def _rule(self, words: str, match: Match, backend: IngressBackend, field: str) -> Rule:
        share = self._share(backend, f"{field}.backend" if words != "defaultBackend" else field)
        fault = self._fault or (0 if share is not None else _UNAVAILABLE)
        return Rule(
            f"{self._source.subject} {words}",
            self._source.at(field),
            match,
            shares=() if share is None else (share,),
            fault=fault,
            traffic=self._traffic,
        )

    def _share(self, backend: IngressBackend, field: str) -> Share | None:
        if backend.resource is not None:
            kind = backend.resource.kind
            self._note(f"{field}.resource", f"{kind} is no kind of backend", "name a Service")
            return None
        if backend.service is None:
            self._note(field, "names no backend", "name a Service")
            return None
        key = ObjectKey(self._namespace, backend.service.name)
        port = self._pools.port_of(key, backend.service.port.number or backend.service.port.name)
        if isinstance(port, str):
            self._note(f"{field}.service", port, "requests are answered with 503 until it is")
            return None
        pool = self._pools.key(key, port.port, self._use(port))
        return Share(pool, 1, self._source.at(f"{field}.service"))

    def _use(self, port: ServicePort) -> PoolUse:
        is_h2c = (port.app_protocol or "").lower() in _H2C
        protocol = PoolProtocol.H2C if is_h2c else PoolProtocol.HTTP
        return PoolUse(protocol, None, self._traffic.session_cookie, self._traffic.outliers)

    def _note(self, field: str, problem: str, hint: str) -> None:
        self._findings.append(Finding(self._source.at(field), problem, hint))
