"""``netloom status``: clusters of this user; of those that run the fabric, the nodes, the pods, and which nodes' pods nobody reaches."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

import msgspec

from netloom.agent.path_mtu.findings import PathReport
from netloom.agent.path_mtu.prober import PathsReport
from netloom.api.core import Node, Pod, Service
from netloom.api.nulls import without_nulls
from netloom.cli.output import add_output, emit, table
from netloom.errors import NetloomError
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import load
from netloom.kube.resources import NODES, PODS, SERVICES
from netloom.linux.questions import ask, socket_beside
from netloom.local import cluster, ready
from netloom.local.lock import is_running
from netloom.local.paths import ClusterPaths, cluster_paths
from netloom.local.settings import ClusterSettings, cluster_facts
from netloom.model.facts import facts_of
from netloom.model.inputs import ClusterFacts
from netloom.model.load_balancers.status import CONDITION as LB_CONDITION
from netloom.model.routes.peers import peer_routes, read_node
from netloom.model.routes.ways import (
    UNDERLAY_ANNOTATION,
    FabricKind,
    outer_family,
    pod_mtu,
    read_underlay,
)
from netloom.units import parse_addr

MOST_PROBLEMS = 10


class NodeLine(msgspec.Struct, frozen=True):
    """One node."""

    name: str
    ready: bool
    address: str
    """The first of its addresses, as ``pod_cidr`` is the first of its ranges."""
    pod_cidr: str
    pods: int
    addresses: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()
    mtu: int = 0
    """Of the node's own interface, bytes; 0 until its agent has told."""
    pod_mtu: int = 0
    """Of its pods' interfaces, bytes; 0 until its agent has told."""
    paths: tuple[PathReport, ...] = ()
    """What the ways to the other nodes carry, as this node's agent found by asking; none where it does not answer."""


class PodLine(msgspec.Struct, frozen=True):
    """One pod."""

    namespace: str
    name: str
    ready: bool
    phase: str
    address: str
    node: str


class BalancerLine(msgspec.Struct, frozen=True):
    """One Service of type LoadBalancer."""

    namespace: str
    name: str
    addresses: tuple[str, ...]
    ports: tuple[str, ...]
    """As ``80/TCP``."""
    problem: str = ""
    """Why it lacks an address."""


class ClusterLine(msgspec.Struct, frozen=True):
    """One cluster."""

    name: str
    running: bool
    api_server: str = ""
    nodes: tuple[NodeLine, ...] = ()
    pods: tuple[PodLine, ...] = ()
    load_balancers: tuple[BalancerLine, ...] = ()
    """Services of type LoadBalancer."""
    fabric: str = ""
    """What joins the nodes: ``hostgw``, ``l2``, ``vxlan``, ``udp``, ``wireguard`` or ``bgp``."""
    families: tuple[str, ...] = ()
    """Of pods and Services, the first one first: ``IPv4``, ``IPv6``."""
    problems: tuple[str, ...] = ()
    """What keeps pods of one node from reaching those of another."""


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
    settings = cluster.settings_of(paths)
    async with KubeClient(config) as client:
        nodes = [msgspec.convert(n, Node) for n in (await client.list(NODES))[0]]
        pods = [msgspec.convert(p, Pod) for p in (await client.list(PODS))[0]]
        services = [msgspec.convert(without_nulls(s), Service) for s in (await client.list(SERVICES))[0]]
    measured = await asyncio.gather(*(_paths(paths, node.metadata.name) for node in nodes))
    lines = [_node(node, pods, settings) for node in nodes]
    return ClusterLine(
        name,
        running=True,
        api_server=config.server,
        nodes=tuple(
            msgspec.structs.replace(line, paths=found) for line, found in zip(lines, measured, strict=True)
        ),
        pods=tuple(pod_line(pod) for pod in pods),
        load_balancers=tuple(balancer_line(s) for s in services if s.spec.type == "LoadBalancer"),
        fabric=settings.fabric.value,
        families=settings.families,
        problems=unreached(nodes, cluster_facts(settings)),
    )


async def _paths(paths: ClusterPaths, node: str) -> tuple[PathReport, ...]:
    try:
        answer = await ask(socket_beside(paths.node(node).cni_socket), "paths")
        return msgspec.json.decode(answer, type=PathsReport).paths
    except (NetloomError, msgspec.MsgspecError):
        return ()


