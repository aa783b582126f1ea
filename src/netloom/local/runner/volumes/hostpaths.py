"""What a hostPath volume shows on this machine (core/v1 HostPathVolumeSource). In: a path and its type; out: where that lies.

A node of a local cluster is no machine of its own, and nothing here may change the machine that it runs on. So what the machine
has is shown read-only, and what it lacks is made in a directory of the node (``/data`` of two nodes are two directories), where
it is writable and stays as long as the cluster. Volumes that the cluster provisions lie in one directory of all nodes. The
cluster's own state, with its keys, is never shown. Not here: mounting.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from netloom.local.runner.volumes.payload import MountFailed
from netloom.local.runner.volumes.places import make_open

PROVISIONED = "/var/lib/netloom/volumes"
"""Beneath it every node has the same directories: those of provisioned PersistentVolumes."""
_KINDS = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


class Place(msgspec.Struct, frozen=True):
    """Where a hostPath lies."""

    source: Path
    read_only: bool
    """It is the machine's."""
    hidden: tuple[str, ...] = ()
    """Directories below it that must not be seen."""


class HostPaths:
    """Finds hostPaths.

    Args:
        own: the node's own files.
        shared: those of provisioned volumes.
        hidden: directories of the machine that nobody may see.
    """

    def __init__(self, *, own: Path, shared: Path, hidden: tuple[str, ...]) -> None:
        self._own = own
        self._shared = shared
        self._hidden = tuple(os.path.realpath(path) for path in hidden)

    def find(self, path: str, kind: str) -> Place:
        """Where it lies; made first where its type says so, or says nothing.

        Raises:
            MountFailed: there is nothing of that kind, and it is not to be made.
        """
        place = self._place(os.path.normpath(path))
        if kind in _KINDS:
            is_kind, words = _KINDS[kind]
            try:
                fits = is_kind(place.source.stat().st_mode)
            except OSError:
                fits = False
            if not fits and not (kind.endswith("OrCreate") and not os.path.lexists(place.source)):
                raise MountFailed(f"hostPath type check failed: {path} is not {words}")
        if not os.path.lexists(place.source):
            _make(place.source, is_file=kind == "FileOrCreate")
        return place

    def _place(self, path: str) -> Place:
        if path == PROVISIONED or path.startswith(f"{PROVISIONED}/"):
            return Place(self._shared / path[len(PROVISIONED) :].lstrip("/"), read_only=False)
        own = self._own / path.lstrip("/")
        real = os.path.realpath(path)
        is_hidden = any(_is_within(real, h) for h in self._hidden)
        if is_hidden or not os.path.exists(real):
            return Place(own, read_only=False)
        below = tuple(h for h in self._hidden if _is_within(h, real))
        return Place(Path(real), read_only=True, hidden=below)


def _make(path: Path, *, is_file: bool) -> None:
    try:
        if is_file:
            make_open(path.parent)
            path.touch()
            path.chmod(0o644)
        else:
            make_open(path)
    except OSError as error:
        raise MountFailed(f"hostPath {path}: {error.strerror}") from error


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
