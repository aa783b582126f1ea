"""`make bench`, or `.venv/bin/python -m tests.bench boot cni ...`: run benchmarks, print a table, write JSON.

Exits with 1 where a benchmark could not be run; a missed target is a figure, not an error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

import msgspec
from tests.bench import report, rooms
from tests.bench.report import Outcome

ALONE = {
    "boot": False,
    "memory": False,
    "cni": True,
    "clusterip": True,
    "program": True,
    "change": True,
    "dns": True,
}
"""Each benchmark, and whether it runs in namespaces of its own; those that do not start whole clusters, which make theirs."""
_MODULES = {"boot": "boot", "memory": "memory", "cni": "attach", "clusterip": "datapath", "dns": "names"}
_TIMEOUT_S = 300.0


def main() -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("bench", nargs="*", metavar="BENCH", help=f"of {', '.join(ALONE)} (default: all)")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupted)
    if options.inside:
        return _inside(options.inside, Path(options.out))
    unknown = set(options.bench) - set(ALONE)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(ALONE)}")
    wanted = [name for name in ALONE if not options.bench or name in options.bench]
    outcomes: list[Outcome] = []
    try:
        for number, name in enumerate(wanted, 1):
            rooms.say(f"[{number}/{len(wanted)}] {name}")
            outcomes.append(rooms.run_apart(name, alone=ALONE[name], timeout_s=_TIMEOUT_S))
    except KeyboardInterrupt:
        rooms.say("interrupted")
        return 130
    print(report.table(outcomes))
    rooms.say(f"written to {report.save(outcomes)}")
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _inside(name: str, out: Path) -> int:
    """One benchmark, here and now; what it gave goes into a file."""
    began = time.monotonic()
    rows: list[report.Row] = []
    error = ""
    try:
        if ALONE[name]:
            rooms.make_ready()
        module = importlib.import_module(f"tests.bench.{_MODULES.get(name, name)}")
        rows = module.run()
    except Exception as failure:  # noqa: BLE001 - the boundary: told in the table, and the others go on
        traceback.print_exc()
        error = f"{type(failure).__name__}: {failure}"
    outcome = Outcome(bench=name, rows=tuple(rows), error=error, seconds=round(time.monotonic() - began, 1))
    out.write_bytes(msgspec.json.encode(outcome))
    return 0


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    os.environ.setdefault("PATH", "/usr/bin:/bin")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    sys.exit(main())
