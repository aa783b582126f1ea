"""When a CronJob is due. Pure: a schedule and a time zone in, instants out.

Five fields as in crontab(5), names of months and days, steps, ``?``, @words and ``@every``; a day matches where both of its fields
do, or either where neither is ``*``. In a zone whose clocks change, a time that does not exist that day is left out and one that
comes twice counts twice. Not here: what is wrong with a schedule (apiserver/schedules.py says it when it is written).
"""

from __future__ import annotations

import datetime as dt
import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from netloom.errors import InvalidObject
from netloom.local.apiserver.schedules import schedule_problem

_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_LONGEST_DAYS = 5 * 366
"""A schedule that is not due within five years never is (30 February)."""
MANY = 100
"""More starts than that that were missed are worth a warning."""


class Fields(msgspec.Struct, frozen=True):
    """A schedule by the calendar."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """Sunday is 0."""
    any_day: bool
    """One of the two fields of days is a star: both must match."""


class Schedule(msgspec.Struct, frozen=True):
    """Either fields, in a zone, or an interval in seconds."""

    fields: Fields | None
    every_s: float
    zone: dt.tzinfo

    def after(self, instant: float) -> float | None:
        """The first time it is due after an instant, in seconds since the epoch; None where it never is."""
        if self.fields is None:
            return float(int(instant + self.every_s))
        day = dt.datetime.fromtimestamp(instant, self.zone).date()
        for _ in range(_LONGEST_DAYS):
            if _is_day(self.fields, day):
                found = _first_of(self.fields, day, self.zone, instant)
                if found is not None:
                    return found
            day += dt.timedelta(days=1)
        return None

    def latest(self, since: float, now: float) -> tuple[float | None, bool]:
        """The last time that it was due after ``since`` and not after ``now``, and whether there were more than :data:`MANY`."""
        first = self.after(since)
        if first is None or first > now:
            return None, False
        if self.fields is None:
            times = int((now - since) // self.every_s)
            return float(int(since + times * self.every_s)), times > MANY
        window = 60.0
        while (found := self.after(max(since, now - window))) is None or found > now:
            window *= 2
        while (following := self.after(found)) is not None and following <= now:
            found = following
        return found, self._are_many(since, now)

    def _are_many(self, since: float, now: float) -> bool:
        at = since
        for _ in range(MANY + 1):
            following = self.after(at)
            if following is None or following > now:
                return False
            at = following
        return True


def read(schedule: str, zone: str | None) -> Schedule:
    """A CronJob's ``spec.schedule`` in ``spec.timeZone``; without a zone it is UTC.

    Raises:
        InvalidObject: it is no schedule, or there is no such zone here.
    """
    if problem := schedule_problem(schedule):
        raise InvalidObject("CronJob", "spec.schedule", f"unparseable schedule: {schedule!r} : {problem}")
    try:
        # a machine without a database of zones knows this one in any case
        place = ZoneInfo(zone) if zone and zone != "UTC" else dt.UTC
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidObject("CronJob", "spec.timeZone", f"invalid timeZone: {zone!r}") from error
    if schedule.startswith("@every"):
        every = sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(schedule))
        return Schedule(None, float(max(1, int(every))), place)
    return Schedule(_fields(_WORDS.get(schedule, schedule).split()), 0.0, place)


def _fields(parts: list[str]) -> Fields:
    minutes, hours, days, months, weekdays = parts
    return Fields(
        minutes=tuple(sorted(_numbers(minutes, 0, 59))),
        hours=tuple(sorted(_numbers(hours, 0, 23))),
        days=frozenset(_numbers(days, 1, 31)),
        months=frozenset(_numbers(months, 1, 12, _MONTHS)),
        weekdays=frozenset(_numbers(weekdays, 0, 6, _DAYS)),
        any_day=_is_star(days) or _is_star(weekdays),
    )


def _is_star(part: str) -> bool:
    """A star with a step is none: it leaves days out."""
    return any(
        p.partition("/")[0] in ("*", "?") and p.partition("/")[2] in ("", "1") for p in part.split(",")
    )


def _numbers(part: str, least: int, most: int, words: tuple[str, ...] = ()) -> set[int]:
    found: set[int] = set()
    for piece in part.split(","):
        span, _, step = piece.partition("/")
        first, _, last = span.partition("-")
        if span in ("*", "?"):
            low, high = least, most
        else:
            low = _number(first, least, words)
            # `5/10` begins at 5 and goes on to the end
            high = _number(last, least, words) if last else (most if step else low)
        found.update(range(low, high + 1, int(step or 1)))
    return found


def _number(text: str, least: int, words: tuple[str, ...]) -> int:
    return words.index(text.lower()) + least if text.lower() in words else int(text)


def _is_day(fields: Fields, day: dt.date) -> bool:
    if day.month not in fields.months:
        return False
    by_day, by_weekday = day.day in fields.days, day.isoweekday() % 7 in fields.weekdays
    return by_day and by_weekday if fields.any_day else by_day or by_weekday


def _first_of(fields: Fields, day: dt.date, zone: dt.tzinfo, after: float) -> float | None:
    """The first time of this day that is after an instant; hour by hour, and in an hour that comes twice first the earlier."""
    for hour in fields.hours:
        for fold in (0, 1):
            for minute in fields.minutes:
                local = dt.datetime.combine(day, dt.time(hour, minute, fold=fold), zone)
                instant = local.timestamp()
                back = dt.datetime.fromtimestamp(instant, zone)
                if instant > after and (back.hour, back.minute, back.fold) == (hour, minute, fold):
                    return instant
    return None
