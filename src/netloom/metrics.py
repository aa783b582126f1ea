"""Metrics as values, and their text (Prometheus exposition format 0.0.4).

Comes in: numbers that rooms count for themselves. Goes out: ``Sample`` values, and the text of a page of them. A room that has
something to tell offers a :data:`SampleSource`; whoever serves the page asks all sources when it is asked itself. Not here: the
server (``agent/servers``), and what is measured.

Names follow the field: ``netloom_<subject>_<unit>``, seconds and bytes as units, counters end in ``_total``.
"""

from __future__ import annotations

import enum
import itertools
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

import msgspec

LATENCY_S = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0,
)  # fmt: skip
"""Upper bounds of buckets, in seconds, for what should take milliseconds and is told apart when it takes minutes."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of a page made by :func:`render`."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Labels = tuple[tuple[str, str], ...]
"""Names and values, in the order in which they are written."""


class Kind(enum.Enum):
    """How a metric is to be read; the value is the word of the format."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Distribution(msgspec.Struct, frozen=True):
    """What a histogram has seen at one moment."""

    bounds: tuple[float, ...]
    """Upper bounds of the buckets, rising; the last bucket has none."""
    counts: tuple[int, ...]
    """How many values fell into each bucket (not added up); one more than bounds."""
    total: float
    """Sum of all values."""


class Sample(msgspec.Struct, frozen=True):
    """One number, or one distribution, under a name and labels."""

    name: str
    help: str
    """One sentence; the same for all samples of a name."""
    kind: Kind
    value: float | Distribution
    labels: Labels = ()


SampleSource = Callable[[], Iterable[Sample]]
"""What a room registers: asked anew for each page, must not block and must not wait."""


class Histogram:
    """Counts values into buckets.

    Args:
        bounds: upper bounds of the buckets, rising.
    """

    def __init__(self, bounds: Sequence[float] = LATENCY_S) -> None:
        if not bounds or any(a >= b for a, b in itertools.pairwise(bounds)):
            raise ValueError(f"bounds of a histogram must rise: {bounds}")
        self._bounds = tuple(map(float, bounds))
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, so many times; one on a bound belongs to the bucket below it (``le``: less or equal)."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._total += value * times

    @property
    def distribution(self) -> Distribution:
        """What was counted so far."""
        return Distribution(self._bounds, tuple(self._counts), self._total)

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self._counts)

    def sample(self, name: str, help_text: str, **labels: str) -> Sample:
        """What was counted so far."""
        return Sample(name, help_text, Kind.HISTOGRAM, self.distribution, tuple(labels.items()))


def counter(name: str, help_text: str, value: float, **labels: str) -> Sample:
    """A number that only grows; its name ends in ``_total``."""
    return Sample(name, help_text, Kind.COUNTER, value, tuple(labels.items()))


def gauge(name: str, help_text: str, value: float, **labels: str) -> Sample:
    """A number that goes up and down."""
    return Sample(name, help_text, Kind.GAUGE, value, tuple(labels.items()))


def render(samples: Iterable[Sample]) -> str:
    """The page: metrics by name, the samples of each together and in the order they came in.

    Raises:
        ValueError: a name or a label that the format does not allow, or one name with two kinds, or the same labels twice. A
            reader would refuse the whole page.
    """
    groups: dict[str, dict[Labels, Sample]] = {}
    for sample in samples:
        group = groups.setdefault(sample.name, {})
        if sample.labels in group:
            raise ValueError(f"metric {sample.name}: labels {dict(sample.labels)} come twice")
        group[sample.labels] = sample
    lines: list[str] = []
    for name in sorted(groups):
        _write_group(lines, name, list(groups[name].values()))
    return "".join(f"{line}\n" for line in lines)


def _write_group(lines: list[str], name: str, group: list[Sample]) -> None:
    first = group[0]
    if not _NAME.fullmatch(name):
        raise ValueError(f"metric {name!r}: no name of a metric")
    if any(sample.kind is not first.kind for sample in group):
        raise ValueError(f"metric {name}: is of two kinds")
    if (first.kind is Kind.COUNTER) is not name.endswith("_total"):
        raise ValueError(f"metric {name}: counters, and nothing else, end in _total")
    described = first.help.replace("\\", r"\\").replace("\n", r"\n")
    lines += [f"# HELP {name} {described}", f"# TYPE {name} {first.kind.value}"]
    for sample in group:
        if isinstance(sample.value, Distribution):
            _write_distribution(lines, sample, sample.value)
        else:
            lines.append(f"{name}{_labels(sample.labels)} {_number(sample.value)}")


def _write_distribution(lines: list[str], sample: Sample, seen: Distribution) -> None:
    below = 0
    for bound, count in zip((*seen.bounds, math.inf), seen.counts, strict=True):
        below += count
        within = (*sample.labels, ("le", _number(bound)))
        lines.append(f"{sample.name}_bucket{_labels(within)} {below}")
    lines.append(f"{sample.name}_sum{_labels(sample.labels)} {_number(seen.total)}")
    lines.append(f"{sample.name}_count{_labels(sample.labels)} {below}")


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    for name, _ in labels:
        if not _LABEL.fullmatch(name):
            raise ValueError(f"label {name!r}: no name of a label")
    return "{" + ",".join(f'{name}="{_quoted(value)}"' for name, value in labels) + "}"


def _quoted(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
