"""Rolling updates under load lose no request: the manifest of docs/rollouts.md, as a reader would copy it, fifty times over."""

import contextlib
import itertools
import json
import os
import re
import signal
from pathlib import Path

import pytest
import yaml
from tests.cluster.conftest import processes
from tests.cluster.load import end_load, start_load

pytestmark = pytest.mark.cluster

ROLLOUTS = 25
"""Of each half: fifty in all."""
PAGE = Path(__file__).parents[2] / "docs/rollouts.md"


def blocks():
    """The YAML of the page."""
    found = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [list(yaml.safe_load_all(block)) for block in found]


def manifests():
    """The Deployment and the Service of the page."""
    documents = blocks()[0]
    assert [d["kind"] for d in documents] == ["Deployment", "Service"]
    return documents


@pytest.fixture(scope="module")
def rolling(command):
    """A cluster of this module's own: its first node takes no server, so that all load of it comes from elsewhere."""
    command.down("rolling")
    command.up("rolling")
    yield "rolling"
    command.down("rolling")


@pytest.fixture
def shop(command, rolling):
    """The namespace that the page names."""
    place = command.place(rolling, "shop")
    place("create", "namespace", "shop")
    yield place
    place.close()
    place("delete", "namespace", "shop")


@contextlib.contextmanager
def without_node(place, node):
    place("cordon", node)
    try:
        yield
    finally:
        place("uncordon", node)


def deploy(place, change=lambda deployment: None):
    """The page's manifest; the Service's address."""
    deployment, service = manifests()
    change(deployment)
    place.apply(deployment, service)
    place.rolled_out("cart")
    place.command.netloom("wait", "--name", place.cluster, "service/cart", "-n", "shop")
    return place.get("service", "cart")["spec"]["clusterIP"]


def roll(place):
    # `rollout restart` writes the second into the template, and refuses a second one within it
    turn = f'{{"spec":{{"template":{{"metadata":{{"annotations":{{"turn":"{next(TURNS)}"}}}}}}}}}}'
    place("patch", "deployment/cart", "-p", turn)
    place.rolled_out("cart")


TURNS = itertools.count()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("half", ["first", "second"])
def test_fifty_rollouts_under_load_lose_no_request(shop, half):
    with without_node(shop, "node-1"):
        address = deploy(shop)
        scripts = start_load(shop, address, ["node-1", "node-2"])
        for _ in range(ROLLOUTS):
            roll(shop)
        seen = end_load(scripts)
    for one in seen:
        assert one["failures"] == []
        assert one["short"] > 20 * ROLLOUTS
        assert one["long"] > 20 * ROLLOUTS
        assert len(one["pods"]) > ROLLOUTS, "the load saw the pods change"


def by_itself(deployment):
    """The page's other hook: each pod asks for itself."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (hook,) = blocks()[1]
    assert "exec" in hook["lifecycle"]["preStop"]
    container |= hook


def test_pods_that_ask_for_themselves_lose_no_request(shop):
    """Although they are behind two Services, of which each has clients."""
    with without_node(shop, "node-1"):
        first = deploy(shop, by_itself)
        second = shop.service("also", {"port": 80, "targetPort": "http"}, selector={"app": "cart"})[
            "clusterIP"
        ]
        scripts = [*start_load(shop, first, ["node-1"]), *start_load(shop, second, ["node-2"])]
        for _ in range(5):
            roll(shop)
        seen = end_load(scripts)
    assert [one["failures"] for one in seen] == [[], []]
    assert answers(shop, "200") >= 15, "each old pod has asked, and has been answered"


def answers(place, code):
    """How many hooks the agents have answered so since they started."""
    total = 0
    for node in ("node-1", "node-2", "node-3"):
        page = metrics(place, node)
        found = re.findall(rf'^netloom_drained_answers_total{{code="{code}"}} (\d+)', page, re.MULTILINE)
        total += sum(map(int, found))
    return total


def metrics(place, node):
    (pid,) = (pid for name, pid in processes(place.command, place.cluster) if name == f"nl-{node}-agent")
    own = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    words = ["nsenter", "--target", str(pid), *own, "--net", "curl", "-sS", "http://127.0.0.1:10249/metrics"]
    return place.command._run(words, check=True, timeout=20).stdout


def as_usual(deployment):
    """As most Deployments are: ready when its containers are, asked to end when nobody has been told yet."""
    spec = deployment["spec"]["template"]["spec"]
    del spec["readinessGates"]
    del spec["containers"][0]["lifecycle"]


def killed(deployment):
    """As above, and without time to end."""
    as_usual(deployment)
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 0


def test_the_same_load_notices_pods_that_are_just_killed(shop):
    with without_node(shop, "node-1"):
        address = deploy(shop, killed)
        scripts = start_load(shop, address, ["node-1"])
        for _ in range(3):
            roll(shop)
        (seen,) = end_load(scripts)
    assert seen["failures"] != []


@contextlib.contextmanager
def agent_stands_still(place, node):
    """Nothing comes in force on this node meanwhile; what was, stays."""
    (pid,) = (pid for name, pid in processes(place.command, place.cluster) if name == f"nl-{node}-agent")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_node_that_lags_behind_puts_a_rollout_off_and_loses_no_request(shop):
    with without_node(shop, "node-1"):
        address = deploy(shop)
        scripts = start_load(shop, address, ["node-1"])
        before = set(shop.pods("cart"))
        with agent_stands_still(shop, "node-1"):
            shop("rollout", "restart", "deployment/cart")
            shop("wait", "deployment/cart", "--for=jsonpath={.status.updatedReplicas}=1", "--timeout=30s")
            (new,) = set(shop.pods("cart")) - before
            shop("wait", f"pod/{new}", "--for=condition=ContainersReady", "--timeout=30s")
            late = shop.refused("wait", f"pod/{new}", "--for=condition=Ready", "--timeout=1s")
            assert "timed out" in late
        shop.rolled_out("cart")
        (seen,) = end_load(scripts)
    assert seen["failures"] == []


def test_without_the_hook_a_node_that_lags_behind_loses_requests(shop):
    with without_node(shop, "node-1"):
        address = deploy(shop, as_usual)
        scripts = start_load(shop, address, ["node-1"])
        old = [f"pod/{name}" for name in shop.pods("cart")]
        with agent_stands_still(shop, "node-1"):
            roll(shop)
            shop("wait", *old, "--for=delete", "--timeout=30s")
            (seen,) = end_load(scripts)
    assert seen["failures"] != []


def test_a_pod_does_not_end_before_the_last_node_knows(shop, command):
    """An agent that stands still holds back its node's ack, and with it the hook, until it goes on."""
    words = ("wait", "--name", shop.cluster, "service/cart", "-n", "shop", "-o", "json")
    with without_node(shop, "node-3"):
        deploy(shop)
        name = shop.pod("cart")
        with agent_stands_still(shop, "node-3"):
            shop("delete", "pod", name, "--wait=false")
            still_there = shop.refused("wait", f"pod/{name}", "--for=delete", "--timeout=2s")
            assert "timed out" in still_there
            late = command.netloom(*words, "--timeout", "100ms", check=False)
            assert late.returncode == 8
            assert {lack["node"] for lack in json.loads(late.stdout)["lacking"]} == {"node-3"}
        shop("wait", f"pod/{name}", "--for=delete", "--timeout=20s")
        assert json.loads(command.netloom(*words).stdout)["in_force"]
