"""Functions of times and durations. Pure. Source: the CEL specification, "Timestamps and Durations"."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Callable, Mapping

from netloom.local.apiserver.custom.cel.syntax import CelError
from netloom.local.apiserver.custom.cel.types import Duration, Value, integer

_WHOLE = re.compile(r"([+-]?)((?:\d+\.?\d*|\.\d+)(?:ns|us|\u00b5s|ms|s|m|h))+\Z|[+-]?0\Z")
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|ms|s|m|h)")
_NS = {"ns": 1, "us": 10**3, "\u00b5s": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z")
_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)\Z")


def duration(value: Value) -> Duration:
    """A duration such as ``1h30m``.

    Raises:
        CelError: it is none.
    """
    if isinstance(value, Duration):
        return value
    if len(value) > 64 or not _WHOLE.match(value):
        raise CelError(f'time: invalid duration "{value}"')
    whole = sum(round(float(count) * _NS[unit]) for count, unit in _PART.findall(value))
    return Duration(integer(-whole if value.startswith("-") else whole))


def duration_text(value: Duration) -> str:
    """A duration as CEL writes it: in seconds."""
    text = f"{abs(value.ns) / 10**9:.9f}".rstrip("0").rstrip(".")
    return f"{'-' if value.ns < 0 else ''}{text}s"


def timestamp(value: Value) -> dt.datetime:
    """A time such as ``2026-01-02T15:04:05Z``.

    Raises:
        CelError: it is none.
    """
    if isinstance(value, dt.datetime):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return dt.datetime.fromtimestamp(value, dt.UTC)
    match = _TIME.match(value)
    if match is None:
        raise CelError(f'parsing time "{value}": it is none')
    day, time, part, zone = match.groups()
    part = (part or ".0")[:7].ljust(7, "0")
    return dt.datetime.fromisoformat(f"{day}T{time}{part}{'+00:00' if zone in 'Zz' else zone}")


def timestamp_text(value: dt.datetime) -> str:
    """A time as CEL writes it: in UTC."""
    found = value.astimezone(dt.UTC)
    part = f"{found.microsecond / 10**6:.6f}".lstrip("0").rstrip("0").rstrip(".")
    return f"{found:%Y-%m-%dT%H:%M:%S}{part}Z"


def _at(value: Value, zone: str = "UTC") -> dt.datetime:
    if not isinstance(value, dt.datetime):
        raise TypeError("not a time")
    if match := _OFFSET.match(zone):
        minutes = int(match[2]) * 60 + int(match[3])
        return value.astimezone(dt.timezone(dt.timedelta(minutes=-minutes if match[1] == "-" else minutes)))
    try:
        return value.astimezone(zoneinfo.ZoneInfo(zone))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise CelError(f"unknown time zone {zone}") from error


def _part(of_time: Callable[[dt.datetime], int], ns: int = 0) -> Callable[..., int]:
    def part(value: Value, *zone: str) -> int:
        if isinstance(value, Duration) and ns and not zone:
            return int(value.ns / ns)
        return of_time(_at(value, *zone))

    return part


METHODS: Mapping[str, Callable[..., Value]] = {
    "getDate": _part(lambda time: time.day),
    "getDayOfMonth": _part(lambda time: time.day - 1),
    "getDayOfWeek": _part(lambda time: time.isoweekday() % 7),
    "getDayOfYear": _part(lambda time: time.timetuple().tm_yday - 1),
    "getFullYear": _part(lambda time: time.year),
    "getHours": _part(lambda time: time.hour, _NS["h"]),
    "getMilliseconds": _part(lambda time: time.microsecond // 1000, _NS["ms"]),
    "getMinutes": _part(lambda time: time.minute, _NS["m"]),
    "getMonth": _part(lambda time: time.month - 1),
    "getSeconds": _part(lambda time: time.second, _NS["s"]),
}
FUNCTIONS: Mapping[str, Callable[..., Value]] = {"duration": duration, "timestamp": timestamp}
