"""A plan for people: what is lost first, then what is gained, each row with why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from netloom.observe.plan import ChangedObject, PlanReport
from netloom.observe.plan_rows import Row
from netloom.observe.plan_services import ServiceRow
from netloom.observe.reach.reasons import Reason

_SIGNS = {"created": "+", "changed": "~", "deleted": "-"}
_MOST_ROWS = 60
_MOST_OBJECTS = 30


def render_plan(report: PlanReport, *, everything: bool = False) -> str:
    """The text. Long lists are cut, unless everything is wanted."""
    most = None if everything else _MOST_ROWS
    lines = [*_objects(report.objects, None if everything else _MOST_OBJECTS)]
    for title, rows, services in (
        ("Lost", report.lost, report.services_lost),
        ("Gained", report.gained, report.services_gained),
    ):
        if rows or services:
            lines += ["", f"{title}:", *_cut((_row(row) for row in rows), len(rows), most)]
            lines += _cut((_service_row(row) for row in services), len(services), most)
    if report.notes:
        lines += ["", *(f"note: {note}" for note in report.notes)]
    return "\n".join([*lines, "", _summary(report)]).lstrip("\n")


def _objects(objects: Sequence[ChangedObject], most: int | None) -> Iterator[str]:
    if not objects:
        yield "No object would be another."
        return
    yield "Objects:"
    for one in objects[:most]:
        name = f"{one.namespace}/{one.name}" if one.namespace else one.name
        yield f"  {_SIGNS[one.action]} {one.kind} {name}{f'  ({one.file})' if one.file else ''}"
    if most is not None and len(objects) > most:
        yield f"  and {len(objects) - most} more"


def _cut(blocks: Iterable[list[str]], count: int, most: int | None) -> list[str]:
    lines = []
    for number, block in enumerate(blocks):
        if most is not None and number >= most:
            lines.append(f"  and {count - most} more rows: see them all with --all, or with --output json")
            break
        lines += block
    return lines


def _row(row: Row) -> list[str]:
    family = f" ({row.family} only)" if row.family else ""
    lines = [f"  {row.sender} -> {row.receiver}: {row.ports}{family}"]
    if row.services:
        lines.append(f"      also as    {', '.join(row.services)}")
    return [*lines, *_reasons("before", row.before), *_reasons("after", row.after)]


def _reasons(when: str, reasons: Sequence[Reason]) -> Iterator[str]:
    for number, reason in enumerate(reasons):
        yield f"      {when if not number else '':<10} {reason.text}"


def _service_row(row: ServiceRow) -> list[str]:
    note = f" ({row.note})" if row.note else ""
    target = f", that is {row.target}" if row.target.strip() else ""
    return [f"  {row.sender} -> {row.door}{target}{note}", f"      because    {row.reason}"]


def _summary(report: PlanReport) -> str:
    if not report.has_lost and not report.has_gained:
        return "Nobody gains or loses anything. Nothing was changed."
    parts = []
    for word, rows, services in (
        ("lost", report.lost, report.services_lost),
        ("gained", report.gained, report.services_gained),
    ):
        if not rows and not services:
            continue
        pairs = sum(row.connections for row in rows)
        found = [f"{pairs:,} {'pair' if pairs == 1 else 'pairs'}"] if rows else []
        if services:
            found.append(f"{len(services)} {'way' if len(services) == 1 else 'ways'} through Services")
        parts.append(f"{' and '.join(found)} {word}")
    return f"{'; '.join(parts)}. Nothing was changed."
