"""Further networks of pods in a whole cluster: asked for with kubectl, made by reference plugins, told, taken away, never leaked."""

import itertools
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.cluster.conftest import _place, processes

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/usr/lib/cni/bridge").exists(), reason="no containernetworking-plugins"),
]
STATUS = "k8s.v1.cni.cncf.io/network-status"
NETWORKS = "k8s.v1.cni.cncf.io/networks"
_ranges = itertools.count(1)


@pytest.fixture(scope="module")
def pair(command):
    """Two nodes, whose agents tests may kill."""
    command.down("pair")
    command.up("pair", "--nodes", "2")
    yield "pair"
    command.down("pair")


@pytest.fixture
def two(command, pair):
    """A namespace of this test's own, with networks `blue` (a bridge, addresses of a pool) and `red` (a pair, host-local)."""
    for place in _place(command, pair):
        number = next(_ranges)
        place.pool = f"blue-{number}"
        cidr = f"10.90.{number}.0/24"
        place.apply(
            {
                "apiVersion": "netloom.io/v1alpha1",
                "kind": "NetworkPool",
                "metadata": {"name": place.pool},
                "spec": {"cidrs": [cidr], "gateways": [f"10.90.{number}.1"]},
            },
            definition(
                "blue",
                type="bridge",
                bridge=f"br-{number}",
                ipam={"type": "netloom-ipam", "pool": place.pool},
            ),
            definition("red", type="ptp", ipam={"type": "host-local", "subnet": f"10.91.{number}.0/24"}),
        )
        yield place
        place("delete", "networkpool", place.pool)


def definition(name, **config):
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name},
        "spec": {"config": json.dumps({"cniVersion": "1.0.0", **config})},
    }


def deploy(place, name, networks, replicas):
    template = {
        "metadata": {"labels": {"app": name}, "annotations": {NETWORKS: networks}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": name, "image": f"example/{name}", "ports": [{"containerPort": 8080}]}],
        },
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    place.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec})


def status(pod):
    return json.loads(pod["metadata"]["annotations"][STATUS])


def leases(place):
    found = place.get("networkleases", "-l", f"netloom.io/pool={place.pool}")["items"]
    return {lease["spec"]["address"]: lease["spec"]["holder"] for lease in found}


def until(wanted, what, timeout=60):
    """What the function gives as soon as it is wanted."""
    end = time.monotonic() + timeout
    while True:
        found = what()
        if wanted(found):
            return found
        assert time.monotonic() < end, found
        select.select([], [], [], 0.2)


def on_node(place, node, *words):
    """What a command says in a node's network namespace."""
    (pid,) = (pid for name, pid in processes(place.command, place.cluster) if name == f"nl-{node}-dns")
    own = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    inside = ["nsenter", "--target", str(pid), *own, "--net", *words]
    return subprocess.run(inside, capture_output=True, text=True, check=True, timeout=20).stdout


def veths(place):
    """Interfaces of pods on both nodes."""
    return {
        (node, link["ifname"])
        for node in ("node-1", "node-2")
        for link in json.loads(on_node(place, node, "ip", "-j", "link", "show", "type", "veth"))
        if link["ifname"] != "eth0"
    }


def test_a_deployment_with_two_networks_on_two_nodes(two):
    before = veths(two)
    deploy(two, "web", "blue, red@uplink", 4)
    two.rolled_out("web")
    pods = two.pods("web")
    assert {pod["spec"]["nodeName"] for pod in pods.values()} == {"node-1", "node-2"}
    taken = {}
    for name, pod in pods.items():
        first, blue, red = status(pod)
        assert (first["name"], first["interface"], first["default"]) == ("netloom", "eth0", True)
        assert first["ips"] == [pod["status"]["podIP"]]
        assert (blue["name"], blue["interface"]) == (f"{two.namespace}/blue", "net1")
        assert (red["name"], red["interface"]) == (f"{two.namespace}/red", "uplink")
        shown = json.loads(two.run(name, "ip", "-j", "addr").stdout)
        for one in (first, blue, red):
            (link,) = (link for link in shown if link["ifname"] == one["interface"])
            assert link["address"] == one["mac"]
            assert {a["local"] for a in link["addr_info"] if a["scope"] == "global"} == set(one["ips"])
        taken[blue["ips"][0]] = f"{two.namespace}/{name}"
    assert {address: holder["pod"] for address, holder in leases(two).items()} == taken
    assert len(taken) == 4
    # two pods of a node reach each other through the bridge, with their addresses of the pool
    one, other = (p for p in pods.values() if p["spec"]["nodeName"] == "node-1")
    target = status(other)[1]["ips"][0]
    said = two.run(one["metadata"]["name"], "ip", "-j", "route", "get", target).stdout
    assert json.loads(said)[0]["dev"] == "net1"
    code = "tell(socket.create_connection((ARGUMENTS[0], 8080), 5).getsockname()[0])"
    assert two.python(one["metadata"]["name"], code, target) == status(one)[1]["ips"][0]
    events = two("get", "events", "--field-selector", "reason=AddedInterface")
    assert f"from {two.namespace}/blue" in events
    two("delete", "deployment", "web")
    until(lambda left: left == {}, lambda: leases(two))
    until(lambda left: left == before, lambda: veths(two))


