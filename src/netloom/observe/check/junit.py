"""A check's report as JUnit XML, which every CI reads. Pure.

Failures are what is untrue or contradicts the model; what could not fail, or was not asked, is skipped, with the reason; so are parts
of policies that nobody would miss. With ``strict`` these are failures, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import quoteattr

from netloom.observe.check.mutation import Mutation
from netloom.observe.check.run import CheckReport
from netloom.observe.check.verdicts import FAILURES, Result, Status

_ALLOWED = frozenset("\t\n\r")


def render(report: CheckReport, *, strict: bool) -> str:
    """The document."""
    suites: dict[str, list[Result]] = {}
    for result in report.results:
        file = result.place.rpartition(": expectation")[0] or "all pairs"
        suites.setdefault(file, []).append(result)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    for file, results in suites.items():
        lines += _suite(file, [_case(file, result, strict=strict) for result in results])
    if report.mutations is not None:
        lines += _suite("policies", [_mutation(one, strict=strict) for one in report.mutations])
    return "\n".join([*lines, "</testsuites>", ""])


def _suite(name: str, cases: list[tuple[str, str]]) -> Iterable[str]:
    failed = sum(kind == "failure" for kind, _ in cases)
    skipped = sum(kind == "skipped" for kind, _ in cases)
    counts = f'tests="{len(cases)}" failures="{failed}" skipped="{skipped}" errors="0"'
    yield f"  <testsuite name={_quoted(name)} {counts}>"
    yield from (text for _, text in cases)
    yield "  </testsuite>"


def _case(file: str, result: Result, *, strict: bool) -> tuple[str, str]:
    verb = {"allow": "can reach", "deny": "cannot reach"}.get(result.expected, "?")
    name = result.text.replace(" -> ", f" {verb} ", 1)
    number = result.place.rpartition(": ")[2]
    name = f"{number}: {name}" if number else name
    kind = ""
    if result.status in FAILURES or (strict and result.status is not Status.HOLDS):
        kind = "failure"
    elif result.status is not Status.HOLDS:
        kind = "skipped"
    message = f"{result.status.value}: {result.seen}: {result.why}"
    return kind, _element(name, file, result.ms / 1000, kind, message)


def _mutation(one: Mutation, *, strict: bool) -> tuple[str, str]:
    kind = "" if one.is_noticed else "failure" if strict else "skipped"
    message = "no expectation notices when this is gone"
    return kind, _element(f"{one.source} is noticed", "policies", 0.0, kind, message)


def _element(name: str, group: str, seconds: float, kind: str, message: str) -> str:
    head = f'    <testcase name={_quoted(name)} classname={_quoted(group)} time="{seconds:.3f}"'
    return f"{head}><{kind} message={_quoted(message)}/></testcase>" if kind else f"{head}/>"


def _quoted(text: str) -> str:
    """An attribute's value; what XML 1.0 has no character for is left out."""
    return quoteattr("".join(c for c in text if c in _ALLOWED or c >= " ").encode(errors="replace").decode())
