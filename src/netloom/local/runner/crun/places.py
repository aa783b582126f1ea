"""Where things of containers lie on a node, and what must be known of them after the runner has died. In and out: paths, Records.

One directory a pod: its /dev/shm, and for each container one directory a life with the log of that life beside it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from netloom.local.runner.running import ContainerSpec
from netloom.local.runner.sandbox import start_ticks

KEPT_LOGS = 2
"""Logs of so many lives of a container are kept: of this one and of the one before."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A container that was started."""

    spec: ContainerSpec
    image_id: str
    started: float
    monitor: int
    """Process of conmon, and its start time in ticks: the number alone may be another's by now."""
    monitor_ticks: int
    pid: int
    """The container's first process, likewise."""
    pid_ticks: int

    @property
    def monitor_lives(self) -> bool:
        """Conmon is still the same process."""
        return self.monitor > 0 and start_ticks(self.monitor) == self.monitor_ticks

    @property
    def lives(self) -> bool:
        """The container's first process is still the same."""
        return self.pid > 0 and start_ticks(self.pid) == self.pid_ticks


class Bundle:
    """The directory of one life of one container."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "rootfs"
        self.upper = path / "upper"
        self.work = path / "work"
        self.config = path / "config.json"
        self.record = path / "record.json"
        self.monitor_pid = path / "conmon.pid"
        self.pid = path / "pid"
        self.exits = path / "exits"
        self.oom = path / "oom"
        self.message = path / "termination-log"
        self.log = path.with_name(f"{path.name}.log")

    @property
    def attempt(self) -> int:
        """Which life it is."""
        return int(self.path.name)

    def write_record(self, record: Record) -> None:
        """Write down that it runs, whole or not at all."""
        new = self.record.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(record))
        os.replace(new, self.record)

    def read_record(self) -> Record | None:
        """What was written down; None where it never ran."""
        try:
            return msgspec.json.decode(self.record.read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError):
            return None

    def remove(self) -> None:
        """Remove all but the log."""
        shutil.rmtree(self.path, ignore_errors=True)


class Places:
    """The directories of a node's containers."""

    def __init__(self, state: Path) -> None:
        self._containers = state / "containers"
        self.runtime = state / "crun"
        """Where crun keeps its own state."""
        self.profiles = state / "seccomp"

    def bundle(self, spec: ContainerSpec) -> Bundle:
        """A new life's directory, empty; logs of older ones go."""
        above = self._containers / spec.pod_uid / spec.name
        above.mkdir(parents=True, exist_ok=True, mode=0o700)
        lives = sorted(self.lives(spec.pod_uid, spec.name), key=lambda b: b.attempt)
        attempt = lives[-1].attempt + 1 if lives else 0
        for old in lives[: len(lives) + 1 - KEPT_LOGS]:
            old.log.unlink(missing_ok=True)
        made = Bundle(above / str(attempt))
        made.exits.mkdir(parents=True, mode=0o700)
        return made

    def lives(self, pod_uid: str, name: str) -> Iterator[Bundle]:
        """All lives of a container of which there is a log or a directory."""
        numbers: set[int] = set()
        with contextlib.suppress(FileNotFoundError):
            for entry in (self._containers / pod_uid / name).iterdir():
                stem = entry.name.removesuffix(".log")
                if stem.isdigit():
                    numbers.add(int(stem))
        for number in sorted(numbers):
            yield Bundle(self._containers / pod_uid / name / str(number))

    def names(self, pod_uid: str) -> list[str]:
        """Containers of a pod of which there is anything."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(
                p.name for p in (self._containers / pod_uid).iterdir() if not p.name.startswith(".")
            )
        return []

    def pods(self) -> list[str]:
        """Pods of which there is anything."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(p.name for p in self._containers.iterdir())
        return []

    def shm(self, pod_uid: str) -> Path:
        """The pod's /dev/shm, in a place that is no container's name."""
        path = self._containers / pod_uid / ".shm"
        path.mkdir(parents=True, exist_ok=True, mode=0o1777)
        path.chmod(0o1777)
        return path

    def forget(self, pod_uid: str) -> None:
        """Remove everything of a pod."""
        shutil.rmtree(self._containers / pod_uid, ignore_errors=True)
