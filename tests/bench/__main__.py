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


class Bench(msgspec.Struct, frozen=True):
    """One benchmark."""

    module: str
    alone: bool = True
    """It runs in namespaces of its own; not those that start whole clusters, which make theirs."""
    prepare: bool = False
    """Its module fetches something from outside first, which it cannot from inside."""
    timeout_s: float = 420.0
    rootless: bool = False
    """It runs in a user namespace, so that the kernel gives it no more than to an ordinary user."""


BENCHES = {
    "boot": Bench("boot", alone=False),
    "memory": Bench("memory", alone=False),
    "lists": Bench("api_lists", alone=False),
    "crowd": Bench("crowd", alone=False, timeout_s=900.0),
    "cni": Bench("attach"),
    "pods": Bench("fabrics"),
    "clusterip": Bench("datapath"),
    "program": Bench("program"),
    "rootless": Bench("program", rootless=True),
    "change": Bench("change"),
    "dns": Bench("names"),
    "policies": Bench("policies"),
    "plan": Bench("plan"),
    "rights": Bench("rights"),
    "failover": Bench("failover", alone=False),
    "gateways": Bench("gateways", prepare=True),
}


def main() -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("bench", nargs="*", metavar="BENCH", help=f"of {', '.join(BENCHES)} (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="small counts, to see that all of it runs; nothing is written"
    )
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupted)
    if options.inside:
        return _inside(options.inside, Path(options.out))
    if options.quick:
        os.environ[rooms.QUICK] = "1"
    unknown = set(options.bench) - set(BENCHES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHES)}")
    # an ordinary user's are all so already
    wanted = options.bench or [name for name, b in BENCHES.items() if os.getuid() == 0 or not b.rootless]
    outcomes: list[Outcome] = []
    try:
        for number, name in enumerate(wanted, 1):
            rooms.say(f"[{number}/{len(wanted)}] {name}")
            outcomes.append(_run(name))
    except KeyboardInterrupt:
        print(report.table(outcomes))
        rooms.say("interrupted; nothing is written")
        return 130
    print(report.table(outcomes))
    if not options.quick:
        rooms.say(f"written to {report.save(outcomes)}")
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _run(name: str) -> Outcome:
    bench = BENCHES[name]
    if bench.prepare:
        importlib.import_module(f"tests.bench.{bench.module}").prepare()
    before = os.getloadavg()[0]
    outcome = rooms.run_apart(name, alone=bench.alone, rootless=bench.rootless, timeout_s=bench.timeout_s)
    return msgspec.structs.replace(outcome, load=(before, os.getloadavg()[0]))


def _inside(name: str, out: Path) -> int:
    """One benchmark, here and now; what it gave goes into a file."""
    began = time.monotonic()
    rows: list[report.Row] = []
    error = ""
    try:
        if BENCHES[name].alone:
            rooms.make_ready()
        module = importlib.import_module(f"tests.bench.{BENCHES[name].module}")
        rows = [msgspec.structs.replace(row, bench=name) for row in module.run()]
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
