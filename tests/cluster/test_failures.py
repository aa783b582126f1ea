"""Failure on purpose, with real packets: nodes whose power goes, links that are cut; and all as before once they are mended."""

import json
import time

import pytest
from tests.cluster.conftest import processes

pytestmark = pytest.mark.cluster

ASK = """
answer = until(lambda a: (a == ARGUMENTS[2]) is (ARGUMENTS[1] == "reach"), lambda: answer_of(ARGUMENTS[0], 8080, timeout=1)[0], float(ARGUMENTS[3]))
tell(answer)
"""
LOAD = """
found = {}
def once():
    said = answer_of(ARGUMENTS[0], 80, timeout=10)[0]
    found[said] = found.get(said, 0) + 1
    return said
import socket
until(lambda gone: gone, lambda: ARGUMENTS[1] not in {once() for _ in range(12)}, 60)
before = dict(found)
for _ in range(60):
    once()
names = [a[4][0] for a in socket.getaddrinfo(ARGUMENTS[2], 80, socket.AF_INET, socket.SOCK_STREAM)]
tell({"gone": {k: v - before.get(k, 0) for k, v in found.items() if v - before.get(k, 0)}, "names": names})
"""


@pytest.fixture(scope="module")
def broken(command):
    """A cluster that notices the death of a node within seconds."""
    command.down("broken")
    command.up("broken", "--node-grace", "3", "--eviction-after", "2")
    yield "broken"
    command.down("broken")


@pytest.fixture
def ruin(command, broken):
    """A namespace in it; afterwards everything is mended."""
    place = command.place(broken, f"t{time.monotonic_ns()}")
    place("create", "namespace", place.namespace)
    yield Ruin(command, place)
    place.close()
    command.netloom("link", "heal", "--name", broken)
    for one in states(command, broken).values():
        if one["power"] == "off":
            command.netloom("node", "start", one["node"], "--name", broken)
    place("delete", "namespace", place.namespace, "--wait=false")


def states(command, cluster):
    done = command.netloom("node", "ls", "--name", cluster, "-o", "json")
    return {one["node"]: one for one in json.loads(done.stdout)}


class Ruin:
    """Breaks things of one cluster, and asks from pod to pod."""

    def __init__(self, command, place) -> None:
        self.command, self.place = command, place

    def netloom(self, *words, **options):
        return self.command.netloom(*words, "--name", self.place.cluster, "-o", "json", **options)

    def pinned(self, name, node, *, stays=False):
        """A pod on a node, which stays there whatever happens, or leaves it as pods do."""
        tolerations = [{"operator": "Exists"}] if stays else []
        container = {"name": "c", "image": "example/web", "ports": [{"containerPort": 8080}]}
        spec = {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "tolerations": tolerations,
            "containers": [container],
        }
        self.place.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "labels": {"app": name}},
                "spec": spec,
            }
        )

    def ready(self, *pods, timeout=55):
        self.place("wait", *(f"pod/{p}" for p in pods), "--for=condition=Ready", f"--timeout={timeout}s")

    def node_is(self, node, status):
        """Wait until condition Ready has this status."""
        self.place("wait", f"node/{node}", f"--for=condition=Ready={status}", "--timeout=55s")

    def address(self, pod):
        return self.place.get("pod", pod)["status"]["podIP"]

    def reaches(self, one, other):
        """Whether a packet gets from pod to pod, once that is settled; a pod that begins anew may have another address."""
        return any(self._ask(one, other, "reach", 15) == other for _ in range(4))

    def is_cut(self, one, other):
        return self._ask(one, other, "lose", 40) != other

    def _ask(self, one, other, wanted, seconds):
        return self.place.python(one, ASK, self.address(other), wanted, other, seconds)


def test_a_node_that_is_killed_is_left_and_comes_back_as_it_was(ruin):
    place = ruin.place
    ruin.pinned("client", "node-1", stays=True)
    ruin.pinned("keeps", "node-2", stays=True)
    ruin.pinned("leaves", "node-2")
    place("label", "pod", "leaves", "app=web", "--overwrite")
    place.deploy("web", replicas=2, wait=False)
    place.service("web")
    ruin.ready("client", "keeps", "leaves")
    place.rolled_out("web")
    before = {name for name, _ in processes(ruin.command, place.cluster)}
    assert "nl-node-2-runne" in before

    done = json.loads(ruin.netloom("node", "kill", "node-2").stdout)
    assert {one["node"]: one["power"] for one in done} == {"node-1": "on", "node-2": "off", "node-3": "on"}
    left = {name for name, _ in processes(ruin.command, place.cluster)}
    assert not {name for name in left if name.startswith("nl-node-2")}
    ruin.node_is("node-2", "Unknown")
    # its pods leave the endpoints, and nobody notices any more; names are answered as ever
    address = place.get("service", "web")["spec"]["clusterIP"]
    service = f"web.{place.namespace}.svc.cluster.local"
    found = place.python("client", LOAD, address, "leaves", service)
    assert sum(found["gone"].values()) == 60
    assert set(found["gone"]) <= set(place.pods("web")), found
    assert found["names"] == [address]
    # those that do not say that they stay are evicted, and replaced elsewhere
    place("wait", "pod/leaves", "--for=condition=DisruptionTarget", "--timeout=55s")
    place.rolled_out("web")
    assert "deletionTimestamp" in place.get("pod", "leaves")["metadata"]
    assert "deletionTimestamp" not in place.get("pod", "keeps")["metadata"]
    taints = {t["key"] for t in place.get("node", "node-2")["spec"]["taints"]}
    assert taints == {"node.kubernetes.io/unreachable"}

    ruin.netloom("node", "start", "node-2")
    place("wait", "pod/leaves", "--for=delete", "--timeout=55s")
    ruin.ready("keeps")
    assert place.get("pod", "keeps")["status"]["containerStatuses"][0]["restartCount"] == 1
    assert ruin.reaches("client", "keeps")
    assert ruin.reaches("keeps", "client")


