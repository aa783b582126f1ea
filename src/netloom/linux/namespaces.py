"""A whole single-threaded process that changes its namespaces: the supervisor's children, before they have threads.

Everything else enters namespaces on threads that die (``netns.py``).
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from pathlib import Path

from netloom.errors import Unsupported

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """Leave the given kinds of namespace for new ones (unshare(2))."""
    _call("unshare", flags)


def become_root_of_a_user_namespace() -> None:
    """Enter a new user namespace in which this user is root (user_namespaces(7)).

    Raises:
        Unsupported: this system forbids it; the hint says how to go on.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        unshare(CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        raise forbidden(error) from error


def forbidden(error: OSError) -> Unsupported:
    """What to say where namespaces, or capabilities in them, are not to be had: why, and how to go on."""
    number = error.errno or 0
    if number == errno.ENOSPC:
        return Unsupported(
            "this system's limit of namespaces is reached (user_namespaces(7))",
            "raise what is too low of: sysctl user.max_user_namespaces user.max_net_namespaces user.max_mnt_namespaces",
        )
    if os.geteuid() == 0:
        return Unsupported(
            f"root may not make namespaces here ({os.strerror(number)}): a container without CAP_SYS_ADMIN?",
            "run it on the machine itself, or give the container CAP_SYS_ADMIN",
        )
    hint = "run it as root: sudo netloom up"
    for name, value in _SWITCHES:
        if _reads(Path("/proc/sys") / name.replace(".", "/"), value):
            hint += f"; or allow them: sudo sysctl {name}={1 - int(value)}"
    return Unsupported(f"this system forbids user namespaces to ordinary users ({os.strerror(number)})", hint)


_SWITCHES = (("kernel.apparmor_restrict_unprivileged_userns", "1"), ("kernel.unprivileged_userns_clone", "0"))
"""Settings by which distributions forbid it, and the value that forbids (Ubuntu 24.04, Debian before 11)."""


def _reads(path: Path, value: str) -> bool:
    try:
        return path.read_text().strip() == value
    except OSError:
        return False


def enter(fd: int) -> None:
    """Move this process into the namespace that the descriptor refers to (setns(2))."""
    _call("setns", fd, 0)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent process ends, however it ends (prctl(2) PR_SET_PDEATHSIG).

    Args:
        parent: the pid that the parent is expected to have; where it has gone already, this process ends at once.
    """
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def set_process_name(name: str) -> None:
    """The name that ps(1) shows, at most 15 bytes (prctl(2) PR_SET_NAME)."""
    _call("prctl", _PR_SET_NAME, name.encode()[:15] + b"\0", 0, 0, 0)
