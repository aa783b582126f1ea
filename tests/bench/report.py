"""What a benchmark says: rows of a table, and where they are kept. In: measurements; out: text, JSON."""

from __future__ import annotations

import datetime as dt
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench-results"
_COLUMNS = ("what", "ours", "beside", "ratio", "target", "met")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. ``beside`` was measured in the same run; ``ratio`` is ours to it."""

    bench: str
    what: str
    ours: float
    unit: str
    beside: float | None = None
    beside_what: str = ""
    ratio: float | None = None
    most: float | None = None
    """Target: the most that the ratio may be where ``on_ratio``, else the most that ours may be."""
    least: float | None = None
    on_ratio: bool = False
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        value = self.ratio if self.on_ratio else self.ours
        if value is None or (self.most is None and self.least is None):
            return None
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one benchmark gave."""

    bench: str
    rows: tuple[Row, ...] = ()
    error: str = ""
    seconds: float = 0.0
    load: tuple[float, float] = (0.0, 0.0)
    """Load average of the last minute when it began (that is others) and when it ended (others and the benchmark)."""


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def table(outcomes: Sequence[Outcome]) -> str:
    """All rows, as people read them."""
    lines: list[tuple[str, ...]] = [_COLUMNS]
    for outcome in outcomes:
        began, ended = outcome.load
        what = f"{outcome.bench}: {outcome.seconds:.0f} s, load average {began:.1f} before, {ended:.1f} after"
        lines += [(what, "", "", "", "", ""), *(_cells(row) for row in outcome.rows)]
        if outcome.error:
            lines.append((f"{outcome.bench}: FAILED: {outcome.error}", "", "", "", "", ""))
    widths = [max(len(line[i]) for line in lines if line[1]) for i in range(len(_COLUMNS))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    beside = f"{_number(row.beside)} {row.unit} ({row.beside_what})" if row.beside is not None else ""
    ratio = f"{row.ratio:.3f}" if row.ratio is not None else ""
    unit = "x" if row.on_ratio else f" {row.unit}"
    target = ""
    if row.most is not None:
        target = f"<= {_number(row.most)}{unit}"
    elif row.least is not None:
        target = f">= {_number(row.least)}{unit}"
    met = {True: "yes", False: "NO", None: ""}[row.is_met]
    return (f"{row.bench}: {row.what}", f"{_number(row.ours)} {row.unit}", beside, ratio, target, met)


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def save(outcomes: Sequence[Outcome]) -> Path:
    """Write this run's file, and one line more of all runs beside their commits; gives the file."""
    now = dt.datetime.now(dt.UTC)
    run: dict[str, Any] = {
        "when": now.isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "modified": bool(_git("status", "--porcelain", "--", "src")),
        "machine": {
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "user": "root" if os.getuid() == 0 else "ordinary",
        },
        "benches": [_plain(outcome) for outcome in outcomes],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%d-%H%M%S}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n")
    with (RESULTS / "runs.jsonl").open("ab") as lines:
        lines.write(msgspec.json.encode(run) + b"\n")
    return path


def _plain(outcome: Outcome) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(outcome)
    for row, source in zip(plain["rows"], outcome.rows, strict=True):
        row["met"] = source.is_met
    return plain


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
