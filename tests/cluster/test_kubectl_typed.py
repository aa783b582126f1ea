"""kubectl's typed commands, which send protobuf since 1.32, and its other verbs, on a running cluster."""

import json
import re
import socket
import subprocess

import pytest

pytestmark = pytest.mark.cluster


class Kubectl:
    """kubectl on one cluster, in one namespace."""

    def __init__(self, command, cluster, namespace):
        self.command, self.cluster, self.namespace = command, cluster, namespace

    def __call__(self, *words, stdin=None):
        return self.command.kubectl(self.cluster, "-n", self.namespace, *words, stdin=stdin).stdout

    def refused(self, *words):
        done = self.command.kubectl(self.cluster, "-n", self.namespace, *words, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr

    def get(self, *words):
        return json.loads(self("get", *words, "-o", "json"))


@pytest.fixture
def kubectl(command, plain, request):
    namespace = "typed-" + re.sub(r"[^a-z]+", "-", request.node.name.removeprefix("test_"))[:40].strip("-")
    made = Kubectl(command, plain, namespace)
    made("create", "namespace", namespace)
    yield made
    made("delete", "namespace", namespace, "--wait=false")


def test_small_objects_arrive_whole(kubectl):
    kubectl("create", "configmap", "conf", "--from-literal=a=b", "--from-literal=empty=")
    assert kubectl.get("configmap", "conf")["data"] == {"a": "b", "empty": ""}
    kubectl("create", "secret", "generic", "key", "--from-literal=k=v")
    secret = kubectl.get("secret", "key")
    assert (secret["data"], secret["type"]) == ({"k": "dg=="}, "Opaque")
    kubectl("create", "serviceaccount", "robot")
    found = kubectl.get("serviceaccount", "robot")
    assert found.keys() == {"apiVersion", "kind", "metadata"}
    assert found["metadata"]["creationTimestamp"]
    assert "annotations" not in found["metadata"]


def test_services(kubectl):
    kubectl("create", "service", "clusterip", "plain", "--tcp=80:8080", "--tcp=443:https")
    ports = kubectl.get("service", "plain")["spec"]["ports"]
    assert [(p["port"], p["targetPort"]) for p in ports] == [(80, 8080), (443, "https")]
    kubectl("create", "service", "clusterip", "headless", "--clusterip=None")
    assert kubectl.get("service", "headless")["spec"]["clusterIP"] == "None"
    kubectl("create", "service", "nodeport", "outside", "--tcp=80:8080")
    assert kubectl.get("service", "outside")["spec"]["ports"][0]["nodePort"] >= 30000
    kubectl("create", "service", "externalname", "away", "--external-name=example.org")
    away = kubectl.get("service", "away")["spec"]
    assert (away["type"], away["externalName"]) == ("ExternalName", "example.org")
    assert "clusterIP" not in away
    kubectl("create", "service", "loadbalancer", "balanced", "--tcp=80:8080")
    given = "--for=jsonpath={.status.loadBalancer.ingress[0].ipMode}=VIP"
    kubectl("wait", "service/balanced", given, "--timeout=30s")
    told = kubectl.refused("create", "service", "nodeport", "bad", "--tcp=80:8080", "--node-port=99")
    assert "provided port is not in the valid range" in told


def test_a_deployment_from_its_making_to_its_end(kubectl):
    kubectl("create", "deployment", "web", "--image=example.org/web", "--replicas=2", "--port=8080")
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    kubectl("scale", "deployment", "web", "--replicas=3")
    kubectl("set", "image", "deployment/web", "web=example.org/web:2")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    assert kubectl.get("deployment", "web")["status"]["readyReplicas"] == 3
    kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    assert len(kubectl("rollout", "history", "deployment/web").strip().splitlines()) == 5
    kubectl("rollout", "undo", "deployment/web", "--to-revision=1")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    image = kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
    assert image == "example.org/web"
    kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=40s")
    assert kubectl("get", "deployments,replicasets,pods", "-o", "name") == ""


def test_zero_replicas_are_none(kubectl):
    kubectl("create", "deployment", "none", "--image=example.org/none", "--replicas=0")
    kubectl("rollout", "status", "deployment/none", "--timeout=30s")
    assert kubectl.get("deployment", "none")["spec"]["replicas"] == 0
    assert kubectl("get", "pods", "-o", "name") == ""


def test_a_pod_and_all_that_one_does_with_it(kubectl, tmp_path):
    kubectl("run", "tool", "--image=example.org/tool", "--port=9000")
    kubectl("wait", "--for=condition=Ready", "pod/tool", "--timeout=30s")
    kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/tool", "--timeout=30s")
    kubectl("label", "pod", "tool", "a=b")
    kubectl("annotate", "pod", "tool", "a=b")
    assert "listening on port 9000/TCP" in kubectl("logs", "tool")
    source = tmp_path / "file"
    source.write_text("carried")
    kubectl("cp", str(source), "tool:/tmp/file")
    assert kubectl("exec", "tool", "--", "cat", "/tmp/file") == "carried"
    assert "Scheduled" in kubectl("events", "--for=pod/tool")
    assert "Status:           Running" in kubectl("describe", "pod", "tool")
    (tmp_path / "pod.json").write_text(kubectl("get", "pod", "tool", "-o", "json"))
    assert "replaced" in kubectl("replace", "--force", "-f", str(tmp_path / "pod.json"), "--grace-period=1")
    kubectl("wait", "--for=condition=Ready", "pod/tool", "--timeout=30s")
    kubectl("delete", "pod", "tool", "--grace-period=1", "--timeout=30s")
    assert "NotFound" in kubectl.refused("get", "pod", "tool")


def test_a_forwarded_port(kubectl, command, plain):
    kubectl("run", "tool", "--image=example.org/tool", "--port=9000")
    kubectl("wait", "--for=condition=Ready", "pod/tool", "--timeout=30s")
    words = command.kubectl_words(plain, "-n", kubectl.namespace, "port-forward", "pod/tool", ":9000")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=command.environment) as forward:
        line = forward.stdout.readline()
        port = int(re.search(r"127\.0\.0\.1:(\d+) -> 9000", line)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with connection.makefile("rb") as answer:
                assert b"hostname: tool" in answer.read()
        forward.terminate()


def test_nodes_are_drained_and_come_back(kubectl):
    kubectl("create", "deployment", "web", "--image=example.org/web", "--replicas=6")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    try:
        kubectl("taint", "node", "node-3", "example.org/a=b:NoSchedule")
        kubectl("taint", "node", "node-3", "example.org/a:NoSchedule-")
        told = kubectl("drain", "node-3", "--ignore-daemonsets", "--force", "--timeout=40s")
        assert "node/node-3 drained" in told
        pods = kubectl.get("pods")["items"]
        assert "node-3" not in {p["spec"].get("nodeName") for p in pods}
    finally:
        kubectl("uncordon", "node-3")
    assert "unschedulable" not in kubectl.get("node", "node-3")["spec"]


def test_what_stands_is_no_difference(kubectl, tmp_path):
    kubectl("create", "service", "clusterip", "web", "--tcp=80:8080")
    for suffix in ("first", "second"):
        manifest = tmp_path / f"{suffix}.json"
        manifest.write_text(kubectl("get", "service", "web", "-o", "json"))
        assert kubectl("diff", "-f", str(manifest)) == ""
        kubectl("apply", "-f", str(manifest))


def test_questions_of_rights_and_refusals(kubectl):
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "*.*" in kubectl("auth", "can-i", "--list")
    assert kubectl("get", "--raw", "/healthz") == "ok"
    kubectl("run", "tool", "--image=example.org/tool")
    kubectl("create", "job", "once", "--image=example.org/once")
    kubectl("create", "quota", "few", "--hard=secrets=9")
    assert "Metrics API not available" in kubectl.refused("top", "nodes")
    assert "AlreadyExists" in kubectl.refused("create", "namespace", kubectl.namespace)
