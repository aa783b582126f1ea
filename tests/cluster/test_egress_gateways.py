"""Egress gateways in a whole cluster: whom a server outside of it sees, which node has the address, and what kubectl and why say."""

import json
import os
import signal
import time

import pytest
from tests.cluster.conftest import processes

pytestmark = pytest.mark.cluster

CLUSTER = "egress"
PORT = 8099
CLIENT = {4: "172.30.0.9", 6: "fd00:172:30::9"}
EXIT = {4: "172.30.0.150", 6: "fd00:172:30::150"}
SERVER = f"""
import socket, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Seen(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.client_address[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

class Six(ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()

servers = [ThreadingHTTPServer(("0.0.0.0", {PORT}), Seen), Six(("::", {PORT}), Seen)]
threading.Thread(target=servers[1].serve_forever, daemon=True).start()
print("up", flush=True)
servers[0].serve_forever()
"""
ASK = """
try:
    with urllib.request.urlopen(ARGUMENTS[0], timeout=float(ARGUMENTS[1])) as answer:
        tell(answer.read().decode())
except OSError:
    tell("nobody")
"""


@pytest.fixture(scope="module")
def place(command):
    """Three nodes, of which the second and third may have addresses; a server outside; two kinds of pods."""
    command.down(CLUSTER)
    command.up(CLUSTER, "--nodes", "3", "--ip-family", "dual")
    place = command.place(CLUSTER, "egress")
    server = command.start(command.netloom_path, "client", "--name", CLUSTER, "--", "python3", "-c", SERVER)
    assert server.line().strip() == "up"
    place("create", "namespace", "egress")
    for node in ("node-2", "node-3"):
        place("label", "node", node, "role=egress")
    for name in ("billing", "web"):
        place.apply(*(pinned(f"{name}-{node}", name, node) for node in ("node-1", "node-2", "node-3")))
    place("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")
    yield place
    server.end()
    place.close()
    command.down(CLUSTER)


def pinned(name, app, node):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "example/web"}]},
    }


def gateway(name="way-out", app="billing", **spec):
    return {
        "apiVersion": "netloom.io/v1alpha1",
        "kind": "EgressGateway",
        "metadata": {"name": name},
        "spec": {
            "podSelector": {"matchLabels": {"app": app}},
            "nodeSelector": {"matchLabels": {"role": "egress"}},
            "addresses": list(EXIT.values()),
            **spec,
        },
    }


def url(family):
    return f"http://[{CLIENT[6]}]:{PORT}/" if family == 6 else f"http://{CLIENT[4]}:{PORT}/"


def seen(place, pod, family, timeout_s=5):
    """Whom the server outside sees when a pod asks it."""
    return place.python(pod, ASK, url(family), timeout_s)


def until(told, wanted, seconds=20):
    """What is told in the end."""
    ended = time.monotonic() + seconds
    while (found := told()) != wanted and time.monotonic() < ended:
        pass
    return found


def node_addresses(place):
    found = {}
    for node in place.get("nodes")["items"]:
        own = [one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"]
        found[node["metadata"]["name"]] = {6 if ":" in one else 4: one for one in own}
    return found


@pytest.fixture
def way_out(place):
    place.apply(gateway())
    for family, address in EXIT.items():
        assert until(lambda family=family: seen(place, "billing-node-1", family, 1), address) == address
    yield "way-out"
    place("delete", "egressgateway", "way-out", "--ignore-not-found")


def holder(place):
    """The node that has the first address, as the gateway's status says."""
    status = place.get("egressgateway", "way-out").get("status", {})
    return next((one["node"] for one in status.get("addresses", []) if one["address"] == EXIT[4]), "")


def test_a_server_outside_sees_the_address_of_the_gateway_and_only_from_its_pods(place, way_out):
    own = node_addresses(place)
    for family, address in EXIT.items():
        for node in ("node-1", "node-2", "node-3"):
            assert seen(place, f"billing-{node}", family) == address
            assert seen(place, f"web-{node}", family) == own[node][family]
    place("delete", "egressgateway", way_out)
    for family in EXIT:
        assert (
            until(lambda f=family: seen(place, "billing-node-1", f, 1), own["node-1"][family])
            == own["node-1"][family]
        )


def test_status_and_why_say_which_node_has_the_address(place, command, way_out):
    node = until(lambda: holder(place) in ("node-2", "node-3") and holder(place), holder(place) or None)
    assert node in ("node-2", "node-3")
    counted = place.get("egressgateway", way_out)["status"]["addresses"]
    assert {one["address"]: one["pods"] for one in counted} == dict.fromkeys(EXIT.values(), 3)
    told = command.netloom("why", "--name", CLUSTER, "egress/billing-node-1", "198.51.100.7:443").stdout
    assert f"by {EXIT[4]}, which {node} has" in told
    assert "EgressGateway way-out: spec.addresses[0]" in told
    assert f"leaves the cluster at {node} from {EXIT[4]}" in told


def test_the_address_moves_when_its_node_may_not_have_it_and_when_it_falls_silent(place, command, way_out):
    node = until(lambda: holder(place) in ("node-2", "node-3") and holder(place), holder(place) or None)
    other = {"node-2": "node-3", "node-3": "node-2"}[node]
    place("label", "node", node, "role-")
    try:
        assert until(lambda: holder(place), other) == other
        assert until(lambda: seen(place, "billing-node-1", 4, 1), EXIT[4]) == EXIT[4]
    finally:
        place("label", "node", node, "role=egress")
    assert until(lambda: holder(place), node) == node
    speaker = f"nl-{node}-speaker"[:15]
    (silent,) = (pid for name, pid in processes(command, CLUSTER) if name == speaker)
    try:
        os.kill(silent, signal.SIGSTOP)
        began = time.monotonic()
        assert until(lambda: holder(place), other) == other
        assert seen(place, "billing-node-1", 4) == EXIT[4]
        assert time.monotonic() - began < 10
    finally:
        os.kill(silent, signal.SIGCONT)


def test_policies_count_and_faults_are_told(place, way_out):
    place.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "nothing-out"},
            "spec": {"podSelector": {"matchLabels": {"app": "billing"}}, "policyTypes": ["Egress"]},
        }
    )
    try:
        assert until(lambda: seen(place, "billing-node-1", 4, 1), "nobody") == "nobody"
    finally:
        place("delete", "networkpolicy", "nothing-out")
    assert until(lambda: seen(place, "billing-node-1", 4, 1), EXIT[4]) == EXIT[4]
    place.apply(gateway("second", addresses=["172.30.0.151"]))
    try:
        told = until(lambda: "would leave by EgressGateway way-out, too" in events(place, "second"), True)
        assert told, events(place, "second")
        assert seen(place, "billing-node-1", 4) == EXIT[4]
    finally:
        place("delete", "egressgateway", "second")
    refused = place.refused("apply", "-f", "-", stdin=json.dumps(gateway("wrong", addresses=["127.0.0.1"])))
    assert "spec.addresses[0]" in refused


def events(place, name):
    found = place.get("events", "-n", "default")["items"]
    return "\n".join(e["message"] for e in found if e["involvedObject"]["name"] == name)
