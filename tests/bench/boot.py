"""`netloom up` until ready (three nodes, API answering, names and Services programmed), with and without the shop; `netloom down`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench import rooms
from tests.bench.report import ROOT, Row, median

RUNS, SHOP_RUNS = rooms.either((5, 3), (1, 1))
READY_S = 3.0


class Cluster:
    """The command, as a user types it, with a home of its own."""

    def __init__(self, home: Path) -> None:
        self._environment = {**os.environ, "NETLOOM_HOME": str(home)}
        self.home = home

    def netloom(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it to its end; RuntimeError with its words where it fails."""
        program = str(Path(sys.executable).with_name("netloom"))
        done = subprocess.run(
            [program, *words], env=self._environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"netloom {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def up(self, *words: str) -> dict[str, Any]:
        """``netloom up``; its report, with ``wall_s`` from exec to exit besides."""
        began = time.monotonic()
        report: dict[str, Any] = json.loads(self.netloom("up", "--output", "json", *words).stdout)
        return report | {"wall_s": time.monotonic() - began}

    def down(self) -> float:
        """``netloom down``; seconds from exec to exit."""
        began = time.monotonic()
        self.netloom("down")
        return time.monotonic() - began


@contextlib.contextmanager
def clusters() -> Iterator[Cluster]:
    """Clusters that end with the block, whatever ends it."""
    with rooms.scratch() as home:
        cluster = Cluster(home)
        try:
            yield cluster
        finally:
            cluster.netloom("down", "--all", check=False)


def run() -> list[Row]:
    """The rows of this benchmark."""
    ready: list[float] = []
    walls: list[float] = []
    downs: list[float] = []
    shops: list[float] = []
    with clusters() as cluster:
        for turn in range(RUNS):
            report = cluster.up()
            ready.append(report["ready_s"])
            walls.append(report["wall_s"])
            downs.append(cluster.down())
            if turn < SHOP_RUNS:
                shops.append(cluster.up("-f", "examples/shop")["total_s"])
                cluster.down()
            rooms.say(f"boot: ready after {ready[-1]:.2f} s")
    return [
        Row(bench="boot", what="netloom up, 3 nodes ready", ours=median(ready), unit="s", most=READY_S),
        Row(bench="boot", what="the slowest of them", ours=max(ready), unit="s", most=READY_S),
        Row(bench="boot", what="netloom up, from exec to exit", ours=median(walls), unit="s"),
        Row(bench="boot", what="netloom up -f examples/shop, all ready", ours=median(shops), unit="s"),
        Row(bench="boot", what="netloom down, from exec to exit", ours=median(downs), unit="s"),
    ]
