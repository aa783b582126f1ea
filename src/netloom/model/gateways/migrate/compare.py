"""The same requests to both: what differs, and whether the list of losses said so.

Comes in: samples, two ways to ask. Goes out: ``Comparison``. Not here: what either does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from msgspec.structs import replace

from netloom.model.gateways.migrate.made import Loss, Weight
from netloom.model.gateways.migrate.outcome import Outcome, Sample

_NOT_FOUND = 404
Asked = Callable[[Sample], Outcome]


class Difference(msgspec.Struct, frozen=True):
    """A request that old and new treat otherwise."""

    sample: Sample
    before: Outcome
    after: Outcome
    listed: str = ""
    """The loss that said so; empty: nobody did."""


class Comparison(msgspec.Struct, frozen=True):
    """What a comparison came to."""

    asked: int
    differences: tuple[Difference, ...]

    @property
    def unlisted(self) -> tuple[Difference, ...]:
        """Differences that nobody said."""
        return tuple(one for one in self.differences if not one.listed)

    @property
    def is_proven(self) -> bool:
        """Everything is the same, but for what was said."""
        return not self.unlisted


def compare(samples: Iterable[Sample], before: Asked, after: Asked, losses: Iterable[Loss]) -> Comparison:
    """Ask both, request by request."""
    said = tuple(losses)
    count = 0
    found = []
    for sample in samples:
        count += 1
        old, new = before(sample), after(sample)
        if old != new:
            found.append(Difference(sample, old, new, _listed(sample, old, new, said)))
    return Comparison(count, tuple(found))


def _listed(sample: Sample, old: Outcome, new: Outcome, losses: Iterable[Loss]) -> str:
    is_only_terms = replace(old, terms=()) == replace(new, terms=())
    for loss in losses:
        is_here = loss.place == sample.about and loss.place != ("", "")
        is_mine = loss.ingress == sample.ingress
        if is_here and (
            sample.boundary in loss.boundaries or (loss.weight is Weight.LOST and not loss.boundaries)
        ):
            return loss.words
        is_host = loss.place == (sample.about[0], "") and bool(sample.about[0])
        if is_host and old.status == _NOT_FOUND and sample.boundary in loss.boundaries:
            return loss.words
        if is_mine and loss.place == ("", "") and sample.boundary in loss.boundaries:
            return loss.words
        if is_mine and is_only_terms and loss.weight is Weight.LOST:
            return loss.words
    return ""
