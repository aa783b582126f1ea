"""Each process of a cluster may be killed at any moment: what can go on goes on, what ended comes back by itself, and
what was acknowledged is there.
"""

import http.client
import json
import os
import signal
import threading

import pytest

pytestmark = pytest.mark.cluster

TCP = "traffic(lambda: answer_of(ARGUMENTS[0], 80, timeout=2)[0])"
NAMES = """
def ask():
    try:
        return socket.gethostbyname(ARGUMENTS[0])
    except OSError as error:
        return f"E{error.errno}"

traffic(ask)
"""


def pinned(place, name, node, **container):
    """A pod on this node."""
    container = {"name": "c", "image": f"example/{name}", "ports": [{"containerPort": 8080}], **container}
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1, "containers": [container]},
        }
    )
    place("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=30s")
    return name


def fresh_service_works(place, pod, backend, name):
    """A Service made now is resolvable and answers: API server, controllers, and this pod's agent and DNS are at work."""
    place.service(name, selector={"app": backend})
    code = "tell(until(lambda a: a[0][0] != 'E' and 'gaierror' not in a[0], lambda: answer_of(ARGUMENTS[0], 80))[0])"
    return place.python(pod, code, name)


def test_traffic_names_and_acknowledged_writes_survive_the_api_server(rough_place, kill):
    place = rough_place
    place.deploy("web", replicas=2)
    address = place.service("web")["clusterIP"]
    pod = pinned(place, "client", "node-1")
    # not through the API server's own streams: they end with it
    path = f"/api/v1/namespaces/{place.namespace}/configmaps"
    acknowledged, stop = [], threading.Event()
    enough = threading.Event()

    def write():
        for number in range(100_000):
            if stop.is_set():
                return
            document = {"metadata": {"name": f"c{number}"}, "data": {"n": str(number)}}
            try:
                code, _ = place.http("POST", path, document)
            except (OSError, ValueError, http.client.HTTPException):
                continue
            if code == 201:
                acknowledged.append(f"c{number}")
                if len(acknowledged) >= 100:
                    enough.set()

    code = TCP.replace("ARGUMENTS[0]", repr(address))
    background = in_background(place, pod, code)
    _, revision = place.http("GET", path)
    writer = threading.Thread(target=write)
    writer.start()
    assert enough.wait(30)
    kill(place.cluster, "nl-apiserver")
    stop.set()
    writer.join(30)
    answering(place)
    kept = {item["metadata"]["name"] for item in place.get("configmaps")["items"]}
    assert set(acknowledged) <= kept
    assert fresh_service_works(place, pod, "web", "after").startswith("web-")
    seen = background()
    assert sum(seen.values()) > 50
    assert all(answer.startswith("web-") for answer in seen), seen
    # history is not kept over a restart: who asks for what came before it is told so
    old = revision["metadata"]["resourceVersion"]
    place("create", "configmap", "newer")
    watched = place.command.kubectl(
        place.cluster, "get", "--raw", f"{path}?watch=1&timeoutSeconds=2&resourceVersion={old}", check=False
    )
    assert '"code":410' in watched.stdout


def answering(place):
    """Returns when the API server answers; kubectl's own wait stands for the pause between two questions."""
    for _ in range(40):
        if place.kubectl("get", "namespace", place.namespace, check=False, timeout=20).returncode == 0:
            return
    pytest.fail("the API server did not come back")


def in_background(place, pod, code):
    """Traffic from inside the pod by a process that no killed one takes along; the returned function ends it."""
    script = place.start_in_pod(pod, code)
    assert script.fact() == "going"

    def end():
        script.say("stop\n")
        return script.fact()

    return end


@pytest.mark.parametrize("node", ["node-1"])
def test_connections_and_names_survive_the_agent(rough_place, kill, node):
    place = rough_place
    place.deploy("web", replicas=2)
    address = place.service("web")["clusterIP"]
    pod = pinned(place, "client", node)
    connections = in_background(place, pod, TCP.replace("ARGUMENTS[0]", repr(address)))
    names = in_background(place, pod, NAMES.replace("ARGUMENTS[0]", "'web'"))
    kill(place.cluster, f"nl-{node}-agent")
    assert fresh_service_works(place, pod, "web", "after").startswith("web-")
    # pods can be added and removed on this node again
    pinned(place, "late", node)
    place("delete", "pod", "late", "--timeout=30s")
    seen = connections()
    assert sum(seen.values()) > 50
    assert all(answer.startswith("web-") for answer in seen), seen
    assert set(names()) == {address}


def test_names_come_back_after_the_dns_server(rough_place, kill):
    place = rough_place
    address = place.service("web")["clusterIP"]
    pod = pinned(place, "client", "node-2")
    code = """
def ask():
    try:
        return socket.gethostbyname("web")
    except socket.gaierror as error:
        return error.errno

tell(until(lambda a: a == ARGUMENTS[0], ask))
"""
    assert place.python(pod, code, address) == address
    kill(place.cluster, "nl-node-2-dns")
    lost = "tell(until(lambda a: a == ARGUMENTS[0] or a == socket.EAI_NONAME, ask))"
    found = place.python(pod, code.replace(code.splitlines()[-1], lost), address)
    assert found == address, "a server that has not been told the names yet must not deny them"
    place.service("after")
    assert place.python(pod, 'tell(socket.gethostbyname("after"))')


