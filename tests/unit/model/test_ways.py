"""Which way leads to a peer, what it costs, and what is said where there is none."""

from __future__ import annotations

import base64
from ipaddress import ip_address, ip_interface, ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.model.facts import facts_of
from netloom.model.inputs import ClusterFacts, ClusterView, NodeFacts
from netloom.model.routes import ways
from netloom.model.routes.peers import peer_routes, read_node
from netloom.model.routes.ways import FabricKind, Segment, Underlay, Way
from netloom.observe.settings import guessed_facts
from netloom.testing import builders as b
from netloom.units import Family

KEY = base64.b64encode(bytes(range(1, 33))).decode()
NEAR = Underlay(
    (Segment("eth0", ip_interface("192.0.2.11/24")), Segment("eth0", ip_interface("2001:db8::11/64")))
)
FACTS = NodeFacts(
    name="node-1", addresses=(ip_address("192.0.2.11"), ip_address("2001:db8::11")), underlay=NEAR
)
V4, V6 = ip_network("10.244.1.0/24"), ip_network("fd00:1::/64")


def peer(*addresses, key="", underlay=None, ranges=(V4, V6)):
    node = b.node("node-2", *addresses, pod_cidrs=list(map(str, ranges)))
    notes = {ways.KEY_ANNOTATION: key} if key else {}
    if underlay is not None:
        notes[ways.UNDERLAY_ANNOTATION] = underlay
    return msgspec.structs.replace(node, metadata=msgspec.structs.replace(node.metadata, annotations=notes))


def found(node, fabric, *, direct=True, facts=FACTS):
    routes, findings = peer_routes(
        [read_node(node)], msgspec.structs.replace(facts, fabric=fabric, direct=direct)
    )
    seen = {cidr: (route.way, str(route.via), route.mtu) for cidr, route in routes.items()}
    return seen, [(f.source.field, f.problem) for f in findings]


@pytest.mark.parametrize("fabric", [FabricKind.HOSTGW, FabricKind.L2, FabricKind.VXLAN, FabricKind.UDP])
def test_peers_on_a_network_in_common_get_plain_routes(fabric):
    routes, findings = found(peer("192.0.2.12", "2001:db8::12"), fabric)
    assert routes == {V4: (Way.DIRECT, "192.0.2.12", 1500), V6: (Way.DIRECT, "2001:db8::12", 1500)}
    assert findings == []


@pytest.mark.parametrize(
    ("fabric", "way", "mtu"), [(FabricKind.VXLAN, Way.VXLAN, 1450), (FabricKind.UDP, Way.UDP, 1472)]
)
def test_peers_elsewhere_are_reached_through_the_tunnel_in_both_families(fabric, way, mtu):
    routes, findings = found(peer("198.51.100.12"), fabric)
    assert routes == {V4: (way, "198.51.100.12", mtu), V6: (way, "198.51.100.12", mtu)}
    assert findings == []


def test_everybody_is_reached_through_the_tunnel_where_that_is_wanted():
    routes, _ = found(peer("192.0.2.12", "2001:db8::12"), FabricKind.VXLAN, direct=False)
    assert {way for way, _, _ in routes.values()} == {Way.VXLAN}


def test_a_near_peer_without_the_ranges_family_gets_that_range_through_the_tunnel():
    routes, _ = found(peer("192.0.2.12"), FabricKind.VXLAN)
    assert routes == {V4: (Way.DIRECT, "192.0.2.12", 1500), V6: (Way.VXLAN, "192.0.2.12", 1450)}


def test_tunnels_over_ipv6_cost_more():
    six = msgspec.structs.replace(FACTS, addresses=(ip_address("2001:db8::11"),))
    routes, _ = found(peer("198.51.100.12", "2001:db8:9::12"), FabricKind.VXLAN, facts=six)
    assert routes == {V4: (Way.VXLAN, "2001:db8:9::12", 1430), V6: (Way.VXLAN, "2001:db8:9::12", 1430)}


@pytest.mark.parametrize("fabric", [FabricKind.HOSTGW, FabricKind.L2])
def test_plain_routes_need_a_network_in_common(fabric):
    routes, findings = found(peer("198.51.100.12", ranges=(V4,)), fabric)
    assert routes == {}
    assert findings == [
        (
            "status.addresses",
            "198.51.100.12 is on no network of node-1, so its pods in 10.244.1.0/24 cannot be reached by plain routes",
        )
    ]


def test_a_node_that_does_not_know_its_networks_tunnels_where_it_can():
    unknown = msgspec.structs.replace(FACTS, underlay=Underlay())
    assert found(peer("192.0.2.12", ranges=(V4,)), FabricKind.HOSTGW, facts=unknown)[0][V4][0] is Way.DIRECT
    assert found(peer("192.0.2.12", ranges=(V4,)), FabricKind.VXLAN, facts=unknown)[0][V4][0] is Way.VXLAN


def test_never_plain_where_it_is_to_be_encrypted():
    routes, findings = found(peer("192.0.2.12", key=KEY), FabricKind.WIREGUARD)
    assert {way for way, _, _ in routes.values()} == {Way.WIREGUARD}
    assert findings == []
    routes, findings = found(peer("192.0.2.12", ranges=(V4,)), FabricKind.WIREGUARD)
    assert routes[V4][0] is Way.BLOCKED
    assert findings == [
        (
            "metadata.annotations[netloom.io/wireguard-key]",
            "its key is not known, so nothing is sent to its pods in 10.244.1.0/24: they are reached encrypted only",
        )
    ]


