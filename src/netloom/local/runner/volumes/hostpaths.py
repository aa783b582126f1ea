"""What a hostPath volume shows on this machine (core/v1 HostPathVolumeSource). In: a path and its type; out: where that lies.

A node of a local cluster is no machine of its own, and nothing here may change the machine that it runs on. So what the machine
has is shown read-only, and what it lacks is made in a directory of the node (``/data`` of two nodes are two directories), where
it is writable and stays as long as the cluster. Volumes that the cluster provisions lie in one directory of all nodes. The
cluster's own state, with its keys, is never shown, nor are sockets of the machine's daemons: to connect needs no writable file.
Pods write where the node's own lies, so that no link there leads out of it. Not here: mounting.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from netloom.local.runner.volumes.payload import MountFailed
from netloom.local.runner.volumes.places import below, make_open, resolved

PROVISIONED = "/var/lib/netloom/volumes"
"""Beneath it every node has the same directories: those of provisioned PersistentVolumes."""
_SOCKETS = ("/run", "/var/run")
"""Where daemons of the machine listen: a node has directories of its own there."""
_WHAT = "hostPath"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
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
    within: Path | None = None
    """Pods write there: the source is to be held (:meth:`hold`), since they may exchange it for a link at any time."""

    def hold(self) -> int | None:
        """A descriptor (O_PATH) of the source, which lies below ``within``; None where that does not matter.

        Raises:
            MountFailed: it leads out by now.
        """
        if self.within is None:
            return None
        return below(self.within, str(self.source.relative_to(os.path.realpath(self.within))), what=_WHAT)


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
        self._hidden = tuple(os.path.realpath(path) for path in (*hidden, *_SOCKETS))

    def find(self, path: str, kind: str) -> Place:
        """Where it lies; made first where its type says so, or says nothing.

        Raises:
            MountFailed: there is nothing of that kind, and it is not to be made; a link leads out of what the node has; it is a
                socket of the machine.
        """
        place = self._place(os.path.normpath(path))
        if place.within is None and place.source.is_socket():
            raise MountFailed(
                f"hostPath {path} is a socket of the machine: pods have only those that pods of the node made"
            )
        if kind in _KINDS:
            is_kind, words = _KINDS[kind]
            try:
                fits = is_kind(place.source.stat().st_mode)
            except OSError:
                fits = False
            if not fits and not (kind.endswith("OrCreate") and not os.path.lexists(place.source)):
                raise MountFailed(f"hostPath type check failed: {path} is not {words}")
        if not os.path.lexists(place.source):
            _make(place, is_file=kind == "FileOrCreate")
        return place

    def _place(self, path: str) -> Place:
        if path == PROVISIONED or path.startswith(f"{PROVISIONED}/"):
            return _written_by_pods(self._shared, path[len(PROVISIONED) :])
        real = os.path.realpath(path)
        is_hidden = any(_is_within(real, h) for h in self._hidden)
        if is_hidden or not os.path.exists(real):
            return _written_by_pods(self._own, path)
        inside = tuple(h for h in self._hidden if _is_within(h, real))
        return Place(Path(real), read_only=True, hidden=inside)


def _written_by_pods(root: Path, path: str) -> Place:
    make_open(root)
    return Place(resolved(root, path, what=_WHAT), read_only=False, within=root)


def _make(place: Place, *, is_file: bool) -> None:
    """Make what is missing where pods write, through descriptors: links of theirs lead nowhere."""
    wanted = msgspec.structs.replace(place, source=place.source.parent) if is_file else place
    if (held := wanted.hold()) is None:
        return
    try:
        if is_file:
            made = os.open(place.source.name, _NEW, 0o644, dir_fd=held)
            os.fchmod(made, 0o644)
            os.close(made)
    except FileExistsError:
        pass
    except OSError as error:
        raise MountFailed(f"hostPath {place.source}: {error.strerror}") from error
    finally:
        os.close(held)


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
