"""Services through the API: what comes back, what a change of type leaves, the status that a load balancer's controller writes."""

from __future__ import annotations

from typing import Any


def a_service(**spec: Any) -> dict[str, Any]:
    spec = {"ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart"}, "spec": spec}


async def test_a_local_balancer_from_creation_to_a_plain_service(api):
    made = (await api.create("services", a_service(type="LoadBalancer", externalTrafficPolicy="Local")))[
        "spec"
    ]
    assert made["allocateLoadBalancerNodePorts"] is True
    assert made["healthCheckNodePort"] != made["ports"][0]["nodePort"]
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}, {"hostname": "lb.example.org"}]}}
    for kind in ("merge-patch+json", "strategic-merge-patch+json"):
        told = (await api.patch("services/cart/status", {"status": status}, kind)).ok()
        assert told["status"]["loadBalancer"]["ingress"] == [
            {"ip": "192.0.2.9", "ipMode": "VIP"},
            {"hostname": "lb.example.org"},
        ]
    plain = (await api.patch("services/cart", {"spec": {"type": "ClusterIP"}})).ok()
    assert plain["status"] == {"loadBalancer": {}}
    left = {"healthCheckNodePort", "externalTrafficPolicy", "allocateLoadBalancerNodePorts"} & plain[
        "spec"
    ].keys()
    assert (left, plain["spec"]["ports"][0].get("nodePort")) == (set(), None)
    taken = a_service(type="NodePort", ports=[{"port": 80, "nodePort": made["healthCheckNodePort"]}])
    (await api("POST", "services", {**taken, "metadata": {"name": "other"}})).ok()


async def test_source_ranges_hold_a_balancer_to_its_type(api):
    await api.create("services", a_service(type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24"]))
    refused = await api.patch("services/cart", {"spec": {"type": "ClusterIP"}})
    (cause,) = refused.refused(422, "Invalid")["details"]["causes"]
    assert cause["field"] == "spec.loadBalancerSourceRanges"
    (await api.patch("services/cart", {"spec": {"type": "ClusterIP", "loadBalancerSourceRanges": None}})).ok()


async def test_the_status_of_what_is_no_balancer_has_no_addresses(api):
    await api.create("services", a_service())
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}}
    refused = await api.patch("services/cart/status", status)
    assert "may only be used when `spec.type` is 'LoadBalancer'" in refused.refused(422, "Invalid")["message"]


async def test_affinity_has_a_time_and_loses_it(api):
    made = (await api.create("services", a_service(sessionAffinity="ClientIP")))["spec"]
    assert made["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    none = (await api.patch("services/cart", {"spec": {"sessionAffinity": "None"}})).ok()["spec"]
    assert "sessionAffinityConfig" not in none


async def test_an_alias_gives_its_address_back_and_gets_another(api):
    first = (await api.create("services", a_service()))["spec"]["clusterIP"]
    alias = {"spec": {"type": "ExternalName", "externalName": "example.org"}}
    assert "clusterIP" not in (await api.patch("services/cart", alias)).ok()["spec"]
    back = (await api.patch("services/cart", {"spec": {"type": "ClusterIP", "externalName": None}})).ok()
    assert back["spec"]["clusterIP"] not in {None, first}