@pytest.mark.parametrize("key", ["x", "AAAA", base64.b64encode(bytes(32)).decode(), KEY + "AAAA", "é"])
def test_what_is_no_key_counts_as_none_and_is_named(key):
    routes, findings = found(peer("192.0.2.12", key=key, ranges=(V4,)), FabricKind.WIREGUARD)
    assert routes[V4][0] is Way.BLOCKED
    assert (
        "metadata.annotations[netloom.io/wireguard-key]",
        "is no public key (32 bytes in base64)",
    ) in findings


def test_a_tunnel_needs_an_address_of_its_own_outer_family():
    routes, findings = found(peer("2001:db8:9::12", ranges=(V4,)), FabricKind.VXLAN)
    assert routes == {}
    assert findings == [("status.addresses", "no InternalIP of family IPv4")]


def test_the_smaller_network_counts():
    small = ways.write_underlay(Underlay(mtu=1400))
    routes, _ = found(peer("198.51.100.12", underlay=small, ranges=(V4,)), FabricKind.VXLAN)
    assert routes[V4][2] == 1350


@pytest.mark.parametrize(
    "text", ["", "x", "[]", '{"mtu": 20}', '{"mtu": "1500"}', '{"segments": [["eth0", "x"]]}']
)
def test_what_says_nothing_of_a_network_is_named(text):
    _, findings = found(peer("192.0.2.12", underlay=text, ranges=(V4,)), FabricKind.HOSTGW)
    assert findings == [
        ("metadata.annotations[netloom.io/underlay]", "does not say how the node is connected")
    ]


@given(
    st.lists(st.tuples(st.text(max_size=15), st.ip_addresses(), st.integers(0, 32))),
    st.integers(ways.MIN_MTU, 65535),
)
def test_what_a_node_writes_is_what_others_read(networks, mtu):
    segments = tuple(Segment(device, ip_interface(f"{at}/{length}")) for device, at, length in networks)
    underlay = Underlay(segments, mtu)
    assert ways.read_underlay(ways.write_underlay(underlay)) == underlay


def test_a_nodes_facts_are_what_its_object_says():
    node = peer("192.0.2.12", underlay=ways.write_underlay(NEAR))
    facts = facts_of(node, ClusterFacts(fabric=FabricKind.UDP, direct=False, tunnel_port=9, vni=7))
    assert (facts.fabric, facts.direct, facts.tunnel_port, facts.vni) == (FabricKind.UDP, False, 9, 7)
    assert facts.underlay == NEAR
    assert facts.own_addresses == (ip_address("192.0.2.12"), V4[1], V6[1])


@pytest.mark.parametrize(
    ("fabric", "outer", "mtu"),
    [
        (FabricKind.HOSTGW, Family.V4, 1500),
        (FabricKind.L2, Family.V6, 1500),
        (FabricKind.VXLAN, Family.V4, 1450),
        (FabricKind.VXLAN, Family.V6, 1430),
        (FabricKind.UDP, Family.V4, 1472),
        (FabricKind.WIREGUARD, Family.V4, 1440),
        (FabricKind.WIREGUARD, Family.V6, 1420),
    ],
)
def test_what_pods_may_send(fabric, outer, mtu):
    assert ways.pod_mtu(fabric, outer, 1500) == mtu


def test_a_node_that_builds_another_fabric_is_named():
    node = peer("192.0.2.12", ranges=(V4,))
    said = ways.write_fabric(ways.FabricSettings(FabricKind.VXLAN, vni=7))
    notes = {ways.FABRIC_ANNOTATION: said}
    node = msgspec.structs.replace(node, metadata=msgspec.structs.replace(node.metadata, annotations=notes))
    assert found(node, FabricKind.HOSTGW)[1] == [
        (
            "metadata.annotations[netloom.io/fabric]",
            "builds another fabric (vxlan, port 4789, VNI 7) than node-1 (hostgw)",
        )
    ]
    same = msgspec.structs.replace(FACTS, vni=7)
    assert found(node, FabricKind.VXLAN, facts=same)[1] == []


def test_what_a_clusters_nodes_build_is_guessed_from_what_they_say():
    said = ways.FabricSettings(FabricKind.VXLAN, direct=False, port=8472, vni=7)
    notes = {ways.FABRIC_ANNOTATION: ways.write_fabric(said)}
    nodes = {}
    for name, said_of in (("node-1", {}), ("node-2", notes), ("node-3", {ways.FABRIC_ANNOTATION: "x"})):
        node = b.node(name, "192.0.2.12")
        metadata = msgspec.structs.replace(node.metadata, annotations=said_of)
        nodes[node.key] = msgspec.structs.replace(node, metadata=metadata)
    facts = guessed_facts(ClusterView(nodes=nodes))
    assert (facts.fabric, facts.direct, facts.tunnel_port, facts.vni) == (FabricKind.VXLAN, False, 8472, 7)
    assert guessed_facts(ClusterView()).fabric is FabricKind.HOSTGW


def test_with_bgp_routers_join_what_plain_routes_cannot():
    """A node on another network is reached all the same: by whom is the routers' business."""
    near, _ = found(peer("192.0.2.12", ranges=(V4,)), FabricKind.BGP)
    assert near[V4][0] is Way.BGP
    far, findings = found(peer("198.51.100.12", ranges=(V4,)), FabricKind.BGP)
    assert far[V4][0] is Way.BGP
    assert findings == []
    assert Way.BGP.is_plain
    assert not Way.BGP.is_tunnel
