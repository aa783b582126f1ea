"""Mounts of the calling thread's mount namespace. In: paths. Out: KernelError where the kernel refuses.

To be called on a thread (or in a process) that has a mount namespace of its own, such as the ``prepare`` of
``process.spawn``; nothing here enters one. Not here: what a pod's file system looks like.
"""

from __future__ import annotations

import errno
import os

from netloom.errors import KernelError
from netloom.linux import libc

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
_MS_BIND = 4096
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_AT_RECURSIVE = 0x8000
_AT_EMPTY_PATH = 0x1000
_MOUNT_ATTR_RDONLY = 1
_OPEN_TREE_CLONE = 1


def mount(source: str, target: str, fstype: str, *, flags: int = 0, data: str = "") -> None:
    """Mount a file system: ``flags`` are MS_* bits, ``data`` its own options (``size=1m``)."""
    libc.mount(source, target, fstype, flags, data)


def bind(source: str, target: str, *, recursive: bool = True, read_only: bool = False) -> None:
    """Show a file or directory at another place too; both must exist, and a file goes onto a file."""
    libc.mount(source, target, "", _MS_BIND | (_MS_REC if recursive else 0), "")
    if read_only:
        set_read_only(target, recursive=recursive)


def set_read_only(target: str, *, recursive: bool = True) -> None:
    """Make a mount, and by default all mounts below it, read-only; only for this mount namespace's view.

    A read-only bind of old leaves the mounts below writable; mount_setattr takes the whole tree at once (Linux 5.12).
    """
    libc.mount_setattr(target, flags=_AT_RECURSIVE if recursive else 0, set_=_MOUNT_ATTR_RDONLY)


def copied(source: str, *, read_only: bool = False) -> int:
    """A descriptor of a copy of what lies at a path, with all mounts below: another mount namespace can :func:`attach` it."""
    fd = libc.open_tree(source, _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE)
    try:
        if read_only:
            libc.mount_setattr(
                "", flags=_AT_EMPTY_PATH | _AT_RECURSIVE, set_=_MOUNT_ATTR_RDONLY, directory=fd
            )
    except BaseException:
        os.close(fd)
        raise
    return fd


def attach(fd: int, target: str) -> None:
    """Mount a copy that was made by :func:`copied`, once; a file goes onto a file."""
    libc.move_mount(fd, target)


def make_private(target: str = "/") -> None:
    """Let mounts made below ``target`` from now on stay in this mount namespace, and none come in from others."""
    libc.mount("none", target, "", _MS_REC | _MS_PRIVATE, "")


def umount(target: str) -> None:
    """Unmount, at once for everybody who looks and later for those who still use it; no error where nothing is mounted."""
    try:
        libc.umount(target, _MNT_DETACH | _UMOUNT_NOFOLLOW)
    except KernelError as error:
        if error.errno not in {errno.EINVAL, errno.ENOENT}:
            raise


def pivot_root(new_root: str) -> None:
    """Make ``new_root``, which must be a mount of its own, the root, and let go of the old one with all below it."""
    os.chdir(new_root)
    libc.pivot_root(".", ".")
    # Both lie at "/" now, the old root on top: what is detached by "." is that one (pivot_root(2), notes).
    libc.umount(".", _MNT_DETACH)
    os.chdir("/")
