"""WireGuard: peers become peers and routes, in both families alike; a key that two have opens to nobody."""

from __future__ import annotations

import base64
import ipaddress

import pytest

from netloom.fabric.tunnel_rules import UDP_TABLE, WIREGUARD_TABLE, no_tunnel_rules, pod_ranges, tunnel_rules
from netloom.fabric.wireguard.compile import (
    GUARD_METRIC,
    Compiled,
    compile_guard,
    compile_peers,
    compile_tunnel,
)
from netloom.fabric.wireguard.explain import source_of_peer, source_of_route
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source
from netloom.model.routes.ways import FabricKind, Segment, Underlay, Way
from netloom.model.state import PeerRoute
from netloom.program.routes import RouteKind
from netloom.program.wireguard import Endpoint, WireguardChange, WireguardPeer

OWN = base64.b64encode(bytes([9]) * 32).decode()


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def net(text: str):
    return ipaddress.ip_network(text)


def peer(destination: str, via: str, node: str, number: int, mtu: int = 1440) -> PeerRoute:
    source = Source("Node", "", node, field="spec.podCIDRs[0]")
    return PeerRoute(
        net(destination), ipaddress.ip_address(via), node, source, Way.WIREGUARD, key(number), mtu
    )


def facts(**changes) -> NodeFacts:
    given = {
        "name": "node-1",
        "addresses": (ipaddress.ip_address("192.0.2.1"),),
        "pod_cidrs": (net("10.244.1.0/24"), net("2001:db8:44:1::/64")),
        "cluster_cidrs": (net("10.244.0.0/16"), net("2001:db8:44::/48")),
        "fabric": FabricKind.WIREGUARD,
        "underlay": Underlay((Segment("eth0", ipaddress.ip_interface("192.0.2.1/24")),), 1500),
    }
    return NodeFacts(**{**given, **changes})


def compiled(*peers: PeerRoute) -> Compiled:
    return compile_peers(peers, compile_tunnel(facts()), OWN)


def test_a_node_is_one_peer_with_all_of_its_ranges():
    done = compiled(
        peer("10.244.2.0/24", "192.0.2.2", "node-2", 2), peer("2001:db8:44:2::/64", "192.0.2.2", "node-2", 2)
    )
    at = Endpoint(ipaddress.ip_address("192.0.2.2"), 51820)
    ranges = frozenset({net("10.244.2.0/24"), net("2001:db8:44:2::/64")})
    assert done.peers == {key(2): WireguardPeer(key(2), at, ranges)}
    assert {str(r) for r in done.routes.values()} == {
        "10.244.2.0/24 dev nl-wireguard",
        "2001:db8:44:2::/64 dev nl-wireguard",
    }
    assert {str(r.source) for r in done.routes.values()} == {"10.244.1.1", "2001:db8:44:1::1"}
    assert done.findings == ()


@pytest.mark.parametrize("number", [2, 9])
def test_a_key_that_somebody_has_already_leads_to_nobody(number: int):
    first = peer("10.244.2.0/24", "192.0.2.2", "node-2", 2)
    copied = peer("10.244.3.0/24", "192.0.2.3", "node-3", number)
    for order in ((first, copied), (copied, first)):
        done = compiled(*order)
        assert done.peers.keys() == {key(2)}
        assert done.peers[key(2)].allowed == {first.destination}
        assert done.routes[copied.destination].kind is RouteKind.UNREACHABLE
        (finding,) = done.findings
        assert "node-3" in finding.problem
        assert "wireguard-key" in finding.source.field


def test_a_narrow_way_is_said_by_the_route():
    done = compiled(
        peer("10.244.2.0/24", "192.0.2.2", "node-2", 2, mtu=1340),
        peer("10.244.3.0/24", "192.0.2.3", "node-3", 3),
    )
    assert {str(d): r.mtu for d, r in done.routes.items()} == {"10.244.2.0/24": 1340, "10.244.3.0/24": 0}


def test_the_interface_has_room_for_the_outer_headers():
    assert compile_tunnel(facts()).mtu == 1440
    six = facts(addresses=(ipaddress.ip_address("2001:db8::1"),))
    assert compile_tunnel(six).mtu == 1420
    assert compile_tunnel(facts(tunnel_port=7)).port == 7


def test_all_pods_are_guarded_below_every_other_route():
    guard = compile_guard(facts())
    assert {str(r) for r in guard} == {"unreachable 10.244.0.0/16", "unreachable 2001:db8:44::/48"}
    assert {r.metric for r in guard} == {GUARD_METRIC}


def test_the_nodes_own_networks_are_never_guarded():
    wide = facts(cluster_cidrs=(net("192.0.0.0/16"),), pod_cidrs=(net("192.0.128.0/24"),))
    ranges = pod_ranges(wide)
    assert all(not r.overlaps(net("192.0.2.0/24")) for r in ranges)
    assert any(r.overlaps(net("192.0.128.0/24")) for r in ranges)
    assert pod_ranges(facts(cluster_cidrs=(net("192.0.2.0/25"),), pod_cidrs=())) == ()
    six = facts(
        cluster_cidrs=(net("2001:db8::/32"),),
        pod_cidrs=(),
        underlay=Underlay((Segment("eth0", ipaddress.ip_interface("2001:db8:0:1::1/64")),), 1500),
    )
    assert all(not r.overlaps(net("2001:db8:0:1::/64")) for r in pod_ranges(six))
    assert any(r.overlaps(net("2001:db8:44::/48")) for r in pod_ranges(six))


def test_a_node_of_no_pods_has_empty_tables():
    for table in (UDP_TABLE, WIREGUARD_TABLE):
        for transaction in tunnel_rules(facts(cluster_cidrs=(), pod_cidrs=()), table):
            assert "rule" not in transaction.render()


def test_rules_of_both_families_are_the_same_after_renaming():
    four, six = tunnel_rules(facts(), WIREGUARD_TABLE)
    renamed = six.render().replace("ip6", "ip")
    for was, becomes in (("2001:db8:44:1::/64", "10.244.1.0/24"), ("2001:db8:44::/48", "10.244.0.0/16")):
        renamed = renamed.replace(was, becomes)
    assert renamed == four.render()
    assert "drop" in four.render()


def test_only_wireguard_keeps_packets_in():
    text = tunnel_rules(facts(), UDP_TABLE)[0].render()
    assert "masquerade" in text
    assert "drop" not in text
    assert {t.table for t in no_tunnel_rules(UDP_TABLE)} == {"netloom-udp"}


def test_a_peer_and_a_route_lead_back_to_their_node():
    one = peer("10.244.2.0/24", "192.0.2.2", "node-2", 2)
    done = compiled(one)
    peers = {one.destination: one}
    assert source_of_route(done.routes[one.destination], peers) == one.source
    assert source_of_peer(done.peers[key(2)], peers.values()) == one.source.at(
        "metadata.annotations[netloom.io/wireguard-key]"
    )
    assert source_of_peer(WireguardPeer(key(3)), peers.values()) is None
    assert source_of_route(compile_guard(facts())[0], peers) is None


def test_a_private_key_is_in_no_text():
    change = WireguardChange(private_key=b"secret-secret-secret-secret-12345", port=1)
    assert "secret" not in repr(change)
    assert "secret" not in f"{change}"
