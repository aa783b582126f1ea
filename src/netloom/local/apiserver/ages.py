"""How long ago something was, as kubectl's users read it: ``45s``, ``3m20s``, ``5h``, ``2d3h``, ``400d``.

Comes in: RFC 3339 text and the time now. Goes out: text; whether two times are the same. Pure. Source: apimachinery util/duration, as shown in AGE columns.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re

from netloom.local.apiserver.jsonvalue import Json

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?Z\Z")
_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400

_STEPS = (
    # below this many seconds: unit, its letter, the smaller unit shown beside it, its letter
    (2 * _MINUTE, 1, "s", 0, ""),
    (10 * _MINUTE, _MINUTE, "m", 1, "s"),
    (3 * _HOUR, _MINUTE, "m", 0, ""),
    (8 * _HOUR, _HOUR, "h", _MINUTE, "m"),
    (2 * _DAY, _HOUR, "h", 0, ""),
    (8 * _DAY, _DAY, "d", _HOUR, "h"),
    (2 * _YEAR, _DAY, "d", 0, ""),
    (8 * _YEAR, _YEAR, "y", _DAY, "d"),
    (float("inf"), _YEAR, "y", 0, ""),
)


def seconds_of(text: Json) -> float | None:
    """Seconds since the epoch of an RFC 3339 time in UTC, or None where the text is none."""
    parts = _TIME.match(text) if isinstance(text, str) else None
    if parts is None:
        return None
    year, month, day, hour, minute, second = (int(p) for p in parts.groups()[:6])
    return calendar.timegm((year, month, day, hour, minute, second)) + float(parts[7] or 0)


def age(text: Json, now: float) -> str:
    """Time since ``text``; ``<unknown>`` where it is none."""
    then = seconds_of(text)
    return "<unknown>" if then is None else span(now - then)


def span(seconds: float) -> str:
    """A duration; two units where one would be too coarse."""
    if seconds < -1:
        return "<invalid>"
    whole = max(int(seconds), 0)
    for limit, unit, letter, smaller, smaller_letter in _STEPS:
        if whole < limit:
            rest = (whole % unit) // smaller if smaller else 0
            return f"{whole // unit}{letter}" + (f"{rest}{smaller_letter}" if rest else "")
    return "<invalid>"


def is_same_moment(one: object, other: object) -> bool:
    """Two times of metadata say the same, however clients write them (``Z`` or an offset, with or without fractions)."""
    return one == other or (_moment(one) is not None and _moment(one) == _moment(other))


def _moment(text: object) -> dt.datetime | None:
    try:
        found = dt.datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found.replace(microsecond=0) if found is not None and found.tzinfo is not None else None
