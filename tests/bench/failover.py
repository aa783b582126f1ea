"""Failover of an address at layer 2: for how long a client outside gets no connection when the node that answers is cut off, or is told to stop.

The client connects all the time; a figure is the time from its last connection before to the first one after. The endpoint is on a node that stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import rooms
from tests.bench.boot import Cluster, clusters
from tests.bench.report import ROOT, Row, median, quantile

RUNS, STOPS = rooms.either((20, 20), (2, 2))
MOST_S = 1.0
_SETTLE_S = 20.0
_SERVICES = 4
_PROBE = """
import json, socket, sys, threading, time
address = sys.argv[1]
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
last = None
while not ended.is_set():
    began = time.monotonic()
    try:
        with socket.create_connection((address, 80), 0.04):
            now = time.monotonic()
            if last is None or now - last > 0.03:
                print(json.dumps({"gap": 0.0 if last is None else now - last, "at": now}), flush=True)
            last = now
    except OSError:
        pass
    ended.wait(0.004)
"""
_POD = """apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: node-1
  containers: [{name: c, image: example/web, ports: [{containerPort: 8080}]}]
---
"""
_SERVICE = """apiVersion: v1
kind: Service
metadata: {{name: web-{number}}}
spec: {{type: LoadBalancer, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
"""


def run() -> list[Row]:
    """The rows of this benchmark."""
    with clusters() as cluster:
        manifest = cluster.home / "web.yaml"
        manifest.write_text(_POD + "".join(_SERVICE.format(number=n) for n in range(_SERVICES)))
        cluster.up("--nodes", "3", "-f", str(manifest))
        address, owner = _other_owner(cluster)
        with _probing(cluster, address) as probe:
            deaths = [_death(cluster, probe, address, owner, number) for number in range(RUNS)]
            stops = [_stop(cluster, probe, address, owner) for _ in range(STOPS)]
    return [*_rows("node cut off", deaths), *_rows("speaker told to stop", stops)]


def _rows(what: str, gaps: list[float]) -> Iterator[Row]:
    note = f"{len(gaps)} runs"
    for word, value in (("median", median(gaps)), ("95 %", quantile(gaps, 0.95)), ("worst", max(gaps))):
        yield Row(
            bench="failover",
            what=f"no answer, {what}, {word}",
            ours=round(value, 3),
            unit="s",
            most=MOST_S,
            note=note,
        )


def _death(cluster: Cluster, probe: subprocess.Popen[str], address: str, owner: str, number: int) -> float:
    pid = _pid(cluster, "nl-init")
    _say_nothing_more(probe)
    time.sleep(0.037 * (number % 6))  # anywhere between two heartbeats
    _cable(pid, owner, "down")
    try:
        gap = _worst_within(probe, 2.0)
    finally:
        _cable(pid, owner, "up")
    _wait_for(cluster, address, owner)
    rooms.say(f"failover: {gap:.3f} s")
    return gap


def _stop(cluster: Cluster, probe: subprocess.Popen[str], address: str, owner: str) -> float:
    _say_nothing_more(probe)
    os.kill(_pid(cluster, f"nl-{owner}-speaker"), signal.SIGTERM)
    gap = _worst_within(probe, 1.0)
    _wait_for(cluster, address, owner)
    return gap


# --- the client outside


@contextlib.contextmanager
def _probing(cluster: Cluster, address: str) -> Iterator[subprocess.Popen[str]]:
    program = str(Path(sys.executable).with_name("netloom"))
    words = [program, "client", "--", sys.executable, "-u", "-c", _PROBE, address]
    environment = {**os.environ, "NETLOOM_HOME": str(cluster.home)}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    ) as probe:
        assert probe.stdout is not None
        os.set_blocking(probe.stdout.fileno(), False)
        try:
            yield probe
        finally:
            probe.kill()


def _lines(probe: subprocess.Popen[str]) -> list[float]:
    assert probe.stdout is not None
    found = []
    while line := probe.stdout.readline():
        found.append(float(json.loads(line)["gap"]))
    return found


def _say_nothing_more(probe: subprocess.Popen[str]) -> None:
    _lines(probe)


def _worst_within(probe: subprocess.Popen[str], seconds: float) -> float:
    """The longest gap that ends within this time; what is shorter than the client's own pace is none."""
    time.sleep(seconds)
    return max(_lines(probe), default=0.0)


# --- the cluster


def _status(cluster: Cluster) -> dict[str, dict[str, list[str]]]:
    done = cluster.netloom("speaker", "status", "-o", "json", check=False)
    return {one["address"]: one for one in json.loads(done.stdout)["addresses"]}


def _other_owner(cluster: Cluster) -> tuple[str, str]:
    """An address that a node without the endpoint answers for."""
    ends = time.monotonic() + _SETTLE_S
    while time.monotonic() < ends:
        rows = _status(cluster)
        if len(rows) == _SERVICES and all(len(row["owners"]) == 1 for row in rows.values()):
            return next((a, row["owners"][0]) for a, row in rows.items() if row["owners"] != ["node-1"])
    raise RuntimeError(f"not every address has an owner: {rows}")


def _wait_for(cluster: Cluster, address: str, owner: str) -> None:
    ends = time.monotonic() + _SETTLE_S
    while time.monotonic() < ends:
        if _status(cluster)[address]["owners"] == [owner]:
            return
    raise RuntimeError(f"{owner} does not answer for {address} again")


def _pid(cluster: Cluster, name: str) -> int:
    """The process of this cluster that has this name, as the kernel cuts it."""
    supervisor = int((cluster.home / "clusters" / "default" / "supervisor.pid").read_text())
    parents: dict[int, int] = {}
    named: list[int] = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            comm, _, rest = (path / "stat").read_text().rpartition(")")
            parents[int(path.name)] = int(rest.split()[1])
            if comm.partition("(")[2] == name[:15]:
                named.append(int(path.name))
    for pid in named:
        at = pid
        while at in parents and at != supervisor:
            at = parents[at]
        if at == supervisor:
            return pid
    raise RuntimeError(f"no process {name}")


def _cable(pid: int, node: str, word: str) -> None:
    """The other end of a node's interface: what a switch does when a node is gone."""
    own = [] if os.getuid() == 0 else ["--user", "--preserve-credentials"]
    words = ["nsenter", "--target", str(pid), *own, "--net", "ip", "link", "set", node, word]
    subprocess.run(words, check=True)
