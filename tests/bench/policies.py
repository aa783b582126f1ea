"""Policies: how soon a whole cluster's are in force, what one change takes, and what packets pay for them.

10,000 pods in 200 namespaces with 2,000 policies, 100 of the pods on the node. The start is a whole agent's, with list and watch over TLS
from a real API server; changes are put through model, compiler and kernel in this process, without API and watch. Packets go
to a pod's own address, on lanes that differ in their policies only. The pods are under policies in both directions there, and the
last rule is the one that allows: rules of one pod are looked at one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from tests.bench import lanes, population, rig, rooms
from tests.bench.lanes import Target
from tests.bench.report import Row, median, quantile

from netloom.api.core import Namespace, Node, Pod
from netloom.api.meta import KubeObject
from netloom.api.networking import NetworkPolicy
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.ender import FlowEnder
from netloom.linux.conntrack import Conntrack
from netloom.linux.nft import Nft
from netloom.local.apiserver import kinds
from netloom.local.apiserver.store import Store
from netloom.local.settings import ClusterSettings, cluster_facts
from netloom.model.facts import facts_of
from netloom.model.inputs import Changes, ClusterView, NodeFacts
from netloom.model.network import Network
from netloom.testing.netns import fresh_netns
from netloom.testing.topologies import TwoPods

NAMESPACES, PODS, POLICIES = rooms.either((200, 10_000, 2_000), (20, 400, 80))
LOCAL = 100
CHANGES = rooms.either(200, 40)
DATAPATH_POLICIES = rooms.either(1_000, 50)
START_S, CHANGE_P99_MS, MOST = 3.0, 20.0, 0.05
_CREATED = "2024-01-01T00:00:00Z"
_APPS = 10
Document = dict[str, Any]


def run() -> list[Row]:
    """The rows of this benchmark."""
    return [*_start(), *_changes(), *_packets()]


def _meta(name: str, namespace: str = "", **labels: str) -> Document:
    found: Document = {
        "name": name,
        "uid": f"uid-{namespace}-{name}",
        "creationTimestamp": _CREATED,
        "labels": labels,
    }
    return {**found, "namespace": namespace} if namespace else found


def namespace(number: int) -> Document:
    """One of ten teams' namespaces."""
    name = f"ns-{number}"
    labels = {"team": f"t{number % 10}", "kubernetes.io/metadata.name": name}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": _meta(name, **labels),
        "status": {"phase": "Active"},
    }