def test_a_node_that_is_shut_down_starts_again(ruin):
    ruin.pinned("client", "node-1", stays=True)
    ruin.pinned("keeps", "node-3", stays=True)
    ruin.ready("client", "keeps")
    ruin.netloom("node", "stop", "node-3")
    again = ruin.netloom("node", "stop", "node-3", check=False)
    assert (again.returncode, "is off" in again.stderr) == (3, True)
    ruin.netloom("node", "start", "node-3")
    ruin.node_is("node-3", "True")
    assert ruin.reaches("client", "keeps")
    assert ruin.netloom("node", "kill", "node-9", check=False).returncode == 4


def test_a_link_between_two_nodes_is_cut_and_no_other(ruin):
    for number in (1, 2, 3):
        ruin.pinned(f"p{number}", f"node-{number}", stays=True)
    ruin.ready("p1", "p2", "p3")
    assert ruin.reaches("p1", "p2")
    ruin.netloom("link", "cut", "node-2", "node-1")
    assert states(ruin.command, ruin.place.cluster)["node-1"]["apart_from"] == ["node-2"]
    assert ruin.is_cut("p1", "p2")
    assert ruin.is_cut("p2", "p1")
    for one, other in (("p1", "p3"), ("p3", "p1"), ("p2", "p3"), ("p3", "p2")):
        assert ruin.reaches(one, other), (one, other)
    ruin.netloom("link", "heal", "node-1", "node-2")
    assert ruin.reaches("p1", "p2")
    assert ruin.reaches("p2", "p1")


def test_a_cable_that_is_pulled_and_put_back_leaves_no_trace(ruin):
    ruin.pinned("client", "node-1", stays=True)
    ruin.pinned("far", "node-3", stays=True)
    ruin.ready("client", "far")
    address = ruin.address("far")
    ruin.netloom("link", "cut", "node-3")
    ruin.node_is("node-3", "Unknown")
    ruin.place("wait", "pod/far", "--for=condition=Ready=False", "--timeout=55s")
    assert ruin.is_cut("client", "far")
    ruin.netloom("link", "heal", "node-3")
    ruin.node_is("node-3", "True")
    ruin.ready("far")
    assert ruin.reaches("client", "far")
    # the pod has lived on
    assert ruin.address("far") == address
    assert ruin.place.get("pod", "far")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_slow_link_is_slow_or_the_kernel_is_named(ruin):
    ruin.pinned("client", "node-1", stays=True)
    ruin.pinned("far", "node-2", stays=True)
    ruin.ready("client", "far")
    done = ruin.netloom("link", "delay", "node-2", "100ms", check=False)
    if done.returncode == 5:
        assert "netem" in done.stderr
        assert states(ruin.command, ruin.place.cluster)["node-2"]["link"] == "up"
        return
    assert done.returncode == 0, done.stderr
    code = "tell(min(answer_of(ARGUMENTS[0], 8080)[1] for _ in range(5)))"
    assert ruin.place.python("client", code, ruin.address("far")) > 0.2
    ruin.netloom("link", "heal", "node-2")
    assert ruin.place.python("client", code, ruin.address("far")) < 0.2


def test_a_budget_keeps_pods_that_are_needed(place):
    place.deploy("db", replicas=2)
    budget = {"minAvailable": 2, "selector": {"matchLabels": {"app": "db"}}}
    place.apply(
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "db"}, "spec": budget}
    )
    place("wait", "pdb/db", "--for=jsonpath={.status.currentHealthy}=2", "--timeout=55s")
    pod = place.pod("db")
    path = f"/api/v1/namespaces/{place.namespace}/pods/{pod}/eviction"
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    code, status = place.http("POST", path, body)
    assert (code, status["reason"]) == (429, "TooManyRequests")
    assert status["details"]["causes"][0]["message"] == (
        "The disruption budget db needs 2 healthy pods and has 2 currently"
    )
    place("patch", "pdb", "db", "--type=merge", "-p", '{"spec": {"minAvailable": 1}}')
    place("wait", "pdb/db", "--for=jsonpath={.status.disruptionsAllowed}=1", "--timeout=55s")
    assert place.http("POST", path, body)[0] == 201
    place("wait", f"pod/{pod}", "--for=delete", "--timeout=55s")
    place.rolled_out("db")


def test_pods_that_keep_apart_have_a_node_each_and_one_too_many_says_why_it_waits(place):
    apart = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "alone"}}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    for number in range(4):
        container = {"name": "c", "image": "example/web"}
        place.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"alone-{number}", "labels": {"app": "alone"}},
                "spec": {"affinity": affinity, "terminationGracePeriodSeconds": 1, "containers": [container]},
            }
        )
    for number in range(3):
        place("wait", f"pod/alone-{number}", "--for=condition=Ready", "--timeout=55s")
    assert len({p["spec"]["nodeName"] for n, p in place.pods("alone").items() if n != "alone-3"}) == 3
    place("wait", "pod/alone-3", "--for=condition=PodScheduled=False", "--timeout=55s")
    (condition,) = place.get("pod", "alone-3")["status"]["conditions"]
    assert condition["message"].startswith(
        "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
    )
    place("delete", "pod", "alone-1", "--wait=false")
    place("wait", "pod/alone-3", "--for=condition=Ready", "--timeout=55s")
