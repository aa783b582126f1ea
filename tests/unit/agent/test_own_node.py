"""What this node is, as its Node object says."""

from netloom.agent.own_node import OwnNode
from netloom.model.inputs import ClusterFacts
from netloom.model.routes.ways import FabricKind, Underlay
from netloom.testing.builders import load_view
from netloom.units import ObjectKey, parse_addr, parse_cidr

ME = ObjectKey("", "node-1")


def node(version="5", *, cidr="10.1.0.0/24", address="192.0.2.11", name="node-1", zone="a"):
    text = f"""
apiVersion: v1
kind: Node
metadata: {{name: {name}, uid: u-1, resourceVersion: "{version}", labels: {{topology.kubernetes.io/zone: {zone}}}}}
spec: {{podCIDRs: [{cidr}]}}
status: {{addresses: [{{type: InternalIP, address: {address}}}]}}
"""
    return load_view(text).nodes[ObjectKey("", name)]


def own_node():
    told = []
    underlay = Underlay(mtu=1400)
    return OwnNode("node-1", cluster=ClusterFacts(), on_change=told.append, underlay=lambda _: underlay), told


def test_facts_are_known_when_they_are_complete():
    own, told = own_node()
    own.changed(ME, node("4", cidr=""))
    assert not own.known.is_set()
    assert own.uid == "u-1"
    own.changed(ME, node("5"))
    assert own.known.is_set()
    assert own.facts.addresses == (parse_addr("192.0.2.11"),)
    assert own.version == "5"
    assert told == []


def test_a_change_of_the_facts_is_told_and_nothing_else():
    own, told = own_node()
    own.changed(ME, node("5"))
    own.changed(ME, node("6"))
    own.changed(ObjectKey("", "node-2"), node("7", name="node-2", cidr="10.1.1.0/24"))
    assert told == []
    assert own.version == "5", "who has the first version that said so knows the way here"
    own.changed(ME, node("8", cidr="10.1.9.0/24"))
    assert [facts.pod_cidrs for facts in told] == [(parse_cidr("10.1.9.0/24"),)]
    assert own.version == "8"
    own.changed(ME, node("9", cidr="10.1.9.0/24", zone="b"))
    assert [facts.zone for facts in told] == ["a", "b"]


def test_a_node_object_that_goes_or_loses_its_addresses_changes_nothing():
    own, told = own_node()
    own.changed(ME, node("5"))
    own.changed(ME, node("6", cidr=""))
    own.changed(ME, None)
    assert told == []
    assert own.facts.pod_cidrs == (parse_cidr("10.1.0.0/24"),)
    assert (own.node, own.uid) == (None, "")


def test_where_there_are_pools_a_node_needs_no_range_of_its_own():
    pools, told = [], []
    own = OwnNode(
        "node-1",
        cluster=ClusterFacts(),
        on_change=told.append,
        underlay=lambda _: Underlay(),
        needs_range=lambda: not pools,
    )
    own.changed(ME, node("4", cidr=""))
    own.pools_changed()
    assert not own.known.is_set()
    pools.append("p")
    own.pools_changed()
    assert own.known.is_set()
    assert own.facts.pod_cidrs == ()
    own.changed(ME, node("5"))
    assert [facts.pod_cidrs for facts in told] == [(parse_cidr("10.1.0.0/24"),)]
    own.changed(ME, node("6", cidr=""))
    assert own.facts.pod_cidrs == (parse_cidr("10.1.0.0/24"),), (
        "a range that was there is kept: pods run in it"
    )


def test_tunnels_know_the_ranges_of_pools():
    told, pools = [], [parse_cidr("10.7.0.0/16")]
    own = OwnNode(
        "node-1",
        cluster=ClusterFacts(fabric=FabricKind.WIREGUARD),
        on_change=told.append,
        underlay=lambda _: Underlay(),
        pools=lambda: tuple(pools),
    )
    own.changed(ME, node("5"))
    assert own.facts.pool_cidrs == (parse_cidr("10.7.0.0/16"),)
    own.pools_changed()
    assert told == []
    pools.append(parse_cidr("10.8.0.0/16"))
    own.pools_changed()
    assert told[0].pool_cidrs == tuple(pools)
    plain = OwnNode(
        "node-1",
        cluster=ClusterFacts(),
        on_change=told.append,
        underlay=lambda _: Underlay(),
        pools=lambda: tuple(pools),
    )
    plain.changed(ME, node("5"))
    assert plain.facts.pool_cidrs == ()
