"""A cluster whose router is a switch that speaks BGP: sessions, addresses of Services as routes of every node, a BIRD that is killed."""

import json
import os
import select
import shutil
import signal
import time
from pathlib import Path

import pytest
from tests.cluster.conftest import processes

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("bird", path="/usr/sbin:/usr/bin") is None, reason="no bird"),
]

CLUSTER = "bgp"
POOL = {
    "apiVersion": "netloom.io/v1alpha1",
    "kind": "LoadBalancerPool",
    "metadata": {"name": "by-bgp"},
    "spec": {
        "cidrs": ["203.0.113.0/28"],
        "autoAssign": False,
        "announce": ["BGP"],
        "bgp": {"communities": ["64512:7"]},
    },
}
STEADY = "traffic(lambda: answer_of(ARGUMENTS[0], 8080, timeout=1)[0])"


@pytest.fixture(scope="module")
def place(command):
    command.down(CLUSTER)
    command.netloom("up", "--name", CLUSTER, "--fabric", "bgp", "--nodes", "2")
    made = command.place(CLUSTER, "default")
    for node in ("node-1", "node-2"):
        made.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"web-{node}", "labels": {"app": "web", "on": node}},
                "spec": {
                    "nodeName": node,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [
                        {"name": "web", "image": "example/web", "ports": [{"containerPort": 8080}]}
                    ],
                },
            }
        )
    made("wait", "pod", "--all", "--for=condition=Ready", "--timeout=30s")
    yield made
    made.close()
    command.down(CLUSTER)


def bird(place, directory):
    """The process of the BIRD that has its files there."""
    wanted = str(place.command.home / "clusters" / place.cluster / directory / "bird.conf")
    found = [pid for name, pid in processes(place.command, place.cluster) if name == "bird"]
    (pid,) = (pid for pid in found if wanted in Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
    return pid


def routes(place, prefix):
    """Next hops of the switch's route to a prefix."""
    own = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    enter = ["nsenter", "--target", str(bird(place, "switch")), *own, "--net"]
    said = place.command.run([*enter, "ip", "-j", "route", "show", prefix]).stdout
    for route in json.loads(said or "[]"):
        return sorted(hop["gateway"] for hop in route.get("nexthops", (route,)))
    return []


def eventually(look, wanted, seconds=40):
    ends = time.monotonic() + seconds
    while (seen := look()) != wanted:
        assert time.monotonic() < ends, f"{seen}, not {wanted}"
        select.select([], [], [], 0.02)


def sessions(place):
    """What each node says of its session with the switch."""
    (peer,) = place.get("bgppeers")["items"]
    nodes = peer.get("status", {}).get("nodes", {})
    return {node: session["state"] for node, session in nodes.items()}


def has_another(place, killed):
    """Whether there is a BIRD again, and not that one."""
    try:
        return bird(place, "nodes/node-1/bgp") != killed
    except (ValueError, OSError):  # none, or one that has just ended
        return False


def test_every_node_has_a_session_and_says_so(place):
    eventually(lambda: sessions(place), {"node-1": "Established", "node-2": "Established"})
    assert "2/2" in place("get", "bgppeers")
    for number in (0, 1):
        eventually(lambda n=number: routes(place, f"10.244.{n}.0/24"), [f"172.30.0.{11 + number}"])


def test_an_address_is_a_route_of_all_nodes_that_can_serve_it(place):
    place.apply(POOL)
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "annotations": {"netloom.io/load-balancer-pool": "by-bgp"}},
            "spec": {
                "type": "LoadBalancer",
                "externalTrafficPolicy": "Local",
                "selector": {"app": "web"},
                "ports": [{"port": 80, "targetPort": 8080}],
            },
        }
    )

    def address():
        ingress = place.get("service", "web")["status"].get("loadBalancer", {}).get("ingress", [])
        return len(ingress)

    eventually(address, 1)
    at = place.get("service", "web")["status"]["loadBalancer"]["ingress"][0]["ip"]
    eventually(lambda: routes(place, at), ["172.30.0.11", "172.30.0.12"])
    curl = ("client", "--name", place.cluster, "--", "curl", "-s", "--max-time", "5", f"http://{at}/")
    assert "hostname: web-node-" in place.command.netloom(*curl).stdout
    place("patch", "service", "web", "-p", '{"spec": {"selector": {"on": "node-2"}}}')
    eventually(lambda: routes(place, at), ["172.30.0.12"])
    assert "hostname: web-node-2" in place.command.netloom(*curl).stdout
    place("delete", "service", "web")
    eventually(lambda: routes(place, at), [])


def test_pods_reach_each_other_while_bird_is_killed(place):
    other = place.get("pod", "web-node-2")["status"]["podIP"]
    eventually(lambda: routes(place, "10.244.1.0/24"), ["172.30.0.12"])
    asking = place.start_python("web-node-1", STEADY, other)
    assert asking.fact() == "going"
    killed = bird(place, "nodes/node-1/bgp")
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: has_another(place, killed), wanted=True)
    # until its peers have told what they know, the kernel's routes are not its own
    config = place.command.home / "clusters" / place.cluster / "nodes" / "node-1" / "bgp" / "bird.conf"
    eventually(lambda: "disabled" in config.read_text(), wanted=False)
    eventually(lambda: sessions(place), {"node-1": "Established", "node-2": "Established"})
    asking.say("enough\n")
    assert set(asking.fact()) == {"web-node-2"}
