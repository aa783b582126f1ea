"""When a schedule is due."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.errors import InvalidObject
from netloom.local.controllers.batch.schedule import read


def at(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


def told(instant: float | None, zone: dt.tzinfo = dt.UTC) -> str:
    assert instant is not None
    return dt.datetime.fromtimestamp(instant, zone).strftime("%a %Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("schedule", "after", "due"),
    [
        ("* * * * *", "2026-01-01T00:00:00+00:00", "Thu 2026-01-01 00:01:00"),
        ("*/15 * * * *", "2026-01-01T00:14:59+00:00", "Thu 2026-01-01 00:15:00"),
        ("30 4 * * *", "2026-01-01T04:30:00+00:00", "Fri 2026-01-02 04:30:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00+00:00", "Tue 2028-02-29 00:00:00"),
        ("0 0 * * mon", "2026-01-01T00:00:00+00:00", "Mon 2026-01-05 00:00:00"),
        ("0 0 13 * fri", "2026-01-01T00:00:00+00:00", "Fri 2026-01-02 00:00:00"),  # either
        ("0 0 1 * ?", "2026-01-02T00:00:00+00:00", "Sun 2026-02-01 00:00:00"),
        ("10-12/2 8,20 * jan-mar *", "2026-01-01T08:10:30+00:00", "Thu 2026-01-01 08:12:00"),
        ("5/20 * * * *", "2026-01-01T00:30:00+00:00", "Thu 2026-01-01 00:45:00"),
        ("@hourly", "2026-01-01T00:30:00+00:00", "Thu 2026-01-01 01:00:00"),
        ("@weekly", "2026-01-01T00:30:00+00:00", "Sun 2026-01-04 00:00:00"),
        ("@every 1h30m", "2026-01-01T00:30:00+00:00", "Thu 2026-01-01 02:00:00"),
    ],
)
def test_the_next_time(schedule, after, due):
    assert told(read(schedule, None).after(at(after))) == due


def test_a_day_that_never_comes_is_never_due():
    assert read("0 0 30 2 *", None).after(at("2026-01-01T00:00:00+00:00")) is None


def test_a_zone_has_its_own_clock():
    berlin = read("30 2 * * *", "Europe/Berlin")
    # summer time begins: there is no 02:30 that day
    assert told(berlin.after(at("2026-03-28T12:00:00+00:00"))) == "Mon 2026-03-30 00:30:00"
    # and ends: there are two
    first = berlin.after(at("2026-10-24T12:00:00+00:00"))
    assert told(first) == "Sun 2026-10-25 00:30:00"
    assert told(berlin.after(first)) == "Sun 2026-10-25 01:30:00"
    assert told(berlin.after(berlin.after(first))) == "Mon 2026-10-26 01:30:00"


@pytest.mark.parametrize(
    ("schedule", "zone", "words"),
    [("* * * *", None, "schedule"), ("61 * * * *", None, "schedule"), ("* * * * *", "Mars/Base", "timeZone")],
)
def test_what_is_no_schedule_is_named(schedule, zone, words):
    with pytest.raises(InvalidObject, match=words):
        read(schedule, zone)


def test_of_many_missed_starts_the_last_one_counts():
    every = read("*/5 * * * *", None)
    since, now = at("2026-01-01T00:00:00+00:00"), at("2026-01-02T00:03:00+00:00")
    latest, are_many = every.latest(since, now)
    assert (told(latest), are_many) == ("Fri 2026-01-02 00:00:00", True)
    assert every.latest(now, now + 60) == (None, False)
    latest, are_many = every.latest(now, now + 600)
    assert (told(latest), are_many) == ("Fri 2026-01-02 00:10:00", False)


fields = st.sampled_from(["*", "*/7", "3", "1-5", "2,4"])


@given(st.tuples(fields, fields, fields, fields, fields), st.integers(1_700_000_000, 1_900_000_000))
def test_what_is_due_fits_and_nothing_in_between_does(parts, now):
    plan = read(" ".join(parts), "America/New_York")
    due = plan.after(now)
    assert due is not None
    assert due > now
    assert due % 60 == 0
    assert plan.after(due - 1) == due
    latest, _ = plan.latest(due - 1, due + 30)
    assert latest == due
