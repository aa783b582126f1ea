"""A directory that becomes a container's root: paths are resolved within it, whatever links say. In: a descriptor; out: entries.

Every step is taken from a descriptor of the step before and follows no link by itself: a link in the tree leads to another
place of the tree, as it will for the container's programs, and never out of it. Not here: archives (``unpack``).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HOPS = 40
"""Links on the way to one entry, as the kernel allows (path_resolution(7))."""
_DEPTH = 256
"""Directories within directories."""


class Tree:
    """A root.

    Args:
        fd: a descriptor of the directory, which stays the caller's.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @contextlib.contextmanager
    def parent(self, parts: list[str], *, make: bool = False) -> Iterator[int]:
        """A descriptor of the directory at ``parts``.

        Args:
            parts: names without ``.`` and ``..``.
            make: make what is missing, and put a directory where something else stands at the end of a link's way.

        Raises:
            OSError: there is none, or a link leads nowhere.
        """
        fd = self._walk(list(parts), make=make)
        try:
            yield fd
        finally:
            os.close(fd)

    def open_file(self, path: str) -> int:
        """A descriptor of the file at an absolute path, read-only; links are followed within the tree.

        Raises:
            OSError: there is none.
        """
        parts = split(path)
        for _ in range(_HOPS):
            with self.parent(parts[:-1]) as directory:
                try:
                    return os.open(
                        parts[-1],
                        os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                        dir_fd=directory,
                    )
                except OSError as error:
                    if error.errno != errno.ELOOP:
                        raise
                    target = os.readlink(parts[-1], dir_fd=directory)
            parts = _joined([] if target.startswith("/") else parts[:-1], target)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def _walk(self, parts: list[str], *, make: bool) -> int:
        """Step by step; ``seen`` is where we are, in names, so that ``..`` of a link goes up and never above the root."""
        hops = 0
        seen: list[str] = []
        fd = os.dup(self._fd)
        try:
            while parts:
                part = parts.pop(0)
                if part == "..":
                    seen = seen[:-1]
                    parts = [*seen, *parts]
                    seen, fd = [], _instead(fd, os.dup(self._fd))
                    continue
                target = _link(part, fd)
                if target is None:
                    if make:
                        with contextlib.suppress(FileExistsError):
                            os.mkdir(part, 0o755, dir_fd=fd)
                    fd = _instead(fd, os.open(part, _DIRECTORY, dir_fd=fd))
                    seen.append(part)
                    _bounded(hops, len(seen), part)
                    continue
                hops += 1
                _bounded(hops, len(seen), part)
                parts = [*(p for p in target.split("/") if p not in {"", "."}), *parts]
                if target.startswith("/"):
                    seen, fd = [], _instead(fd, os.dup(self._fd))
        except BaseException:
            os.close(fd)
            raise
        return fd


def split(path: str) -> list[str]:
    """The names of a path; ``..`` stays."""
    return [part for part in path.split("/") if part not in {"", "."}]


def remove(name: str, directory: int) -> None:
    """Remove an entry with all below it; no error where there is none. Links are removed and not followed."""
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        os.unlink(name, dir_fd=directory)
        return
    os.chmod(name, 0o700, dir_fd=directory)  # whoever is not root could not empty it otherwise
    fd = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        for inner in os.listdir(fd):
            remove(inner, fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=directory)


def _joined(base: list[str], target: str) -> list[str]:
    """A link's target from a directory; ``..`` never goes above the root."""
    parts = list(base)
    for part in split(target):
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    if not parts:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    return parts


def _bounded(hops: int, depth: int, name: str) -> None:
    if hops > _HOPS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
    if depth > _DEPTH:
        raise OSError(errno.ENAMETOOLONG, "directories within directories, too many", name)


def _link(name: str, directory: int) -> str | None:
    """Where a link leads; None where there is no link."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOENT}:
            return None
        raise


def _instead(old: int, new: int) -> int:
    os.close(old)
    return new
