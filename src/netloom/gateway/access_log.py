"""The access log: a file that HAProxy writes to, bounded. In: a path. Out: a descriptor, one former file beside it. Not here: its lines."""

from __future__ import annotations

import os
from pathlib import Path

MOST_BYTES = 64 << 20


class AccessLog:
    """A file that is emptied when it is full; what was in it is then in ``<path>.1``.

    Args:
        path: of the file.
        most: bytes.
    """

    def __init__(self, path: Path, most: int = MOST_BYTES) -> None:
        self.path = path
        self._most = most
        self._fd = -1

    @property
    def descriptor(self) -> int:
        """What HAProxy writes to; every write goes to the end, wherever that is by then."""
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return self._fd

    def bound(self) -> None:
        """Empty the file where it is full. Lines written while it is copied are lost; nobody waits for the log."""
        if self._fd < 0 or (size := os.fstat(self._fd).st_size) <= self._most:
            return
        former = os.open(f"{self.path}.1", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            at = 0
            while at < size:
                sent = os.sendfile(former, self._fd, at, size - at)
                if sent == 0:
                    break
                at += sent
        finally:
            os.close(former)
        os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Close it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
