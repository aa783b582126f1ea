"""What a Service costs on the way: through its ClusterIP against the pod's own address, in the same run, in turns.

Client pod - node - server pod, attached as CNI does it, the whole table in force with 1 and with 10,000 Services besides. The
load is ``load.c``: one thread, blocking calls. For connects and latencies client and server sit on one CPU, so that no wake-up
of another CPU is measured; for throughput each has its own. Ratios are taken turn by turn, and their median is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.bench import population, rooms
from tests.bench.report import ROOT, Row, median

from netloom.api.core import Service, ServiceSpec
from netloom.api.discovery import EndpointPort
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.linux.conntrack import Conntrack
from netloom.linux.nft import Nft
from netloom.model.inputs import ClusterView, NodeFacts
from netloom.model.network import Network
from netloom.testing.builders import endpoint, endpoint_slice, meta, port
from netloom.testing.hosts import Host
from netloom.testing.topologies import CLUSTER_CIDRS, TwoPods, pod_cidrs, two_pods_one_node

SIZES = (1, 10_000)
SERVICE = "10.96.0.80"
MODES = {
    "connect": (7001, "accept"),
    "pingpong": (7002, "echo"),
    "stream": (7003, "sink"),
    "udp": (7004, "udp"),
}
"""Of ``load drive``: the port, and the mode of ``load serve`` that answers there."""
_SLICE_MS = {"connect": 50, "pingpong": 50, "stream": 80, "udp": 50}
_ROUNDS = 50
WITHIN = 0.08


def tool() -> Path:
    """The compiled load tool, made anew where its source is newer."""
    source, target = Path(__file__).with_name("load.c"), ROOT / "build" / "bench-load"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        target.parent.mkdir(exist_ok=True)
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-Wall", "-o", str(target), str(source)], check=True)
    return target


def run() -> list[Row]:
    """The rows of this benchmark."""
    rows: list[Row] = []
    with two_pods_one_node() as net, _serving(net.b):
        for size in SIZES:
            asyncio.run(_program(net, size))
            rows += _measure(net, size)
    return rows


@contextlib.contextmanager
def _serving(host: Host) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for mode, (number, server) in MODES.items():
            cpu = _cpus(mode)[1]
            words = [str(tool()), "serve", _path(host), server, str(number), str(cpu)]
            child = subprocess.Popen(words, stdout=subprocess.PIPE)
            stack.callback(rooms.end, child)
            assert child.stdout is not None
            if child.stdout.readline() != b"serving\n":
                raise RuntimeError(f"{' '.join(words)} does not serve")
        yield


def _cpus(mode: str) -> tuple[int, int]:
    """Where client and server run."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[-1]) if mode == "stream" else (allowed[-1], allowed[-1])


def _path(host: Host) -> str:
    return f"/proc/{os.getpid()}/fd/{host.netns_fd}"


async def _program(net: TwoPods, size: int) -> None:
    """One Service that the server pod answers, and ``size`` in all."""
    rooms.say(f"clusterip: programming {size:,} Services")
    facts = NodeFacts(
        name="node-1",
        addresses=net.node.addresses[:1],
        pod_cidrs=pod_cidrs(1)[:1],
        cluster_cidrs=CLUSTER_CIDRS[:1],
        service_cidrs=(ipaddress.ip_network("10.96.0.0/16"),),
    )
    others = population.view(size - 1)
    service = _service()
    pieces = [
        endpoint_slice(
            "bench/server-abcde",
            "server",
            endpoint(str(net.b.address), node="node-1"),
            ports=[_endpoint_port(mode, number) for mode, (number, _) in MODES.items()],
        )
    ]
    view = ClusterView(
        services={**others.services, service.key: service},
        slices={**others.slices, **{one.key: one for one in pieces}},
        nodes=others.nodes,
    )
    with Nft(netns_fd=net.node.netns_fd) as nft, Conntrack(netns_fd=net.node.netns_fd) as conntrack:
        await NftablesPlane(nft=nft, conntrack=conntrack).start(Network.compute(view, facts), facts)


def _service() -> Service:
    ports = tuple(
        port(number, mode, protocol="UDP" if mode == "udp" else "TCP", target=number)
        for mode, (number, _) in MODES.items()
    )
    return Service(
        metadata=meta("bench/server", created="2024-01-01T00:00:00Z"),
        spec=ServiceSpec(cluster_ip=SERVICE, cluster_ips=(SERVICE,), ports=ports),
    )


def _endpoint_port(mode: str, number: int) -> EndpointPort:
    return EndpointPort(name=mode, protocol="UDP" if mode == "udp" else "TCP", port=number)


def _measure(net: TwoPods, size: int) -> list[Row]:
    rows = []
    name = f"{size:,} Service{'s' if size > 1 else ''}"
    for mode, what, unit in (
        ("connect", "connects", "/s"),
        ("pingpong", "TCP request latency", "us"),
        ("udp", "UDP request latency", "us"),
        ("stream", "throughput", "Gb/s"),
    ):
        ours, direct = _drive(net, mode)
        if unit == "us":
            ours, direct = [1 / v for v in ours], [1 / v for v in direct]
        ratio = median(a / b for a, b in zip(ours, direct, strict=True))
        scale = {"/s": 1.0, "us": 1e6, "Gb/s": 8e-9}[unit]
        rows.append(
            Row(
                bench="clusterip",
                what=f"{name}: {what}",
                ours=median(ours) * scale,
                unit=unit,
                beside=median(direct) * scale,
                beside_what="pod's own address",
                ratio=ratio,
                most=1 + WITHIN if unit == "us" else None,
                least=None if unit == "us" else 1 - WITHIN,
                on_ratio=True,
            )
        )
        rooms.say(f"clusterip: {name}: {what}: {ratio:.3f} of direct")
    return rows


def _drive(net: TwoPods, mode: str) -> tuple[list[float], list[float]]:
    """Connections, round trips or bytes a second: through the Service, and direct; turn by turn."""
    number = str(MODES[mode][0])
    rounds = str(_ROUNDS)
    words = [str(tool()), "drive", _path(net.a), mode, str(_SLICE_MS[mode]), rounds, str(_cpus(mode)[0])]
    targets = [SERVICE, number, str(net.b.address), number]
    done = subprocess.run([*words, *targets], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"load drive {mode}: {done.stderr.strip()}")
    found: tuple[list[float], list[float]] = ([], [])
    for line in done.stdout.splitlines():
        which, count, nanoseconds = map(int, line.split())
        found[which].append(count / nanoseconds * 1e9)
    return found
