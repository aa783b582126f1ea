"""bgp: which routes are learned ones, which peers no router has told of, and a route leads back to its Node."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest

from netloom.fabric.bgp.compile import is_learned, unlearned
from netloom.fabric.bgp.explain import source_of_route
from netloom.model.provenance import Source
from netloom.model.routes.ways import Way
from netloom.model.state import PeerRoute
from netloom.program.names import BGP_ROUTE_METRIC, BGP_ROUTE_PROTOCOL
from netloom.program.routes import Route


def net(text: str):
    return ipaddress.ip_network(text)


def peer(destination: str, node: str = "node-2") -> PeerRoute:
    source = Source("Node", "", node, field="spec.podCIDRs[0]")
    return PeerRoute(net(destination), ipaddress.ip_address("192.0.2.12"), node, source, Way.BGP)


def route(destination: str) -> Route:
    via = ipaddress.ip_address("192.0.2.1" if "." in destination else "2001:db8::1")
    return Route(
        destination=net(destination),
        via=via,
        device="eth0",
        protocol=BGP_ROUTE_PROTOCOL,
        metric=BGP_ROUTE_METRIC,
    )


def test_peers_that_no_router_has_told_of_are_named_in_order():
    peers = [peer("2001:db8:44:2::/64"), peer("10.244.3.0/24", "node-3"), peer("10.244.2.0/24")]
    told = unlearned(peers, [route("10.244.3.0/24"), route("10.9.0.0/24")])
    assert [str(finding.source) for finding in told] == ["Node node-2: spec.podCIDRs[0]"] * 2
    assert told[0].problem == "no router tells the way to 10.244.2.0/24 of node node-2 yet"
    assert unlearned(peers, [route(str(one.destination)) for one in peers]) == ()


@pytest.mark.parametrize("change", [{"protocol": 4}, {"metric": 32}, {"metric": 0}])
def test_routes_of_others_are_not_ours(change):
    other = msgspec.structs.replace(route("10.244.2.0/24"), **change)
    assert is_learned(route("10.244.2.0/24"))
    assert not is_learned(other)
    assert source_of_route(other, {net("10.244.2.0/24"): peer("10.244.2.0/24")}) is None


def test_a_route_leads_back_to_its_node_whoever_is_the_next_hop():
    one = peer("10.244.2.0/24")
    assert source_of_route(route("10.244.2.0/24"), {one.destination: one}) == one.source
    assert source_of_route(route("10.244.3.0/24"), {one.destination: one}) is None
