"""What must be known of sandboxes after the runner has died: one small file each. In and out: SandboxRecord.

A record is written before CNI ADD is asked for, and deleted after CNI DEL has succeeded and the namespaces are gone.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

import msgspec

from netloom.errors import StorageError

log = logging.getLogger(__name__)


class SandboxRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One sandbox of one pod."""

    uid: str
    namespace: str
    name: str
    container_id: str
    """Identity towards CNI; new with each sandbox."""
    host_network: bool = False
    pid: int = 0
    """Its first process; 0: none was started yet."""
    start_ticks: int = 0
    """Start time of that process (proc_pid_stat(5), field 22): the number alone may be another's by now."""
    cni_result: str = ""
    runtime_config: dict[str, Any] = {}
    """What CNI was told of its capabilities: DEL hears the same as ADD."""
    restarts: dict[str, int] = {}
    """Restart counts by container."""


class Records:
    """The files, below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> list[SandboxRecord]:
        """All records; a file that cannot be read is reported and left out.

        Raises:
            StorageError: the directory cannot be made or read.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            paths = sorted(self._directory.glob("*.json"))
        except OSError as error:
            raise _refused(self._directory, error) from error
        found = []
        for path in paths:
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=SandboxRecord))
            except (OSError, msgspec.DecodeError) as error:
                log.warning("sandbox record %s is unreadable and left out: %s", path, error)
        return found

    def put(self, record: SandboxRecord) -> None:
        """Write a record, whole or not at all.

        Raises:
            StorageError: the disk is full, or the directory is gone.
        """
        path = self._path(record.container_id)
        new = path.with_suffix(".new")
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            new.write_bytes(msgspec.json.encode(record))
            os.replace(new, path)
        except OSError as error:
            raise _refused(path, error) from error

    def delete(self, container_id: str) -> None:
        """Forget a record."""
        with contextlib.suppress(FileNotFoundError):
            self._path(container_id).unlink()

    def _path(self, container_id: str) -> Path:
        return self._directory / f"{container_id}.json"


def _refused(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"sandbox records at {path}: {error.strerror}", "free some space, or look at the directory"
    )
