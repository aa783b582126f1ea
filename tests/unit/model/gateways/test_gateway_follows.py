"""What an update makes anew, and what it leaves as it was."""

from __future__ import annotations

import pytest

from netloom.model.gateways.build import Gateways
from netloom.model.gateways.view import GatewayChanges
from netloom.testing import gateway_objects as g
from netloom.testing.gateway_certificates import UNTIL, WITHIN, secret_for
from netloom.units import ObjectKey

SLICE = g.endpoint_slice("shop/web", "192.0.2.1")
VIEW = g.view_of(
    g.gateway_class(),
    g.gateway("infra/edge", g.listener(), g.listener("https", 443, "HTTPS", tls=g.tls("a"))),
    g.gateway("infra/other"),
    secret_for("infra/a", "a.example.org"),
    g.service("shop/web"),
    g.service("shop/api"),
    SLICE,
    g.http_route("shop/a", hosts=["a.example.org"]),
    g.http_route("shop/b", hosts=["b.example.org"]),
    g.http_route("shop/wild", g.rule("/x"), hosts=["*.example.org"]),
    now=WITHIN,
)


@pytest.fixture
def gateways():
    return Gateways(VIEW)


def host(built, name):
    return next(one for one in built.plan.doors[0].listeners[0].hosts if one.name == name)


def test_a_slice_changes_its_pool_and_nothing_else(gateways):
    before = gateways.built
    after = gateways.update(GatewayChanges(slices={SLICE.key: g.endpoint_slice("shop/web", "192.0.2.2")}))
    assert after.plan.doors is before.plan.doors
    assert after.statuses is before.statuses
    assert before.plan.pools["shop/web/80"] != after.plan.pools["shop/web/80"]


def test_a_route_changes_its_hosts_and_those_that_they_cover(gateways):
    before = gateways.built
    route = g.http_route("shop/a", g.rule("/new"), hosts=["a.example.org"])
    after = gateways.update(GatewayChanges(http_routes={route.key: route}))
    assert host(after, "b.example.org") is host(before, "b.example.org")
    assert host(after, "a.example.org") is not host(before, "a.example.org")
    assert after.plan.pools is before.plan.pools
    assert after.plan.doors[-1] is before.plan.doors[-1]


def test_what_means_the_same_changes_nothing(gateways):
    before = gateways.built
    told = g.of(
        type(g.http_route()),
        {
            "metadata": g.meta("shop/a", resourceVersion="9"),
            "spec": VIEW.http_routes[ObjectKey("shop", "a")].spec,
            "status": {"parents": []},
        },
    )
    after = gateways.update(GatewayChanges(http_routes={told.key: told}))
    assert after is before
    gone = ObjectKey("shop", "none")
    assert (
        gateways.update(GatewayChanges(http_routes={gone: None}, slices={gone: None}, gateways={gone: None}))
        is before
    )


def test_a_value_that_was_given_out_never_changes(gateways):
    before = gateways.built
    plan, statuses = before.plan, dict(before.statuses)
    pools = dict(plan.pools)
    gateways.update(GatewayChanges(slices={SLICE.key: None}, http_routes={ObjectKey("shop", "a"): None}))
    assert before.plan is plan
    assert dict(plan.pools) == pools
    assert dict(before.statuses) == statuses


def test_a_route_that_goes_has_no_status_and_no_pool_any_more(gateways):
    keys = list(VIEW.http_routes)
    after = gateways.update(GatewayChanges(http_routes=dict.fromkeys(keys)))
    assert {key.kind for key in after.statuses} == {"Gateway", "GatewayClass"}
    assert after.plan.pools == {}
    assert after.plan.doors[0].listeners[0].hosts == ()


def test_a_certificate_that_expires_takes_its_listener_down_in_time_and_a_new_one_brings_it_back(gateways):
    assert [door.port for door in gateways.built.plan.doors] == [80, 443, 80]
    after = gateways.update(GatewayChanges(now=UNTIL))
    assert [door.port for door in after.plan.doors] == [80, 80]
    secret = secret_for("infra/a", "a.example.org", until=UNTIL + 100)
    after = gateways.update(GatewayChanges(secrets={secret.key: secret}))
    assert [door.port for door in after.plan.doors] == [80, 443, 80]
    assert gateways.update(GatewayChanges(now=UNTIL + 50)).plan is after.plan


def test_findings_name_object_and_field(gateways):
    route = g.http_route("shop/a", g.rule("/", to=[g.backend("none")]), hosts=["a.example.org"])
    after = gateways.update(GatewayChanges(http_routes={route.key: route}))
    (finding,) = after.findings
    assert str(finding) == "HTTPRoute shop/a: spec.rules[0].backendRefs[0]: Service shop/none is not there"
    service = g.service("shop/none")
    assert gateways.update(GatewayChanges(services={service.key: service})).findings == ()
