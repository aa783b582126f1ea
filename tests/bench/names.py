"""The node's DNS process on one core, over 10,000 Service names: queries a second, by dnsperf on another."""

from __future__ import annotations

import os
import re
import subprocess

from tests.bench import rig, rooms
from tests.bench.report import Row, median

from netloom.linux import netns

SERVICES = rooms.either(10_000, 100)
_SECONDS = rooms.either(3, 1)
_RUNS = rooms.either(3, 1)


def run() -> list[Row]:
    """The rows of this benchmark."""
    rates: list[float] = []
    latencies: list[float] = []
    costs: list[float] = []
    with rig.built() as node, rooms.scratch() as directory:
        node.hold(SERVICES)
        node.start_agent()
        node.wait_in_force()
        allowed = sorted(os.sched_getaffinity(0))
        server = node.pid(f"{rig.NODE}-dns")
        os.sched_setaffinity(server, {allowed[0]})
        queries = directory / "queries"
        lines = [f"svc-{i * 7919 % SERVICES}.load.svc.cluster.local A" for i in range(SERVICES)]
        queries.write_text("\n".join(lines) + "\n")
        address = str(node.settings.dns_addresses[0])
        words = ["dnsperf", "-s", address, "-d", str(queries), "-l", str(_SECONDS), "-c", "10", "-q", "200"]

        def ask() -> str:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"dnsperf: {done.stderr.strip()}")
            return done.stdout

        for _ in range(_RUNS):
            before = rig.used(server).cpu_s
            said = netns.run_in(node.node.netns, ask)
            cpu = rig.used(server).cpu_s - before
            if (good := _number(r"NOERROR (\d+)", said)) < 0.99 * _number(r"Queries sent:\s+(\d+)", said):
                raise RuntimeError(f"dnsperf: not all names were answered: {said}")
            rates.append(_number(r"Queries per second:\s+([\d.]+)", said))
            latencies.append(_number(r"Average Latency \(s\):\s+([\d.]+)", said) * 1e3)
            costs.append(cpu / good * 1e6)
            rooms.say(f"dns: {rates[-1]:,.0f} queries/s")
        rss = rig.used(server).rss_mb
    name = f"{SERVICES:,} names, one core"
    return [
        Row(bench="dns", what=f"{name}: queries", ours=median(rates), unit="/s"),
        Row(bench="dns", what=f"{name}: CPU of the server for each", ours=median(costs), unit="us"),
        Row(bench="dns", what=f"{name}: latency under that load", ours=median(latencies), unit="ms"),
        Row(bench="dns", what=f"{name}: RSS of the server", ours=rss, unit="MB"),
    ]


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"dnsperf did not say {pattern!r}: {text}")
    return float(found[1])
