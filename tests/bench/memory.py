"""What an idle stand-in pod costs: one Deployment of 60 on three nodes, against the same cluster without it.

Two figures: the sum of PSS of all processes of the cluster (what user space holds, shared pages counted once), and the
system's MemAvailable, which has the kernel's part too (namespaces, links, sockets) and everybody else's noise.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import rooms
from tests.bench.boot import Cluster, clusters
from tests.bench.report import Row, median

from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import load
from netloom.kube.resources import DEPLOYMENTS, PODS
from netloom.units import ObjectKey

PODS_WANTED = rooms.either(60, 6)
MOST_MB = 5.0
_TURNS = rooms.either(2, 1)
_QUIET_S = 2.0
_PATIENCE_S = 120.0


def run() -> list[Row]:
    """The rows of this benchmark."""
    with clusters() as cluster:
        report = cluster.up()
        pss, available, start = asyncio.run(_measure(cluster, report["kubeconfig"]))
    common: dict[str, Any] = {"bench": "memory", "unit": "MB", "most": MOST_MB}
    return [
        Row(what="an idle stand-in pod, by PSS of all processes", ours=median(pss), **common),
        Row(what="an idle stand-in pod, by MemAvailable", ours=median(available), **common),
        Row(bench="memory", what=f"{PODS_WANTED} pods, from apply to ready", ours=median(start), unit="s"),
    ]


async def _measure(cluster: Cluster, kubeconfig: str) -> tuple[list[float], list[float], list[float]]:
    pss: list[float] = []
    available: list[float] = []
    start: list[float] = []
    async with KubeClient(load(kubeconfig)) as client:
        await client.create(DEPLOYMENTS, _deployment())
        # the first turn pays for what later ones use again (heaps that have grown); it counts like the others
        for _ in range(_TURNS):
            before = await _now(cluster)
            began = time.monotonic()
            await _scale(client, PODS_WANTED)
            await _until(client, lambda pods: sum(map(_is_ready, pods)) == PODS_WANTED)
            start.append(time.monotonic() - began)
            after = await _now(cluster)
            pss.append((after[0] - before[0]) / PODS_WANTED)
            available.append((before[1] - after[1]) / PODS_WANTED)
            rooms.say(f"memory: {pss[-1]:.2f} MB a pod by PSS, {available[-1]:.2f} by MemAvailable")
            await _scale(client, 0)
            await _until(client, lambda pods: not pods)
    return pss, available, start


def _deployment() -> dict[str, Any]:
    labels = {"app": "idle"}
    container = {"name": "pause", "image": "registry.k8s.io/pause:3.9"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "idle", "namespace": "default"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
            },
        },
    }


async def _scale(client: KubeClient, replicas: int) -> None:
    await client.patch(DEPLOYMENTS, ObjectKey("default", "idle"), {"spec": {"replicas": replicas}})


async def _until(client: KubeClient, holds: Callable[[list[dict[str, Any]]], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            pods, _ = await client.list(PODS, "default")
            if holds(pods):
                return
            await asyncio.sleep(0.2)


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def _now(cluster: Cluster) -> tuple[float, float]:
    """PSS of the cluster's processes, and MemAvailable, in MB, once it is quiet."""
    await asyncio.sleep(_QUIET_S)
    available = []
    for _ in range(5):
        available.append(_meminfo("MemAvailable"))
        await asyncio.sleep(0.2)
    return pss(cluster), median(available)


def pss(cluster: Cluster) -> float:
    (pid_file,) = cluster.home.glob("clusters/*/supervisor.pid")
    total = 0
    for pid in descendants(int(pid_file.read_text())):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total / 1024


def descendants(root: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children.get(pid, ())
    return found


def _meminfo(name: str) -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024
