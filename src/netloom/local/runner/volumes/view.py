"""What one container sees where a stand-in plays it: the pod's view with its volumes over it. In: a sandbox, mounts; out: a mount namespace.

The machine's file system is read-only there and has few of the places where volumes want to be. Where a place is missing, the
directory that is there and nearest to it is rebuilt on a tmpfs: its entries as links (of the root directory: as mounts), the place
beside them. That needs nothing that a user namespace forbids. The namespace lives as long as its descriptor. Not here: what lies in the
volumes.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from netloom.errors import KernelError
from netloom.linux import libc, mounts
from netloom.linux.netns import Namespaces, run_in_async
from netloom.local.runner.running import Mount
from netloom.local.runner.volumes.payload import MountFailed
from netloom.local.runner.volumes.places import make_open

_OURS = "/run/netloom"
"""A directory of the pod's own, which all of its containers share."""


async def view_of(mnt: int, wanted: Sequence[Mount]) -> int:
    """A descriptor of a mount namespace like ``mnt`` with these mounts; the caller closes it.

    Raises:
        MountFailed: a place cannot be made, or the kernel refuses.
    """
    with contextlib.ExitStack() as held:
        try:
            copies = [(_copy(mount, held), mount.target) for mount in _outer_first(wanted)]
            proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, proc)

            def build() -> int:
                libc.unshare(libc.CLONE_NEWNS)
                rebuilt: list[str] = []
                for fd, target in copies:
                    is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
                    mounts.attach(fd, _place(target, is_directory, rebuilt))
                for directory in rebuilt:
                    mounts.set_read_only(directory, recursive=False)
                # The pod's own /proc does not know this thread.
                return os.open("thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)

            return await run_in_async(Namespaces(mnt=mnt), build)
        except (KernelError, OSError) as error:
            raise MountFailed(f"volumes cannot be shown: {error}") from error


def _outer_first(wanted: Sequence[Mount]) -> list[Mount]:
    """What is mounted within something else comes after it."""
    return sorted(wanted, key=lambda mount: mount.target.rstrip("/").count("/"))


def _copy(mount: Mount, held: contextlib.ExitStack) -> int:
    fd = mounts.copied(mount.source, read_only=mount.read_only)
    held.callback(os.close, fd)
    return fd


def _place(target: str, is_directory: bool, rebuilt: list[str]) -> str:
    """Where to mount; made where it is missing, if need be by rebuilding a directory above it, which is noted."""
    path = os.path.realpath(target)
    if os.path.exists(path):
        if os.path.isdir(path) != is_directory:
            kind = "a directory" if is_directory else "a file"
            raise MountFailed(f"{target}: {kind} is to be mounted there, and there is something else")
        return path
    try:
        _make(path, is_directory=is_directory)
    except OSError:
        above = _nearest(path)
        _rebuild(above)
        rebuilt.append(above)
        _make(path, is_directory=is_directory)
    return path


def _make(path: str, *, is_directory: bool) -> None:
    make_open(Path(path) if is_directory else Path(path).parent)
    if not is_directory:
        Path(path).touch()


def _nearest(path: str) -> str:
    """The directory that is there, as near to the path as possible."""
    parent = os.path.dirname(path)
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    return parent


def _rebuild(directory: str) -> None:
    """Put a tmpfs with the same entries in the place of a directory."""
    if directory == "/":
        _rebuild_root()
        return
    aside = Path(tempfile.mkdtemp(prefix="aside-", dir=_OURS))
    mounts.bind(directory, str(aside))
    mounts.mount("tmpfs", directory, "tmpfs", data="size=4m,mode=755")
    for entry in os.listdir(aside):
        Path(directory, entry).symlink_to(aside / entry)


def _rebuild_root() -> None:
    """A root directory of our own: the machine's entries are mounted in it, and links copied."""
    root = Path(tempfile.mkdtemp(prefix="root-", dir=_OURS))
    mounts.mount("tmpfs", str(root), "tmpfs", data="size=4m,mode=755")
    for entry in sorted(os.scandir("/"), key=lambda e: e.name != "run"):
        ours = root / entry.name
        if entry.is_symlink():
            ours.symlink_to(os.readlink(entry.path))
        elif entry.is_dir():
            ours.mkdir()
            mounts.bind(entry.path, str(ours))
            if (
                entry.name == "run"
            ):  # the new root is below it, and has come along: as long as it is empty it can go
                mounts.umount(str(ours / root.relative_to("/run")))
        elif entry.is_file():
            ours.touch()
            mounts.bind(entry.path, str(ours))
    mounts.pivot_root(str(root))