def pod(number: int) -> Document:
    """A running pod of one of ten apps of its namespace; the first hundred are on the node."""
    home = f"ns-{number % NAMESPACES}"
    is_local = number < LOCAL
    base = ipaddress.IPv4Address("10.244.0.2" if is_local else "10.244.16.0")
    address = str(base + number)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _meta(
            f"pod-{number}", home, app=f"app-{number // NAMESPACES % _APPS}", tier=f"t{number % 3}"
        ),
        "spec": {
            "nodeName": "node-1" if is_local else "node-2",
            "containers": [
                {"name": "app", "image": "app", "ports": [{"name": "http", "containerPort": 8080}]}
            ],
        },
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def policy(number: int) -> Document:
    """One of ten for each namespace: for an app, from an app of a team or of its own namespace, some with blocks or egress."""
    home, app = f"ns-{number % NAMESPACES}", number // NAMESPACES % _APPS
    peers: list[Document] = [
        {"podSelector": {"matchLabels": {"app": f"app-{(app + 1) % _APPS}"}}},
        {
            "namespaceSelector": {"matchLabels": {"team": f"t{number % 10}"}},
            "podSelector": {"matchLabels": {"app": f"app-{app}"}},
        },
    ]
    if number % 3 == 0:
        peers.append(
            {"ipBlock": {"cidr": f"10.{number % 200}.0.0/16", "except": [f"10.{number % 200}.4.0/24"]}}
        )
    spec: Document = {
        "podSelector": {"matchLabels": {"app": f"app-{app}"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": peers, "ports": [{"port": "http"}, {"port": 9000, "endPort": 9100}]}],
    }
    if number % 2:
        spec["policyTypes"] = ["Ingress", "Egress"]
        spec["egress"] = [{"to": peers[:2]}, {"ports": [{"port": 53, "protocol": "UDP"}]}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _meta(f"policy-{number}", home),
        "spec": spec,
    }


def fill(path: Path) -> None:
    """A store file with all of it."""
    store = Store(path)
    try:
        for one in population.NODES:
            store.put(kinds.NODES, population.node(*one))
        for number in range(NAMESPACES):
            store.put(kinds.NAMESPACES, namespace(number))
        for number in range(PODS):
            store.put(kinds.PODS, pod(number))
        for number in range(POLICIES):
            store.put(kinds.NETWORK_POLICIES, policy(number))
    finally:
        store.close()


def view() -> ClusterView:
    """The same as values."""

    def read(type_: type[KubeObject], documents: Iterator[Document]) -> dict[Any, Any]:
        return {one.key: one for one in (msgspec.convert(document, type_) for document in documents)}

    return ClusterView(
        namespaces=read(Namespace, map(namespace, range(NAMESPACES))),
        pods=read(Pod, map(pod, range(PODS))),
        policies=read(NetworkPolicy, map(policy, range(POLICIES))),
        nodes=read(Node, (population.node(*one) for one in population.NODES)),
    )


def _name() -> str:
    return f"{PODS:,} pods, {POLICIES:,} policies, {LOCAL} pods on the node"


def _start() -> list[Row]:
    took: list[float] = []
    used: list[rig.Used] = []
    with rig.built() as node:
        node.hold_filled(fill)
        for _ in range(rooms.either(3, 1)):
            began = node.start_agent(cold=True)
            *_, hooked = node.wait_hooked()
            took.append(hooked.at - began)
            used.append(hooked.used)
            node.end_agent()
            rooms.say(f"policies: in force after {took[-1]:.2f} s, {used[-1].cpu_s:.2f} s of CPU")
    return [
        Row(
            bench="policies",
            what=f"{_name()}: started cold, to in force",
            ours=median(took),
            unit="s",
            most=START_S,
        ),
        Row(
            bench="policies",
            what=f"{_name()}: CPU of the agent",
            ours=median(u.cpu_s for u in used),
            unit="s",
        ),
        Row(
            bench="policies",
            what=f"{_name()}: RSS of the agent",
            ours=median(u.rss_mb for u in used),
            unit="MB",
        ),
    ]


def _changes() -> list[Row]:
    cluster = view()
    facts = facts_of(next(iter(cluster.nodes.values())), cluster_facts(ClusterSettings()))
    network = Network(facts)
    network.update(
        Changes(**{name: getattr(cluster, name) for name in ("namespaces", "pods", "policies", "nodes")})
    )
    with fresh_netns() as fd, Nft(netns_fd=fd) as nft, Conntrack(netns_fd=fd) as conntrack:
        plane = NftablesPlane(nft=nft, ender=FlowEnder(conntrack=conntrack))
        found = asyncio.run(_change(network, facts, plane))
    return [
        Row(
            bench="policies",
            what=f"{_name()}: {what}, {share}",
            ours=quantile(times, value),
            unit="ms",
            most=CHANGE_P99_MS if share == "p99" else None,
            note="model, compiler and kernel",
        )
        for what, times in found.items()
        for share, value in (("p50", 0.5), ("p99", 0.99))
    ]


async def _change(network: Network, facts: NodeFacts, plane: NftablesPlane) -> dict[str, list[float]]:
    await plane.start(network.state, facts)
    found: dict[str, list[float]] = {"a label of a pod": [], "a rule of a policy": []}
    for turn in range(CHANGES):
        moved = pod(turn * 7919 % PODS)
        moved["metadata"]["labels"]["app"] = f"app-{(turn + 3) % _APPS}"
        number = turn * 7919 % min(POLICIES, LOCAL * _APPS)
        edited = policy(number)
        edited["spec"]["ingress"][0]["ports"].append({"port": 7000 + turn})
        labelled, ruled = msgspec.convert(moved, Pod), msgspec.convert(edited, NetworkPolicy)
        for what, changes in (
            ("a label of a pod", Changes(pods={labelled.key: labelled})),
            ("a rule of a policy", Changes(policies={ruled.key: ruled})),
        ):
            began = time.perf_counter()
            await plane.apply(network.update(changes))
            found[what].append((time.perf_counter() - began) * 1e3)
    return found


def _packets() -> list[Row]:
    ways = [
        (lanes.Port(8401, "connect", 0), "connect", "connects, one CPU", "1/s", 0, 50),
        (lanes.Port(8402, "stream", 0), "stream", "throughput of one stream", "B/s", 1, 80),
    ]
    ports = [way[0] for way in ways]
    rows = []
    with contextlib.ExitStack() as stack:
        none, some, every = (stack.enter_context(lanes.lane(ports)) for _ in range(3))
        for net, count, share in (
            (none, 0, 1),
            (some, DATAPATH_POLICIES, 100),
            (every, DATAPATH_POLICIES, 1),
        ):
            rooms.aside(lambda n=net, c=count, s=share: asyncio.run(_enforce(n, c, s)), type(None))  # type: ignore[misc]
        for port, mode, what, unit, cpu, slice_ms in ways:
            targets = [Target(net, str(net.b.address), port.number) for net in (some, every, none)]
            *found, beside = lanes.drive(
                mode, targets, slice_ms=slice_ms, rounds=rooms.either(60, 5), cpu=cpu
            )
            for who, ours, least in (
                ("of which each pod is under 10", found[0], 1 - MOST),
                ("all of which select both pods", found[1], None),
            ):
                ratio = median(a / b for a, b in zip(ours, beside, strict=True))
                rooms.say(f"policies: {who}: {what}: {ratio:.3f}")
                rows.append(
                    Row(
                        bench="policies",
                        what=f"{DATAPATH_POLICIES:,} policies, {who}: {what}",
                        ours=median(ours),
                        unit=unit,
                        beside=median(beside),
                        beside_what="no policies",
                        ratio=ratio,
                        least=least,
                        on_ratio=True,
                    )
                )
    return rows


async def _enforce(net: TwoPods, count: int, share: int) -> None:
    """The node's table with so many policies, of which one in ``share`` selects the two pods; their last rule allows what they do."""
    facts = lanes.facts(net)
    pods = {}
    for name, host in (("a", net.a), ("b", net.b)):
        document = pod(0) | {"metadata": _meta(name, "ns-0", app=f"bench-{name}")}
        document["status"] = {
            "phase": "Running",
            "podIP": str(host.address),
            "podIPs": [{"ip": str(host.address)}],
        }
        made = msgspec.convert(document, Pod)
        pods[made.key] = made
    policies = {}
    for number in range(count):
        document = policy(number)
        document["metadata"]["namespace"] = "ns-0"
        document["spec"]["podSelector"] = (
            {} if number % share == 0 else {"matchLabels": {"app": f"app-{number % share}"}}
        )
        document["metadata"]["name"] = f"policy-{number:04}"
        if number == (count - 1) // share * share:
            document["spec"] = {
                "podSelector": {},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [{"podSelector": {}}]}],
                "egress": [{"to": [{"podSelector": {}}]}],
            }
        read = msgspec.convert(document, NetworkPolicy)
        policies[read.key] = read
    home = msgspec.convert(namespace(0), Namespace)
    state = Network.compute(ClusterView(pods=pods, policies=policies, namespaces={home.key: home}), facts)
    there = net.node.netns_fd
    with Nft(netns_fd=there) as nft, Conntrack(netns_fd=there) as conntrack:
        await NftablesPlane(nft=nft, ender=FlowEnder(conntrack=conntrack)).start(state, facts)
