"""``netloom status``: clusters of this user, and the nodes and pods of those that run."""

from __future__ import annotations

import argparse
import asyncio

import msgspec

from netloom.api.core import Node, Pod
from netloom.cli.output import add_output, emit, table
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import load
from netloom.kube.resources import NODES, PODS
from netloom.local import cluster, ready
from netloom.local.lock import is_running
from netloom.local.paths import cluster_paths


class NodeLine(msgspec.Struct, frozen=True):
    """One node."""

    name: str
    ready: bool
    address: str
    pod_cidr: str
    pods: int


class PodLine(msgspec.Struct, frozen=True):
    """One pod."""

    namespace: str
    name: str
    ready: bool
    phase: str
    address: str
    node: str


class ClusterLine(msgspec.Struct, frozen=True):
    """One cluster."""

    name: str
    running: bool
    api_server: str = ""
    nodes: tuple[NodeLine, ...] = ()
    pods: tuple[PodLine, ...] = ()


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--name", help="only this cluster (default: all)")
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Show them."""
    names = (cluster.existing(options.name).root.name,) if options.name else cluster.all_names()
    lines = tuple(asyncio.run(_look(name)) for name in names)
    emit(lines, options.output, "\n\n".join(map(_text, lines)) or "no cluster; start one with: netloom up")
    return 0


async def _look(name: str) -> ClusterLine:
    paths = cluster_paths(name)
    if not is_running(paths):
        return ClusterLine(name, running=False)
    config = load(str(paths.kubeconfig))
    async with KubeClient(config) as client:
        nodes = [msgspec.convert(n, Node) for n in (await client.list(NODES))[0]]
        pods = [msgspec.convert(p, Pod) for p in (await client.list(PODS))[0]]
    return ClusterLine(
        name,
        running=True,
        api_server=config.server,
        nodes=tuple(_node(node, pods) for node in nodes),
        pods=tuple(pod_line(pod) for pod in pods),
    )


def _node(node: Node, pods: list[Pod]) -> NodeLine:
    address = next((a.address for a in node.status.addresses if a.type == "InternalIP"), "")
    count = sum(p.spec.node_name == node.metadata.name for p in pods)
    return NodeLine(node.metadata.name, ready.is_node_ready(node), address, node.spec.pod_cidr, count)


def pod_line(pod: Pod) -> PodLine:
    """What is shown of a pod."""
    status, meta = pod.status, pod.metadata
    return PodLine(meta.namespace, meta.name, pod.is_ready, status.phase, status.pod_ip, pod.spec.node_name)


def node_table(nodes: tuple[NodeLine, ...]) -> str:
    """Nodes for people."""
    rows = ((n.name, "Ready" if n.ready else "NotReady", n.address, n.pod_cidr, str(n.pods)) for n in nodes)
    return table(("NODE", "STATUS", "ADDRESS", "POD-CIDR", "PODS"), rows)


def pod_table(pods: tuple[PodLine, ...]) -> str:
    """Pods for people."""
    rows = (
        (f"{p.namespace}/{p.name}", "Ready" if p.ready else p.phase, p.address or "-", p.node or "-")
        for p in pods
    )
    return table(("POD", "STATUS", "ADDRESS", "NODE"), rows)


def _text(line: ClusterLine) -> str:
    if not line.running:
        return f"cluster {line.name}: not running (start it again: netloom up --name {line.name})"
    parts = [f"cluster {line.name}: running, API server {line.api_server}", node_table(line.nodes)]
    return "\n\n".join([*parts, pod_table(line.pods)] if line.pods else parts)
