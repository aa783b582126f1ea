"""What HAProxy counts, as samples. In: its table of statistics (CSV). Out: samples. Not here: asking for it (``engine.py``)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from netloom.gateway.haproxy.difference import Running
from netloom.metrics import Sample, counter, gauge

ASK = "show stat -1 3 -1"
"""Doors and lanes, not each server."""
_CODES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")


class _Row(NamedTuple):
    labels: dict[str, str]
    is_door: bool
    counts: Mapping[str, str]


class Counts:
    """Numbers of an engine, and of its HAProxy as of the last reading."""

    def __init__(self) -> None:
        self.starts = 0
        self.commands = 0
        self.refusals = 0
        self._rows: list[_Row] = []

    def read(self, text: str, running: Running) -> None:
        """Take over a table."""
        lanes = {running.known(name): lane for name, lane in running.told.lanes.items()}
        rows: list[_Row] = []
        for one in csv.DictReader(text.removeprefix("# ").splitlines()):
            name = one["pxname"]
            if one["svname"] == "FRONTEND" and name.startswith("d"):
                rows.append(_Row({"door": name[1:]}, True, one))
            elif one["svname"] == "BACKEND" and (lane := lanes.get(name)) is not None:
                subjects = {source.subject for source in running.told.sources.get(lane.name, ())}
                route = subjects.pop() if len(subjects) == 1 else ""
                rows.append(_Row({"lane": lane.name, "backend": lane.label, "route": route}, False, one))
        self._rows = rows

    def samples(self, old: int) -> Iterator[Sample]:
        """Everything as it is now; ``old`` processes are finishing."""
        yield counter("netloom_gateway_starts_total", "Processes of HAProxy that were started.", self.starts)
        yield counter("netloom_gateway_commands_total", "Changes of a HAProxy that ran on.", self.commands)
        yield counter(
            "netloom_gateway_refusals_total", "Configurations that HAProxy took nothing of.", self.refusals
        )
        yield gauge("netloom_gateway_finishing", "Replaced processes that still have connections.", old)
        for row in self._rows:
            yield from _door(row) if row.is_door else _lane(row)


def _door(row: _Row) -> Iterable[Sample]:
    yield gauge(
        "netloom_gateway_connections", "Connections of clients.", _number(row.counts["scur"]), **row.labels
    )
    yield counter(
        "netloom_gateway_connections_total",
        "Connections of clients since the process began.",
        _number(row.counts["stot"]),
        **row.labels,
    )


def _lane(row: _Row) -> Iterable[Sample]:
    for code in _CODES:
        value = _number(row.counts[f"hrsp_{code}"])
        if value:
            yield counter(
                "netloom_gateway_responses_total",
                "Answers since the process began, by class of their status.",
                value,
                **row.labels,
                code=code,
            )
    if _number(row.counts["stot"]):
        yield gauge(
            "netloom_gateway_backend_seconds",
            "Time to the answer of an endpoint, on average over its last 1,024 answers.",
            _number(row.counts["rtime"]) / 1000,
            **row.labels,
        )


def _number(text: str) -> float:
    return float(text) if text else 0.0