def _node(node: Node, pods: list[Pod], settings: ClusterSettings) -> NodeLine:
    addresses = tuple(a.address for a in node.status.addresses if a.type == "InternalIP")
    known = read_underlay(node.metadata.annotations.get(UNDERLAY_ANNOTATION, ""))
    outer = outer_family([a for text in addresses if (a := parse_addr(text)) is not None])
    return NodeLine(
        name=node.metadata.name,
        ready=ready.is_node_ready(node),
        address=next(iter(addresses), ""),
        pod_cidr=node.spec.pod_cidr,
        pods=sum(p.spec.node_name == node.metadata.name for p in pods),
        addresses=addresses,
        pod_cidrs=node.spec.pod_cidrs,
        mtu=known.mtu if known else 0,
        pod_mtu=pod_mtu(settings.fabric, outer, known.mtu) if known else 0,
    )


def unreached(nodes: Sequence[Node], facts: ClusterFacts) -> tuple[str, ...]:
    """What the model finds at fault between each two nodes; nothing where all pods reach all."""
    ranges = [read_node(node) for node in nodes]
    found = (finding for node in nodes for finding in peer_routes(ranges, facts_of(node, facts))[1])
    return tuple(dict.fromkeys(map(str, found)))


def pod_line(pod: Pod) -> PodLine:
    """What is shown of a pod."""
    status, meta = pod.status, pod.metadata
    return PodLine(meta.namespace, meta.name, pod.is_ready, status.phase, status.pod_ip, pod.spec.node_name)


def balancer_line(service: Service) -> BalancerLine:
    """What is shown of a Service of type LoadBalancer."""
    conditions = {one.type: one for one in service.status.conditions}
    condition = conditions.get(LB_CONDITION)
    return BalancerLine(
        namespace=service.metadata.namespace,
        name=service.metadata.name,
        addresses=tuple(one.ip or one.hostname for one in service.status.load_balancer.ingress),
        ports=tuple(f"{port.port}/{port.protocol}" for port in service.spec.ports),
        problem=condition.message if condition is not None and condition.status == "False" else "",
    )


def node_table(nodes: tuple[NodeLine, ...]) -> str:
    """Nodes for people."""
    rows = (
        (
            node.name,
            "Ready" if node.ready else "NotReady",
            ",".join(node.addresses) or "-",
            ",".join(node.pod_cidrs) or "-",
            str(node.mtu or "-"),
            str(node.pod_mtu or "-"),
            str(node.pods),
        )
        for node in nodes
    )
    return table(("NODE", "STATUS", "ADDRESS", "POD-CIDR", "MTU", "POD-MTU", "PODS"), rows)


def pod_table(pods: tuple[PodLine, ...]) -> str:
    """Pods for people."""
    rows = (
        (f"{p.namespace}/{p.name}", "Ready" if p.ready else p.phase, p.address or "-", p.node or "-")
        for p in pods
    )
    return table(("POD", "STATUS", "ADDRESS", "NODE"), rows)


def balancer_table(balancers: tuple[BalancerLine, ...]) -> str:
    """Services of type LoadBalancer for people."""
    rows = (
        (f"{b.namespace}/{b.name}", ",".join(b.addresses) or "-", ",".join(b.ports), b.problem)
        for b in balancers
    )
    return table(("LOAD BALANCER", "ADDRESS", "PORTS", "LACKS"), rows)


def _caution(line: ClusterLine) -> str:
    """What whoever looks should know about a fabric."""
    return " (a fallback: slow)" if line.fabric == FabricKind.UDP.value else ""


def _text(line: ClusterLine) -> str:
    if not line.running:
        return f"cluster {line.name}: not running (start it again: netloom up --name {line.name})"
    families = " and ".join(line.families)
    parts = [
        f"cluster {line.name}: running, API server {line.api_server}, fabric {line.fabric}{_caution(line)}, {families}",
        node_table(line.nodes),
    ]
    if line.pods:
        parts.append(pod_table(line.pods))
    if line.load_balancers:
        parts.append(balancer_table(line.load_balancers))
    if line.problems:
        shown = [f"  {problem}" for problem in line.problems[:MOST_PROBLEMS]]
        more = len(line.problems) - len(shown)
        shown += [f"  and {more} more: netloom status --output json"] if more else []
        parts.append("\n".join(["pods that are not reached:", *shown]))
    if wrong := [
        f"  {node.name}: {path.problem}" for node in line.nodes for path in node.paths if path.problem
    ]:
        parts.append(
            "\n".join(["ways between nodes that carry less than they should:", *wrong[:MOST_PROBLEMS]])
        )
    return "\n\n".join(parts)
