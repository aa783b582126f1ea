"""Local clusters seen from outside: start one, end one, list them. What runs inside is the supervisor's business."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from netloom.clock import Clock
from netloom.errors import NetloomError, NotFound, StorageError, Unavailable, UsageError
from netloom.local.lock import Lock, is_running
from netloom.local.paths import ClusterPaths, cluster_paths, clusters_home
from netloom.local.preflight import check_fabric, check_system, use_system_programs
from netloom.local.settings import ClusterSettings
from netloom.model.routes.ways import FabricKind

STAGES = {
    "listening": "API server listens on",
    "namespaces": "namespaces made",
    "network": "nodes wired",
    "started": "agents started",
}


def start(settings: ClusterSettings, *, clock: Clock, step: Callable[[str], None]) -> ClusterPaths:
    """Start a cluster as a process of its own; returns when its processes run (not yet: when it is ready).

    Args:
        settings: a checked description.
        clock: the time.
        step: told what is going on.

    Raises:
        AlreadyExists: a cluster of this name runs.
        Unsupported: this system forbids what is needed.
        StorageError: the directory cannot be written.
        UsageError: the port is taken.
    """
    from netloom.local.supervisor import daemonize  # noqa: PLC0415 - heavy, and only needed here

    use_system_programs()
    check_system()
    check_fabric(settings.fabric)
    paths = cluster_paths(settings.name)
    lock = Lock(paths)
    lock.take()
    fresh = not paths.settings.exists()
    if not fresh:
        _check_resumed(settings_of(paths), settings)
    try:
        _write_settings(paths, settings)
        with os.fdopen(daemonize(paths, settings, clock, lock), "rb") as lines:
            _follow(lines, paths, step)
    except BaseException:  # also an interrupt, or a reader of our output that has left
        _kill(paths)
        lock.release()
        if fresh:
            shutil.rmtree(paths.root, ignore_errors=True)  # nothing half-made stays
        raise
    return paths


_KILLED_S = 10.0
"""Seconds that a killed process has to be gone."""


class StartFailed(NetloomError):
    """The supervisor could not start the cluster; carries the exit code of what it met."""

    def __init__(self, problem: str, hint: str, exit_code: int = 1) -> None:
        super().__init__(problem, hint)
        self.exit_code = exit_code


def _follow(lines: Iterable[bytes], paths: ClusterPaths, step: Callable[[str], None]) -> None:
    """Read what the supervisor tells, until everything of the cluster has been started."""
    from netloom.local.supervisor import Told  # noqa: PLC0415 - heavy, and only needed here

    for line in lines:
        told = msgspec.json.decode(line, type=Told)
        if told.stage == "failed":
            raise StartFailed(told.detail, told.hint, told.exit_code)
        step(f"{STAGES[told.stage]} {told.detail}".rstrip())
        if told.stage == "started":
            return
    raise StartFailed("the supervisor ended without a word", f"its log: {paths.log / 'supervisor.log'}")


def _check_resumed(old: ClusterSettings, new: ClusterSettings) -> None:
    """A stopped cluster keeps its objects: their addresses must still fit, and what was encrypted must not go plain unasked."""
    for field, flag in (
        ("pod_cidrs", "--pod-cidr"),
        ("service_cidrs", "--service-cidr"),
        ("underlay_cidrs", "--underlay-cidr"),
        ("segments", "--segments"),
        ("fabric", "--fabric"),
    ):
        was, now = getattr(old, field), getattr(new, field)
        if was != now:
            raise UsageError(
                f"{flag} {_text(now)}: cluster {old.name!r} has objects from a former run with {_text(was)}",
                f"start it with {flag} {_text(was)}, or remove it first: netloom down --name {old.name}",
            )


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value.value if isinstance(value, FabricKind) else value)


def _write_settings(paths: ClusterPaths, settings: ClusterSettings) -> None:
    try:
        temporary = paths.settings.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(settings))
        temporary.rename(paths.settings)
    except OSError as error:
        raise StorageError(
            f"{paths.root}: {error.strerror}", "free some space, or set NETLOOM_HOME"
        ) from error


def existing(name: str) -> ClusterPaths:
    """Files of a cluster that is there, running or not.

    Raises:
        NotFound: there is none of this name; the hint lists those that are.
    """
    paths = cluster_paths(name)
    if not paths.settings.exists():
        names = ", ".join(all_names()) or "none"
        raise NotFound(
            f"no cluster {name!r}", f"there are: {names}; start one with: netloom up --name {name}"
        )
    return paths


def running(name: str) -> ClusterPaths:
    """Files of a cluster that runs.

    Raises:
        NotFound: there is none of this name.
        Unavailable: it is there but does not run.
    """
    paths = existing(name)
    if not is_running(paths):
        raise Unavailable(
            f"cluster {name!r} is not running", f"start it again with: netloom up --name {name}"
        )
    return paths


def settings_of(paths: ClusterPaths) -> ClusterSettings:
    """The settings that a cluster was started with.

    Raises:
        StorageError: the file cannot be read.
    """
    try:
        return msgspec.json.decode(paths.settings.read_bytes(), type=ClusterSettings)
    except (OSError, msgspec.MsgspecError) as error:
        raise StorageError(f"{paths.settings}: {error}", f"remove {paths.root} to start anew") from error


def all_names() -> tuple[str, ...]:
    """Names of all clusters of this user, running or not."""
    with contextlib.suppress(OSError):
        return tuple(sorted(p.parent.name for p in clusters_home().glob("*/cluster.json")))
    return ()


async def stop(
    name: str, *, step: Callable[[str], None], timeout_s: float = 10.0, keep: bool = False
) -> None:
    """End a cluster and remove everything of it (``keep``: not its objects); also one whose supervisor was killed.

    Raises:
        NotFound: there is none of this name.
    """
    paths = existing(name)
    if is_running(paths) and (pid := _supervisor(paths)) is not None:
        step(f"ending cluster {name}")
        await _end(pid, timeout_s)
    if not keep:
        shutil.rmtree(paths.root, ignore_errors=True)


def _supervisor(paths: ClusterPaths) -> int | None:
    """The supervisor's pidfd, if the recorded process is still one of ours."""
    try:
        pid = int(paths.pid.read_text())
        pidfd = os.pidfd_open(pid)
    except (OSError, ValueError):
        return None
    # pids are used again: a process without the cluster's lock open is somebody else's
    lock = paths.lock.stat()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.path.samestat(entry.stat(), lock):
                return pidfd
    os.close(pidfd)
    return None


def _kill(paths: ClusterPaths) -> None:
    """End a supervisor at once, and with it everything of its cluster, where there is one."""
    pidfd = _supervisor(paths)
    if pidfd is None:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [], _KILLED_S)
    finally:
        os.close(pidfd)


async def _end(pidfd: int, timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await ended.wait()
                    return
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def complaints(paths: ClusterPaths, most: int = 3) -> tuple[str, ...]:
    """The last errors that the cluster's processes logged, one for each process: why it is not ready."""
    found = []
    for log in sorted(paths.log.glob("*.log")):
        with contextlib.suppress(OSError):
            errors = [line for line in log.read_text(errors="replace").splitlines() if " E " in line]
            found += [f"{log.stem}: {line.partition(' E ')[2]}" for line in errors[-1:]]
    return tuple(found[:most])
