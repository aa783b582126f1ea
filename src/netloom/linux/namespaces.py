"""A whole single-threaded process that changes its namespaces: the supervisor's children, before they have threads.

Everything else enters namespaces on threads that die (``netns.py``).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from netloom.errors import KernelError, Unsupported
from netloom.linux import libc


def become_root_of_a_user_namespace() -> None:
    """Enter a new user namespace in which this user is root (user_namespaces(7)).

    Raises:
        Unsupported: this system forbids it; the hint says how to go on.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        libc.unshare(libc.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except (OSError, KernelError) as error:
        raise forbidden(error) from error


def has_one_user() -> bool:
    """This user namespace knows one user only, as an ordinary user's own does: the owner of a file cannot be changed (EINVAL)."""
    return users(Path("/proc/self/uid_map").read_text()) == 1


def users(uid_map: str) -> int:
    """How many users a map has (user_namespaces(7): first inside, first outside, length)."""
    return sum(int(line.split()[2]) for line in uid_map.splitlines())


def forbidden(error: OSError | KernelError) -> Unsupported:
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
