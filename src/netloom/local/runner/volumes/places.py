"""Where volumes lie on the machine: directories of the node's state, and memory for what must not touch a disk. Out: paths, mounts.

Everything of a pod is below two directories that are named by its uid, so that it can be removed whole. A mount is never followed
when something is removed. Not here: what is in the volumes.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from netloom.errors import KernelError
from netloom.linux import mounts
from netloom.local.runner.volumes.payload import MountFailed

log = logging.getLogger(__name__)

_PRIVATE = 0o700
OPEN = 0o755
"""Of what containers see, whoever they run as; our own umask is narrower."""
_HOLD = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MEMORY = "size=50%,mode=700"


class Places:
    """Directories of volumes.

    Args:
        state: of the node; survives the runner.
    """

    def __init__(self, state: Path) -> None:
        self._pods = state / "pods"
        self._memory = state / "memory"

    def volume(self, uid: str, name: str, *, in_memory: bool = False) -> Path:
        """Directory of a volume, whether it is there or not."""
        return (self._memory if in_memory else self._pods) / uid / "volumes" / name

    def staged(self, uid: str, *parts: str) -> Path:
        """A place to mount something at, whether it is there or not."""
        return self._pods.joinpath(uid, "staged", *parts)

    def make(self, path: Path, *, size: int | None = None) -> None:
        """Make a directory of a volume, all above it closed to others; with a size it is memory of its own.

        Raises:
            KernelError: memory cannot be mounted.
        """
        in_memory = path.is_relative_to(self._memory)
        root = self._memory if in_memory else self._pods
        root.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
        if in_memory and not os.path.ismount(root):
            mounts.mount("tmpfs", str(root), "tmpfs", flags=mounts.MS_NOSUID | mounts.MS_NODEV, data=_MEMORY)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(OPEN)
        if size is not None and not os.path.ismount(path):
            mounts.mount(
                "tmpfs",
                str(path),
                "tmpfs",
                flags=mounts.MS_NOSUID | mounts.MS_NODEV,
                data=f"size={size},mode=777",
            )

    def uids(self) -> frozenset[str]:
        """The pods of which there is something."""
        found: set[str] = set()
        for root in (self._pods, self._memory):
            with contextlib.suppress(OSError):
                found |= set(os.listdir(root))
        return frozenset(found)

    def remove(self, uid: str) -> None:
        """Remove everything of a pod; what is mounted there is let go of first, and never removed."""
        for root in (self._memory / uid, self._pods / uid):
            if not root.exists():
                continue
            for mounted in reversed(mounts_below(root)):
                if mounted.is_relative_to(self._memory):
                    _empty(mounted)  # another mount namespace may hold it for longer than we do
                with contextlib.suppress(KernelError):
                    mounts.umount(str(mounted))
            if left := mounts_below(root):
                log.warning("volumes of pod %s: %s is still mounted and stays", uid, left[0])
                continue
            shutil.rmtree(root, ignore_errors=True)


def make_open(path: Path) -> None:
    """Make a directory and what is missing above it, for everybody to go through."""
    if not path.is_dir():
        make_open(path.parent)
        path.mkdir(exist_ok=True)
        path.chmod(OPEN)


def stage(source: Path, target: Path) -> None:
    """Show a directory or file at another place, in our own mount namespace.

    Raises:
        KernelError: the kernel refused.
    """
    if os.path.ismount(target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    mounts.bind(str(source), str(target))


def stage_without(source: Path, target: Path, hidden: Iterable[str]) -> None:
    """Show a directory at another place, but for some below it, which are empty there.

    What leads to those is rebuilt, not bound: a recursive bind would take them along, with all that is mounted in them.

    Raises:
        KernelError: the kernel refused.
    """
    if os.path.ismount(target):
        return
    target.mkdir(parents=True, exist_ok=True)
    mounts.mount("tmpfs", str(target), "tmpfs", data="size=4m,mode=755")
    hidden = tuple(hidden)
    for entry in os.scandir(source):
        ours = target / entry.name
        if entry.path in hidden:
            make_open(ours)
        elif entry.is_symlink():
            ours.symlink_to(os.readlink(entry.path))
        elif any(h.startswith(f"{entry.path}/") for h in hidden):
            stage_without(Path(entry.path), ours, hidden)
        elif entry.is_dir() or entry.is_file():
            stage(Path(entry.path), ours)


def resolved(root: Path, path: str, *, what: str = "subPath") -> Path:
    """What a path below a directory leads to; links are followed as long as they stay below it.

    Raises:
        MountFailed: it leads out.
    """
    real_root = os.path.realpath(root)
    real = os.path.realpath(os.path.join(real_root, path.strip("/")))
    if real != real_root and not real.startswith(real_root + "/"):
        raise MountFailed(f"{what} {path!r} leads out of the volume")
    return Path(real)


def below(root: Path, path: str, *, what: str = "subPath") -> int:
    """A descriptor (O_PATH) of what lies at a path below a directory; links are followed as long as they stay below it.

    What is missing is made as directories. Nothing on the way can be exchanged for a link that leads out while we look.

    Raises:
        MountFailed: it leads out, or cannot be made.
    """
    real_root = os.path.realpath(root)
    real = resolved(root, path, what=what)
    try:
        here = os.open(real_root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in real.relative_to(real_root).parts:
            here = _step(here, part)
    except OSError as error:
        raise MountFailed(f"{what} {path!r}: {error.strerror}") from error
    return here


def mounts_below(root: Path) -> list[Path]:
    """Where something is mounted at or below a directory, the outermost first (proc_pid_mountinfo(5))."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        if point == root or point.is_relative_to(root):
            found.append(point)
    return sorted(found, key=lambda p: len(p.parts))


def _step(here: int, part: str) -> int:
    made = False
    try:
        try:
            found = os.open(part, _HOLD, dir_fd=here)
        except FileNotFoundError:
            os.mkdir(part, dir_fd=here)
            made = True
            found = os.open(part, _HOLD, dir_fd=here)
    finally:
        os.close(here)
    if stat.S_ISLNK(os.fstat(found).st_mode):  # a mount of a link would lead where it leads
        os.close(found)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if made:
        os.chmod(f"/proc/self/fd/{found}", OPEN)
    return found


def _empty(directory: Path) -> None:
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)
