"""A cluster for each fabric, with one pod on each node and a Service of both families over them."""

import contextlib
import json
import os

import pytest
from tests.cluster.conftest import Place, Process, processes

NODES = ("node-1", "node-2", "node-3")
PODS = dict(zip(NODES, ("a", "b", "c"), strict=True))
FAMILIES = (4, 6)
NAMESPACE = "net"
UNSUPPORTED = 5
"""Exit code of what this system cannot do."""


def manifests():
    """Pods a, b and c on node-1, node-2 and node-3, all behind one Service."""
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    for node, name in PODS.items():
        ports = [{"containerPort": 8080}, {"containerPort": 5353, "protocol": "UDP"}]
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "web", "pod": name}},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "web", "image": "example/web", "ports": ports}],
            },
        }
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {
            "type": "NodePort",
            "ipFamilyPolicy": "RequireDualStack",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 8080}],
        },
    }


class FabricCluster(Place):
    """One of them, running."""

    def __init__(self, command, cluster, fabric):
        super().__init__(command, cluster, NAMESPACE)
        self.fabric = fabric

    def status(self):
        (line,) = json.loads(
            self.command.netloom("status", "--name", self.cluster, "--output", "json").stdout
        )
        return line

    def addresses(self):
        """Addresses of each pod: by name, then by family."""
        found = {p["metadata"]["name"]: p["status"]["podIPs"] for p in self.get("pods")["items"]}
        return {name: {version(a["ip"]): a["ip"] for a in ips} for name, ips in found.items()}

    def node_words(self, node, *words):
        """A command line that runs in a node's network namespace, or, for ``init``, in that of the router."""
        wanted = "nl-init" if node == "init" else f"nl-{node}-agent"[:15]
        pid = next(pid for name, pid in processes(self.command, self.cluster) if name == wanted)
        own = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(pid), *own, "--net", *words]

    def on_node(self, node, *words):
        return self.command.run(self.node_words(node, *words)).stdout

    def start_on_node(self, node, *words):
        process = Process(self.node_words(node, *words), self.command.environment)
        self._open.append(process)
        return process

    def why(self, source, destination):
        """The exit code and the answer."""
        words = ("why", "--name", self.cluster, "-n", self.namespace, "--output", "json")
        done = self.command.netloom(*words, source, destination, check=False)
        return done.returncode, json.loads(done.stdout)


def version(address):
    return 6 if ":" in address else 4


def bracketed(address):
    return f"[{address}]" if ":" in address else address


@contextlib.contextmanager
def running(command, directory, fabric, *words, name=""):
    """A dual-stack cluster of this fabric."""
    name = name or f"fabric-{fabric}"
    path = directory / "net.yaml"
    path.write_text("\n---\n".join(map(json.dumps, manifests())))
    command.down(name)
    options = ("--name", name, "--fabric", fabric, "--ip-family", "dual", "-f", str(path), *words)
    done = command.netloom("up", *options, check=False)
    if done.returncode == UNSUPPORTED:
        pytest.skip(done.stderr)  # no driver here, or no right to one
    assert done.returncode == 0, done.stderr
    cluster = FabricCluster(command, name, fabric)
    try:
        yield cluster
    finally:
        cluster.close()
        command.down(name)
