"""What keeps a text from being the schedule of a CronJob. Pure.

Comes in: ``spec.schedule``. Goes out: a problem, or nothing. Not here: when a schedule is due. Source: crontab(5), and what
batch/v1 CronJob says: five fields, names of months and days, steps, ``?``, and the @words; time zones have a field of their own.
"""

from __future__ import annotations

import re

_WORDS = {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
_EVERY = re.compile(r"@every (\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+\Z")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
)


def schedule_problem(text: str) -> str:
    """What is wrong with a schedule; empty where nothing is."""
    if "TZ" in text:
        return "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
    if text.startswith("@"):
        return "" if text in _WORDS or _EVERY.match(text) else f"unrecognized descriptor: {text}"
    parts = text.split()
    if len(parts) != len(_FIELDS):
        return f"expected exactly {len(_FIELDS)} fields, found {len(parts)}: {text!r}"
    for part, (what, least, most, words) in zip(parts, _FIELDS, strict=True):
        for piece in part.split(","):
            if problem := _piece_problem(piece, least, most, words):
                return f"{what}: {problem}"
    return ""


def _piece_problem(piece: str, least: int, most: int, words: tuple[str, ...]) -> str:
    span, slash, step = piece.partition("/")
    if slash and (not step.isdecimal() or int(step) == 0):
        return f"step {step!r} is no number above 0"
    if span in ("*", "?"):
        return ""
    first, dash, last = span.partition("-")
    ends = [_number(end, least, words) for end in ((first, last) if dash else (first,))]
    for end in ends:
        if end is None:
            return f"{span!r} is no number, range or name"
        if not least <= end <= most:
            return f"{end} is not between {least} and {most}"
    if dash and (ends[0] or 0) > (ends[1] or 0):
        return f"the range {span} begins after its end"
    return ""


def _number(text: str, least: int, words: tuple[str, ...]) -> int | None:
    if text.lower() in words:
        return words.index(text.lower()) + least
    return int(text) if text.isascii() and text.isdecimal() else None
