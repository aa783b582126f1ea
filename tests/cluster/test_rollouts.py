"""Rolling updates under load lose no request: the manifest of docs/rollouts.md, as a reader would copy it, fifty times over."""

import contextlib
import json
import os
import re
import signal
from pathlib import Path

import pytest
import yaml
from tests.cluster.conftest import processes

pytestmark = pytest.mark.cluster

ROLLOUTS = 25
"""Of each half: fifty in all."""
PAGE = Path(__file__).parents[2] / "docs/rollouts.md"
LOAD = """
import asyncio

HOST, PORT = ARGUMENTS[0], 80
PACE_S = 0.01
SHORT, LONG = 4, 4
seen = {"short": 0, "long": 0, "connections": 0, "pods": {}, "failures": []}
stop = asyncio.Event()


async def answer(reader, writer, kind):
    # one request on an open connection: whether the server closes it afterwards
    keep = "keep-alive" if kind == "long" else "close"
    writer.write(f"GET / HTTP/1.1\\r\\nHost: cart\\r\\nAccept: application/json\\r\\nConnection: {keep}\\r\\n\\r\\n".encode())
    head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode().lower()
    if not head.startswith("http/1.1 200 "):
        raise OSError(head.splitlines()[0])
    length = next(line for line in head.split("\\r\\n") if line.startswith("content-length:"))
    said = json.loads(await reader.readexactly(int(length.split(":")[1])))
    seen[kind] += 1
    seen["pods"][said["pod"]] = seen["pods"].get(said["pod"], 0) + 1
    return "connection: close" in head


async def client(kind):
    while not stop.is_set():
        step = "connect"
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(HOST, PORT)
            seen["connections"] += 1
            closed = False
            while not closed and not stop.is_set():
                step = "request"
                async with asyncio.timeout(10):
                    closed = await answer(reader, writer, kind) or kind == "short"
                await pause()
            writer.close()
        except (OSError, EOFError, TimeoutError) as error:
            seen["failures"].append(f"{kind} {step}: {type(error).__name__} {error}")
            await pause()


async def pause():
    try:
        async with asyncio.timeout(PACE_S):
            await stop.wait()
    except TimeoutError:
        pass


async def main():
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), stop.set)
    async with asyncio.TaskGroup() as group:
        for _ in range(SHORT):
            group.create_task(client("short"))
        for _ in range(LONG):
            group.create_task(client("long"))
        tell("going")
    tell(seen)


asyncio.run(main())
"""


def manifests():
    """The Deployment and the Service of the page."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    documents = list(yaml.safe_load_all(blocks[0]))
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


def load_pod(place, name, node):
    """A pod on a node that load comes from."""
    container = {"name": "load", "image": "example/load", "ports": [{"containerPort": 8080}]}
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]},
        }
    )
    place("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=30s")
    return name


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


def start_load(place, address, nodes):
    scripts = [place.start_python(load_pod(place, f"load-{node}", node), LOAD, address) for node in nodes]
    for script in scripts:
        assert script.fact() == "going"
    return scripts


def roll(place):
    place("rollout", "restart", "deployment/cart")
    place.rolled_out("cart")


def end_load(scripts):
    for script in scripts:
        script.say("stop\n")
    return [script.fact() for script in scripts]


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
