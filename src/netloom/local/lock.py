"""One cluster of a name at a time: a lock that lasts exactly as long as any process of the cluster."""

from __future__ import annotations

import fcntl
from typing import BinaryIO

from netloom.errors import AlreadyExists, StorageError
from netloom.local.paths import ClusterPaths


class Lock:
    """The cluster's lock: held while any process of it lives (flock(2) lasts as long as the last copy)."""

    def __init__(self, paths: ClusterPaths) -> None:
        self._paths = paths
        self._file: BinaryIO | None = None

    def take(self) -> None:
        """Take it.

        Raises:
            AlreadyExists: a cluster of this name is running.
            StorageError: the directory cannot be written.
        """
        try:
            self._paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = open(self._paths.lock, "ab")  # noqa: SIM115 - held for the life of the process
        except OSError as error:
            raise StorageError(
                f"{self._paths.root}: {error.strerror}", "free some space, or set NETLOOM_HOME"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            name = self._paths.root.name
            raise AlreadyExists(
                f"cluster {name!r} is running already",
                f"end it with: netloom down --name {name}, or choose another --name",
            ) from None

    def release(self) -> None:
        """Let it go."""
        if self._file is not None:
            self._file.close()
            self._file = None


def is_running(paths: ClusterPaths) -> bool:
    """True while any process of the cluster lives."""
    try:
        file = open(paths.lock, "rb")  # noqa: SIM115 - closed by the with below
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
