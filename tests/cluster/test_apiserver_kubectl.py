"""An unmodified kubectl against the API server alone: no nodes, no controllers, a certificate authority of the test's own."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netloom.clock import SystemClock
from netloom.local import certs
from netloom.local.apiserver.server import ApiServer, Listener
from netloom.local.apiserver.store import Store

pytestmark = pytest.mark.cluster

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}, annotations: {example.org/owner: shop}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: example.org/web, ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""

GUARD = """
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: NAME}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {matchLabels: {guarded: "yes"}}}
  ingress:
  - {name: monitors, action: Accept, from: [{namespaces: {matchLabels: {role: monitor}}}]}
  egress:
  - action: Deny
    to: [{networks: [192.0.2.0/24]}]
    protocols: [{tcp: {destinationPort: {range: {start: 1, end: 1023}}}}]
"""


def program() -> str:
    for candidate in (os.environ.get("NETLOOM_KUBECTL"), ".cache/bin/kubectl", shutil.which("kubectl")):
        if candidate and Path(candidate).exists():
            return str(Path(candidate).absolute())
    pytest.fail("no kubectl: put 1.30 or newer on PATH, or name it in NETLOOM_KUBECTL")


class Kubectl:
    """kubectl with a kubeconfig of its own, in a namespace of its own."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.words = [program(), "--kubeconfig", str(kubeconfig), "--namespace", namespace]
        self.environment = {**os.environ, "HOME": str(kubeconfig.parent)}
        self.namespace = namespace

    def __call__(self, *words: str, stdin: str | None = None, editor: str = "") -> str:
        done = self.run(*words, stdin=stdin, editor=editor)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def refused(self, *words: str, stdin: str | None = None) -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def run(
        self, *words: str, stdin: str | None = None, editor: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.words, *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env={**self.environment, "KUBE_EDITOR": editor},
        )

    def get(self, *words: str):
        return json.loads(self("get", *words, "-o", "json"))


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory) -> Iterator[Path]:
    """A running server's kubeconfig; the server lives in a thread of its own and ends with the module."""
    directory = tmp_path_factory.mktemp("api")
    authority = certs.Authority.create("test", now=time.time())
    pair = authority.server("kube-apiserver", ["127.0.0.1"])
    for name, data in (
        ("ca.crt", authority.pem),
        ("apiserver.crt", pair.certificate),
        ("apiserver.key", pair.key),
    ):
        (directory / name).write_bytes(data)
    sock = socket.create_server(("127.0.0.1", 0))
    url = f"https://127.0.0.1:{sock.getsockname()[1]}"
    admin = authority.client("admin", ["system:masters"])
    written = certs.kubeconfig(cluster="test", server=url, ca=authority.pem, user="admin", pair=admin)
    (directory / "kubeconfig").write_bytes(written)

    async def serve() -> None:
        nonlocal loop, stop
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        store = Store(directory / "store.db")
        server = ApiServer(
            store=store,
            clock=SystemClock(),
            service_cidrs=[ipaddress.ip_network("10.96.0.0/16")],
            runner_socket=lambda _: None,
        )
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(server.serve([Listener(sock, certs.server_context(directory))]))
            await server.started.wait()
            started.set()
            await stop.wait()
            task.cancel()
        store.close()

    loop: asyncio.AbstractEventLoop | None = None
    stop: asyncio.Event | None = None
    started = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(30)
    yield directory / "kubeconfig"
    assert loop is not None
    assert stop is not None
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def kubectl(kubeconfig: Path, request: pytest.FixtureRequest) -> Kubectl:
    namespace = request.node.name.replace("_", "-").replace("test-", "")[:50].strip("-")
    made = Kubectl(kubeconfig, namespace)
    made("create", "namespace", namespace)
    return made


def test_versions_and_resources(kubectl: Kubectl) -> None:
    assert kubectl.run("version").stdout.splitlines()[-1].startswith("Server Version: v1.34")
    resources = kubectl("api-resources", "--no-headers")
    for line in ("deployments deploy apps/v1 true Deployment", "nodes no v1 false Node"):
        assert line in [" ".join(row.split()) for row in resources.splitlines()]
    assert "networking.k8s.io/v1" in kubectl("api-versions").splitlines()
    assert kubectl("get", "--raw", "/readyz") == "ok"