def test_no_question_is_lost_while_one_dns_server_follows_another(rough_place, kill):
    """Their sockets are kept by process 1: who asks in between waits, and is answered well within a resolver's patience."""
    place = rough_place
    address = place.service("web")["clusterIP"]
    pod = pinned(place, "client", "node-2")
    names = in_background(place, pod, NAMES.replace("ARGUMENTS[0]", "'web'"))
    for number in range(2):
        kill(place.cluster, "nl-node-2-dns")
        later = place.service(f"later-{number}")["clusterIP"]
        assert place.python(pod, "tell(socket.gethostbyname(ARGUMENTS[0]))", f"later-{number}") == later
    seen = names()
    assert set(seen) == {address}, "not one answer was another, or none"


def test_the_controllers_come_back(rough_place, kill):
    place = rough_place
    place.deploy("web", replicas=2)
    kill(place.cluster, "nl-controllers")
    before = set(place.pods("web"))
    place("delete", "pod", next(iter(before)))
    place("scale", "deployment", "web", "--replicas=3")
    place.rolled_out("web")
    place("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=30s")
    assert len(set(place.pods("web")) & before) == 1


def test_pods_outlive_their_runner(rough_place, kill):
    place = rough_place
    # a probe that comes late: a pod that was ready stays it until a probe says else
    pinned(place, "web", "node-3", readinessProbe={"httpGet": {"port": 8080}, "initialDelaySeconds": 2})
    pinned(place, "doomed", "node-3")
    address = place.service("web")["clusterIP"]
    pod = pinned(place, "client", "node-1")
    before = place.get("pod", "web")["status"]
    traffic = in_background(place, pod, TCP.replace("ARGUMENTS[0]", repr(address)))
    kill(place.cluster, "nl-node-3-runne")
    place("delete", "pod", "doomed", "--timeout=30s")
    pinned(place, "late", "node-3")
    assert place.run("web", "hostname").stdout == "web\n"
    after = place.get("pod", "web")["status"]
    assert after["podIP"] == before["podIP"]
    (was,), (now,) = before["containerStatuses"], after["containerStatuses"]
    assert now["restartCount"] == 0
    assert (now["containerID"], now["state"]) == (was["containerID"], was["state"])
    seen = traffic()
    assert set(seen) == {"web"}, seen


def test_stand_ins_come_back(rough_place, kill):
    place = rough_place
    pinned(place, "web", "node-3")
    address = place.service("web")["clusterIP"]
    pod = pinned(place, "client", "node-1")
    code = "tell(until(lambda a: a[0] == 'web', lambda: answer_of(ARGUMENTS[0], 80, timeout=1))[0])"
    assert place.python(pod, code, address) == "web"
    kill(place.cluster, "nl-node-3-stand")
    assert place.python(pod, code, address) == "web"
    place("wait", "pod/web", "--for=condition=Ready", "--timeout=30s")
    assert place.get("pod", "web")["status"]["phase"] == "Running"


def test_writes_acknowledged_before_the_supervisor_was_killed_are_there_after(command, home):
    command.down("killed")
    command.up("killed", "--nodes", "1")
    acknowledged, enough = [], threading.Event()
    supervisor = int((home / "clusters" / "killed" / "supervisor.pid").read_text())
    try:
        place = command.place("killed", "default")

        def write():
            for number in range(100_000):
                document = {"metadata": {"name": f"c{number}"}, "data": {"n": "x" * 500}}
                try:
                    code, _ = place.http("POST", "/api/v1/namespaces/default/configmaps", document)
                except (OSError, ValueError, http.client.HTTPException):
                    return
                if code == 201:
                    acknowledged.append(f"c{number}")
                    if len(acknowledged) == 200:
                        enough.set()

        writer = threading.Thread(target=write)
        writer.start()
        assert enough.wait(30)
        os.kill(supervisor, signal.SIGKILL)
        writer.join(30)
        assert not writer.is_alive()
        command.up("killed", "--nodes", "1")
        found = json.loads(command.kubectl("killed", "get", "configmaps", "-o", "json").stdout)["items"]
        assert set(acknowledged) <= {item["metadata"]["name"] for item in found}
        command.kubectl("killed", "create", "deployment", "web", "--image=web", "--port=80")
        command.kubectl("killed", "rollout", "status", "deployment/web", "--timeout=30s")
    finally:
        command.down("killed")


WEB = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {
                        "containers": [{"name": "c", "image": "web", "ports": [{"containerPort": 8080}]}]
                    },
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    ],
}


def test_a_cluster_that_was_killed_says_ready_only_when_it_is_so_again(command, home, tmp_path):
    """What its objects said of pods and nodes died with it: Services lead to the addresses of now, never to those of before."""
    manifest = tmp_path / "web.json"
    manifest.write_text(json.dumps(WEB))
    words = ("killed", "--nodes", "2", "-f", str(manifest))
    command.down("killed")

    def up():
        command.up(*words)
        place = command.place("killed", "default")
        slices = place.get("endpointslices", "-l", "kubernetes.io/service-name=web")["items"]
        endpoints = [e for s in slices for e in s["endpoints"] if e["conditions"]["ready"]]
        pods = place.pods("web").values()
        assert {a for e in endpoints for a in e["addresses"]} == {p["status"]["podIP"] for p in pods}
        assert len(endpoints) == 3
        for status in (p["status"] for p in pods):
            (ready,) = (c for c in status["conditions"] if c["type"] == "Ready")
            (started,) = (c["state"]["running"]["startedAt"] for c in status["containerStatuses"])
            assert ready["lastTransitionTime"] >= started, "ready since before it ran"
        return {p["metadata"]["uid"]: p["status"]["podIP"] for p in pods}

    try:
        before = up()
        os.kill(int((home / "clusters" / "killed" / "supervisor.pid").read_text()), signal.SIGKILL)
        after = up()
        assert after.keys() == before.keys()
        assert after != before, "same addresses: words of before and of now cannot be told apart here"
    finally:
        command.down("killed")
