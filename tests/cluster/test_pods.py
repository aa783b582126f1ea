"""What kubectl shows of, and does inside, running pods: exec, logs, port-forward, cp, probes, the pod's own surroundings."""

import contextlib
import json
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import urllib.request

import pytest

pytestmark = pytest.mark.cluster


def pod_of(*containers, name="p", **spec):
    containers = [{"image": f"example/{c['name']}", **c} for c in containers]
    spec = {"terminationGracePeriodSeconds": 1, "containers": containers, **spec}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": spec,
    }


def ready(place, name="p"):
    place("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=30s")
    return place.get("pod", name)


def container_ready(place, container):
    path = f'{{.status.containerStatuses[?(@.name=="{container}")].ready}}'
    place("wait", "pod/p", f"--for=jsonpath={path}=true", "--timeout=20s")


def port(number, **more):
    return {"containerPort": number, **more}


def test_exec_passes_input_output_and_the_exit_code(place):
    place.apply(pod_of({"name": "c", "ports": [port(8080)]}))
    ready(place)
    done = place.run("p", "sh", "-c", "cat; echo err >&2; exit 7", stdin="in\n", check=False)
    assert (done.returncode, done.stdout) == (7, "in\n")
    assert "err" in done.stderr
    big = "x" * 1_000_000
    assert place.run("p", "cat", stdin=big).stdout == big
    missing = place.run("p", "no-such-program", check=False)
    assert missing.returncode != 0
    assert "no-such-program" in missing.stderr


@pytest.mark.parametrize("protocol", ["websocket", "spdy"])
def test_exec_by_the_present_and_the_former_protocol(place, protocol):
    """kubectl speaks WebSocket with v5.channel.k8s.io; older ones, and this one when told so, SPDY/3.1."""
    place.apply(pod_of({"name": "c"}))
    ready(place)
    variables = {
        **place.command.environment,
        "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": str(protocol == "websocket").lower(),
    }
    words = ("-n", place.namespace, "exec", "-i", "-v=9", "p", "--", "sh", "-c", "cat; exit 4")
    done = subprocess.run(
        place.command.kubectl_words(place.cluster, *words),
        input="both ways\n",
        capture_output=True,
        text=True,
        timeout=60,
        env=variables,
    )
    assert (done.returncode, done.stdout) == (4, "both ways\n")
    assert ("SPDY/3.1" in done.stderr) == (protocol == "spdy")


def test_exec_with_a_terminal(place):
    place.apply(pod_of({"name": "c"}))
    ready(place)
    ours, theirs = pty.openpty()
    words = place.command.kubectl_words(place.cluster, "-n", place.namespace, "exec", "-it", "p", "--", "sh")
    shell = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        os.write(ours, b"tty && echo on-a-$((40+2)); exit 3\n")
        said = b""
        while b"on-a-42" not in said:
            assert select.select([ours], [], [], 20)[0], said
            said += os.read(ours, 4096)
        assert b"/dev/" in said
        assert shell.wait(20) == 3
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def test_logs_tail_follow_and_containers(place):
    place.apply(pod_of({"name": "a", "ports": [port(8080)]}, {"name": "b", "ports": [port(8081)]}))
    ready(place)
    follow = place.start("logs", "p", "-c", "a", "-f", "--tail=0")
    # the follower is there when it shows a request made after it: ask until it does
    place.python("p", 'tell(facts("http://localhost:8080/first"))')
    follow_two = place.start("logs", "p", "-c", "a", "-f")
    assert "/first" in follow_two.until("/first")
    place.python("p", 'tell(facts("http://localhost:8080/second"))')
    assert "/second" in follow_two.until("/second")
    assert "/second" in follow.until("/second")
    tail = place("logs", "p", "-c", "a", "--tail=1").splitlines()
    assert len(tail) == 1
    assert "/second" in tail[0]
    assert "8081" in place("logs", "p", "-c", "b")
    assert "/second" not in place("logs", "p", "-c", "b")
    assert re.match(r"\d{4}-\d\d-\d\dT", place("logs", "p", "-c", "a", "--timestamps", "--tail=1"))
    assert "ghost" in place.refused("logs", "p", "-c", "ghost")
    # a follower hears the end of its pod
    place("delete", "pod", "p")
    assert follow.wait() == 0


def test_port_forward(place):
    place.deploy("web")
    place.service("web")
    for target in ("deployment/web", "service/web"):
        forward = place.start("port-forward", target, f":{80 if 'service' in target else 8080}")
        number = re.search(r"127\.0\.0\.1:(\d+)", forward.line())[1]
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{number}/", timeout=10) as answer:
                assert "hostname: web-" in answer.read().decode()
        forward.end()


