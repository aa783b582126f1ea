"""What happens to a file, or to those of a directory, told at once (inotify(7)). In: a path. Out: a descriptor that becomes readable when it may be gone.

Not here: what the file is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from netloom.linux.libc import kernel_error

_MODIFY, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
_EVENT_BYTES = 4096

_libc = ctypes.CDLL(None, use_errno=True)


class FileWatch:
    """Tells of files that leave, or are replaced in, the directory of a path. A context manager.

    Raises:
        KernelError: there is no such directory, or no more watches are allowed.
    """

    def __init__(self, path: Path, *, mask: int = _MOVED_FROM | _MOVED_TO | _DELETE) -> None:
        self.fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise kernel_error("inotify_init1", ctypes.get_errno())
        if _libc.inotify_add_watch(self.fd, os.fsencode(path.parent), ctypes.c_uint32(mask)) < 0:
            number = ctypes.get_errno()
            os.close(self.fd)
            raise kernel_error(f"watch {path.parent}", number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)

    def drain(self) -> None:
        """Take what has been told."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.fd, _EVENT_BYTES):
                pass


class DirectoryWatch(FileWatch):
    """Tells of files of a directory that are made, written or replaced. A context manager.

    Raises:
        KernelError: there is no such directory, or no more watches are allowed.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "any", mask=_MODIFY | _CREATE | _MOVED_TO)