def test_apply_and_apply_again(kubectl: Kubectl) -> None:
    assert "deployment.apps/web created\nservice/web created" in kubectl("apply", "-f", "-", stdin=WEB)
    assert "deployment.apps/web unchanged\nservice/web unchanged" in kubectl("apply", "-f", "-", stdin=WEB)
    more = WEB.replace("replicas: 2", "replicas: 4")
    assert "deployment.apps/web configured\nservice/web unchanged" in kubectl("apply", "-f", "-", stdin=more)
    live = kubectl.get("deployment", "web")
    assert live["spec"]["replicas"] == 4
    assert live["metadata"]["annotations"]["example.org/owner"] == "shop"
    without = WEB.replace(", annotations: {example.org/owner: shop}", "")
    kubectl("apply", "-f", "-", stdin=without)
    assert "example.org/owner" not in kubectl.get("deployment", "web")["metadata"]["annotations"]
    assert kubectl.run("diff", "-f", "-", stdin=without).returncode == 0
    assert kubectl.run("diff", "-f", "-", stdin=more).returncode == 1


def test_tables(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    assert kubectl("get", "deployments").splitlines()[0].split() == [
        "NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE",
    ]  # fmt: skip
    header, row = kubectl("get", "svc", "-o", "wide").splitlines()
    assert header.split() == [
        "NAME",
        "TYPE",
        "CLUSTER-IP",
        "EXTERNAL-IP",
        "PORT(S)",
        "AGE",
        "SELECTOR",
    ]
    assert row.split()[0:2] == ["web", "NodePort"]
    assert row.split()[-1] == "app=web"
    everything = kubectl("get", "all")
    assert "service/web" in everything
    assert "deployment.apps/web" in everything
    assert kubectl("get", "deploy", "-o", "jsonpath={.items[*].metadata.name}") == "web"
    assert kubectl("get", "deploy", "-l", "app=web", "-o", "name") == "deployment.apps/web\n"
    assert kubectl("get", "deploy", "-l", "app!=web", "-o", "name") == ""
    assert kubectl("get", "deploy", "--show-labels").splitlines()[1].split()[-1] == "app=web"


def test_commands_that_make_objects(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "api", "--image=example.org/api", "--replicas=3")
    kubectl("create", "configmap", "conf", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "key", "--from-literal=k=v")
    kubectl("create", "service", "clusterip", "api", "--tcp=80:8080")
    kubectl("create", "serviceaccount", "robot")
    kubectl("run", "tool", "--image=example.org/tool", "--port=9000")
    kubectl("expose", "pod", "tool", "--name=tool")
    assert kubectl.get("secret", "key")["data"] == {"k": "dg=="}
    assert kubectl.get("service", "tool")["spec"]["ports"][0]["port"] == 9000
    assert kubectl.get("deployment", "api")["spec"]["replicas"] == 3


def test_changing_parts(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("label", "deployment", "web", "tier=front")
    kubectl("annotate", "deployment", "web", "example.org/note=seen")
    kubectl("scale", "deployment", "web", "--replicas=5")
    kubectl("set", "image", "deployment/web", "main=example.org/web:2")
    kubectl("rollout", "restart", "deployment/web")
    kubectl("patch", "deployment", "web", "-p", '{"spec":{"minReadySeconds":3}}')
    kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"spec":{"paused":true}}')
    replace = '[{"op":"replace","path":"/spec/minReadySeconds","value":4}]'
    kubectl("patch", "deployment", "web", "--type=json", "-p", replace)
    kubectl("edit", "deployment", "web", editor="sed -i s/replicas:.5/replicas:\\ 6/")
    live = kubectl.get("deployment", "web")
    assert live["metadata"]["labels"]["tier"] == "front"
    assert live["metadata"]["annotations"]["example.org/note"] == "seen"
    assert (live["spec"]["replicas"], live["spec"]["minReadySeconds"], live["spec"]["paused"]) == (6, 4, True)
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "example.org/web:2"
    kubectl("label", "deployment", "web", "tier-")
    assert "tier" not in kubectl.get("deployment", "web")["metadata"]["labels"]


def test_conflicts_and_errors_read_as_with_any_server(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    stale = kubectl("get", "deployment", "web", "-o", "json")
    kubectl("label", "deployment", "web", "a=b")
    assert "the object has been modified" in kubectl.refused("replace", "-f", "-", stdin=stale)
    assert 'Error from server (NotFound): services "none" not found' in kubectl.refused("get", "svc", "none")
    assert "the server doesn't have a resource type" in kubectl.refused("get", "things")
    assert "(AlreadyExists)" in kubectl.refused("create", "-f", "-", stdin=WEB)
    assert "field label not supported: x" in kubectl.refused("get", "pods", "--field-selector=x=y")
    misspelt = WEB.replace("replicas", "replicass")
    assert 'unknown field "spec.replicass"' in kubectl.refused("apply", "-f", "-", stdin=misspelt)
    wrong = kubectl.refused("apply", "-f", "-", stdin=WEB.replace("port: 80,", "port: 99999,"))
    assert 'The Service "web" is invalid: spec.ports[0].port: Invalid value: 99999' in wrong
    taken = kubectl.get("service", "web")["spec"]["clusterIP"]
    again = f"apiVersion: v1\nkind: Service\nmetadata: {{name: two}}\nspec: {{clusterIP: {taken}, ports: [{{port: 80}}]}}"
    assert "already allocated" in kubectl.refused("create", "-f", "-", stdin=again)
    assert "(Forbidden)" in kubectl.refused("delete", "namespace", "default")
    assert "does not have a host assigned" in logs_of_a_pod_without_node(kubectl)


def logs_of_a_pod_without_node(kubectl: Kubectl) -> str:
    kubectl("run", "idle", "--image=example.org/idle")
    return kubectl.refused("logs", "idle")


def test_server_side_apply(kubectl: Kubectl) -> None:
    first = kubectl("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=WEB)
    assert "deployment.apps/web serverside-applied" in first
    more = WEB.replace("replicas: 2", "replicas: 7")
    told = kubectl.refused("apply", "--server-side", "--field-manager=two", "-f", "-", stdin=more)
    assert 'Apply failed with 1 conflict: conflict with "one": .spec.replicas' in told
    kubectl("apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-", stdin=more)
    live = json.loads(kubectl("get", "deployment", "web", "-o", "json", "--show-managed-fields"))
    assert live["spec"]["replicas"] == 7
    assert {entry["manager"] for entry in live["metadata"]["managedFields"]} == {"one", "two"}


def test_describe_and_explain(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("run", "tool", "--image=example.org/tool")
    assert "Type:                     NodePort" in kubectl("describe", "service", "web")
    assert "Replicas:               2 desired" in kubectl("describe", "deployment", "web")
    assert "Status:           Pending" in kubectl("describe", "pod", "tool")
    assert "Status:       Active" in kubectl("describe", "namespace", kubectl.namespace)
    assert "FIELD: containers <[]Container>" in kubectl("explain", "pod.spec.containers")
    assert "networking.k8s.io" in kubectl("explain", "networkpolicy.spec")


def test_cluster_network_policies(kubectl: Kubectl) -> None:
    guard, name = GUARD.replace("NAME", kubectl.namespace), kubectl.namespace
    kind = "clusternetworkpolicy.policy.networking.k8s.io"
    assert f"{kind}/{name} created" in kubectl("apply", "-f", "-", stdin=guard)
    assert f"{kind}/{name} unchanged" in kubectl("apply", "-f", "-", stdin=guard)
    assert f"{kind}/{name} configured" in kubectl("apply", "-f", "-", stdin=guard.replace("10", "20"))
    header, row = kubectl("get", "cnp", name).splitlines()
    assert header.split() == ["NAME", "TIER", "PRIORITY", "AGE"]
    assert row.split()[:3] == [name, "Admin", "20"]
    more = '{"spec": {"egress": [{"action": "Deny", "to": [{"nodes": {}}]}]}}'
    kubectl("patch", "cnp", name, "--type=merge", "-p", more)
    live = kubectl.get("cnp", name)
    assert live["metadata"]["generation"] == 3
    assert live["spec"]["egress"] == [{"action": "Deny", "to": [{"nodes": {}}]}]
    assert "status" not in live
    condition = {"type": "Programmed", "status": "True", "reason": "Done", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"}  # fmt: skip
    status = json.dumps({"status": {"conditions": [condition]}, "spec": {"priority": 7}})
    kubectl("patch", "cnp", name, "--subresource=status", "--type=merge", "-p", status)
    live = kubectl.get("cnp", name)
    assert (live["spec"]["priority"], live["metadata"]["generation"]) == (20, 3)
    assert live["status"]["conditions"] == [condition]
    assert "serverside-applied" in kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=guard
    )
    assert "FIELD: tcp <ClusterNetworkPolicyProtocolTCP>" in kubectl(
        "explain", "cnp.spec.egress.protocols.tcp"
    )
    assert "priority\t<integer> -required-" in kubectl("explain", "cnp.spec")
    misspelt = kubectl.refused("apply", "-f", "-", stdin=guard.replace("priority", "prority"))
    assert 'unknown field "spec.prority"' in misspelt
    wrong = kubectl.refused("apply", "-f", "-", stdin=guard.replace("priority: 10", "priority: 1001"))
    assert f'The ClusterNetworkPolicy "{name}" is invalid: spec.priority: Invalid value: 1001:' in wrong
    row = "clusternetworkpolicies cnp policy.networking.k8s.io/v1alpha2 false ClusterNetworkPolicy"
    resources = kubectl("api-resources", "--no-headers").splitlines()
    assert row in [" ".join(line.split()) for line in resources]
    assert "Tier:" in kubectl("describe", "cnp", name)
    kubectl("delete", "cnp", name)
    assert "NotFound" in kubectl.refused("get", "cnp", name)


def test_bad_network_policies_are_refused_in_the_words_of_any_server(kubectl: Kubectl) -> None:
    head = (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {podSelector: {}, "
    )
    told = kubectl.refused("create", "-f", "-", stdin=head + "ingress: [{ports: [{port: 90, endPort: 80}]}]}")
    assert (
        "spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`" in told
    )
    told = kubectl.refused("create", "-f", "-", stdin=head + "ingress: [{from: [{}]}]}")
    assert "spec.ingress[0].from[0]: Required value: must specify a peer" in told
    told = kubectl.refused("create", "-f", "-", stdin=head + "ingres: []}")
    assert 'unknown field "spec.ingres"' in told


def test_watch_and_wait(kubectl: Kubectl) -> None:
    words = [*kubectl.words, "get", "configmaps", "--watch", "--no-headers", "--output-watch-events"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        kubectl("create", "configmap", "a", "--from-literal=x=y")
        assert watching.stdout.readline().split()[:3] == ["ADDED", "a", "1"]
        kubectl("patch", "configmap", "a", "-p", '{"data":{"z":"w"}}')
        assert watching.stdout.readline().split()[:3] == ["MODIFIED", "a", "2"]
        kubectl("delete", "configmap", "a")
        assert watching.stdout.readline().split()[:2] == ["DELETED", "a"]
        watching.terminate()
    kubectl("run", "tool", "--image=example.org/tool")
    ready = '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}'
    kubectl("patch", "pod", "tool", "--subresource=status", "--type=merge", "-p", ready)
    kubectl("wait", "--for=condition=Ready", "pod/tool", "--timeout=10s")
    assert "timed out" in kubectl.refused("wait", "--for=condition=Other", "pod/tool", "--timeout=1s")


def test_deleting(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    owner = kubectl.get("deployment", "web")["metadata"]
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": owner["uid"]}
    for name in ("one", "two"):
        kubectl("create", "configmap", name)
        kubectl(
            "patch",
            "configmap",
            name,
            "-p",
            json.dumps({"metadata": {"ownerReferences": [reference]}}),
        )
    assert "deleted" in kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=20s")
    assert kubectl("get", "configmaps", "-o", "name") == ""
    kubectl("run", "tool", "--image=example.org/tool")
    kubectl("delete", "pod", "tool", "--now")
    kubectl("delete", "services", "--all")
    assert kubectl("get", "all", "-o", "name") == ""
    assert "deleted" in kubectl("delete", "namespace", kubectl.namespace, "--wait=false")
    told = kubectl.refused("create", "configmap", "late")
    assert "because it is being terminated" in told


def test_nodes(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin="apiVersion: v1\nkind: Node\nmetadata: {name: node-x}")
    kubectl("cordon", "node-x")
    assert "SchedulingDisabled" in kubectl("get", "nodes")
    kubectl("drain", "node-x")
    kubectl("taint", "node", "node-x", "example.org/a=b:NoSchedule")
    assert "example.org/a=b:NoSchedule" in kubectl("describe", "node", "node-x")
    kubectl("delete", "node", "node-x")


def test_who_am_i(kubectl: Kubectl) -> None:
    assert "system:masters" in kubectl("auth", "whoami")
    assert kubectl("auth", "can-i", "delete", "pods") == "yes\n"
