"""Programs that a former process of ours started and that outlived it, and the sockets at which they listen.

In: a program's name and the directory that it works in. Out: processes that can be ended without races, and duplicates of their listening
sockets: whoever takes these over needs no moment in which nobody listens. Not here: when to do so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from netloom.errors import KernelError
from netloom.linux.libc import pidfd_getfd


class Inherited:
    """A process that we did not start.

    Args:
        pid: of it.
        pidfd: means this very process, whatever becomes of its number.
    """

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return bool(select.select([self._pidfd], [], [], 0)[0])

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send it a signal; no error where it has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self._pidfd, signum)

    async def wait(self) -> None:
        """Return when it has ended."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._pidfd)

    def listening(self) -> list[socket.socket]:
        """Duplicates of its listening TCP sockets; none where the kernel does not let us."""
        found = []
        for fd in _sockets(self.pid):
            try:
                duplicate = socket.socket(fileno=pidfd_getfd(self._pidfd, fd))
            except (KernelError, OSError):
                continue
            if _listens(duplicate):
                found.append(duplicate)
            else:
                duplicate.close()
        return found

    def close(self) -> None:
        """Forget it; it lives on."""
        os.close(self._pidfd)


def find(name: str, directory: Path) -> list[Inherited]:
    """Processes of this name (its first 15 bytes) that work in this directory, oldest first."""
    wanted = directory.resolve()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            pid = int(path.name)
            if not _is(path, name, wanted):
                continue
            pidfd = os.pidfd_open(pid)
            if _is(path, name, wanted):  # still the same one, which the descriptor means
                found.append(
                    (int((path / "stat").read_text().rpartition(")")[2].split()[19]), Inherited(pid, pidfd))
                )
            else:
                os.close(pidfd)
        except (OSError, ValueError):
            continue
    return [process for _, process in sorted(found, key=lambda one: (one[0], one[1].pid))]


def _is(path: Path, name: str, directory: Path) -> bool:
    return (path / "comm").read_text().strip() == name[:15] and (path / "cwd").readlink() == directory


def _sockets(pid: int) -> Iterator[int]:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for name in names:
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                yield int(name)


def _listens(sock: socket.socket) -> bool:
    return (
        sock.family in (socket.AF_INET, socket.AF_INET6)
        and sock.type == socket.SOCK_STREAM
        and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    )
