"""What plugins see of the file system on a node that shares its machine with others: a node of the local cluster.

In: a directory. Out: a mount namespace in which it stands for ``/var/lib`` and ``/run``, with a ``/tmp`` that is empty and all else
read-only: what plugins remember (``host-local`` its addresses, ``tuning`` its settings) is each node's own, goes with the cluster, and
nothing of the machine is written. ``/proc``, ``/sys`` and ``/dev`` stay as they are. Not here: starting plugins (``cni/delegate``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from netloom.errors import KernelError, StorageError
from netloom.linux import libc, mounts, netns

_OWN = ("/var/lib", "/run")
_SCRATCH = "/tmp"  # noqa: S108 - a mount of its own
_AS_THEY_ARE = ("/proc", "/sys", "/dev")


def make_view(state: Path, *, keep: Sequence[str]) -> int:
    """A descriptor of the mount namespace.

    Args:
        state: the directory; made where it is not there.
        keep: directories that stay what they are, wherever they are: those of plugins and of our sockets.

    Raises:
        StorageError: the directory cannot be made.
        KernelError: the kernel refused a mount.
    """
    try:
        for place in _OWN:
            _inside(state, place).mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        raise StorageError(f"{state}: {error.strerror}", "see that its directory is writable") from error
    return netns.run_on_thread(lambda: _make(state, tuple(dict.fromkeys(keep))))


def _make(state: Path, keep: tuple[str, ...]) -> int:
    """On a thread that dies."""
    libc.unshare(libc.CLONE_NEWNS | libc.CLONE_FS)
    mounts.make_private("/")
    with contextlib.ExitStack() as files:
        # opened here, for the kernel binds only what is mounted in this namespace; and before anything is covered
        kept = {place: fd for place in keep if (fd := _open(place, files)) is not None}
        own = {place: _open(str(_inside(state, place)), files) for place in _OWN}
        for place, fd in own.items():
            mounts.bind(f"/proc/self/fd/{fd}", place, recursive=False)
        flags = mounts.MS_NOSUID | mounts.MS_NODEV
        mounts.mount("tmpfs", _SCRATCH, "tmpfs", flags=flags, data="size=16m,mode=1777")
        for place, fd in kept.items():
            if not _is_same(place, fd):
                Path(place).mkdir(parents=True, exist_ok=True)
                mounts.bind(f"/proc/self/fd/{fd}", place)
    _close_for_writing()
    return os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def _open(place: str, files: contextlib.ExitStack) -> int | None:
    try:
        fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    files.callback(os.close, fd)
    return fd


def _close_for_writing() -> None:
    """Every other mount by itself: the kernel's own file systems below must stay writable."""
    places = [line.split()[4] for line in Path("/proc/thread-self/mountinfo").read_text().splitlines()]
    for place in dict.fromkeys(places):
        path = place.encode().decode("unicode_escape")
        is_kernels = path in _AS_THEY_ARE or path.startswith(tuple(f"{kept}/" for kept in _AS_THEY_ARE))
        if is_kernels or path in {*_OWN, _SCRATCH}:
            continue
        with contextlib.suppress(KernelError):  # one that is covered, or was locked by the machine's owner
            mounts.set_read_only(path, recursive=False)


def _inside(state: Path, place: str) -> Path:
    return state / place.lstrip("/").replace("/", "-")


def _is_same(place: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(place), os.fstat(fd))
    except OSError:
        return False
