"""Corners that no sentence of the specification names."""

from __future__ import annotations

import pytest

from netloom.api.gateway import BackendTLSPolicy, TCPRoute
from netloom.model.gateways.certificates import KeyPair, read_key_pair
from netloom.model.gateways.plan import BasicAuth, Jwt
from netloom.testing import gateway_objects as g
from netloom.testing.gateway_certificates import secret_for
from netloom.testing.gateway_world import World

TRUE, FALSE = "True", "False"
WEB = (g.service("shop/web"), g.endpoint_slice("shop/web", "192.0.2.1"))


@pytest.mark.parametrize(
    "expression",
    [
        {"key": "a", "operator": "Like", "values": ["b"]},
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "Exists", "values": ["b"]},
    ],
)
def test_a_selector_that_cannot_be_read_selects_nobody(expression):
    one = g.listener()
    one["allowedRoutes"]["namespaces"] = {"from": "Selector", "selector": {"matchExpressions": [expression]}}
    world = World(g.gateway("infra/edge", one), *WEB, g.namespace("shop", a="b"), g.http_route())
    assert world.listener("http")["Accepted"] == (FALSE, "UnsupportedValue")
    assert world.route()["Accepted"] == (FALSE, "NotAllowedByListeners")


def test_a_policy_is_about_services_only():
    spec = {
        "targetRefs": [{"group": "x.io", "kind": "Bucket", "name": "web"}],
        "validation": {"hostname": "a.example.org", "wellKnownCACertificates": "System"},
    }
    world = World(g.gateway(), *WEB, g.http_route(), g.written(BackendTLSPolicy, "shop/p", spec))
    assert world.status("BackendTLSPolicy", "shop/p") == {"ancestors": []}
    (pool,) = world.built.plan.pools.values()
    assert pool.tls is None


def test_a_weight_of_a_stream_is_checked_like_any_other():
    gateway = g.gateway("infra/edge", g.listener("tcp", 9000, "TCP"))
    world = World(gateway, *WEB, g.stream_route(TCPRoute, "shop/tcp", g.backend(weight=-1)))
    assert world.route("shop/tcp", "TCPRoute")["Accepted"] == (FALSE, "UnsupportedValue")


def test_retries_below_zero_are_none():
    world = World(g.gateway(), *WEB, g.http_route("shop/web", g.rule("/", retry={"attempts": -1})))
    assert world.route()["Accepted"] == (FALSE, "UnsupportedValue")


def test_an_empty_list_of_rules_is_void():
    route = g.of(
        type(g.http_route()),
        {"metadata": g.meta("shop/web"), "spec": {"parentRefs": [g.parent()], "rules": []}},
    )
    assert World(g.gateway(), route).route()["Accepted"] == (FALSE, "UnsupportedValue")


def test_secrets_have_no_text():
    pair = read_key_pair(secret_for("shop/a", "a.example.org"))
    assert isinstance(pair, KeyPair)
    assert "PRIVATE" not in repr(pair)
    assert "hash" not in repr(BasicAuth("x", (("me", "hash"),)))
    assert "secret" not in repr(Jwt("HS256", "secret"))


def test_a_gateway_name_that_is_no_name_of_a_service():
    world = World(g.gateway("infra/edge.example.org"))
    assert (
        "infra/edge-example-org"
        in world.status("Gateway", "infra/edge.example.org")["conditions"][1]["message"]
    )


def test_classes_may_have_any_name():
    other = g.gateway_class("front")
    world = World(
        other,
        g.gateway(gatewayClassName="front"),
        g.gateway_service("infra/edge-front", ("203.0.113.1",), p80_tcp=30080),
    )
    assert world.gateway()["Programmed"] == (TRUE, "Programmed")


def test_a_service_that_has_a_name_in_place_of_an_address():
    service = g.of(
        type(g.service()),
        {
            "metadata": g.meta("infra/edge-netloom"),
            "spec": {"ports": [{"name": "p80-tcp", "port": 80, "nodePort": 30080}]},
            "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example.org"}]}},
        },
    )
    world = World(g.gateway(), service)
    assert world.status("Gateway", "infra/edge")["addresses"] == [
        {"type": "Hostname", "value": "lb.example.org"}
    ]
