"""What was made, as a cluster would have it, and what it does to one request by its model.

Comes in: made objects, Secrets for what they name. Goes out: a ``GatewayView``, and an ``Outcome`` for a sample. Not here: the model (``build.py``,
``matching.py``), a real engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from netloom.api import gateway as api
from netloom.api.core import Secret, Service
from netloom.api.traffic import TrafficPolicy
from netloom.model.gateways.build import Gateways
from netloom.model.gateways.matching import Action, Decision, Request, decide
from netloom.model.gateways.migrate.made import Object
from netloom.model.gateways.migrate.outcome import Outcome, Sample, shares_of
from netloom.model.gateways.plan import Door, Plan, Pool, PoolProtocol, Rule
from netloom.model.gateways.view import GatewayView
from netloom.units import ObjectKey

_FIELDS: Mapping[str, tuple[str, type[Any]]] = {
    "Gateway": ("gateways", api.Gateway),
    "ListenerSet": ("listener_sets", api.ListenerSet),
    "HTTPRoute": ("http_routes", api.HTTPRoute),
    "GRPCRoute": ("grpc_routes", api.GRPCRoute),
    "TLSRoute": ("tls_routes", api.TLSRoute),
    "ReferenceGrant": ("grants", api.ReferenceGrant),
    "TrafficPolicy": ("traffic", TrafficPolicy),
}
"""BackendTLSPolicies are left out: they say how backends are talked to, not which."""
_HTTPS, _HTTP = 443, 80


def view_of(
    objects: Iterable[Object], class_name: str, secrets: Mapping[ObjectKey, Secret], now: float
) -> GatewayView:
    """A cluster with these objects, the class, and a Service for every reference to one."""
    made = list(objects)
    found: dict[str, dict[ObjectKey, Any]] = {field: {} for field, _ in _FIELDS.values()}
    for document in made:
        if document["kind"] in _FIELDS:
            field, type_ = _FIELDS[document["kind"]]
            one = msgspec.convert(document, type_)
            found[field][one.key] = one
    said = {"metadata": {"name": class_name}, "spec": {"controllerName": "netloom.io/gateway"}}
    one_class = msgspec.convert(said, api.GatewayClass)
    services: dict[ObjectKey, set[int]] = {}
    for document in made:
        for key, port in _references(document.get("spec"), document["metadata"].get("namespace", "")):
            services.setdefault(key, set()).add(port)
    return GatewayView(
        classes={one_class.key: one_class},
        services={key: _service(key, ports) for key, ports in services.items()},
        secrets=secrets,
        now=now,
        **found,
    )


def secrets_of(view_objects: Iterable[Object]) -> tuple[set[ObjectKey], set[ObjectKey]]:
    """Secrets that the objects name: with certificates, and with passwords."""
    certificates, passwords = set(), set()
    for document in view_objects:
        namespace = document["metadata"].get("namespace", "")
        for listener in document["spec"].get("listeners", ()) if "spec" in document else ():
            for ref in listener.get("tls", {}).get("certificateRefs", ()):
                certificates.add(ObjectKey(ref.get("namespace", namespace), ref["name"]))
        if document["kind"] == "TrafficPolicy" and "basicAuth" in document["spec"]:
            passwords.add(ObjectKey(namespace, document["spec"]["basicAuth"]["secretRef"]["name"]))
    return certificates, passwords


def _references(value: object, namespace: str) -> Iterator[tuple[ObjectKey, int]]:
    if isinstance(value, Mapping):
        if (
            value.get("kind", "Service") == "Service"
            and "name" in value
            and isinstance(value.get("port"), int)
        ):
            yield ObjectKey(str(value.get("namespace") or namespace), str(value["name"])), value["port"]
        for member in value.values():
            yield from _references(member, namespace)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _references(member, namespace)


def _service(key: ObjectKey, ports: Iterable[int]) -> Service:
    said = [{"name": f"p{port}", "port": port} for port in sorted(ports)]
    document = {"metadata": {"namespace": key.namespace, "name": key.name}, "spec": {"ports": said}}
    return msgspec.convert(document, Service)


class Successor:
    """The made objects, by their model."""

    def __init__(self, view: GatewayView) -> None:
        built = Gateways(view).built
        self.plan: Plan = built.plan
        self.findings = tuple(map(str, built.findings))

    def outcome(self, sample: Sample) -> Outcome:
        """What becomes of a request."""
        door = self.door(sample.scheme)
        if door is None:
            return Outcome(status=404)
        asked = Request(
            host=sample.host,
            path=sample.path,
            query=sample.query,
            method=sample.method,
            headers=sample.headers,
            client=sample.client,
        )
        decision = decide(self.plan, door, asked)
        if decision.action is not Action.FORWARD:
            return Outcome(status=decision.status, location=decision.location)
        if decision.stream is not None:
            return Outcome(backends=self._backends(decision), terms=("passthrough",))
        rule = decision.rule
        if rule is not None and rule.traffic.basic is not None and not sample.header("authorization"):
            return Outcome(status=401)
        backends = self._backends(decision)
        if rule is None or not backends:
            return Outcome(status=500)
        return Outcome(
            backends=backends,
            path=decision.path,
            host=decision.authority,
            headers=tuple((name.lower(), value) for name, value in rule.request.set),
            terms=tuple(sorted(self._terms(rule))),
        )

    def door(self, scheme: str) -> Door | None:
        """The door that a scheme's usual port leads to."""
        port = _HTTPS if scheme == "https" else _HTTP
        return next((door for door in self.plan.doors if door.port == port), None)

    def _backends(self, decision: Decision) -> tuple[tuple[str, int], ...]:
        weights: dict[str, int] = {}
        for share in decision.shares:
            pool = self.plan.pools.get(share.pool)
            if pool is not None:
                weights[_name(pool)] = weights.get(_name(pool), 0) + share.weight
        return shares_of(weights)

    def _terms(self, rule: Rule) -> Iterator[str]:
        traffic, pools = rule.traffic, self.plan.pools
        if traffic.body_bytes is not None:
            yield f"body up to {traffic.body_bytes}"
        if traffic.rate is not None:
            yield f"{traffic.rate.requests} requests in {traffic.rate.period_s} s"
        if traffic.session_cookie:
            yield f"cookie {traffic.session_cookie}"
        if traffic.external is not None and traffic.external.pool in pools:
            yield f"asks {_name(pools[traffic.external.pool])}{traffic.external.path}"
        if any(pools[s.pool].protocol is PoolProtocol.H2C for s in rule.shares if s.pool in pools):
            yield "HTTP/2"
        if traffic.retries is not None:
            yield f"{traffic.retries} more tries"
        for mirror in rule.mirrors:
            if mirror.pool in pools:
                yield f"mirrored to {_name(pools[mirror.pool])}"
        if rule.backend_timeout_s:
            yield f"answered in {rule.backend_timeout_s:g} s"
        if rule.cors is not None:
            yield f"CORS {','.join(sorted(rule.cors.origins))} {','.join(sorted(rule.cors.methods))}"


def _name(pool: Pool) -> str:
    return f"{pool.service}:{pool.port}"
