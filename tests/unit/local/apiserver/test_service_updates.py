"""What updates of Services mean where they say nothing, and which families a Service gets."""

from __future__ import annotations

import copy

import pytest

from netloom.local.apiserver import families
from netloom.local.apiserver.service_updates import settled

LB = {
    "type": "LoadBalancer",
    "clusterIP": "10.96.1.1",
    "clusterIPs": ["10.96.1.1"],
    "ipFamilies": ["IPv4"],
    "ipFamilyPolicy": "SingleStack",
    "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}],
    "externalTrafficPolicy": "Local",
    "internalTrafficPolicy": "Cluster",
    "allocateLoadBalancerNodePorts": True,
    "loadBalancerClass": "example.org/lb",
    "loadBalancerSourceRanges": ["192.0.2.0/24"],
    "healthCheckNodePort": 32000,
    "selector": {"app": "web"},
}
ADDRESS = {"loadBalancer": {"ingress": [{"ip": "192.0.2.9", "ipMode": "VIP"}]}}


def updated(old, **changes):
    """The spec that a patch leads to; None takes a field away."""
    spec = copy.deepcopy(old)
    for field, value in changes.items():
        if value is None:
            spec.pop(field, None)
        else:
            spec[field] = value
    return settled({"spec": spec}, {"spec": old})["spec"]


@pytest.mark.parametrize(
    ("kind", "gone"),
    [
        ("NodePort", {"allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"}),
        ("ClusterIP", {"allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort", "externalTrafficPolicy"}),
        ("ExternalName", {"allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort", "externalTrafficPolicy",
                          "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"}),
    ],
)  # fmt: skip
def test_what_goes_with_a_type(kind, gone):
    new = updated(LB, type=kind)
    assert LB.keys() - new.keys() == gone
    assert ("nodePort" in new["ports"][0]) is (kind == "NodePort")


def test_what_is_set_anew_stays_for_the_rules_to_judge():
    new = updated(LB, type="ClusterIP", externalTrafficPolicy="Cluster", loadBalancerClass="other")
    assert (new["externalTrafficPolicy"], new["loadBalancerClass"]) == ("Cluster", "other")
    ports = [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "more", "port": 81, "nodePort": 30081}]
    assert [p.get("nodePort") for p in updated(LB, type="ClusterIP", ports=ports)["ports"]] == [30080, 30081]


def test_without_local_traffic_there_is_no_health_port():
    assert "healthCheckNodePort" not in updated(LB, externalTrafficPolicy="Cluster")
    assert updated(LB, healthCheckNodePort=None)["healthCheckNodePort"] == 32000


def test_without_external_ips_a_cluster_ip_service_has_no_external_policy():
    old = {"type": "ClusterIP", "externalIPs": ["192.0.2.7"], "externalTrafficPolicy": "Local"}
    assert "externalTrafficPolicy" not in updated(old, externalIPs=None)
    assert updated(old)["externalTrafficPolicy"] == "Local"


def test_a_balancer_that_gives_up_node_ports_loses_them():
    assert "nodePort" not in updated(LB, allocateLoadBalancerNodePorts=False)["ports"][0]
    without = {**LB, "allocateLoadBalancerNodePorts": False}
    assert updated(without)["ports"][0]["nodePort"] == 30080, "one that was asked for stays"


def test_a_port_keeps_its_node_port_by_name():
    moved = updated(LB, ports=[{"name": "http", "port": 8080, "targetPort": 9}])
    assert moved["ports"][0]["nodePort"] == 30080
    renamed = updated(LB, ports=[{"name": "web", "port": 80}])
    assert "nodePort" not in renamed["ports"][0]
    taken = updated(LB, ports=[{"name": "new", "port": 81, "nodePort": 30080}, {"name": "http", "port": 80}])
    assert [p.get("nodePort") for p in taken["ports"]] == [30080, None]


def test_what_was_allocated_may_be_left_out():
    new = updated(LB, clusterIP=None, clusterIPs=None, ipFamilies=None, ipFamilyPolicy=None)
    assert new == LB
    assert updated(LB, clusterIP="10.96.7.7")["clusterIP"] == "10.96.7.7"
    assert "clusterIPs" not in updated(LB, clusterIP="10.96.7.7")


def test_the_addresses_of_a_balancer_go_with_it():
    old = {"spec": LB, "status": ADDRESS}
    assert settled({"spec": {**LB, "type": "NodePort"}, "status": ADDRESS}, old)["status"] == {
        "loadBalancer": {}
    }
    assert settled({"spec": dict(LB), "status": ADDRESS}, old)["status"] == ADDRESS


