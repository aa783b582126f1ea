"""Container logs as `kubectl logs` wants them. In: query parameters, lines; out: text. Pure, but for the lines' source.

Parameters are those of core/v1 PodLogOptions: follow, previous, sinceSeconds, sinceTime, timestamps, tailLines, limitBytes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Mapping

import msgspec

from netloom.clock import rfc3339
from netloom.local.runner.http1 import BadRequest
from netloom.local.runner.standins.feed import LogLine


class LogWish(msgspec.Struct, frozen=True):
    """What part of a log, and how."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: float | None = None
    """Seconds since the epoch."""
    limit: int | None = None
    """Bytes after which the answer ends."""


def wish_of(query: Mapping[str, list[str]], *, now: float) -> LogWish:
    """The wish that query parameters express.

    Raises:
        BadRequest: a parameter is out of range, or two exclude each other.
    """
    seconds, time = _number(query, "sinceSeconds", 1), query.get("sinceTime", [""])[-1]
    if seconds is not None and time:
        raise BadRequest("at most one of sinceTime or sinceSeconds may be specified")
    since = now - seconds if seconds is not None else _time(time) if time else None
    return LogWish(
        follow=flag(query, "follow"),
        previous=flag(query, "previous"),
        timestamps=flag(query, "timestamps"),
        tail=_number(query, "tailLines", 0),
        since=since,
        limit=_number(query, "limitBytes", 1),
    )


def text_of(lines: Iterable[LogLine], *, timestamps: bool) -> bytes:
    """Lines as they are shown."""
    return "".join(f"{stamp(x.wall)} {x.text}\n" if timestamps else f"{x.text}\n" for x in lines).encode()


def stamp(wall: float) -> str:
    """A time with nanoseconds, as kubelets write it into logs (RFC 3339)."""
    whole = int(wall)
    return rfc3339(whole).removesuffix("Z") + f".{int((wall - whole) * 1e9):09d}Z"


def flag(query: Mapping[str, list[str]], *names: str) -> bool:
    """A parameter that is true or false; a parameter may have several names."""
    return any(query.get(name, [""])[-1].lower() in {"1", "true"} for name in names)


def _number(query: Mapping[str, list[str]], name: str, least: int) -> int | None:
    text = query.get(name, [""])[-1]
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        raise BadRequest(f"{name}: {text!r} is no number") from None
    if number < least:
        raise BadRequest(f"{name}: must be {least} or more")
    return number


def _time(text: str) -> float:
    with contextlib.suppress(ValueError):
        time = dt.datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return time.timestamp()
    raise BadRequest(f"sinceTime: {text!r} is no time; write 2006-01-02T15:04:05Z")
