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
    """What to say where user namespaces, or capabilities in them, are not to be had."""
    apparmor = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    debian = Path("/proc/sys/kernel/unprivileged_userns_clone")
    most = Path("/proc/sys/user/max_user_namespaces")
    hint = "run it as root: sudo netloom up"
    if _reads(apparmor, "1"):
        hint += "; or allow them: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    elif _reads(debian, "0"):
        hint += "; or allow them: sudo sysctl kernel.unprivileged_userns_clone=1"
    elif _reads(most, "0") or error.errno == errno.ENOSPC:
        hint += "; or allow them: sudo sysctl user.max_user_namespaces=15000"
    return Unsupported(
        f"this system forbids user namespaces to ordinary users ({os.strerror(error.errno or 0)})", hint
    )


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
