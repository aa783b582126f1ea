"""Routes to other nodes' blocks, and the ranges of pods besides the nodes' own; what `why` makes of them."""

from ipaddress import ip_network

import pytest

from netloom.model.inputs import ClusterFacts
from netloom.model.network import Network
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.steps import Outcome
from netloom.observe.why import explain
from netloom.testing.builders import load_view

CLUSTER = ClusterFacts(
    cluster_cidrs=(ip_network("10.244.0.0/16"),), service_cidrs=(ip_network("10.96.0.0/16"),)
)


def node(name, number):
    return f"""
---
apiVersion: v1
kind: Node
metadata: {{name: {name}}}
spec: {{podCIDRs: [10.244.{number}.0/24]}}
status: {{addresses: [{{type: InternalIP, address: 192.0.2.1{number}}}]}}
"""


def pool(name, *cidrs):
    return f"""
---
apiVersion: netloom.io/v1alpha1
kind: IPPool
metadata: {{name: {name}}}
spec: {{cidrs: [{", ".join(cidrs)}]}}
"""


def block(cidr, owner, grants="{}", extra=""):
    return f"""
---
apiVersion: netloom.io/v1alpha1
kind: IPBlock
metadata: {{name: {cidr.replace("/", "-")}{extra}}}
spec: {{cidr: {cidr}, node: {owner}, pool: p}}
status: {{grants: {grants}}}
"""


def pod(name, address, where):
    return f"""
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop}}
spec: {{nodeName: {where}, containers: [{{name: a, ports: [{{containerPort: 80}}]}}]}}
status: {{phase: Running, podIP: {address}, podIPs: [{{ip: {address}}}], conditions: [{{type: Ready, status: "True"}}]}}
"""


NODES = node("node-1", 1) + node("node-2", 2) + node("node-3", 3)


def state(text, name="node-1"):
    view = load_view(NODES + text)
    return Network.compute(view, ClusterModel(view, CLUSTER).nodes[name])


def routes(text, name="node-1"):
    """Without those to the nodes' own ranges."""
    found = state(text, name).routes.values()
    return {str(r.destination): (r.node, str(r.via)) for r in found if r.source.kind == "IPBlock"}


def test_a_block_is_behind_its_node_and_its_own_node_has_no_route_to_it():
    text = pool("p", "10.50.0.0/24") + block("10.50.0.0/29", "node-2")
    assert routes(text) == {"10.50.0.0/29": ("node-2", "192.0.2.12")}
    assert routes(text, "node-2") == {}


def test_a_single_address_in_anothers_range_is_routed_only_when_that_one_has_given_it_up():
    assert routes(block("10.244.2.7/32", "node-1"), "node-3") == {}
    refused = block("10.244.2.7/32", "node-1", '{node-2: "it belongs to pod shop/a"}')
    assert routes(refused, "node-3") == {}
    granted = block("10.244.2.7/32", "node-1", "{node-2: granted}")
    assert routes(granted, "node-3") == {"10.244.2.7/32": ("node-1", "192.0.2.11")}
    assert routes(granted, "node-2") == {"10.244.2.7/32": ("node-1", "192.0.2.11")}
    assert routes(granted, "node-1") == {}


def test_a_single_address_in_anothers_block_too():
    text = pool("p", "10.50.0.0/24") + block("10.50.0.0/29", "node-2") + block("10.50.0.3/32", "node-1")
    assert routes(text, "node-3") == {"10.50.0.0/29": ("node-2", "192.0.2.12")}
    text = text.replace("status: {grants: {}}", "status: {grants: {node-2: granted}}")
    assert routes(text, "node-3") == {
        "10.50.0.0/29": ("node-2", "192.0.2.12"),
        "10.50.0.3/32": ("node-1", "192.0.2.11"),
    }


def test_blocks_of_nobody_and_blocks_that_cannot_be_read_have_no_route():
    text = (
        pool("p", "10.50.0.0/24") + block("10.50.0.0/29", "gone") + block("10.50.0.8/29", "node-2", extra="x")
    )
    assert routes(text) == {}
    (finding,) = state(text).findings
    assert "is named 10.50.0.8-29" in finding.problem


def test_ranges_are_pools_and_own_blocks_without_what_others_have_of_them():
    text = (
        pool("p", "10.50.0.0/24", "10.51.0.0/24")
        + block("10.50.0.0/30", "node-1")
        + block("10.50.0.2/32", "node-2", "{node-1: granted}")
        + block("10.60.0.0/29", "node-2")
    )
    found = {str(cidr): one.is_own for cidr, one in state(text).ranges.items()}
    assert found == {
        "10.50.0.0/24": False,
        "10.51.0.0/24": False,
        "10.60.0.0/29": False,
        "10.50.0.0/31": True,
        "10.50.0.3/32": True,
    }


def test_a_pool_in_the_nodes_ranges_is_found():
    (finding,) = state(pool("p", "10.244.9.0/24")).findings
    assert str(finding.source) == "IPPool p: spec.cidrs[0]"
    assert "overlaps with 10.244.0.0/16, of which nodes have their ranges" in finding.problem


PODS = (
    pool("p", "10.50.0.0/24")
    + block("10.50.0.0/29", "node-1")
    + block("10.50.0.8/29", "node-2")
    + block("10.244.2.7/32", "node-1", "{node-2: granted}")
    + pod("a", "10.50.0.1", "node-1")
    + pod("b", "10.50.0.9", "node-2")
    + pod("lent", "10.244.2.7", "node-1")
)


def why(source, destination):
    return explain(load_view(NODES + PODS), CLUSTER, source, destination)


@pytest.mark.parametrize(
    ("source", "destination", "block_name"),
    [
        ("shop/a", "shop/b:80", "10.50.0.8-29"),
        ("shop/b", "shop/a:80", "10.50.0.0-29"),
        ("shop/b", "shop/lent:80", "10.244.2.7-32"),
    ],
)
def test_why_names_the_block_that_a_packet_follows(source, destination, block_name):
    report = why(source, destination)
    assert report.verdict is Outcome.DELIVERED, report.reason
    assert block_name in {s.name for step in report.steps for s in step.sources if s.kind == "IPBlock"}
    assert not any("source becomes" in step.text for step in report.steps)


def test_why_an_address_that_no_pod_has_is_not_reached():
    report = why("shop/a", "10.50.0.2:80")
    assert report.verdict is Outcome.UNREACHABLE
    assert "no pod has the address 10.50.0.2" in report.reason
    report = why("shop/a", "10.50.0.99:80")
    assert report.verdict is Outcome.UNREACHABLE


def test_what_leaves_the_cluster_carries_the_nodes_address_also_from_a_pool():
    report = why("shop/a", "198.51.100.1:80")
    assert report.verdict is Outcome.EXTERNAL
    assert any("source becomes 192.0.2.11" in step.text for step in report.steps)