def test_port_forward_to_a_closed_port_ends_the_connection_only(place):
    place.apply(pod_of({"name": "c", "ports": [port(8080)]}))
    ready(place)
    forward = place.start("port-forward", "p", ":9", ":8080")
    closed = int(re.search(r"127\.0\.0\.1:(\d+) -> 9", forward.until("127.0.0.1"))[1])
    opened = int(re.search(r"127\.0\.0\.1:(\d+) -> 8080", forward.until("127.0.0.1:"))[1])
    with socket.create_connection(("127.0.0.1", closed), timeout=10) as connection:
        connection.sendall(b"x")
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert "refused" in forward.until("efused")
    assert opened


@pytest.mark.skipif(
    not shutil.which("tar"), reason="kubectl cp needs tar in the pod, which shows this system's files"
)
def test_copying_files(place, tmp_path):
    place.apply(pod_of({"name": "c"}))
    ready(place)
    (tmp_path / "there").write_text("payload\n" * 1000)
    place("cp", str(tmp_path / "there"), "p:/tmp/there")
    place("cp", "p:/tmp/there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "payload\n" * 1000


def test_readiness_of_three_kinds(place):
    probe = {"periodSeconds": 1, "failureThreshold": 1}
    place.apply(
        pod_of(
            {
                "name": "http",
                "ports": [port(8080, name="web")],
                "readinessProbe": {"httpGet": {"path": "/", "port": "web"}, **probe},
            },
            {
                "name": "tcp",
                "ports": [port(8081)],
                "readinessProbe": {"tcpSocket": {"port": 8081}, **probe},
            },
            {
                "name": "exec",
                "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/ready"]}, **probe},
            },
        )
    )
    place("wait", "pod/p", "--for=jsonpath={.status.phase}=Running", "--timeout=20s")
    container_ready(place, "http")
    container_ready(place, "tcp")
    shown = place("get", "pod", "p").splitlines()[1].split()
    assert shown[1:3] == ["2/3", "Running"]
    place.run("p", "touch", "/tmp/ready", container=("-c", "exec"))
    ready(place)
    place.run("p", "rm", "/tmp/ready", container=("-c", "exec"))
    place("wait", "pod/p", "--for=condition=Ready=false", "--timeout=20s")
    assert "Unhealthy" in place("get", "events", "--field-selector", "involvedObject.name=p")


def test_an_unready_pod_gets_no_traffic_until_it_is_ready(place):
    place.apply(
        pod_of(
            {
                "name": "c",
                "ports": [port(8080)],
                "readinessProbe": {
                    "exec": {"command": ["test", "-e", "/tmp/ready"]},
                    "periodSeconds": 1,
                    "failureThreshold": 1,
                },
            }
        )
    )
    address = place.service("p")["clusterIP"]
    place("wait", "pod/p", "--for=jsonpath={.status.phase}=Running", "--timeout=20s")
    place("wait", "endpointslice", "-l", "kubernetes.io/service-name=p", "--for=jsonpath={.endpoints[0].conditions.ready}=false", "--timeout=20s")  # fmt: skip
    refused = place.python("p", "tell(answer_of(ARGUMENTS[0], 80))", address)
    assert refused[0] == "ECONNREFUSED"
    place.run("p", "touch", "/tmp/ready")
    ready(place)
    answered = place.python(
        "p", 'tell(until(lambda a: a[0] == "p", lambda: answer_of(ARGUMENTS[0], 80)))', address
    )
    assert answered[0] == "p"


def test_a_failing_liveness_probe_restarts_the_container(place):
    probe = {
        "exec": {"command": ["sh", "-c", "! test -e /tmp/sick"]},
        "periodSeconds": 1,
        "failureThreshold": 1,
    }
    place.apply(pod_of({"name": "c", "ports": [port(8080)], "livenessProbe": probe}))
    ready(place)
    assert place("get", "pod", "p").splitlines()[1].split()[3] == "0"
    place.run("p", "touch", "/tmp/sick")
    place("wait", "pod/p", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "--timeout=30s")
    assert place("get", "pod", "p").splitlines()[1].split()[3].startswith("1")
    assert "stand-in" in place("logs", "p", "--previous")
    status = place.get("pod", "p")["status"]["containerStatuses"][0]
    assert status["lastState"]["terminated"]["exitCode"] == 137


def test_containers_of_a_pod_share_their_localhost_and_nobody_elses(place):
    place.apply(
        pod_of({"name": "a", "ports": [port(8080)]}, {"name": "b", "ports": [port(8081)]}),
        pod_of({"name": "other"}, name="q"),
    )
    ready(place)
    ready(place, "q")
    seen = place.python("p", 'tell([facts("http://localhost:%d" % p)["container"] for p in (8080, 8081)])')
    assert seen == ["a", "b"]
    assert place.python("q", 'tell(answer_of("127.0.0.1", 8080))')[0] == "ECONNREFUSED"