def test_what_a_user_sees_of_networks(two):
    row = two("get", "net-attach-def", "blue", "--no-headers").split()
    assert row[0] == "blue"
    assert two("get", "networkpool", two.pool, "--no-headers").split()[1].startswith("10.90.")
    assert "config" in two("explain", "network-attachment-definition.spec")
    told = two.refused("apply", "-f", "-", stdin=json.dumps(definition("bad", type="../x")))
    assert "cannot name a plugin" in told


def test_a_network_that_is_not_there_is_told_and_the_pod_starts_when_it_is(two):
    deploy(two, "late", "green", 1)
    words = "there is no NetworkAttachmentDefinition"
    until(lambda said: words in said, lambda: two("get", "events"))
    two.apply(definition("green", type="ptp", ipam={"type": "netloom-ipam", "pool": two.pool}))
    two.rolled_out("late")
    (pod,) = two.pods("late").values()
    assert status(pod)[1]["name"] == f"{two.namespace}/green"
    two("delete", "deployment", "late")
    until(lambda left: left == {}, lambda: leases(two))


def test_agents_that_are_killed_leak_nothing(two, kill):
    before = veths(two)
    deploy(two, "web", "blue,red", 8)
    for _ in range(3):
        for node in ("node-1", "node-2"):
            kill(two.cluster, f"nl-{node}-agent")
            until(
                bool,
                lambda node=node: [
                    p for n, p in processes(two.command, two.cluster) if n == f"nl-{node}-agent"
                ],
            )
    two.rolled_out("web")
    assert len(leases(two)) == 8
    two("delete", "deployment", "web", "--wait=false")
    for node in ("node-1", "node-2"):
        kill(two.cluster, f"nl-{node}-agent")
    until(lambda left: left == {}, lambda: leases(two))
    until(lambda left: left == before, lambda: veths(two))


def test_a_definition_that_is_gone_keeps_no_pod_from_going(two):
    deploy(two, "web", "blue", 2)
    two.rolled_out("web")
    two("delete", "net-attach-def", "blue")
    two("delete", "deployment", "web")
    until(lambda left: left == {}, lambda: leases(two))


def test_a_further_interface_in_the_clusters_own_network_is_under_its_policies(two):
    two.apply(definition("own", type="netloom"))
    deploy(two, "web", "own", 1)
    deploy(two, "client", "", 1)
    two.rolled_out("web")
    two.rolled_out("client")
    (web,) = two.pods("web").values()
    first, own = status(web)
    assert own["name"] == f"{two.namespace}/own"
    both = (*first["ips"], *own["ips"])
    code = """
def reach(address):
    try:
        socket.create_connection((address, 8080), 2).close()
        return True
    except OSError:
        return False

tell(until(lambda found: found == [ARGUMENTS[0] == "yes"] * 2, lambda: [reach(a) for a in ARGUMENTS[1:]]))
"""
    client = two.pod("client")
    assert two.python(client, code, "yes", *both) == [True, True]
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]}
    two.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "no"},
            "spec": spec,
        }
    )
    assert two.python(client, code, "no", *both) == [False, False]
    two("delete", "networkpolicy", "no")
    assert two.python(client, code, "yes", *both) == [True, True]
    two("delete", "deployment", "web", "client")


def test_a_node_that_is_dead_leaks_no_address(command):
    """Its agent and its runner stop, as with the power gone; somebody takes the Node and its pods away."""
    command.down("doomed")
    command.up("doomed", "--nodes", "2")
    stopped = []
    try:
        for place in _place(command, "doomed"):
            place.pool = "blue"
            pool = {"cidrs": ["10.90.0.0/24"]}
            place.apply(
                {
                    "apiVersion": "netloom.io/v1alpha1",
                    "kind": "NetworkPool",
                    "metadata": {"name": "blue"},
                    "spec": pool,
                },
                definition(
                    "blue", type="bridge", bridge="br-blue", ipam={"type": "netloom-ipam", "pool": "blue"}
                ),
            )
            deploy(place, "web", "blue", 2)
            place.rolled_out("web")
            (lost,) = (n for n, pod in place.pods("web").items() if pod["spec"]["nodeName"] == "node-2")
            (freed,) = (a for a, holder in leases(place).items() if holder["node"] == "node-2")
            for name, pid in processes(command, "doomed"):
                if name in {"nl-node-2-agent", "nl-node-2-runner"[:15]}:
                    os.kill(pid, signal.SIGSTOP)
                    stopped.append(pid)
            assert len(stopped) == 2
            place("scale", "deployment", "web", "--replicas=1")
            place("delete", "node", "node-2")
            place("delete", "pod", lost, "--force", "--grace-period=0", "--wait=false", "--ignore-not-found")
            left = until(
                lambda left, freed=freed: freed not in left, lambda place=place: leases(place), timeout=90
            )
            assert {holder["node"] for holder in left.values()} == {"node-1"}
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        command.down("doomed")
