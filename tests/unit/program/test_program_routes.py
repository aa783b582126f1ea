from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from netloom.program.routes import Route
from netloom.units import Family


@pytest.mark.parametrize(
    ("route", "family", "text"),
    [
        (
            Route(destination=ip_network("10.244.1.0/24"), device="eth0", via=ip_address("192.0.2.12")),
            Family.V4,
            "10.244.1.0/24 via 192.0.2.12 dev eth0",
        ),
        (
            Route(destination=ip_network("2001:db8::5/128"), device="nl1"),
            Family.V6,
            "2001:db8::5/128 dev nl1",
        ),
    ],
)
def test_a_route_reads_like_ip_route(route: Route, family: Family, text: str):
    assert route.family is family
    assert str(route) == text
