"""udp: peers become the process's table and routes."""

from __future__ import annotations

import ipaddress

from netloom.fabric.udp.compile import compile_routes, compile_table, compile_tunnel
from netloom.fabric.udp.explain import source_of_entry, source_of_route
from netloom.fabric.udp.feed import frame, table_decoder
from netloom.fabric.udp.table import Lookup, PeerEntry
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source
from netloom.model.routes.ways import FabricKind, Segment, Underlay, Way
from netloom.model.state import PeerRoute


def net(text: str):
    return ipaddress.ip_network(text)


def peer(destination: str, via: str, node: str, mtu: int = 1472) -> PeerRoute:
    source = Source("Node", "", node, field="spec.podCIDRs[0]")
    return PeerRoute(net(destination), ipaddress.ip_address(via), node, source, Way.UDP, "", mtu)


FACTS = NodeFacts(
    name="node-1",
    addresses=(ipaddress.ip_address("192.0.2.1"),),
    pod_cidrs=(net("10.244.1.0/24"), net("2001:db8:44:1::/64")),
    cluster_cidrs=(net("10.244.0.0/16"), net("2001:db8:44::/48")),
    fabric=FabricKind.UDP,
    underlay=Underlay((Segment("eth0", ipaddress.ip_interface("192.0.2.1/24")),), 1500),
)
PEERS = [
    peer("10.244.2.0/24", "192.0.2.2", "node-2"),
    peer("2001:db8:44:2::/64", "192.0.2.2", "node-2", mtu=1400),
    peer("10.244.3.0/24", "192.0.2.3", "node-3"),
]


def test_a_node_is_one_entry_with_all_of_its_ranges_and_its_narrowest_way():
    table = compile_table("a.1", PEERS, compile_tunnel(FACTS))
    assert table.peers == (
        PeerEntry("192.0.2.2", ("10.244.2.0/24", "2001:db8:44:2::/64"), 1400),
        PeerEntry("192.0.2.3", ("10.244.3.0/24",), 1472),
    )
    assert (table.generation, table.local, table.port) == ("a.1", "192.0.2.1", 8285)
    assert compile_table("a.1", PEERS[::-1], compile_tunnel(FACTS)) == table


def test_ours_is_what_is_of_the_cluster_and_of_no_peer():
    lookup = Lookup(compile_table("a.1", PEERS, compile_tunnel(FACTS)))
    ours = [
        text
        for text in (
            "10.244.1.9",
            "10.244.9.9",
            "2001:db8:44:1::9",
            "10.244.2.9",
            "2001:db8:44:2::9",
            "192.0.2.1",
            "10.1.1.1",
        )
        if lookup.is_own(ipaddress.ip_address(text).packed)
    ]
    assert ours == ["10.244.1.9", "10.244.9.9", "2001:db8:44:1::9"]


def test_routes_of_both_families_lead_into_the_interface():
    routes = compile_routes(PEERS, compile_tunnel(FACTS))
    assert [str(r) for r in routes.values()] == [
        "10.244.2.0/24 dev nl-udp",
        "2001:db8:44:2::/64 dev nl-udp",
        "10.244.3.0/24 dev nl-udp",
    ]
    assert [str(r.source) for r in routes.values()] == ["10.244.1.1", "2001:db8:44:1::1", "10.244.1.1"]
    assert [r.mtu for r in routes.values()] == [0, 1400, 0]


def test_a_table_travels_whole():
    table = compile_table("a.1", PEERS, compile_tunnel(FACTS))
    framed = frame(table)
    assert int.from_bytes(framed[:4], "big") == len(framed) - 4
    assert table_decoder.decode(framed[4:]) == table


def test_routes_and_entries_lead_back_to_their_node():
    peers = {p.destination: p for p in PEERS}
    route = compile_routes(PEERS, compile_tunnel(FACTS))[net("10.244.2.0/24")]
    assert source_of_route(route, peers) == PEERS[0].source
    assert source_of_route(route, {}) is None
    assert source_of_entry(PeerEntry("192.0.2.3", (), 1), PEERS) == PEERS[2].source.at("status.addresses")
    assert source_of_entry(PeerEntry("192.0.2.9", (), 1), PEERS) is None
