"""Ports of nodes that lead to pods, pods in the network of their node, and what a pod's annotations say, in a whole cluster."""

import pytest

pytestmark = pytest.mark.cluster

PORT = 18080
ASK = """
def answer(url):
    try:
        return facts(url)
    except OSError as error:
        return {"error": str(error)}
tell({url: answer(url) for url in ARGUMENTS})
"""


def pod(name, node, *, ports=(), annotations=None, **spec):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": annotations or {}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "example/web", "ports": list(ports)}],
            **spec,
        },
    }


def ready(place, *names):
    for name in names:
        place("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=40s")


def address(place, name):
    return place.get("pod", name)["status"]["podIP"]


def test_a_host_port_leads_to_its_pod_and_shows_it_the_client(place):
    """Asked from a pod elsewhere, from a pod in the network of the same node, and there at localhost, which no packet leaves."""
    place.apply(
        pod("web", "node-2", ports=[{"containerPort": 8080, "hostPort": PORT}]),
        pod("ask", "node-1"),
        pod("inside", "node-2", ports=[{"containerPort": 18081}], hostNetwork=True),
    )
    ready(place, "web", "ask", "inside")
    node = place.get("pod", "web")["status"]["hostIP"]
    url = f"http://{node}:{PORT}/"
    seen = place.python("ask", ASK, url)[url]
    assert seen["pod"] == "web"
    assert seen["peer"].rpartition(":")[0] == address(place, "ask")
    local = f"http://127.0.0.1:{PORT}/"
    found = place.python("inside", ASK, url, local)
    assert {one["pod"] for one in found.values()} == {"web"}
    elsewhere = f"http://{place.get('pod', 'ask')['status']['hostIP']}:{PORT}/"
    assert "error" in place.python("ask", ASK, elsewhere)[elsewhere]
    place("delete", "pod", "web", "--wait=true")
    assert "error" in place.python("ask", ASK, url)[url]


def test_a_service_and_names_lead_to_a_pod_in_the_network_of_its_node(place):
    place.apply(
        pod("edge", "node-3", ports=[{"containerPort": 18082}], hostNetwork=True),
        pod("ask", "node-1"),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "edge"},
            "spec": {"selector": {"app": "edge"}, "ports": [{"port": 80, "targetPort": 18082}]},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "no"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
        },
    )
    ready(place, "edge", "ask")
    status = place.get("pod", "edge")["status"]
    assert status["podIP"] == status["hostIP"]
    name = f"http://edge.{place.namespace}/"
    seen = place.python("ask", ASK, name)[name]
    assert (seen["pod"], seen["peer"].rpartition(":")[0]) == ("edge", address(place, "ask"))


def test_an_annotation_that_limits_nothing_is_told_at_the_pod(place):
    place.apply(pod("web", "node-1"))
    ready(place, "web")
    place("annotate", "pod", "web", "kubernetes.io/egress-bandwidth=quick")
    place("wait", "pod/web", "--for=condition=Ready", "--timeout=40s")
    watching = place.start("get", "events", "--watch", "--output-watch-events", "-o", "json")
    try:
        place("annotate", "pod", "web", "kubernetes.io/ingress-bandwidth=1")
        told = watching.until("1 bits a second is out of range", timeout=30)
    finally:
        watching.end()
    assert "metadata.annotations[kubernetes.io/ingress-bandwidth]" in told
