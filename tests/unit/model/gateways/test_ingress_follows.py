"""Ingresses and TrafficPolicies change by change: after every change the same as from everything at once."""

import msgspec

from netloom.api.core import Service
from netloom.api.gateway import Gateway, GatewayClass, HTTPRoute
from netloom.api.ingress import Ingress, IngressClass
from netloom.api.traffic import TrafficPolicy
from netloom.model.gateways.build import Gateways, StatusKey, compute
from netloom.model.gateways.view import GatewayChanges, GatewayView
from netloom.units import ObjectKey

TYPES = {
    "classes": GatewayClass,
    "gateways": Gateway,
    "http_routes": HTTPRoute,
    "ingresses": Ingress,
    "ingress_classes": IngressClass,
    "services": Service,
    "traffic": TrafficPolicy,
}


def thing(kind, name, spec, namespace="shop", age=1):
    meta = {
        "namespace": namespace,
        "name": name,
        "generation": 1,
        "creationTimestamp": f"2026-01-01T00:00:{age:02}Z",
    }
    return kind, msgspec.convert({"metadata": meta, "spec": spec}, TYPES[kind])


def service(name):
    return thing("services", name, {"ports": [{"port": 80, "name": "http"}]})


def ingress(name, path, backend, age=1):
    paths = [
        {
            "path": path,
            "pathType": "Prefix",
            "backend": {"service": {"name": backend, "port": {"number": 80}}},
        }
    ]
    rules = [{"host": "shop.example", "http": {"paths": paths}}]
    return thing("ingresses", name, {"ingressClassName": "netloom", "rules": rules}, age=age)


CLASS = thing("ingress_classes", "netloom", {"controller": "netloom.io/ingress"}, namespace="")
GATEWAY = (
    thing("classes", "netloom", {"controllerName": "netloom.io/gateway"}, namespace=""),
    thing(
        "gateways",
        "edge",
        {"gatewayClassName": "netloom", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    ),
)
ROUTE = thing(
    "http_routes",
    "web",
    {
        "parentRefs": [{"name": "edge"}],
        "rules": [{"name": "pay", "backendRefs": [{"name": "web", "port": 80}]}],
    },
)


def policy(name, kind, target, age=1, **fields):
    group = "networking.k8s.io" if kind == "Ingress" else "gateway.networking.k8s.io"
    ref = {"group": group, "kind": kind, "name": target}
    return thing("traffic", name, {"targetRefs": [ref], **fields}, age=age)


class World:
    """A cluster's gateways, followed; each step is compared with everything at once."""

    def __init__(self):
        self.gateways = Gateways()
        self.held = {kind: {} for kind in TYPES}

    def step(self, *things, gone=()):
        for kind, one in things:
            self.held[kind][one.key] = one
        for kind, one in gone:
            del self.held[kind][one.key]
        changes = {kind: {} for kind in TYPES}
        for kind, one in things:
            changes[kind][one.key] = one
        for kind, one in gone:
            changes[kind][one.key] = None
        built = self.gateways.update(GatewayChanges(**changes))
        fresh = compute(GatewayView(**self.held))
        assert (built.plan.doors, dict(built.plan.pools)) == (fresh.plan.doors, dict(fresh.plan.pools))
        assert (built.statuses, built.findings) == (fresh.statuses, fresh.findings)
        return built


def rules(built):
    return [r for d in built.plan.doors for one in d.listeners for h in one.hosts for r in h.rules]


def test_ingresses_are_followed():
    world = World()
    young = ingress("young", "/", "web", age=9)
    assert world.step(CLASS, young, service("web")).plan.doors
    old = ingress("old", "/", "cart")
    built = world.step(old)
    assert [rule.fault for rule in rules(built)] == [503]
    built = world.step(service("cart"))
    assert [rule.shares[0].pool for rule in rules(built)] == ["shop/cart/80"]
    assert set(built.plan.pools) >= {"shop/cart/80"}
    built = world.step(gone=[old])
    assert [rule.shares[0].pool for rule in rules(built)] == ["shop/web/80"]
    assert StatusKey("Ingress", ObjectKey("shop", "old")) not in built.statuses
    assert world.step(gone=[young]).plan.doors == ()


def test_policies_of_routes_and_ingresses_are_followed():
    world = World()
    world.step(CLASS, *GATEWAY, ROUTE, service("web"), ingress("a", "/", "web"))
    built = world.step(
        policy("r", "HTTPRoute", "web", maxBodyBytes=5), policy("i", "Ingress", "a", maxBodyBytes=7)
    )
    assert sorted(rule.traffic.body_bytes or 0 for rule in rules(built)) == [5, 7]
    broken = policy("r", "HTTPRoute", "web", externalAuth={"backendRef": {"name": "auth", "port": 80}})
    built = world.step(broken)
    assert sorted(rule.fault for rule in rules(built)) == [0, 500]
    built = world.step(service("auth"))
    assert [r.traffic.external.pool for r in rules(built) if r.traffic.external] == ["shop/auth/80"]
    assert "shop/auth/80" in built.plan.pools
    built = world.step(gone=[broken])
    assert StatusKey("TrafficPolicy", ObjectKey("shop", "r")) not in built.statuses
    assert sorted(rule.traffic.body_bytes or 0 for rule in rules(built)) == [0, 7]