def test_nothing_that_came_in_is_changed():
    old, new = {"spec": copy.deepcopy(LB)}, {"spec": {**copy.deepcopy(LB), "type": "ExternalName"}}
    before = copy.deepcopy((old, new))
    settled(new, old)
    assert (old, new) == before


V4, V6, BOTH = ("IPv4",), ("IPv6",), ("IPv4", "IPv6")
DUAL = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"], "clusterIP": "10.96.1.1",
        "clusterIPs": ["10.96.1.1", "2001:db8::7"], "selector": {"a": "b"}}  # fmt: skip
ONE = {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"], "clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1"],
       "selector": {"a": "b"}}  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "cluster", "wanted"),
    [
        ({}, V4, ("SingleStack", ["IPv4"])),
        ({}, ("IPv6", "IPv4"), ("SingleStack", ["IPv6"])),
        ({"ipFamilies": ["IPv6"]}, BOTH, ("SingleStack", ["IPv6"])),
        ({"ipFamilyPolicy": "PreferDualStack"}, V4, ("PreferDualStack", ["IPv4"])),
        ({"ipFamilyPolicy": "PreferDualStack"}, BOTH, ("PreferDualStack", ["IPv4", "IPv6"])),
        ({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}, BOTH, ("RequireDualStack", ["IPv6", "IPv4"])),
        ({"ipFamilyPolicy": "RequireDualStack", "clusterIPs": ["2001:db8::7"]}, BOTH, ("RequireDualStack", ["IPv6", "IPv4"])),
        ({"clusterIP": "None"}, V4, ("RequireDualStack", ["IPv4", "IPv6"])),
        ({"clusterIP": "None", "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv6"]}, V4, ("SingleStack", ["IPv6"])),
        ({"clusterIP": "None", "selector": {"a": "b"}}, BOTH, ("SingleStack", ["IPv4"])),
    ],
)  # fmt: skip
def test_families_of_a_new_service(spec, cluster, wanted):
    spec = copy.deepcopy(spec)
    assert families.settle(spec, {}, cluster) == []
    assert (spec["ipFamilyPolicy"], spec["ipFamilies"]) == wanted


@pytest.mark.parametrize(
    ("spec", "cluster", "field"),
    [
        ({"ipFamilies": ["IPv4", "IPv6"]}, BOTH, "spec.ipFamilyPolicy"),
        ({"clusterIPs": ["10.96.0.7", "2001:db8::7"]}, BOTH, "spec.ipFamilyPolicy"),
        ({"ipFamilyPolicy": "RequireDualStack"}, V4, "spec.ipFamilyPolicy"),
        ({"ipFamilies": ["IPv6"]}, V4, "spec.ipFamilies[0]"),
        ({"clusterIPs": ["2001:db8::7"]}, V4, "spec.clusterIPs[0]"),
    ],
)
def test_families_that_a_new_service_cannot_have(spec, cluster, field):
    assert [cause.field for cause in families.settle(copy.deepcopy(spec), {}, cluster)] == [field]


def test_a_second_family_comes_and_goes_with_the_policy():
    up = {**copy.deepcopy(ONE), "ipFamilyPolicy": "PreferDualStack"}
    assert families.settle(up, ONE, BOTH) == []
    assert up["ipFamilies"] == ["IPv4", "IPv6"]
    down = {**copy.deepcopy(DUAL), "ipFamilyPolicy": "SingleStack"}
    assert families.settle(down, DUAL, BOTH) == []
    assert (down["ipFamilies"], down["clusterIPs"]) == (["IPv4"], ["10.96.1.1"])
    for field in ("ipFamilies", "clusterIPs"):
        lost = copy.deepcopy(DUAL)
        lost[field] = lost[field][:1]
        (cause,) = families.settle(lost, DUAL, BOTH)
        assert (cause.field, "must be 'SingleStack' to release" in cause.message) == (
            "spec.ipFamilyPolicy",
            True,
        )


def test_what_only_prefers_two_families_stays_as_it_is_when_the_cluster_changes():
    one = {**ONE, "ipFamilyPolicy": "PreferDualStack"}
    again = copy.deepcopy(one)
    assert families.settle(again, one, BOTH) == []
    assert again == one
    two = {**DUAL, "ipFamilyPolicy": "PreferDualStack"}
    again = copy.deepcopy(two)
    assert families.settle(again, two, V4) == []
    assert again == two
