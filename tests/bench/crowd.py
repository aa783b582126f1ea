"""How large a local cluster may be: 50 nodes with 1,000 stand-in pods, from `netloom up` until all are ready.

Beside the seconds there is what a machine that is in use moves less: CPU of all processes of the cluster, and their memory by PSS.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any

from tests.bench import rooms
from tests.bench.boot import Cluster, clusters
from tests.bench.memory import descendants, pss
from tests.bench.report import Row

from netloom.api.core import Pod
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import load
from netloom.kube.resources import DEPLOYMENTS, PODS
from netloom.kube.watch import Reflector

NODES, PODS_WANTED = rooms.either((50, 1000), (4, 20))
_DEPLOYMENTS = rooms.either(10, 2)
MOST_S = 60.0
MOST_MB = 8000.0
_PATIENCE_S = 360.0
_TICK = os.sysconf("SC_CLK_TCK")


def run() -> list[Row]:
    """The rows of this benchmark."""
    with clusters() as cluster:
        began = time.monotonic()
        report = cluster.up("--nodes", str(NODES), "--timeout", str(_PATIENCE_S))
        nodes_cpu, nodes_mb = _cpu(cluster), pss(cluster)
        rooms.say(
            f"crowd: {NODES} nodes after {report['ready_s']:.1f} s, CPU {nodes_cpu:.1f} s, {nodes_mb:.0f} MB"
        )
        asyncio.run(_crowd(report["kubeconfig"]))
        all_s = time.monotonic() - began
        all_cpu, all_mb = _cpu(cluster), pss(cluster)
    what = f"{NODES} nodes"
    crowd = f"{NODES} nodes with {PODS_WANTED} pods"
    return [
        Row(bench="crowd", what=f"{what} ready", ours=report["ready_s"], unit="s"),
        Row(bench="crowd", what=f"{what}: CPU of all processes", ours=nodes_cpu, unit="s"),
        Row(bench="crowd", what=f"{what}: memory by PSS", ours=nodes_mb, unit="MB"),
        Row(bench="crowd", what=f"{crowd}, from netloom up to all ready", ours=all_s, unit="s", most=MOST_S),
        Row(bench="crowd", what=f"{crowd}: CPU of all processes", ours=all_cpu, unit="s"),
        Row(bench="crowd", what=f"{crowd}: memory by PSS", ours=all_mb, unit="MB", most=MOST_MB),
    ]


async def _crowd(kubeconfig: str) -> None:
    """Deployments of idle pods, until all are ready; told by a watch, which must miss nothing."""
    changed = asyncio.Event()
    async with KubeClient(load(kubeconfig)) as client, asyncio.TaskGroup() as tasks:
        pods = Reflector(client, PODS, Pod, on_change=lambda *_: changed.set(), namespace="default")
        watch = tasks.create_task(pods.run())
        await pods.synced.wait()
        for number in range(_DEPLOYMENTS):
            await client.create(DEPLOYMENTS, _deployment(f"crowd-{number}", PODS_WANTED // _DEPLOYMENTS))
        async with asyncio.timeout(_PATIENCE_S):
            while sum(map(_is_ready, pods.items.values())) < PODS_WANTED:
                await changed.wait()
                changed.clear()
        watch.cancel()


def _is_ready(pod: Pod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)


def _deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "pause", "image": "registry.k8s.io/pause:3.9"}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _cpu(cluster: Cluster) -> float:
    """Seconds of CPU of the cluster's processes, and of those of their children that have ended."""
    (pid_file,) = cluster.home.glob("clusters/*/supervisor.pid")
    total = 0
    for pid in descendants(int(pid_file.read_text())):
        with contextlib.suppress(OSError):
            fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / _TICK
