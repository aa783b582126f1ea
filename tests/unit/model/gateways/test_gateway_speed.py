"""What reading and changes of 2,000 routes cost at most, in time of a processor: the least of several tries, so that neighbours do not count."""

import time

import pytest

from netloom.model.gateways.build import Gateways
from netloom.model.gateways.view import GatewayChanges
from netloom.testing import gateway_objects as g

ROUTES, HOSTS = 2000, 1000
TRIES = 20


def route(number, path):
    rule = g.rule(path, to=[g.backend(f"web-{number % 100}")])
    return g.http_route(f"shop/r-{number}", rule, hosts=[f"h-{number % HOSTS}.example.org"])


def slice_of(service, address):
    return g.endpoint_slice(f"shop/web-{service}", address)


def least_s(act):
    """Of one call, which gets the number of the try."""
    found = []
    for number in range(TRIES):
        began = time.process_time()
        act(number)
        found.append(time.process_time() - began)
    return min(found)


@pytest.fixture(scope="module")
def read():
    view = g.view_of(
        g.gateway_class(),
        g.gateway("infra/edge"),
        *(route(number, f"/{number}") for number in range(ROUTES)),
        *(g.service(f"shop/web-{number}") for number in range(100)),
        *(slice_of(number, "192.0.2.1") for number in range(100)),
    )
    began = time.process_time()
    gateways = Gateways(view)
    return gateways, time.process_time() - began


def test_2000_routes_are_read_in_3_s(read):
    gateways, took_s = read
    assert sum(len(one.hosts) for door in gateways.built.plan.doors for one in door.listeners) == HOSTS
    assert took_s < 3


def test_a_route_costs_10_ms(read):
    def change(number):
        one = route(7, f"/new/{number}")
        before = gateways.built.plan
        assert gateways.update(GatewayChanges(http_routes={one.key: one})).plan is not before

    gateways, _ = read
    assert least_s(change) < 0.01


def test_a_slice_costs_1_ms(read):
    def change(number):
        one = slice_of(7, f"192.0.2.{number + 2}")
        before = gateways.built.plan
        after = gateways.update(GatewayChanges(slices={one.key: one})).plan
        assert after.doors is before.doors
        assert after.pools != before.pools

    gateways, _ = read
    assert least_s(change) < 0.001


def test_a_service_costs_10_ms(read):
    def change(number):
        one = g.service("shop/web-7", {"name": f"p{number}", "port": 80, "targetPort": 8000 + number})
        gateways.update(GatewayChanges(services={one.key: one}))

    gateways, _ = read
    assert least_s(change) < 0.01
