"""A Node that changes while its agent runs: what the node programs follows, without a restart."""

import contextlib

import pytest

pytestmark = pytest.mark.cluster

ZONE = "topology.kubernetes.io/zone"
ASK = """
def pods(times):
    return {answer_of(ARGUMENTS[0], 80)[0].rpartition("-")[2] for _ in range(times)}

wanted = {ARGUMENTS[1]}
tell(sorted(until(lambda found: found == wanted, lambda: pods(12))))
"""


@contextlib.contextmanager
def zones(place, **of_node):
    """Nodes in these zones, and afterwards in none."""
    for node, zone in of_node.items():
        place("label", "node", node.replace("_", "-"), f"{ZONE}={zone}", "--overwrite")
    try:
        yield
    finally:
        for node in of_node:
            place("label", "node", node.replace("_", "-"), f"{ZONE}-")


def pinned(place, name, node, app):
    container = {"name": name, "image": f"example/{app}", "ports": [{"containerPort": 8080}]}
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": app}},
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1, "containers": [container]},
        }
    )
    place("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=30s")


def test_traffic_follows_the_zone_of_a_node(rough_place):
    place = rough_place
    with zones(place, node_1="east", node_2="east", node_3="west"):
        pinned(place, "client", "node-1", "client")
        pinned(place, "web-east", "node-2", "web")
        pinned(place, "web-west", "node-3", "web")
        address = place.service("web", trafficDistribution="PreferClose")["clusterIP"]
        assert place.python("client", ASK, address, "east") == ["east"]
        place("label", "node", "node-1", f"{ZONE}=west", "--overwrite")
        assert place.python("client", ASK, address, "west") == ["west"]
        place("label", "node", "node-1", f"{ZONE}=east", "--overwrite")
        assert place.python("client", ASK, address, "east") == ["east"]
