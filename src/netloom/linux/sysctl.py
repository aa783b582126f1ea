"""Kernel settings below ``/proc/sys``. In: settings of ``program.sysctl``. Out: texts, or KernelError.

``/proc/sys/net`` shows the namespace of the thread that opens it, so settings of another network namespace are read and
written on a thread inside it. Not here: which settings a node needs.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from netloom.errors import KernelError
from netloom.linux import netns
from netloom.linux.libc import kernel_error
from netloom.program.sysctl import Setting

_ROOT = Path("/proc/sys")


def read(path: str, netns_fd: int | None = None) -> str | None:
    """The text of a setting such as ``net/ipv4/ip_forward``; None where this kernel has none of that name."""

    def look() -> str | None:
        try:
            return (_ROOT / path).read_text().strip()
        except FileNotFoundError:
            return None

    return look() if netns_fd is None else netns.run_in(netns_fd, look)


def write(settings: Sequence[Setting], netns_fd: int | None = None) -> None:
    """Put settings in force; one that has its value already is not written, so a read-only /proc/sys may do.

    Raises:
        KernelError: a setting is missing and not optional, or may not be written.
    """

    def put() -> None:
        for setting in settings:
            _write(setting)

    if netns_fd is None:
        put()
    else:
        netns.run_in(netns_fd, put)


def _write(setting: Setting) -> None:
    path = _ROOT / setting.path
    try:
        if path.read_text().strip() != setting.value:
            path.write_text(setting.value)
    except FileNotFoundError as error:
        if not setting.optional:
            raise _refused(setting, errno.ENOENT, "this kernel has no such setting") from error
    except OSError as error:
        hint = "mount /proc/sys writable, or set it before the agent starts"
        raise _refused(setting, error.errno or errno.EIO, hint) from error


def _refused(setting: Setting, number: int, hint: str) -> KernelError:
    return kernel_error(f"sysctl {setting.path.replace('/', '.')}={setting.value}", number, hint)
