"""What others did to this node's kernel rules, remembered. In: audits. Out: log lines, samples for metrics, a report.

The memory is bounded, and so is what it says: the same difference found again is counted and told once a minute, and whoever fights
for our table with ever other elements gets no more than a page of lines a minute. Not here: finding and repairing
(``dataplane/nftables/audit``).
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Iterable

import msgspec

from netloom.clock import Clock, rfc3339
from netloom.dataplane.nftables.audit import TIMER, Audit
from netloom.dataplane.nftables.drift import Drift, DriftKind
from netloom.metrics import Histogram, Sample, counter, gauge
from netloom.model.provenance import Source
from netloom.units import Family

log = logging.getLogger(__name__)

_KEPT = 128
_TOLD_AGAIN_S = 60.0
_MOST_LINES = 30
"""In so many seconds."""

Identity = tuple[Family, str, str]


class DriftLine(msgspec.Struct, frozen=True):
    """One difference, however often it was found."""

    text: str
    kind: str
    """``missing``, ``foreign`` or ``wrong``."""
    family: str
    place: str
    item: str
    sources: tuple[Source, ...]
    cause: str
    """Who did it, as far as that is known: ``nft (process 4711)``."""
    repaired: bool
    count: int
    first: str
    """RFC 3339."""
    last: str


class DriftReport(msgspec.Struct, frozen=True):
    """What one node's agent has found since it started."""

    node: str
    found: int
    """Differences in all, repetitions counted."""
    unrepaired: int
    """What is wrong now, as far as is known."""
    audits: int
    last_whole_audit: str = ""
    """When everything was compared last (RFC 3339); empty where not yet."""
    lines: tuple[DriftLine, ...] = ()
    """The last ones, newest first; of very many some are forgotten."""


class _Known:
    """A difference that has been found."""

    def __init__(self, drift: Drift, at: float) -> None:
        self.drift = drift
        self.cause = ""
        self.repaired = True
        self.count = 0
        self.untold = 0
        self.first = at
        self.last = at
        self.told_at: float | None = None


class DriftLog:
    """Takes audits of one node; see ``take``, ``samples`` and ``report``.

    Args:
        node: its name.
        clock: the time.
    """

    def __init__(self, *, node: str, clock: Clock) -> None:
        self._node = node
        self._clock = clock
        self._known: collections.OrderedDict[Identity, _Known] = collections.OrderedDict()
        self._found = dict.fromkeys(DriftKind, 0)
        self._uncounted = 0
        self._repaired = 0
        self._left: set[Identity] = set()
        self._audits = {"commit": 0, "timer": 0}
        self._seconds = Histogram()
        self._whole_at: float | None = None
        self._lines: collections.deque[float] = collections.deque(maxlen=_MOST_LINES)
        self._unsaid = 0

    def take(self, audit: Audit) -> None:
        """An audit is over."""
        self._audits["timer" if audit.cause == TIMER else "commit"] += 1
        self._seconds.observe(audit.seconds)
        if audit.everything:
            self._whole_at = self._clock.wall()
        self._repaired += audit.count - len(audit.unrepaired)
        self._uncounted += audit.count - len(audit.drifts)
        left = {drift.identity for drift in audit.unrepaired}
        seen = set(self._left) if audit.everything else {drift.identity for drift in audit.drifts}
        self._left = (self._left - seen) | left
        for drift in audit.drifts:
            self._found[drift.kind] += 1
            self._remember(drift, audit.cause, repaired=drift.identity not in left)
        if audit.count > len(audit.drifts):
            self._say(f"drift: and {audit.count - len(audit.drifts)} more on {self._node}")

    def samples(self) -> Iterable[Sample]:
        """For the page of metrics."""
        name, words = "netloom_drift_found_total", "Differences between the kernel's rules and the model."
        for kind, count in self._found.items():
            yield counter(name, words, count, kind=kind.value)
        yield counter(name, words, self._uncounted, kind="untold")
        yield counter("netloom_drift_repaired_total", "Differences that were put right.", self._repaired)
        yield gauge(
            "netloom_drift_unrepaired", "Differences that could not be put right, now.", len(self._left)
        )
        for cause, count in self._audits.items():
            yield counter(
                "netloom_drift_audits_total", "Comparisons of the kernel's rules.", count, cause=cause
            )
        yield self._seconds.sample("netloom_drift_audit_duration_seconds", "Time that a comparison took.")
        if self._whole_at is not None:
            yield gauge(
                "netloom_drift_last_whole_audit_timestamp_seconds",
                "When everything was compared last.",
                self._whole_at,
            )

    def report(self) -> DriftReport:
        """For people and programs who ask."""
        return DriftReport(
            node=self._node,
            found=sum(self._found.values()) + self._uncounted,
            unrepaired=len(self._left),
            audits=sum(self._audits.values()),
            last_whole_audit="" if self._whole_at is None else rfc3339(self._whole_at),
            lines=tuple(_line(known) for known in reversed(self._known.values())),
        )

    def _remember(self, drift: Drift, cause: str, *, repaired: bool) -> None:
        now = self._clock.wall()
        known = self._known.pop(drift.identity, None) or _Known(drift, now)
        self._known[drift.identity] = known
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        known.drift, known.cause, known.repaired, known.last = drift, cause, repaired, now
        known.count += 1
        known.untold += 1
        self._tell(known)

    def _tell(self, known: _Known) -> None:
        now = self._clock.monotonic()
        if known.told_at is not None and now - known.told_at < _TOLD_AGAIN_S:
            return
        again = f", {known.untold} times since it was last told" if known.told_at is not None else ""
        by = f"; by {known.cause}" if known.cause not in {"", TIMER} else ""
        done = "put right" if known.repaired else "COULD NOT be put right"
        if self._say(f"drift: {known.drift.text}{by}; {done}{again}"):
            known.told_at, known.untold = now, 0

    def _say(self, text: str) -> bool:
        """Write a line, unless there were many in the last minute."""
        now = self._clock.monotonic()
        if len(self._lines) == _MOST_LINES and now - self._lines[0] < _TOLD_AGAIN_S:
            self._unsaid += 1
            return False
        self._lines.append(now)
        if self._unsaid:
            text = f"{text} ({self._unsaid} other lines were left out)"
            self._unsaid = 0
        log.warning("%s", text)
        return True


def _line(known: _Known) -> DriftLine:
    drift = known.drift
    return DriftLine(
        text=drift.text,
        kind=drift.kind.value,
        family=drift.family.value,
        place=drift.place,
        item=drift.item,
        sources=drift.sources,
        cause=known.cause,
        repaired=known.repaired,
        count=known.count,
        first=rfc3339(known.first),
        last=rfc3339(known.last),
    )
