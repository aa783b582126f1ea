"""The report as value and as text, and a cluster loaded through the API; whole reports are in tests/golden/walk."""

from __future__ import annotations

from ipaddress import ip_network

import msgspec
import pytest

from netloom.kube import resources
from netloom.model.inputs import ClusterFacts
from netloom.observe.why import explain, load_view, render_text
from netloom.testing import builders as b
from netloom.units import ObjectKey

FACTS = ClusterFacts(
    cluster_cidrs=(ip_network("10.244.0.0/16"),), service_cidrs=(ip_network("10.96.0.0/16"),)
)


def view_with(*endpoints, **spec):
    return b.view(
        b.node("node-1", "192.0.2.11", pod_cidrs=["10.244.0.0/16"]),
        b.pod("shop/web", "10.244.0.5", node="node-1"),
        *(b.pod(f"shop/p{i}", f"10.244.1.{i}", node="node-1") for i in range(1, 31)),
        b.service("shop/cart", "10.96.0.1", ports=[b.port(80)], **spec),
        b.endpoint_slice("shop/cart-1", "cart", *endpoints),
    )


def test_the_report_is_json():
    report = explain(
        view_with(b.endpoint("10.244.1.1"), b.endpoint("10.244.1.2")), FACTS, "shop/web", "shop/cart"
    )
    decoded = msgspec.json.decode(msgspec.json.encode(report))
    assert decoded["verdict"] == "DELIVERED"
    assert [branch["share"] for branch in decoded["branches"]] == ["1/2", "1/2"]
    assert [step["stage"] for step in decoded["steps"]] == ["link", "service"]
    assert decoded["steps"][1]["sources"][0]["field"] == "spec.clusterIPs[0], spec.ports[0].port"


@pytest.mark.parametrize(
    ("destination", "code"),
    [("shop/cart", 0), ("internet", 0), ("shop/cart:81", 8), ("10.244.99.9:80", 8)],
)
def test_exit_codes(destination, code):
    assert explain(view_with(b.endpoint("10.244.1.1")), FACTS, "shop/web", destination).exit_code == code


def test_a_source_without_namespace():
    report = explain(view_with(b.endpoint("10.244.1.1")), FACTS, "web", "svc/cart", namespace="shop")
    assert report.source.startswith("pod shop/web")
    assert (
        explain(view_with(b.endpoint("10.244.1.1")), FACTS, "node-1", "svc/cart", namespace="shop").exit_code
        == 0
    )


def test_many_endpoints_are_summed_up():
    report = explain(
        view_with(*(b.endpoint(f"10.244.1.{i}") for i in range(1, 31))), FACTS, "shop/web", "shop/cart"
    )
    text = render_text(report)
    assert text.count("destination becomes") == 4
    assert text.count("1/30: DELIVERED") == 16
    assert "... and 10 more" in text
    assert text.endswith("DELIVERED: to 30 backends, 1/30 of new connections each\n")


def test_some_endpoints_more_than_are_shown_whole():
    report = explain(
        view_with(*(b.endpoint(f"10.244.1.{i}") for i in range(1, 7))), FACTS, "shop/web", "shop/cart"
    )
    text = render_text(report)
    assert text.count("1/6: DELIVERED") == 2
    assert "more" not in text


def test_many_left_out_endpoints_are_summed_up():
    unready = [b.endpoint(f"10.244.1.{i}", ready=False) for i in range(1, 31)]
    text = render_text(explain(view_with(*unready), FACTS, "shop/web", "shop/cart"))
    assert text.count("not ready") == 8
    assert "... and 22 more" in text
    assert "REJECTED: Service shop/cart has no ready endpoints: all 30 are left out" in text


def test_all_branches_end_alike_but_not_for_one_reason():
    report = explain(
        view_with(b.endpoint("10.244.99.1"), b.endpoint("10.244.99.2")), FACTS, "shop/web", "shop/cart"
    )
    assert report.reason == "no pod has the address 10.244.99.1, which is in the range of node-1"


def test_a_part_of_the_connections_fails():
    report = explain(
        view_with(b.endpoint("10.244.99.1"), b.endpoint("10.244.1.2")), FACTS, "shop/web", "shop/cart"
    )
    assert report.verdict.value == "UNREACHABLE"
    assert report.reason.startswith("1/2 of new connections: no pod has")


class Listing:
    """Answers ``list`` as ``KubeClient`` does."""

    def __init__(self, objects):
        self._objects = objects

    async def list(self, resource, namespace="", *, label_selector="", field_selector=""):
        return self._objects.get(resource.kind, []), "7"


async def test_a_cluster_is_loaded():
    objects = {
        "Service": [{"metadata": {"name": "cart", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.1"}}],
        "EndpointSlice": [
            {
                "metadata": {"name": "x", "namespace": "shop"},
                "addressType": "IPv4",
                "endpoints": None,
                "ports": None,
            }
        ],
        "Pod": [
            {"metadata": {"name": "p", "namespace": "shop"}, "status": {"podIP": 7}},
            {
                "metadata": {"name": "q", "namespace": "shop"},
                "spec": {"containers": [{"ports": [{"containerPort": 1}]}]},
            },
        ],
        "Node": [{"metadata": {"name": "node-1"}}],
    }
    view = await load_view(Listing(objects))
    assert list(view.services) == [ObjectKey("shop", "cart")]
    assert view.slices[ObjectKey("shop", "x")].endpoints == ()
    assert list(view.pods) == [ObjectKey("shop", "q")]
    assert list(view.nodes) == [ObjectKey("", "node-1")]
    assert (view.namespaces, view.policies) == ({}, {})
    assert resources.NODES.kind == "Node"
