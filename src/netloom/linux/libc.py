"""The few system calls that Python 3.11 does not offer, through the C library.

In: plain numbers and paths. Out: a value, or :class:`netloom.errors.KernelError` with the errno. Not here: any decision of
when to call them; see ``netns``, ``mounts`` and ``process``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct

from netloom.errors import KernelError

CLONE_FS = 0x0000_0200
CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(os.uname().machine, 155)
_SYS_MOUNT_SETATTR = 442
"""The same number on every architecture (Linux 5.12)."""

_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
"""The same numbers on every architecture (Linux 5.2)."""

_SYS_PIDFD_GETFD = 438
"""The same number on every architecture (Linux 5.6)."""

_AT_FDCWD = -100

# use_errno: the thread's own errno is saved at the call, before Python can disturb it.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def kernel_error(operation: str, number: int, hint: str = "") -> KernelError:
    """The error of a refused operation, with the C library's words for the errno."""
    return KernelError(operation, number, os.strerror(number), hint)


def _checked(result: int, operation: str, hint: str = "") -> None:
    if result < 0:
        raise kernel_error(operation, ctypes.get_errno(), hint)


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace of ``kind``, see the manual page of section 2."""
    _checked(_libc.setns(fd, kind), f"setns(fd {fd}, {kind:#x})")


def unshare(flags: int) -> None:
    """Give the calling thread namespaces, or file-system attributes, of its own."""
    _checked(
        _libc.unshare(flags),
        f"unshare({flags:#x})",
        "run as root, or inside a user namespace (unshare -rmn)",
    )


def mount(source: str, target: str, fstype: str, flags: int, data: str) -> None:
    """Mount, or change a mount; empty texts become NULL."""
    result = _libc.mount(
        source.encode(),
        os.fsencode(target),
        fstype.encode() if fstype else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _checked(result, f"mount {fstype or 'flags'} on {target}")


def umount(target: str, flags: int) -> None:
    """Unmount."""
    _checked(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def open_tree(path: str, flags: int) -> int:
    """A descriptor of a mount, or (OPEN_TREE_CLONE) of a copy of it that is mounted nowhere yet; Linux 5.2."""
    result = _libc.syscall(
        ctypes.c_long(_SYS_OPEN_TREE), ctypes.c_int(_AT_FDCWD), os.fsencode(path), ctypes.c_uint(flags)
    )
    _checked(result, f"open_tree {path}")
    return int(result)


def move_mount(fd: int, target: str) -> None:
    """Mount what a descriptor stands for; the one from :func:`open_tree` may come from another mount namespace."""
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOVE_MOUNT),
        ctypes.c_int(fd),
        b"",
        ctypes.c_int(_AT_FDCWD),
        os.fsencode(target),
        ctypes.c_uint(4),  # MOVE_MOUNT_F_EMPTY_PATH
    )
    _checked(result, f"move_mount to {target}")


def mount_setattr(
    target: str, *, flags: int, set_: int, clear: int = 0, propagation: int = 0, directory: int = _AT_FDCWD
) -> None:
    """Set attributes of a mount or (with AT_RECURSIVE) of a whole tree of mounts; Linux 5.12."""
    attr = struct.pack("=QQQQ", set_, clear, propagation, 0)
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(directory),
        os.fsencode(target),
        ctypes.c_uint(flags),
        attr,
        ctypes.c_size_t(len(attr)),
    )
    _checked(result, f"mount_setattr on {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """Make a mount the root, and put the old root at another place below it."""
    result = _libc.syscall(ctypes.c_long(_SYS_PIVOT_ROOT), os.fsencode(new_root), os.fsencode(put_old))
    _checked(result, f"pivot_root to {new_root}")


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A duplicate of another process's descriptor; the same right is needed as to trace it."""
    result = _libc.syscall(
        ctypes.c_long(_SYS_PIDFD_GETFD), ctypes.c_int(pidfd), ctypes.c_int(fd), ctypes.c_uint(0)
    )
    _checked(result, f"pidfd_getfd of descriptor {fd}", "the process belongs to somebody else")
    return int(result)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent process ends, however it ends (prctl(2) PR_SET_PDEATHSIG).

    Args:
        parent: the pid that the parent is expected to have; where it has gone already, this process ends at once.
    """
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


def set_process_name(name: str) -> None:
    """The name that ps(1) shows, at most 15 bytes (prctl(2) PR_SET_NAME)."""
    _checked(_libc.prctl(_PR_SET_NAME, name.encode()[:15] + b"\0", 0, 0, 0), "prctl(PR_SET_NAME)")


def give_back_memory() -> None:
    """Hand what this process has freed back to the system; where the C library has no such call, nothing happens."""
    with contextlib.suppress(AttributeError):
        _libc.malloc_trim(ctypes.c_size_t(0))
