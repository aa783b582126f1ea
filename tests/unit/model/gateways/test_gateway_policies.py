"""TrafficPolicies that are for a whole Gateway, or for one of its listeners."""

from __future__ import annotations

from ipaddress import ip_network

from netloom.model.gateways.build import Gateways, compute
from netloom.model.gateways.view import GatewayChanges
from netloom.testing import gateway_objects as g
from netloom.testing.gateway_world import World

WEB = (g.service("shop/web"), g.endpoint_slice("shop/web", "192.0.2.1"))
TWO = g.gateway("infra/edge", g.listener("one", 80), g.listener("two", 81))


def policy(name="infra/p", kind="Gateway", target="edge", section="", **said):
    return g.traffic(name, (kind, target, section), **said)


def allowed(world, port):
    ((rule,),) = [host.rules for host in world.hosts(port).values()]
    return [str(one) for one in rule.traffic.allow]


def test_a_policy_for_a_gateway_is_in_every_rule_of_it():
    world = World(TWO, *WEB, g.http_route(), policy(allowedSources=["192.0.2.0/24"]))
    assert allowed(world, 80) == allowed(world, 81) == ["192.0.2.0/24"]


def test_a_policy_for_a_listener_is_in_its_rules_only():
    world = World(TWO, *WEB, g.http_route(), policy(section="two", allowedSources=["192.0.2.0/24"]))
    assert (allowed(world, 80), allowed(world, 81)) == ([], ["192.0.2.0/24"])


def test_what_is_said_of_the_route_counts_before_what_is_said_of_the_gateway():
    own = policy("shop/p", "HTTPRoute", "web", allowedSources=["203.0.113.0/24"])
    world = World(TWO, *WEB, g.http_route(), own, policy(allowedSources=["192.0.2.0/24"], maxBodyBytes=7))
    ((rule,),) = [host.rules for host in world.hosts().values()]
    assert rule.traffic.allow == (ip_network("203.0.113.0/24"),)
    assert rule.traffic.body_bytes == 7


def test_a_policy_that_cannot_be_used_refuses_requests():
    world = World(TWO, *WEB, g.http_route(), policy(basicAuth={"secretRef": {"name": "none"}}))
    assert world.ask("x.example.org/").status == 500


def test_a_service_that_is_asked_has_a_pool():
    auth = {"backendRef": {"name": "auth", "port": 80}}
    objects = (TWO, *WEB, g.http_route(), g.service("infra/auth"), policy(externalAuth=auth))
    world = World(*objects)
    ((rule,),) = [host.rules for host in world.hosts().values()]
    assert rule.traffic.external is not None
    assert rule.traffic.external.pool in world.built.plan.pools


def test_policies_of_a_gateway_are_followed():
    objects = (g.gateway_class(), TWO, *WEB, g.http_route())
    one = policy(externalAuth={"backendRef": {"name": "auth", "port": 80}})
    service = g.service("infra/auth")
    gateways = Gateways(g.view_of(*objects))
    plain = gateways.built
    gateways.update(GatewayChanges(traffic={one.key: one}))
    built = gateways.update(GatewayChanges(services={service.key: service}))
    view = g.view_of(*objects, service)
    with_policy = type(view)(
        **{field: getattr(view, field) for field in view.__struct_fields__} | {"traffic": {one.key: one}}
    )
    assert built == compute(with_policy)
    built = gateways.update(GatewayChanges(traffic={one.key: None}, services={service.key: None}))
    assert built == plain
