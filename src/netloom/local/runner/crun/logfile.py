"""A container's log as conmon writes it (the CRI's form: time, stream, F or P, text). In: a file; out: lines, as they come.

Not here: what part of it is wanted by whom (``streams/logs``).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
from collections.abc import AsyncGenerator
from pathlib import Path

from netloom.linux.file_watch import DirectoryWatch
from netloom.local.runner.standins.feed import LogLine

MAX_BYTES = 10 << 20
"""Of a log; conmon begins anew when there is more."""
_BLOCK = 256 << 10
_BATCH = 500


class _Parser:
    """Pieces of a file become lines; a long line comes in parts (P) until its last one (F)."""

    def __init__(self) -> None:
        self._rest = b""
        self._parts: dict[bytes, list[bytes]] = {}

    def feed(self, data: bytes) -> list[LogLine]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        found = []
        for line in whole:
            fields = line.split(b" ", 3)
            if len(fields) < 4:
                continue
            time, stream, tag, text = fields
            parts = self._parts.setdefault(stream, [])
            parts.append(text)
            if tag != b"P":
                found.append(LogLine(_wall(time), b"".join(parts).decode("utf-8", "replace")))
                self._parts[stream] = []
        return found


async def read(
    path: Path, over: asyncio.Event, *, tail: int | None, since: float | None, follow: bool
) -> AsyncGenerator[tuple[LogLine, ...], None]:
    """The lines of one life's log, in pieces.

    Args:
        path: of the file, which may not be there yet; its directory must be.
        over: set when nothing more will be written.
        tail: at most that many of those that are there, the newest.
        since: only those from this wall-clock time on.
        follow: go on until it is over.
    """
    parser = _Parser()
    is_last = not follow or over.is_set()
    # readers who do not wait take none of the watches, of which a user has few
    with contextlib.nullcontext() if is_last else DirectoryWatch(path.parent) as watch:
        lines, position, mark = _more(path, parser, 0, None)
        lines = [x for x in lines if since is None or x.wall >= since]
        for piece in _pieces(lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]):
            yield piece
        while not is_last:
            if watch is not None:
                await _either(watch, over)
            is_last = over.is_set()
            lines, position, mark = _more(path, parser, position, mark)
            for piece in _pieces(lines):
                yield piece


def last(path: Path, *, most_bytes: int, most_lines: int) -> str:
    """The end of a log, for a termination message (``FallbackToLogsOnError``)."""
    lines, _, _ = _more(path, _Parser(), 0, None)
    text = "".join(f"{line.text}\n" for line in lines[-most_lines:])
    return text.encode()[-most_bytes:].decode("utf-8", "ignore")


def _more(
    path: Path, parser: _Parser, position: int, mark: int | None
) -> tuple[list[LogLine], int, int | None]:
    """What has been written since; from the beginning where the file is another one."""
    found: list[LogLine] = []
    try:
        with path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            file.seek(position if inode == mark else 0)
            while data := file.read(_BLOCK):
                found += parser.feed(data)
            return found, file.tell(), inode
    except FileNotFoundError:
        return found, 0, None


def _pieces(lines: list[LogLine]) -> list[tuple[LogLine, ...]]:
    return [tuple(lines[start : start + _BATCH]) for start in range(0, len(lines), _BATCH)]


async def _either(watch: DirectoryWatch, over: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    loop.add_reader(watch.fd, changed.set)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(changed.wait()), group.create_task(over.wait())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
    finally:
        loop.remove_reader(watch.fd)
    watch.drain()


def _wall(text: bytes) -> float:
    """Seconds since the epoch; 0 where it cannot be read."""
    with contextlib.suppress(ValueError, UnicodeError):
        whole, _, rest = text.decode().partition(".")
        nanos = "".join(c for c in rest[:9] if c.isdigit())
        zone = rest[len(nanos) :] or "Z"
        return dt.datetime.fromisoformat(whole + zone).timestamp() + int(nanos.ljust(9, "0") or "0") / 1e9
    return 0.0
