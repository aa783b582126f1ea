"""A check's report for people. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from netloom.observe.check.run import CheckReport
from netloom.observe.check.verdicts import Result, Status

_MOST_SHOWN = 20
_MOST_OF_ONE = 2


def render(report: CheckReport, *, verbose: bool) -> str:
    """What is not as it should be first, the sum last; ``verbose``: what holds, too."""
    lines: list[str] = []
    for status in sorted(Status, key=list(Status).index, reverse=True):
        if status is not Status.HOLDS or verbose:
            lines += _group(report, status, everything=verbose)
    if report.mutations is not None:
        lines += _mutations(report, everything=verbose)
    lines += [f"note: {problem}" for problem in report.problems]
    return "\n".join([*lines, _sum(report)])


def _group(report: CheckReport, status: Status, *, everything: bool) -> Iterator[str]:
    """Of each expectation the first few cases."""
    found = [result for result in report.results if result.status is status]
    shown = 0
    for place, group in itertools.groupby(found, key=lambda result: result.place):
        results = list(group)
        most = len(results) if everything else _MOST_OF_ONE if place else _MOST_SHOWN
        for result in results[: most if everything else min(most, _MOST_SHOWN - shown)]:
            yield from _lines(result)
            shown += 1
        if place and len(results) > most:
            yield f"{'':15} ... and {len(results) - most} more of this expectation"
        if shown == _MOST_SHOWN and not everything:
            yield f"... {len(found)} in all: {status.value}"
            break
    if shown:
        yield ""


def _lines(result: Result) -> Iterator[str]:
    verb = {"allow": "can reach", "deny": "cannot reach"}.get(result.expected, "now and then reaches")
    sentence = result.text.replace(" -> ", f" {verb} ", 1)
    place = f"   [{result.place}]" if result.place else ""
    yield f"{result.status.value.upper():15} {sentence}{place}"
    time = f" ({result.ms:.0f} ms)" if result.ms else ""
    yield f"{'':15}   {result.seen}{time}{f': {result.why}' if result.why and result.why != result.seen else ''}"
    if result.because:
        yield f"{'':15}   expected because {result.because}"
    if result.status is not Status.HOLDS:
        yield from (f"{'':15}   because of {source}" for source in result.sources[:3])


def _mutations(report: CheckReport, *, everything: bool) -> Iterator[str]:
    total = len(report.mutations or ())
    unnoticed = report.unnoticed
    if not unnoticed:
        yield f"each of {total} parts of policies would be missed: some case fares otherwise without it"
    else:
        yield f"{len(unnoticed)} of {total} parts of policies would not be missed: every case fares the same without"
        yield from (f"  {one.source}" for one in unnoticed[: None if everything else _MOST_SHOWN])
        if len(unnoticed) > _MOST_SHOWN and not everything:
            yield f"  ... and {len(unnoticed) - _MOST_SHOWN} more"
    if everything:
        for one in report.mutations or ():
            if one.is_noticed:
                yield f"  {one.source}: missed by {one.count}, such as {one.noticed_by[0]}"
    yield ""


def _sum(report: CheckReport) -> str:
    counts = {status: sum(one.status is status for one in report.results) for status in Status}
    of = f" (of {report.of}: ask for more with --most)" if report.of > len(report.results) else ""
    parts = [f"{counts[Status.HOLDS]} of {len(report.results)} hold{of}"]
    parts += [f"{counts[one]} {one.value}" for one in Status if one is not Status.HOLDS and counts[one]]
    return f"{', '.join(parts)}; in {report.seconds:.1f} s"