def test_a_pods_own_surroundings(place):
    place.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"mode": "fast"}}
    )
    place.service("early", clusterIP="", selector={"app": "none"})
    env = [
        {"name": "PLAIN", "value": "1"},
        {"name": "BOTH", "value": "$(PLAIN)2"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}},
    ]
    place.apply(
        pod_of(
            {"name": "c", "env": env},
            hostAliases=[{"ip": "192.0.2.9", "hostnames": ["legacy.example.org"]}],
        )
    )
    pod = ready(place)
    code = """
import os
tell({
    "hostname": socket.gethostname(),
    "hosts": open("/etc/hosts").read(),
    "resolv": open("/etc/resolv.conf").read(),
    "environment": dict(os.environ),
    "processes": [p for p in os.listdir("/proc") if p.isdigit()],
    "alias": socket.gethostbyname("legacy.example.org"),
})
"""
    seen = place.python("p", code)
    assert seen["hostname"] == "p"
    assert f"{pod['status']['podIP']}\tp" in seen["hosts"]
    assert seen["alias"] == "192.0.2.9"
    resolv = seen["resolv"]
    assert "nameserver 10.96.0.10" in resolv
    assert f"search {place.namespace}.svc.cluster.local svc.cluster.local cluster.local" in resolv
    assert "ndots:5" in resolv
    environment = seen["environment"]
    assert environment["BOTH"] == "12"
    assert environment["MODE"] == "fast"
    assert environment["NODE"] == pod["spec"]["nodeName"]
    assert environment["ADDRESS"] == pod["status"]["podIP"]
    assert environment["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert environment["EARLY_SERVICE_HOST"] == place.get("service", "early")["spec"]["clusterIP"]
    assert len(seen["processes"]) < 10, "a pod sees its own processes only"


def test_a_pod_has_namespaces_of_its_own_and_leaves_the_host_alone(place):
    place.apply(pod_of({"name": "c"}))
    ready(place)
    for kind in ("net", "mnt", "pid", "uts"):
        inside = place.run("p", "readlink", f"/proc/self/ns/{kind}").stdout.strip()
        assert inside != os.readlink(f"/proc/self/ns/{kind}"), kind
    written = place.run("p", "sh", "-c", "echo x > /usr/written", check=False)
    assert written.returncode != 0
    assert "Read-only" in written.stderr


def test_a_pod_that_cannot_be_placed_says_why(place):
    place.apply(pod_of({"name": "c"}, nodeSelector={"disk": "tape"}))
    place("wait", "pod/p", "--for=condition=PodScheduled=false", "--timeout=20s")
    reason = place.get("pod", "p")["status"]["conditions"][0]["message"]
    assert "nodes" in reason
    assert place("get", "pod", "p").splitlines()[1].split()[2] == "Pending"
    node = place.get("nodes")["items"][0]["metadata"]["name"]
    place("label", "node", node, "disk=tape")
    try:
        assert ready(place)["spec"]["nodeName"] == node
    finally:
        place("label", "node", node, "disk-")


def test_an_image_name_that_is_none_is_shown(place):
    place.apply(pod_of({"name": "c", "image": "Not An Image"}))
    place("wait", "pod/p", "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=InvalidImageName", "--timeout=20s")  # fmt: skip
    assert "InvalidImageName" in place("get", "pod", "p")


def test_pods_are_spread_over_the_nodes(place):
    place.deploy("web", replicas=6)
    nodes = [p["spec"]["nodeName"] for p in place.pods("web").values()]
    assert sorted(nodes.count(n) for n in set(nodes)) == [2, 2, 2]


def test_restarted_rollout_replaces_pods_and_can_be_undone(place):
    place.deploy("web", replicas=2)
    before = set(place.pods("web"))
    place("set", "image", "deployment/web", "web=example/web:2")
    place.rolled_out("web")
    after = place.pods("web")
    assert not before & set(after)
    assert {p["spec"]["containers"][0]["image"] for p in after.values()} == {"example/web:2"}
    assert len(place("rollout", "history", "deployment/web").strip().splitlines()) >= 4
    place("rollout", "undo", "deployment/web")
    place.rolled_out("web")
    images = {p["spec"]["containers"][0]["image"] for p in place.pods("web").values()}
    assert images == {"example/web"}


def test_netloom_exec_agrees_with_kubectl(place):
    place.apply(pod_of({"name": "c"}))
    ready(place)
    done = place.command.netloom("exec", "--name", place.cluster, f"{place.namespace}/p", "--", "hostname")
    assert done.stdout == place.run("p", "hostname").stdout == "p\n"
    report = json.loads(place.command.netloom("status", "--name", place.cluster, "--output", "json").stdout)[
        0
    ]
    assert any(p["name"] == "p" and p["namespace"] == place.namespace for p in report["pods"])
