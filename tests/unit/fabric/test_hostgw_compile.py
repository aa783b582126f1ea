"""hostgw: peers become routes, in both families alike, and a route leads back to its Node."""

from __future__ import annotations

import ipaddress

from netloom.fabric.hostgw.compile import compile_peers
from netloom.fabric.hostgw.explain import source_of_route
from netloom.model.provenance import Source
from netloom.model.routes.ways import Segment
from netloom.model.state import PeerRoute
from netloom.program.names import FABRIC_ROUTE_PROTOCOL
from netloom.program.routes import Route


def net(text: str):
    return ipaddress.ip_network(text)


def peer(destination: str, via: str, node: str = "node-2") -> PeerRoute:
    source = Source("Node", "", node, field="spec.podCIDRs[0]")
    return PeerRoute(net(destination), ipaddress.ip_address(via), node, source)


SEGMENTS = [
    Segment("eth0", ipaddress.ip_interface("192.0.2.1/24")),
    Segment("eth0", ipaddress.ip_interface("2001:db8::1/64")),
    Segment("eth1", ipaddress.ip_interface("192.0.2.129/28")),
]


def test_both_families_come_out_the_same_after_renaming():
    v4 = compile_peers([peer("10.1.2.0/24", "192.0.2.2")], SEGMENTS)
    v6 = compile_peers([peer("2001:db8:2::/64", "2001:db8::2")], SEGMENTS)
    renamed = str(v6.routes).replace("IPv6", "IPv4")
    renamed = renamed.replace("2001:db8:2::/64", "10.1.2.0/24").replace("2001:db8::2", "192.0.2.2")
    assert renamed == str(v4.routes)
    assert v4.routes == (
        Route(
            destination=net("10.1.2.0/24"),
            via=ipaddress.ip_address("192.0.2.2"),
            device="eth0",
            protocol=FABRIC_ROUTE_PROTOCOL,
        ),
    )


def test_the_narrowest_segment_wins():
    (route,) = compile_peers([peer("10.1.2.0/24", "192.0.2.130")], SEGMENTS).routes
    assert route.device == "eth1"


def test_a_node_elsewhere_gets_no_route_but_a_finding_that_names_it():
    compiled = compile_peers(
        [peer("10.1.2.0/24", "198.51.100.2"), peer("10.1.3.0/24", "192.0.2.3")], SEGMENTS
    )
    assert [str(r.destination) for r in compiled.routes] == ["10.1.3.0/24"]
    (finding,) = compiled.findings
    assert "node-2 at 198.51.100.2" in finding.problem
    assert finding.source.subject == "Node node-2"


def test_our_own_address_is_no_next_hop():
    compiled = compile_peers([peer("10.1.2.0/24", "192.0.2.1")], SEGMENTS)
    assert compiled.routes == ()
    assert len(compiled.findings) == 1


def test_the_order_of_peers_does_not_matter():
    peers = [peer(f"10.1.{i}.0/24", f"192.0.2.{i}") for i in (3, 12, 2)]
    assert compile_peers(peers, SEGMENTS) == compile_peers(peers[::-1], SEGMENTS)


def test_a_route_leads_back_to_its_node_and_a_stranger_to_nothing():
    one = peer("10.1.2.0/24", "192.0.2.2")
    (route,) = compile_peers([one], SEGMENTS).routes
    peers = {one.destination: one}
    assert source_of_route(route, peers) == one.source
    foreign = Route(destination=route.destination, via=route.via, device="eth0", protocol=3)
    assert source_of_route(foreign, peers) is None
    stale = Route(
        destination=route.destination, via=ipaddress.ip_address("192.0.2.9"), device="eth0", protocol=201
    )
    assert source_of_route(stale, peers) is None
    assert source_of_route(route, {}) is None
