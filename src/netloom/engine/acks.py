"""What is in force on this node: how far into each kind's events, and which state of each EndpointSlice; how long it took.

In: what turns take, and the kernel's answers. Out: plain numbers, read by status, metrics and whoever publishes them. What the kernel refused is not lost: it is in force with the next turn that succeeds, and said so then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

import msgspec

from netloom.api.discovery import EndpointSlice
from netloom.engine.pending import Taken, count
from netloom.metrics import Histogram, Sample, counter, gauge
from netloom.units import ObjectKey


class SliceAck(msgspec.Struct, frozen=True, gc=False):
    """The state of an EndpointSlice that is in force."""

    uid: str
    generation: int
    resource_version: str


class Acks:
    """Counts turns and remembers what is in force."""

    def __init__(self) -> None:
        self.turns = 0
        self.changes = 0
        self.refusals = 0
        self.start_s: float | None = None
        """Seconds that the first turn took, which programs everything; None before."""
        self.turn_s = Histogram()
        """Seconds from taking changes to the kernel's answer, but for the first turn."""
        self.latency_s = Histogram()
        """Seconds from the arrival of a turn's first event to the kernel's answer, but for the first turn."""
        self._versions: dict[str, str] = {}
        self._slices: dict[ObjectKey, SliceAck] = {}
        self._taken_versions: dict[str, str] = {}
        self._taken_slices: dict[ObjectKey, EndpointSlice | None] = {}
        self._taken = 0
        self._taken_marks = 0
        self._marked = 0
        self._arrivals: dict[asyncio.Future[None], int] = {}
        self._since: float | None = None
        self._listeners: list[Callable[[], None]] = []

    @property
    def versions(self) -> Mapping[str, str]:
        """By kind (field names of ``Changes``): the resourceVersion up to which every event of its watch is in force."""
        return self._versions

    @property
    def slices(self) -> Mapping[ObjectKey, SliceAck]:
        """The EndpointSlices that are in force."""
        return self._slices

    def follow(self, listener: Callable[[], None]) -> None:
        """Call this whenever ``versions`` have changed. It must neither block nor fail."""
        self._listeners.append(listener)

    async def in_force(self, mark: int) -> None:
        """Wait until what ``Pending.mark`` gave this number to is in force."""
        if mark <= self._marked:
            return
        arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrivals[arrival] = mark
        try:
            await arrival
        finally:
            self._arrivals.pop(arrival, None)

    def taken(self, taken: Taken) -> None:
        """These changes are about to be put in force."""
        self._taken += count(taken.changes)
        self._taken_marks = taken.marked
        self._taken_versions.update(taken.versions)
        self._taken_slices.update(taken.changes.slices)
        if self._since is None:
            self._since = taken.since

    def refused(self) -> None:
        """The kernel refused; what was taken is still to be put in force."""
        self.refusals += 1

    def applied(self, *, began: float, ended: float) -> None:
        """The kernel has taken everything that was taken so far.

        Args:
            began: when this turn began, on the monotonic clock.
            ended: when the kernel answered.
        """
        if self.start_s is None:
            self.start_s = ended - began
        else:
            self.turn_s.observe(ended - began)
            if self._since is not None:
                self.latency_s.observe(ended - self._since)
        self.turns += 1
        self._marked = self._taken_marks
        for arrival in [one for one, wanted in self._arrivals.items() if wanted <= self._marked]:
            del self._arrivals[arrival]
            if not arrival.done():
                arrival.set_result(None)
        self.changes += self._taken
        self._taken = 0
        self._since = None
        for key, slice_ in self._taken_slices.items():
            if slice_ is None:
                self._slices.pop(key, None)
            else:
                meta = slice_.metadata
                self._slices[key] = SliceAck(meta.uid, meta.generation, meta.resource_version)
        self._taken_slices.clear()
        self._advance()

    def samples(self) -> Iterator[Sample]:
        """What is to be seen from outside."""
        yield counter("netloom_turns_total", "Turns that put changes in force.", self.turns)
        yield counter("netloom_turns_refused_total", "Turns that the kernel refused.", self.refusals)
        yield counter("netloom_changes_total", "Changed objects that were put in force.", self.changes)
        yield gauge("netloom_slices_in_force", "EndpointSlices that are in force.", len(self._slices))
        yield self.turn_s.sample(
            "netloom_turn_seconds", "From taking changes to the kernel's answer, but for the first turn."
        )
        yield self.latency_s.sample(
            "netloom_event_to_in_force_seconds",
            "From the arrival of a turn's first event to the kernel's answer, but for the first turn.",
        )
        if self.start_s is not None:
            yield gauge(
                "netloom_first_turn_seconds", "Duration of the turn that programs everything.", self.start_s
            )
        for kind, version in sorted(self._versions.items()):
            if version.isdecimal():
                yield gauge(
                    "netloom_in_force_resource_version",
                    "The resourceVersion up to which every event of a kind is in force.",
                    int(version),
                    kind=kind,
                )

    def _advance(self) -> None:
        if not self._taken_versions:
            return
        before = dict(self._versions)
        self._versions.update(self._taken_versions)
        self._taken_versions.clear()
        if self._versions != before:
            for listener in self._listeners:
                listener()
